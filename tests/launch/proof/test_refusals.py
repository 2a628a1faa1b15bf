"""What `//launch:proof` refuses before it does anything."""

from pathlib import Path

import pytest

from retort.core.errors import UserError
from tools.kubernetes.proof import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--image", "a=b", "--kubeconfig", "c"], "--image is for a cluster on this machine"),
        (["--image", "a"], "'a' is not NAME=PATH"),
        (["--image", "a=/nowhere"], "/nowhere"),
    ],
)
def test_flags_that_cannot_be_are_one_line(tmp_path: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        main(["--directory", str(tmp_path / "proof"), *flags])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="is not empty; choose another --directory"):
        main(["--directory", str(tmp_path)])
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
