"""What a registry lists as attached to an image, as a client that looks for it asks."""

import json
from typing import Any

from tools.oci.distribution.client import Registry
from tools.oci.distribution.referrers import fallback_tag
from tools.oci.distribution.transport import Request


def referrers(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    """Descriptors in the registry's order: of its own list, or where it keeps none, of the one under the tag."""
    request = Request("GET", registry.url(repository, f"referrers/{digest}"))
    with registry.try_once(repository, request, (200, 404)) as response:
        content, found = response.document(), response.status == 200
    if not found:
        tagged = registry.manifest(repository, fallback_tag(digest))
        content = tagged.content if tagged else b'{"manifests": []}'
    entries: list[dict[str, Any]] = json.loads(content)["manifests"]
    return entries
