"""What an image does without of the distributions that it holds: a list of directories, one a line.

`tests/` is every directory of that name below site-packages, metadata apart, where licences lie; with a slash inside,
as in `torch/test/`, it is that one alone. Lines that begin with `#` say why.
"""

import re

from tools.oci.errors import ImageError

# Byte code of another interpreter, and programs: an image starts its own with `python -m`. Who unpacked a wheel, which
# rules_python notes beside its metadata, is not the wheel's.
_ALWAYS = r"(^|/)__pycache__/|\.pyc$|^bin/|^[^/]+\.dist-info/INSTALLER$"


def pattern(listed: str = "") -> re.Pattern[str]:
    """What finds the paths, relative to site-packages, that are left out.

    Args:
        listed: the list's text.
    Raises:
        ImageError: a line does not name a directory.
    """
    found = [_ALWAYS]
    for number, line in enumerate(listed.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if not re.fullmatch(r"([\w.-]+/)+", line):
            raise ImageError(f"line {number} of what is left out: {line!r} is not like torch/test/")
        anywhere = line.count("/") == 1
        found.append((r"^(?![^/]+\.dist-info/)(.*/)?" if anywhere else "^") + re.escape(line))
    return re.compile("|".join(found))
