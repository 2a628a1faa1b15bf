"""A task that a recipe may ask for is one that can be trained, verified and told of."""

from retort.evaluate.verify import VERIFIED
from retort.models.config import TASKS, ModelConfig
from retort.train.recipe import EvaluateConfig
from retort.train.tasks.open import OPENED


def test_every_task_is_opened_and_verified() -> None:
    assert set(TASKS) == set(OPENED) == set(VERIFIED)
    assert all(VERIFIED[name].rules is TASKS[name] for name in TASKS)


def test_results_of_different_tasks_have_different_names() -> None:
    assert len({task.file.name for task in VERIFIED.values()}) == len(VERIFIED)


def test_every_task_but_the_classifier_has_a_section_and_the_default_metric() -> None:
    assert set(TASKS) - {"classifier"} <= set(ModelConfig.model_fields)
    assert all(EvaluateConfig().metric in rules.metrics for rules in TASKS.values())
