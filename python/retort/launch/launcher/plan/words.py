"""A plan as a person reads it, and as JSON."""

from collections import Counter
from typing import Any

from retort.launch.launcher.plan.cost import Cost
from retort.launch.launcher.plan.plan import Plan

_SIGNS = {"created": "+", "changed": "~", "replaced": "!", "unchanged": "=", "kept": "="}


def plan_lines(plan: Plan) -> list[str]:
    """The plan, without the objects themselves."""
    lines = [plan.wanted.title, f"  {plan.job.image}", "", "Objects:"]
    for one in plan.differences:
        lines.append(f"  {_SIGNS[one.action]} {one.title} {one.action}")
        lines += [f"    {line}" for line in one.lines[2:]]
    lines += ["", "Environment:", *_environment(plan.environment)]
    lines += ["", *_facts(plan)]
    return lines


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan with its objects; times in hours, sizes in bytes."""
    newest = plan.newest
    found = None if newest is None else newest.found
    return {
        "job": plan.wanted.title,
        "operator": plan.operator,
        "image": plan.job.image,
        "image_bytes": plan.image_bytes,
        "objects": [
            {"action": one.action, "object": one.item, "diff": list(one.lines)}
            for one in plan.differences
        ],
        "environment": plan.environment,
        "gpus": plan.cost.gpus,
        "hours": plan.cost.hours,
        "gpu_hours": plan.cost.gpu_hours,
        "hourly": plan.cost.hourly,
        "cost": plan.cost.most,
        "currency": plan.cost.currency or None,
        "runs_reached": newest is not None,
        "checkpoint": (
            None
            if found is None
            else {"step": found.step, "seal": found.sealed.seal, "path": str(found.sealed.path)}
        ),
        "skipped": [] if newest is None else list(newest.skipped),
    }


def _environment(pods: dict[str, dict[str, str]]) -> list[str]:
    """What all pods have in common once, and then what is each one's own."""
    seen = Counter(item for variables in pods.values() for item in variables.items())
    lines = [f"  {name}={value}" for (name, value), count in seen.items() if count == len(pods)]
    for pod, variables in pods.items():
        own = (item for item in variables.items() if seen[item] < len(pods))
        if told := " ".join(f"{name}={value}" for name, value in own):
            lines.append(f"  {pod}: {told}")
    return lines


def _facts(plan: Plan) -> list[str]:
    config = plan.job.config
    size = "not known (--layout DIR tells)"
    if plan.image_bytes is not None:
        size = f"{plan.image_bytes / 1e9:.2f} GB to fetch for a machine that does not have it"
    rows = [
        (
            "Pods",
            f"{config.nodes}, each of {_count(config.processes, 'process', 'es')} and "
            f"{_count(config.gpus, 'GPU')}",
        ),
        ("Takes", _takes(plan.cost)),
        ("Costs", _costs(plan.cost)),
        ("Goes on", _start(plan)),
        ("Image", size),
    ]
    return [f"{name + ':':<9}{text}" for name, text in rows]


def _takes(cost: Cost) -> str:
    hourly = f"{cost.cores:g} cores, {cost.memory_gib:g} GiB of memory"
    if cost.hours is None:
        return f"{cost.gpus} GPUs, {hourly}; without a deadline there is no most of GPU hours"
    return (
        f"{cost.gpu_hours:g} GPU hours at most, until the deadline of {cost.hours:g} h ({hourly})"
    )


def _costs(cost: Cost) -> str:
    if cost.hourly is None:
        return "not known (--prices FILE tells)"
    hourly = f"{cost.hourly:.2f} {cost.currency} an hour"
    return hourly if cost.most is None else f"{cost.most:.2f} {cost.currency} at most, {hourly}"


def _start(plan: Plan) -> str:
    if plan.newest is None:
        return "not known (--runs DIR tells)"
    skipped = "".join(f"; skipped: {one}" for one in plan.newest.skipped)
    found = plan.newest.found
    if found is None:
        return f"from the beginning{skipped}"
    return (
        f"after step {found.step}, {found.sealed.path.name}, every digest of which holds{skipped}"
    )


def _count(number: int, word: str, ending: str = "s") -> str:
    return f"{number} {word}{'' if number == 1 else ending}"
