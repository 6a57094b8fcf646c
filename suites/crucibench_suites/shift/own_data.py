"""The half of the suite for every kind of data: subpopulations, and further data of the user's."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import SuiteRequest
from crucibench_suites.shift.config import ROLE, ShiftConfig
from crucibench_suites.shift.crossing import check_crossings
from crucibench_suites.shift.drift import Drift
from crucibench_suites.shift.elsewhere import Elsewhere
from crucibench_suites.shift.inputs import Inputs
from crucibench_suites.shift.subpopulations import Subpopulations


def data_scenarios(request: SuiteRequest) -> Sequence[Scenario] | str:
    """Returns the scenarios of groups and of further data, or why there are none."""
    config = request.config if isinstance(request.config, ShiftConfig) else ShiftConfig()
    card = request.data
    check_crossings(config.cross, card)
    scenarios: list[Scenario] = []
    if "test" not in card.counts:
        return "the data has no role 'test'"
    if card.groups:
        scenarios.append(Subpopulations.of("shift", "test", config.cross))
    places = [name for name in config.data if ROLE + name in card.counts]
    home = Inputs.of("shift", "test")
    if places:
        scenarios.append(home)
    for place in places:
        role = ROLE + place
        train = "train" in card.counts
        here = Inputs.of("shift", role)
        scenarios += [
            Elsewhere.of("shift", place, role, train=train),
            here,
            Drift.of("shift", home, here, request.model.capabilities),
        ]
        if card.groups and role not in card.unlabelled:
            scenarios.append(Subpopulations.of("shift", role, config.cross))
    return scenarios or "the data names no groups, and shift.data names no shifted data"
