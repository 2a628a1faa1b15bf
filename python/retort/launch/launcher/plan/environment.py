"""The environment of each pod: the job's own variables, and those that its operator adds.

As the training operator 1.9.4 and the trainer 2.3.0 set them (https://github.com/kubeflow/trainer).
"""

from collections.abc import Sequence

from retort.launch.manifests import Operator
from retort.launch.rules.documents import Document
from retort.launch.rules.training import trainings

_RANK = "PET_NODE_RANK"


def environment(documents: Sequence[Document], operator: Operator) -> dict[str, dict[str, str]]:
    """Of each pod by its name, which has five letters more with the trainer.

    What is from a secret is named, and not told.
    """
    (training,) = trainings(documents)
    secrets = {
        f"(secret {source['secretRef']['name']})": "all its keys"
        for source in training.container.get("envFrom") or ()
        if "secretRef" in source
    }
    common = {name: "…" if value is None else value for name, value in training.variables.items()}
    if operator == "v1":
        common["PYTHONUNBUFFERED"] = "1"
    found = {}
    for number in range(training.nodes):
        own = {**secrets, **common}
        if operator == "v2":
            own[_RANK] = str(number)
        place = "worker" if operator == "v1" else "node-0"
        found[f"{training.job.name}-{place}-{number}"] = own
    return found
