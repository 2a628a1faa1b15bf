"""A cluster by its kubeconfig, and requests to its API server through the Kubernetes client."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from retort.core.errors import UserError, shown
from retort.launch.launcher.api.refusals import NoSuchKind, Quiet, Refused, Unreachable, refusal
from retort.launch.launcher.api.resources import JOBS, POD, POD_MONITOR, RUNTIME, Object, Resource

MANAGER = "retort-launch"
"""The field manager of everything that is written."""
_HOME_FILE = Path("~/.kube/config")
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECT_S = 10
_READ_S = 60
"""Of an answer that comes as a whole."""
_WATCH_S, _LOG_S = 150, 600
"""Without a word of a watch, which has bookmarks every minute, and of a log: the connection may be dead."""
NOT_FOUND, _CONFLICT = 404, 409
_UNKNOWN = "could not find the requested resource"
_KUBERNETES: Any = config
_CLIENT: Any = client


@dataclass(frozen=True)
class Place:
    """Which cluster and namespace; None where the kubeconfig decides.

    Attributes:
        kubeconfig: its file, or several, as in `KUBECONFIG`; without one `~/.kube/config`, or else the
            pod that this runs in.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        what: the object that is meant, for messages.
        query: what of it is empty is not sent.
        form: of the body.
    """

    method: str
    path: str
    what: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    form: str = "application/json"


class Api:
    """A namespace of a cluster. Any thread may use it.

    Attributes:
        namespace: of everything that is read and written, unless another is named.
    """

    def __init__(self, place: Place) -> None:
        """
        Raises:
            UserError: there is no kubeconfig, or it cannot be used.
        """
        self._client, namespace = _connected(place)
        self.namespace = place.namespace or namespace
        # What retries is whoever asks, who also says so.
        self._client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        self._client.rest_client.pool_manager.connection_pool_kw["maxsize"] = 32

    def find(self, resource: Resource, name: str) -> Object | None:
        """An object; None if it is not there, or the cluster has no such kind."""
        try:
            return self.get(resource, name)
        except NoSuchKind:
            return None
        except Refused as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def get(self, resource: Resource, name: str) -> Object:
        """An object.

        Raises:
            Refused: it is not there, or may not be read.
        """
        return self._asked(resource, self._call("GET", resource, name))

    def list(
        self, resource: Resource, labels: str = "", fields: str = "", *, everywhere: bool = False
    ) -> tuple[list[Object], str]:
        """Objects, and the version from which a watch goes on.

        Raises:
            NoSuchKind: the cluster has no such kind.
        """
        path = resource.path("" if everywhere else self.namespace)
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self._asked(resource, Call("GET", path, resource.plural, query))
        # Items of a list do not say what they are.
        words = {"apiVersion": resource.api_version, "kind": resource.kind}
        items = [{**words, **item} for item in answer.get("items") or ()]
        return items, answer["metadata"]["resourceVersion"]

    def apply(
        self, resource: Resource, item: Object, *, dry_run: bool = False, force: bool = False
    ) -> Object:
        """Server-side apply of the fields that an object has; an unknown field is refused.

        Returns:
            The object, as it is then.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        query |= {"force": "true"} if force else {}
        call = self._call("PATCH", resource, item["metadata"]["name"], query)
        return self._asked(resource, replace(call, body=item, form="application/apply-patch+yaml"))

    def merge(self, resource: Resource, name: str, patch: Object) -> Object:
        """Set fields of an object (RFC 7396)."""
        call = self._call("PATCH", resource, name, {"fieldManager": MANAGER})
        return self._asked(resource, replace(call, body=patch, form="application/merge-patch+json"))

    def delete(self, resource: Resource, name: str, uid: str = "") -> None:
        """Remove an object, and with it what it owns; nothing if it is gone, or is another one.

        Args:
            uid: which one of that name is meant.
        """
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self._asked(resource, replace(self._call("DELETE", resource, name), body=options))
        except Refused as error:
            if error.status not in (NOT_FOUND, _CONFLICT):
                raise

    def watch(
        self,
        resource: Resource,
        since: str,
        labels: str = "",
        fields: str = "",
        *,
        seconds: int | None = None,
    ) -> Iterator[tuple[str, Object]]:
        """What happens after a version: ADDED, MODIFIED or DELETED, and the object.

        It ends when the server ends it; whoever wants more goes on after the last version.

        Args:
            seconds: after which the server shall end it.
        Raises:
            Refused: that version is forgotten (410).
        """
        query = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "fieldSelector": fields,
            "timeoutSeconds": "" if seconds is None else str(seconds),
        }
        call = Call("GET", resource.path(self.namespace), resource.plural, query)
        for line in self._lines(call, _WATCH_S):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise refusal(int(status.get("code", 500)), json.dumps(status), call.what)
            yield event["type"], event["object"]

    def log(self, pod: str, container: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """The lines of a container, each with its time before it, until it ends.

        Raises:
            Refused: it has none yet, or is gone.
        """
        path = f"{POD.path(self.namespace, pod)}/log"
        told = {"container": container, "follow": "true", "timestamps": "true", **query}
        return self._lines(Call("GET", path, f"pods/{pod}", told), _LOG_S)

    def _call(
        self, method: str, resource: Resource, name: str, query: Mapping[str, str] | None = None
    ) -> Call:
        path = resource.path(self.namespace, name)
        return Call(method, path, f"{resource.plural}/{name}", query or {})

    def _asked(self, resource: Resource, call: Call) -> Object:
        answer = self._send(call, _READ_S)
        content = self._read(answer)
        if not 200 <= answer.status < 300:
            is_unknown = _UNKNOWN in content or '"kind"' not in content
            if answer.status == NOT_FOUND and is_unknown and resource.group:
                raise _no_such_kind(resource)
            raise refusal(answer.status, content, call.what)
        found: Object = json.loads(content)
        return found

    def _lines(self, call: Call, quiet_s: float) -> Iterator[bytes]:
        answer = self._send(call, quiet_s)
        if not 200 <= answer.status < 300:
            raise refusal(answer.status, self._read(answer), call.what)
        rest = b""
        try:
            for piece in answer.response.stream(amt=None):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Quiet(f"{call.what}: nothing was told for {quiet_s} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            answer.response.close()
        if rest:
            yield rest

    def _send(self, call: Call, read_s: float) -> Any:
        headers = {"Accept": "application/json"}
        if call.body is not None:
            headers["Content-Type"] = call.form
        query = [(key, value) for key, value in call.query.items() if value]
        prepared = self._client.param_serialize(
            *(call.method, call.path, None, query, headers, call.body),
            auth_settings=["BearerToken"],
        )
        try:
            return self._client.call_api(*prepared, _request_timeout=(_CONNECT_S, read_s))
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise self._unreachable(error) from error

    def _read(self, answer: Any) -> str:
        try:
            return str(answer.read(), "utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = getattr(error, "reason", None) or error
        said = shown(str(reason).rpartition(": ")[2] or type(error).__name__)
        return Unreachable(
            f"{shown(self._client.configuration.host)}: the API server cannot be reached: {said}; see that the "
            "cluster runs, and that the kubeconfig names it"
        )


def _connected(place: Place) -> tuple[Any, str]:
    file = place.kubeconfig
    is_inside = "KUBERNETES_SERVICE_HOST" in os.environ and not _HOME_FILE.expanduser().exists()
    try:
        if file is None and is_inside:
            settings = _CLIENT.Configuration()
            _KUBERNETES.load_incluster_config(settings)
            return _CLIENT.ApiClient(settings), _NAMESPACE_FILE.read_text("ascii").strip()
        file = file or str(_HOME_FILE)
        made = _KUBERNETES.new_client_from_config(file, place.context)
        contexts, current = _KUBERNETES.list_kube_config_contexts(file)
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"kubeconfig {shown(file or 'of the pod')}: cannot be used: {shown(error)}; give --kubeconfig FILE, or "
            "set KUBECONFIG"
        ) from error
    wanted = place.context or (current or {}).get("name")
    found: Object = next((one for one in contexts if one["name"] == wanted), {})
    return made, (found.get("context") or {}).get("namespace") or "default"


def _no_such_kind(resource: Resource) -> NoSuchKind:
    if resource in (*JOBS, RUNTIME):
        v1 = resource.group == JOBS[0].group
        operator = "training operator" if v1 else "trainer"
        other = "v2" if v1 else "v1"
        return NoSuchKind(
            f"the cluster knows no {resource.kind} ({resource.api_version}): Kubeflow's {operator} is "
            f"not installed there; install it, or give --operator {other}"
        )
    unknown = f"the cluster knows no {resource.kind} ({resource.api_version})"
    if resource == POD_MONITOR:
        unknown += (
            ": the Prometheus operator is not installed there; install it, or leave out metrics"
        )
    return NoSuchKind(unknown)
