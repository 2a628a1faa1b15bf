"""The flags of `//serve`."""

import argparse
import os
from collections.abc import Sequence

from retort.core.cli import Arguments, port, positive
from retort.core.machine import processors

QUEUE = 256
_LONGEST_SECONDS = 86400
_REDIS = "RETORT_REDIS"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Raises:
        UserError: a flag is missing or wrong.
    """
    parser = Arguments(
        prog="serve",
        description="Serve a checkpoint: POST /predict, GET /health and GET /ready.",
        allow_abbrev=False,
    )
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--checkpoint", metavar="DIR", help="a sealed checkpoint")
    served.add_argument(
        "--models",
        metavar="FILE",
        help="YAML that names several, which are replaced while the server runs when it changes",
    )
    parser.add_argument("--seal", metavar="SEAL", help="the seal that it must have, sha256:…")
    parser.add_argument(
        "--name",
        default="classifier",
        help="of the model, where a protocol has names (%(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=8000,
        help="port to listen on; 0 takes a free one (%(default)s)",
    )
    parser.add_argument(
        "--queue",
        type=positive,
        metavar="N",
        help=f"texts that may wait for the model before others are refused ({QUEUE}, or as many as connections allow)",
    )
    parser.add_argument(
        "--client-texts",
        type=positive,
        metavar="N",
        help="texts that one client, by its address, may have here before it is told to come later (any number)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=processors(),
        metavar="N",
        help="processes that compute, each on one processor (%(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        help="of the factors of products: the checkpoint's own by default; bfloat16 rounds those of one in float32, "
        "which is faster where the processor knows it; int8 is for what //serve:export made",
    )
    parser.add_argument(
        "--batch-tokens",
        type=positive,
        default=384,
        metavar="N",
        help="tokens that a process computes together (%(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=_count,
        default=4096,
        metavar="N",
        help="answers that are kept and not computed again; 0 keeps none (%(default)s)",
    )
    parser.add_argument(
        "--redis",
        default=os.environ.get(_REDIS),
        metavar="URL",
        help=f"a Redis behind them, which servers share: redis://, rediss:// or unix:// (what {_REDIS} says)",
    )
    parser.add_argument(
        "--refuse-long",
        action="store_true",
        help="refuse texts that are too long for the model, which are cut otherwise",
    )
    parser.add_argument(
        "--max-body",
        type=positive,
        default=262144,
        metavar="BYTES",
        help="largest body of a request (%(default)s)",
    )
    parser.add_argument(
        "--connections",
        type=positive,
        default=512,
        metavar="N",
        help="connections at once; with one more, the slowest client gives way (%(default)s)",
    )
    for name, default, what in (
        ("receive", 10, "how long a client may take to send a request, or to read an answer"),
        ("idle", 5, "how long a connection stays open between requests"),
        ("drain", 5, "how long after SIGTERM new requests are answered while /ready says 503"),
        ("answer", 30, "how long a request may take, from when it was read, before it is given up"),
        ("stuck", 60, "how long a process may be at one batch before it is ended"),
        ("redis-keep", 86400, "after how long Redis is to forget an answer"),
        ("finish", 20, "how long what has begun may take after that, or after Ctrl-C"),
    ):
        parser.add_argument(
            f"--{name}-seconds",
            type=_seconds,
            default=default,
            metavar="S",
            help=f"{what} (%(default)s)",
        )
    options = parser.parse_args(arguments)
    if options.models is not None:
        for name in ("seal", "precision", "name"):
            if getattr(options, name) != parser.get_default(name):
                parser.error(f"--{name}: is in the file of --models")
    return options


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to {_LONGEST_SECONDS} seconds")
    return seconds
