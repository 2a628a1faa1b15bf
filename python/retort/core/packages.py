"""Files that come along in an installed Python package, found without running its code."""

import importlib.util
from pathlib import Path


def package_directory(name: str) -> Path | None:
    """The directory of an installed package; None if it is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])
