"""The suite's declaration: its scenarios, its settings, and how the report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench_suites.ood import numbers
from crucibench_suites.ood.config import KINDS, OODConfig
from crucibench_suites.ood.sources import OODSet


class OODSuite(Suite):
    """Near and far OOD sets, detectors over one feature pass a role."""

    name: ClassVar[str] = "ood"
    axis: ClassVar[str] = "unfamiliar inputs"
    description: ClassVar[str] = (
        "Whether the model can tell inputs that are unlike what it was made for, near and far, by "
        "fourteen detectors."
    )
    headline: ClassVar[tuple[str, ...]] = ("headline[near]/ood-auroc", "headline[far]/ood-auroc")
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Detectors",
            kind="table",
            scenario="detectors",
            table="detectors",
            note="OOD AUROC: the probability that an out-of-distribution sample scores above an "
            "in-distribution one. Near, far and overall are means over sets. Settings were chosen "
            "on validation sets that are not scored. The headline detector was declared "
            "beforehand: the best of this table was found on these very sets.",
        ),
        Section(title="Detectors by set", kind="table", scenario="detectors", table="by-set"),
        Section(
            title="Headline detector",
            kind="metrics",
            scenario="headline",
            metrics=tuple(metric.id for metric in numbers.OF_HEADLINE),
        ),
        Section(
            title="Scores",
            kind="histogram",
            scenario="headline",
            table="histogram",
            x="score",
            y="share",
            note="Histograms of the headline detector's score, as shares of each kind of input in "
            "50 bins; the outermost hold what lies beyond.",
        ),
        Section(
            title="ROC of the headline detector",
            kind="line",
            scenario="headline",
            table="roc",
            x="false_positive_rate",
            y="true_positive_rate",
            note="Share of out-of-distribution inputs flagged, against the share of familiar ones "
            "flagged by the same threshold; near and far are means over sets.",
        ),
        Section(
            title="Accuracy and coverage, half of the inputs OOD",
            kind="line",
            scenario="headline",
            table="accuracy-coverage",
            x="coverage",
            y="accuracy",
            note="Share of right predictions if only the inputs that are most familiar to the "
            "headline detector are answered; any answer to an out-of-distribution input is wrong.",
        ),
        Section(
            title="Sets",
            kind="table",
            scenario="sets",
            table="sets",
            note="Easiest by: the statistic of the input alone that tells the set best.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = OODConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = numbers.METRICS

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
        from crucibench_suites.ood.planning import plan

        config = request.config if isinstance(request.config, OODConfig) else OODConfig()
        task = request.data.task
        if task.kind == "regression":
            return "it needs classes"
        if len(task.classes) < 2:
            return f"it needs at least two classes, the data has {len(task.classes)}"
        if Capability.SCORES not in request.model.capabilities:
            return "the model gives labels only"
        sets = _sets(config, request, task.modality)
        if not any(one.kind != "validation" for one in sets):
            if Capability.ANY_INPUT not in request.model.capabilities:
                return (
                    "the model can't answer generated inputs, and the settings name no data set "
                    "under near or far"
                )
            return "the settings name no generator and no data set under near or far"
        return plan(config, request, sets)


def _sets(config: OODConfig, request: SuiteRequest, modality: Modality) -> tuple[OODSet, ...]:
    from crucibench_suites.ood.generators import generators

    found: list[OODSet] = []
    if Capability.ANY_INPUT in request.model.capabilities:
        known = generators(modality)
        wanted = [name for name, one in known.items() if one.default]
        if config.generators is not None:
            wanted = [name for name in known if name in config.generators]
        found = [
            OODSet(kind=known[name].kind, name=name, meaning=f"version {known[name].version}")
            for name in wanted
        ]
    for kind in KINDS:
        named: dict[str, str] = getattr(config, kind)
        for name in named:
            meaning = request.data.further.get(f"ood/{kind}/{name}", "")
            found.append(OODSet(kind=kind, name=name, generated=False, meaning=meaning))
    order = {kind: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(found, key=lambda one: order[one.kind]))
