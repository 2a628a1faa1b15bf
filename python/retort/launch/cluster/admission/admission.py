"""The list of admission functions: what completes and checks whatever is written, in this order."""

from retort.launch.cluster.admission.core_defaults import core_defaults
from retort.launch.cluster.admission.core_rules import core_rules
from retort.launch.cluster.admission.pytorchjob import pytorchjob_defaults, pytorchjob_rules
from retort.launch.cluster.admission.write import Admission

ADMISSION: tuple[Admission, ...] = (
    core_defaults,
    pytorchjob_defaults,
    core_rules,
    pytorchjob_rules,
)
