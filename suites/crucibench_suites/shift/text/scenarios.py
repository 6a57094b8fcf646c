"""The scenario of one perturbation of texts, and which of them a run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Need, Scenario, Work
from crucibench.contracts.suite import SuiteRequest
from crucibench_suites.shift.config import ShiftConfig
from crucibench_suites.shift.perturbed.kinds import (
    DEFAULT_SEVERITIES,
    LIMITS,
    Perturbation,
    chosen,
)
from crucibench_suites.shift.perturbed.scenario import Perturbed
from crucibench_suites.shift.perturbed.summary import PerturbedSummary
from crucibench_suites.shift.perturbed.text_catalogue import TEXT
from crucibench_suites.shift.points import point_of

_BY_NAME = {one.name: one for one in TEXT}


@dataclass(frozen=True, kw_only=True)
class PerturbedText(Perturbed):
    """Edits every text at several severities, from one set of draws, and asks about each."""

    @classmethod
    def of(
        cls, suite: str, kind: Perturbation, severities: Sequence[int], limit: int | None
    ) -> PerturbedText:
        """Returns the scenario of a perturbation."""
        return cls(
            suite=suite,
            name=kind.name,
            parameters=kind.parameters(severities),
            points=("", *(point_of(severity) for severity in severities)),
            limit=limit,
            needs=(Need(alias="clean", cell="pass/test"),),
        )

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample and severity."""
        from crucibench_suites.shift.perturbed.answering import ask_perturbed
        from crucibench_suites.shift.text.perturbing import perturbed_texts

        variants = perturbed_texts(
            _BY_NAME[self.name], work.batch.inputs, work.batch.ids, context.draws, self.severities
        )
        return ask_perturbed(variants, work, context)


def text_scenarios(request: SuiteRequest) -> Sequence[Scenario]:
    """Returns the scenarios for texts."""
    config = request.config if isinstance(request.config, ShiftConfig) else ShiftConfig()
    severities = config.severities or DEFAULT_SEVERITIES[request.preset]
    limit = config.samples or LIMITS[request.preset]
    cells = [
        PerturbedText.of("shift", kind, severities, limit)
        for kind in chosen(TEXT, config.texts, request.preset)
    ]
    return [*cells, PerturbedSummary.of("shift", cells)] if cells else []
