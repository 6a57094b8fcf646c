"""Plans again what should be in a run: the scenarios that installed suites make of its spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from crucibench import registry
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Suite, SuiteConfig, SuiteRequest
from crucibench.passes.scenario import SUITE as PASS
from crucibench.passes.scenario import Pass
from crucibench.spec.check import parse_spec, settings_of, tracks_of
from crucibench.spec.models import Spec, Track
from crucibench.spec.suite_files import named_files
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line

Key = tuple[str, str, str]
"""(model, data set, SUITE/SCENARIO)."""


@dataclass
class PlannedRun:
    """What a spec comes to with the suites that are installed.

    Attributes:
        spec: of the run.
        models: what inspection found, by (model, data set).
        scenarios: what is asked of each model on each data set.
        reasons: suite to why it can't be asked.
        pairs: every model and variant with the data that it meets.
    """

    spec: Spec
    models: Mapping[tuple[str, str], ModelInfo]
    scenarios: dict[Key, Scenario] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def scenario(self, file: CellFile) -> Scenario | None:
        """Returns what a cell was asked, or None where no installed suite asks it."""
        if file.suite == PASS:
            model = self.models.get((file.model, file.data))
            return None if model is None else self._limited(Pass.of(file.scenario, model))
        found = self.scenarios.get((file.model, file.data, f"{file.suite}/{file.scenario}"))
        return None if found is None else self._limited(found)

    def _limited(self, scenario: Scenario) -> Scenario:
        limits = [entry for entry in (scenario.limit, self.spec.defaults.limit) if entry]
        return replace(scenario, limit=min(limits, default=None))


def planned_run(run: Run) -> PlannedRun:
    """Asks the installed suites what they make of a run's spec.

    Raises:
        InputError: if the spec is none.
    """
    document = {key: value for key, value in run.spec.items() if key != "resolved"}
    spec = parse_spec(document, "spec.yaml")
    found = PlannedRun(spec, run.models)
    asked: list[tuple[Suite, SuiteRequest]] = []
    for track in tracks_of(spec):
        names = list(_variants(spec, track))
        found.pairs += [(name, track.data) for name in names]
        present = tuple(name for name in names if (name, track.data) in run.models)
        for suite in track.suites or ():
            if suite in found.reasons:
                continue
            try:
                loaded = _suite(suite, settings_of(spec, track, suite))
            except InputError as error:
                found.reasons[suite] = str(error)
            else:
                asked += _requests(found, run, loaded, track, present)
    for one, request in asked:
        _add(found, one, request, partial(one.scenarios, request))
    plain = dict(found.scenarios)
    for one, request in asked:
        others = [
            scenario
            for (model, data, _), scenario in plain.items()
            if (model, data) == (request.model.name, request.data.name)
            and scenario.suite != one.name
            and scenario.gives_outcomes
        ]
        _add(found, one, request, partial(one.across, request, others))
    return found


def _suite(name: str, settings: dict[str, Any]) -> tuple[Suite, SuiteConfig]:
    suite = registry.suites().get(name)()
    try:
        return suite, suite.config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"suite {name!r} as installed refuses its settings: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def _requests(
    found: PlannedRun,
    run: Run,
    loaded: tuple[Suite, SuiteConfig],
    track: Track,
    models: tuple[str, ...],
) -> Iterator[tuple[Suite, SuiteRequest]]:
    suite, config = loaded
    for name in models:
        yield suite, SuiteRequest(
            model=run.models[name, track.data], data=run.cards[track.data], config=config,
            preset=found.spec.defaults.preset, models=models,
            min_group_size=found.spec.defaults.min_group_size,
            files=named_files(run.spec["resolved"]["digests"], suite.name, track.name, run.root),
        )  # fmt: skip


def _add(
    found: PlannedRun,
    suite: Suite,
    request: SuiteRequest,
    ask: Callable[[], Sequence[Scenario] | str],
) -> None:
    if suite.name in found.reasons:
        return
    try:
        scenarios = ask()
    except Exception as error:
        found.reasons[suite.name] = f"suite {suite.name!r} raised: {one_line(error)}"
        return
    for scenario in () if isinstance(scenarios, str) else scenarios:
        found.scenarios[request.model.name, request.data.name, scenario.address] = scenario


def _variants(spec: Spec, track: Track) -> Iterator[str]:
    models = {model.name: model for model in spec.models}
    for name in track.models:
        yield name
        yield from (f"{name}@{kind}" for kind in models[name].variants if kind != "fp32")
