"""Files of the model and data set hub, at pinned commits; its local cache comes first."""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from retort.core.errors import HubUnavailable, StorageError

_SECONDS_TO_ANSWER = 5.0
_DISK_ERRORS = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EROFS}


def hub_files(
    repository: str,
    revision: str,
    files: Sequence[str],
    *,
    kind: Literal["model", "dataset"],
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """A directory that holds the named files of a repository.

    The hub is asked one short question first, so that being offline is known in seconds and not
    after the retries of a download.

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
    except LocalEntryNotFoundError:
        pass
    try:
        HfApi(endpoint=endpoint).repo_info(
            repository, repo_type=kind, revision=revision, timeout=_SECONDS_TO_ANSWER
        )
        return Path(snapshot_download(**arguments))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = str(error).split("\n", 1)[0]
    except (httpx2.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_ERRORS):
            raise StorageError(f"the hub's local cache cannot be written: {reason}") from error
    raise HubUnavailable(
        f"{kind} {repository} is not in the local cache, and the hub cannot be reached: {reason}; "
        "connect to it, or choose a recipe that needs no hub, such as bbc_minilm"
    )
