"""Where schemas are from: Kubernetes' own, CustomResourceDefinitions, and typed models of clients."""

import ast
import importlib
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from referencing import Registry, Resource

Schema = dict[str, Any]

PYTORCH_JOB = ("kubeflow.org/v1", "PyTorchJob")
TRAINER_GROUP = "trainer.kubeflow.org/v1alpha1"
TRAINER = tuple(
    (TRAINER_GROUP, kind) for kind in ("ClusterTrainingRuntime", "TrainingRuntime", "TrainJob")
)
POD_MONITOR = ("monitoring.coreos.com/v1", "PodMonitor")
_VERSION = "1.37.0"
"""Of Kubernetes, whose schemas the wheel of kubernetes-validate carries."""
_DEFINITIONS = "/api/_definitions.json"
_MODEL_OF_CORE = re.compile(
    r"(IoK8s|K8sIo)(?P<where>Api|ApimachineryPkgApis)(?P<group>[A-Z][a-z]+)"
    r"(?P<version>V\d(?:(?:alpha|beta)\d)?)(?P<kind>[A-Z]\w*)"
)


@cache
def core() -> Path:
    """The directory with a strict schema of each kind of Kubernetes: `KIND-GROUP-VERSION.json`."""
    return _wheel("kubernetes_validate") / f"kubernetes-json-schema/v{_VERSION}-local-strict"


def core_name(api_version: str, kind: str) -> str:
    """What the file of a kind is called, without a suffix; groups have their first label alone."""
    return f"{kind.lower()}-{core_group(api_version)}"


def core_group(api_version: str) -> str:
    """A group and version as the name of a file has it, such as `networking-v1`."""
    return re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)


@cache
def registry() -> Any:
    """The types that schemas of `core` refer to."""
    made = Registry().with_resource(_DEFINITIONS, Resource.from_contents({**_definitions()}))
    # Otherwise every reference has it look through all of them again.
    return made.crawl()


@cache
def _definitions() -> Schema:
    schema: Schema = json.loads((core() / "_definitions.json").read_text("utf-8"))
    return schema


def _wheel(package: str) -> Path:
    """Where the files of a package are. It is not imported, which takes seconds for some."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def pytorch_job() -> Schema:
    """The schema of the model of `kubeflow-training`, from the tables of types in its source."""
    return _swagger("KubeflowOrgV1PyTorchJob")


@cache
def pod_monitor() -> Schema:
    """The keys of a PodMonitor, of which there are no models; those whose values we write have types.

    See https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitorSpec.
    """

    def keys(names: str, required: list[str], **types: Schema) -> Schema:
        properties = {**{name: {} for name in names.split()}, **types}
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    meta = f"{_DEFINITIONS}#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1"
    text = {"type": "string"}
    endpoint = keys(
        "authorization basicAuth bearerTokenSecret enableHttp2 filterRunning followRedirects honorLabels "
        "honorTimestamps metricRelabelings noProxy oauth2 params proxyConnectHeader proxyFromEnvironment proxyUrl "
        "relabelings targetPort tlsConfig trackTimestampsStaleness",
        [],
        interval=text,
        path=text,
        port=text,
        portNumber={"type": "integer"},
        scheme=text,
        scrapeTimeout=text,
    )
    spec = keys(
        "attachMetadata bodySizeLimit convertClassicHistogramsToNHCB fallbackScrapeProtocol jobLabel "
        "keepDroppedTargets labelLimit labelNameLengthLimit labelValueLengthLimit namespaceSelector "
        "nativeHistogramBucketLimit nativeHistogramMinBucketFactor podTargetLabels sampleLimit scrapeClass "
        "scrapeClassicHistograms scrapeNativeHistograms scrapeProtocols selectorMechanism targetLimit",
        ["selector"],
        selector={"$ref": f"{meta}.LabelSelector"},
        podMetricsEndpoints={"type": "array", "items": endpoint},
    )
    return keys(
        "status",
        ["spec"],
        apiVersion=text,
        kind=text,
        metadata={"$ref": f"{meta}.ObjectMeta"},
        spec=spec,
    )


def _swagger(kind: str) -> Schema:
    """A type as the models of clients write it, such as `list[V1Container]`."""
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": ["array", "null"], "items": _swagger(found[1])}
    if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": ["object", "null"], "additionalProperties": _swagger(found[1])}
    if kind in ("str", "int", "bool"):
        plain = {"str": "string", "int": "integer", "bool": "boolean"}
        return {"type": [plain[kind], "null"]}
    if (known := _core_type(kind)) is not None:
        return known
    tables = _tables(kind)
    if tables is None:
        return {}
    types, keys = tables
    return {
        "type": ["object", "null"],
        "properties": {keys[key]: _swagger(one) for key, one in types.items()},
        "additionalProperties": False,
    }


def _tables(model: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Attribute to type, and attribute to key, of a model; None for what has no keys, such as a time."""
    file = _wheel("kubeflow") / "training/models" / f"{_snake(model)}.py"
    if not file.is_file():
        return None
    tables = {}
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Assign(targets=[ast.Name(id="openapi_types" | "attribute_map" as to)]):
                tables[to] = ast.literal_eval(node.value)
    return tables["openapi_types"], tables["attribute_map"]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def trainer(kind: str) -> Schema:
    """The schema of a model of `kubeflow-trainer-api`. What of it is Kubernetes' own is strict as that is."""
    name = f"TrainerV1alpha1{kind}"
    module = importlib.import_module(f"kubeflow_trainer_api.models.{_snake(name)}")
    schema: Schema = getattr(module, name).model_json_schema(by_alias=True)
    for model, definition in schema["$defs"].items():
        if (known := _core_type(model)) is not None:
            schema["$defs"][model] = known
        elif "properties" in definition:
            definition["additionalProperties"] = False
    return {**schema, "additionalProperties": False}


def _core_type(model: str) -> Schema | None:
    """A type of Kubernetes, as generated models call it: `V1Container`, `IoK8sApiCoreV1Container`."""
    if model == "Quantity":
        names = ["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    elif parts := _MODEL_OF_CORE.fullmatch(model):
        where = "api" if parts["where"] == "Api" else "apimachinery.pkg.apis"
        names = [
            f"io.k8s.{where}.{parts['group'].lower()}.{parts['version'].lower()}.{parts['kind']}"
        ]
    else:
        # The group is left out, which is one of these for what a job has.
        groups = ("io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1")
        names = [
            f"{group}.{model.removeprefix('V1')}" for group in groups if model.startswith("V1")
        ]
    return next(
        (
            {"$ref": f"{_DEFINITIONS}#/$defs/{name}"}
            for name in names
            if name in _definitions()["$defs"]
        ),
        None,
    )


def defined(directory: Path, api_version: str, kind: str) -> Schema | None:
    """The schema of a kind in a directory of CustomResourceDefinitions, made strict."""
    group, _, version = api_version.rpartition("/")
    for file in sorted(directory.rglob("*.yaml")):
        text = file.read_text("utf-8", "replace")
        # To parse one takes a third of a second.
        if f"kind: {kind}\n" not in text or f"group: {group}\n" not in text:
            continue
        for one in yaml.load_all(text, yaml.CSafeLoader):
            if not isinstance(one, dict) or one.get("kind") != "CustomResourceDefinition":
                continue
            spec = one["spec"]
            if spec["group"] != group or spec["names"]["kind"] != kind:
                continue
            for served in spec["versions"]:
                if served["name"] == version:
                    schema: Schema = _strict(served["schema"]["openAPIV3Schema"])
                    return schema
    return None


def _strict(value: Any) -> Any:
    """A structural schema as JSON Schema.

    See https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/.
    """
    if isinstance(value, list):
        return [_strict(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _strict(one) for key, one in value.items()}
    if made.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    if (
        made.get("type") in ("object", ["object", "null"])
        and isinstance(made.get("properties"), dict)
        and made.get("x-kubernetes-preserve-unknown-fields") is not True
    ):
        made.setdefault("additionalProperties", False)
    return made
