"""What a container of a pod is started with."""

from retort.core.atomic import storage_errors
from retort.core.errors import RetortError
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.logs.logs import log_file
from retort.launch.cluster.node.containers.container import Plan
from retort.launch.cluster.node.containers.images import Image, ImageMissing
from retort.launch.cluster.node.containers.output import Output
from retort.launch.cluster.node.machine import Machine
from retort.launch.cluster.node.network.names import hostname, resolver_text
from retort.launch.cluster.node.network.network import Attached
from retort.launch.cluster.node.plain import awaited, on_machine
from retort.launch.cluster.node.pods.environment import command, environment
from retort.launch.cluster.node.pods.sources import NotThere, Sources
from retort.launch.cluster.node.pods.status import Standing
from retort.launch.cluster.node.pods.volumes import Volume, mounts, prepare

_NOBODY = 65532


class NotStarted(RetortError):
    """A container cannot be started, as `reason` says in a word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Starter:
    """What the containers of a pod have in common, made when the first of them is started."""

    def __init__(self, pod: JSONObject, machine: Machine) -> None:
        self._machine = machine
        self._folder = machine.folder_of(pod)
        self._volumes: dict[str, Volume] | None = None
        self._resolver = self._folder / "resolv.conf"
        self.hosts = self._folder / "hosts"
        """The file that is /etc/hosts of all of them."""

    def prepare(self, pod: JSONObject, network: Attached) -> None:
        """Make the pod's volumes, once.

        Raises:
            NotThere: what one is made from is not there.
            StorageError: one cannot be written.
        """
        if self._volumes is not None:
            return
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        namespace = pod["metadata"]["namespace"]
        with storage_errors(self._resolver):
            self._resolver.write_text(resolver_text(namespace), "utf-8")
        self._volumes = prepare(
            pod,
            self._sources(pod, network),
            self._folder / "volumes",
            lambda name: self._machine.claim(namespace, name),
        )

    def plan(
        self, pod: JSONObject, standing: Standing, network: Attached, restarts: int
    ) -> tuple[Plan, Output]:
        """What a container is to run, and its log.

        Raises:
            NotStarted: its image, or something that it names, is not there.
            StorageError: its log cannot be written.
        """
        container = standing.spec
        try:
            image = self._machine.images.get(container["image"])
        except ImageMissing as error:
            raise NotStarted("ErrImagePull", str(error)) from error
        standing.image_id = image.digest or f"program://{image.entrypoint[0]}"
        sources = self._sources(pod, network)
        try:
            variables = environment(container, sources, image.environment)
            mounted = list(mounts(container, self._volumes or {}, variables))
            user, group = _user(pod, container, image)
        except NotThere as error:
            raise NotStarted("CreateContainerConfigError", str(error)) from error
        message = self._folder / "messages" / container["name"]
        with storage_errors(message):
            message.parent.mkdir(exist_ok=True)
            message.write_bytes(b"")
        context = container.get("securityContext") or {}
        has_tmp = any(mount.at == "/tmp" for mount in mounted)
        words = command(container, variables, image.entrypoint, image.arguments)
        if not network.way_in:
            names = self._machine.names().get(pod["metadata"]["namespace"], {})
            late = awaited([*words, *variables.values()], pod["metadata"]["name"], names)
            if late:
                raise NotStarted("CreateContainerError", f"the name {late} has no address yet")
            paths = {one.at: str(one.volume.path) for one in mounted if one.volume.path}
            words = [on_machine(word, names, paths) for word in words]
            variables = {key: on_machine(text, names, paths) for key, text in variables.items()}
        log = log_file(self._machine.logs, pod, container["name"], restarts)
        plan = Plan(
            image,
            words,
            variables,
            container.get("workingDir") or "",
            user,
            group,
            hostname(pod),
            self.hosts,
            self._resolver,
            (message, container.get("terminationMessagePath") or "/dev/termination-log"),
            mounted,
            not has_tmp and not context.get("readOnlyRootFilesystem"),
            network,
            self._machine.cgroups.make(
                f"{pod['metadata']['uid']}-{container['name']}", container.get("resources") or {}
            ),
        )
        with storage_errors(log):
            return plan, Output(log)

    def last_word(self, standing: Standing, output: Output, code: int) -> str:
        """What a container that has ended has left as its message."""
        message = self._folder / "messages" / standing.name
        try:
            with message.open("rb") as file:
                text = file.read(4096).decode("utf-8", "replace")
        except OSError:
            text = ""
        policy = standing.spec.get("terminationMessagePolicy")
        if text or not code or policy != "FallbackToLogsOnError":
            return text
        return output.last()

    def _sources(self, pod: JSONObject, network: Attached) -> Sources:
        namespace, registry = pod["metadata"]["namespace"], self._machine.registry
        status = {
            **(pod.get("status") or {}),
            "podIP": network.address,
            "podIPs": [{"ip": network.address}],
            "hostIP": self._machine.address,
        }

        def find(kind: Kind, name: str) -> JSONObject | None:
            return registry.find(kind, namespace, name)

        return Sources({**pod, "status": status}, find)


def _user(pod: JSONObject, container: JSONObject, image: Image) -> tuple[int, int]:
    """User and group that a container runs as.

    Raises:
        NotThere: it would be root, and must not.
    """
    context = {
        **(pod["spec"].get("securityContext") or {}),
        **(container.get("securityContext") or {}),
    }
    name, _, group = image.user.partition(":")
    if name and not name.isdigit() and context.get("runAsUser") is None:
        raise NotThere(f"the image's user {name} is a name; give runAsUser, a number")
    user = context.get("runAsUser", int(name) if name.isdigit() else None)
    if user is None:
        # A program of this machine says nothing of a user; an image that does not means root.
        user = _NOBODY if image.root is None else 0
    if user == 0 and context.get("runAsNonRoot"):
        raise NotThere("container has runAsNonRoot and image will run as root")
    wanted = context.get("runAsGroup", int(group) if group.isdigit() else user)
    return int(user), int(wanted)
