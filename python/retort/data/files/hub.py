"""Files of the model and data set hub, at pinned commits; its local cache comes first."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from retort.core.errors import HubUnavailable, StorageError

_SECONDS_TO_ANSWER = 5.0
_DISK_ERRORS = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}
Kind = Literal["model", "dataset"]
UNREACHABLE = (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    httpx2.HTTPError,
    ConnectionError,
)
"""What is raised where the hub cannot be reached or refuses."""


def hub_files(
    repository: str,
    revision: str,
    files: Sequence[str],
    *,
    kind: Kind,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """A directory that holds the named files of a repository.

    Args:
        revision: a full commit hash; what a branch's name means changes.
        endpoint, cache: another hub, another cache than the user's own.
    Raises:
        HubUnavailable: the files are not in the cache, and the hub does not answer or refuses.
        StorageError: the cache cannot be written.
    """
    arguments: dict[str, Any] = {
        "repo_id": repository,
        "repo_type": kind,
        "revision": revision,
        "allow_patterns": list(files),
        "cache_dir": cache,
        "endpoint": endpoint,
    }
    try:
        cached = Path(snapshot_download(**arguments, local_files_only=True))
        if all((cached / file).is_file() for file in files):
            return cached
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    with asking_hub(repository, revision, kind, endpoint):
        return Path(snapshot_download(**arguments))


@contextmanager
def asking_hub(
    repository: str, revision: str, kind: Kind, endpoint: str | None = None
) -> Iterator[None]:
    """What is asked of the hub inside is there, or one of these is raised.

    The hub is asked one short question first, so that being offline is known in seconds and not
    after the retries of a download.

    Raises:
        HubUnavailable: the hub does not answer or refuses.
        StorageError: its local cache cannot be written.
    """
    try:
        HfApi(endpoint=endpoint).repo_info(
            repository, repo_type=kind, revision=revision, timeout=_SECONDS_TO_ANSWER
        )
        yield
        return
    except RevisionNotFoundError:
        reason = f"has no commit {revision} of it; take one from its page"
    except HFValidationError as error:
        reason = f"has no such names: {' '.join(str(error).split())}"
    except RepositoryNotFoundError:
        reason = "has none of this name that you may read; check it, or log in with `hf auth login`"
    except UNREACHABLE as error:
        reason = _unreachable(error)
    except OSError as error:
        reason = _unreachable(error)
        if error.filename or error.errno in _DISK_ERRORS:
            raise StorageError(f"the hub's local cache cannot be written: {error}") from error
    raise HubUnavailable(f"{kind} {repository} is not in the local cache, and the hub {reason}")


def _unreachable(error: Exception) -> str:
    reason = str(error).split("\n", 1)[0] or type(error).__name__
    return (
        f"cannot be reached: {reason}; "
        "connect to it, or choose a recipe that needs no hub, such as bbc_minilm"
    )
