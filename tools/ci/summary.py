"""Counts the test cases in Bazel's test logs and prints them as one line."""

import pathlib
import sys
from xml.etree import ElementTree


def count(logs: pathlib.Path) -> tuple[int, int, int]:
    """Passed, failed and skipped cases of every `test.xml` below a folder."""
    passed = failed = skipped = 0
    for path in sorted(logs.rglob("test.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped


def main(logs: str) -> int:
    """Returns 1 if a case failed, or if there was none."""
    passed, failed, skipped = count(pathlib.Path(logs))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
