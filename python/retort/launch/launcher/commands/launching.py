"""plan and launch: what would be done, and doing it."""

import json
import sys

from retort.core.errors import UserError
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.resources import resource_of
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.plan.plan import Plan, make_plan
from retort.launch.launcher.plan.words import plan_json, plan_lines


def plan(target: Target) -> int:
    """Tell what launching would do; on a terminal ask whether to do it."""
    api = target.api()
    made = _made(api, target)
    if target.options.json:
        print(json.dumps(plan_json(made), ensure_ascii=False))
        return _launched(api, made, target) if target.options.yes else 0
    print("\n".join(plan_lines(made)), flush=True)
    if not target.options.yes and not sys.stdin.isatty():
        return 0
    return _launched(api, made, target) if agreed(target, "Launch it?") else 0


def launch(target: Target) -> int:
    """Tell what launching does, ask, and do it."""
    api = target.api()
    made = _made(api, target)
    _check_launchable(made)
    if not target.options.json:
        print("\n".join(plan_lines(made)), file=sys.stderr, flush=True)
    if not agreed(target, "Launch it?"):
        return 1
    return _launched(api, made, target)


def agreed(target: Target, question: str) -> bool:
    """Whether the user wants it.

    Raises:
        UserError: nobody can be asked.
    """
    if target.options.yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask on; give --yes to do it without")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def apply_all(api: Api, made: Plan) -> None:
    """Apply every object of a plan that is not there as it should be."""
    for one in made.differences:
        if one.action not in ("kept", "unchanged"):
            api.apply(resource_of(one.item), one.item, force=True)


def said(target: Target, action: str, title: str, api: Api) -> None:
    """The last line on standard output of a command that has changed something."""
    name = title.partition("/")[2]
    if target.options.json:
        print(json.dumps({"action": action, "job": title, "namespace": api.namespace}))
    else:
        print(f"{action} {title} in {api.namespace}; next: //launch -- watch {name}")


def _made(api: Api, target: Target) -> Plan:
    if not target.is_file:
        raise UserError(f"{target.options.job}: give the file of a job, such as job.yaml")
    job = target.job()
    return make_plan(api, job, target.options.operator, target.around(job.config.name))


def _launched(api: Api, made: Plan, target: Target) -> int:
    _check_launchable(made)
    apply_all(api, made)
    action = "launched" if made.present is None else "unchanged"
    said(target, action, made.wanted.title, api)
    return 0


def _check_launchable(made: Plan) -> None:
    """What is there already is gone on with by `resume`, which has it save before anything else."""
    present = made.present
    if present is None:
        return
    if present.state == "Failed":
        raise UserError(f"{present.title} has failed ({present.why}); resume goes on with its run")
    if made.of_job.action != "unchanged":
        raise UserError(
            f"{present.title} is there with another specification; resume has it save, and goes on with "
            "this one"
        )
    if present.is_suspended and not present.queue:
        raise UserError(f"{present.title} is suspended; resume goes on with it")
