"""On which terms a request is answered: by whom it was sent, and what it says of itself."""

import re
import time

from fastapi import Request

from retort.serve.engine.engine import Priority, Terms

_URGENCY = re.compile(r"(?:^|,)\s*u=([0-7])\s*(?:$|[,;])")
_NORMAL_URGENCY = 3


def terms_of(request: Request, answer_seconds: float) -> Terms:
    """Those of a request.

    The header Priority (RFC 9218) can put it behind others, and never before them: whoever is here unasked may say so
    of everything.
    """
    said = _URGENCY.search(request.headers.get("priority", ""))
    urgency = int(said[1]) if said else _NORMAL_URGENCY
    return Terms(
        client=request.client.host if request.client else "",
        priority=Priority.LOW if urgency > _NORMAL_URGENCY else Priority.NORMAL,
        deadline=time.monotonic() + answer_seconds,
    )
