"""Check every digest of a token store, and that its files are what it says.

python -m retort.data.inspection.verify_store DIR --seal sha256:DIGITS
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

from collections.abc import Sequence

from retort.core.cli import Arguments, Invocation, run, seal_line
from retort.data.store.store import TokenStore


def main(arguments: Sequence[str]) -> int:
    """Verify one store; the line on standard output is its seal."""
    parser = Arguments(prog="verify", description="Verify a token store.")
    parser.add_argument("store", metavar="DIR", help="a token store")
    parser.add_argument("--seal", metavar="SEAL", help="the seal that it must have, sha256:…")
    options = parser.parse_args(arguments)
    path = Invocation.from_environment().resolve(options.store)
    store = TokenStore.open(path, seal=options.seal)
    print(seal_line(store.sealed))
    return 0


if __name__ == "__main__":
    run(main)
