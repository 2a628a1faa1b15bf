"""What a kind of objects is called, and what can be done with it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of objects in one version of its API group.

    Attributes:
        group: of the API; empty for the core.
        kind, plural, singular, short_names, categories: what it is called in YAML, in URLs and by people.
        namespaced: whether its objects belong to a namespace.
        has_status: whether its status is written apart, at the subresource `status`.
        has_generation: whether `metadata.generation` counts what was asked for.
        type_name: of its fields (`retort.launch.cluster.kinds.fields`).
        strict: whether all its fields are known; otherwise what is not known is kept as it is.
        replicas_at, running_at: where it says how many copies are wanted and how many there are, if it is
            scaled, at the subresource `scale`.
        stored_as: the resource in which its objects are kept, if it is another view of that.
    """

    group: str
    version: str
    kind: str
    plural: str
    type_name: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    has_status: bool = False
    has_generation: bool = False
    strict: bool = True
    stored_as: str = ""
    replicas_at: tuple[str, ...] = ()
    running_at: tuple[str, ...] = ()

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """As an object says it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As messages say it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def storage(self) -> str:
        """Under which its objects are kept, whichever version and group they are written in."""
        return self.stored_as or self.resource

    @property
    def is_custom(self) -> bool:
        """Whether a cluster knows it from a definition alone, and so knows no strategic merge of it."""
        return not self.strict
