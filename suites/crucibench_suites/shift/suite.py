"""The suite's declaration: its scenarios, and how the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench_suites.shift.config import ShiftConfig
from crucibench_suites.shift.corrupted import Corrupted, CorruptionSummary
from crucibench_suites.shift.metrics import (
    ESTIMATES,
    HOME_DROP,
    HOME_MAE_RISE,
    HOME_RMSE_RISE,
    METRICS,
    OF_DRIFT,
    OF_POPULATION,
    WORST_GROUP,
    WORST_GROUP_MAE,
    of_kind,
)
from crucibench_suites.shift.own_data import data_scenarios
from crucibench_suites.shift.planning import image_scenarios, table_scenarios, text_scenarios


class ShiftSuite(Suite):
    """Accuracy under corruptions, in subpopulations, and on shifted data of the user's own."""

    name: ClassVar[str] = "shift"
    axis: ClassVar[str] = "shift"
    description: ClassVar[str] = (
        "What a model loses when its inputs change: common corruptions of images, typing and "
        "reading errors in texts, noise, gaps and unit errors in tables, by severity; the worst "
        "subpopulation; and shifted data of your own, with labels or without."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {"changed-inputs": ("*",)}
    headline: ClassVar[tuple[str, ...]] = (
        "summary/corrupted-top-1",
        "summary/top-1-drop",
        "summary/mce",
        "published/summary/corrupted-top-1",
        "published/summary/mce",
        "summary/corrupted-mae",
        "summary/corrupted-subset-accuracy",
        "summary/corrupted-detection-ap",
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Over all corruptions",
            kind="metrics",
            scenario="summary",
            note="A corruption counts by its mean over severities, each alike. The worst "
            "corruption is picked on these samples, so that it looks a little worse than it is.",
        ),
        Section(
            title="Accuracy by severity",
            kind="line",
            table="curve",
            x="severity",
            y="accuracy",
            note="Severity 0 is the clean samples, the same ones. Bands are Wilson intervals, as "
            "if samples were independent; where the data names clusters, of a cluster bootstrap.",
        ),
        Section(
            title="Accuracy by corruption and severity",
            kind="heat",
            table="curve",
            x="severity",
            y="accuracy",
            note="Severity 0 is the clean samples, the same ones.",
        ),
        Section(
            title="By corruption",
            kind="table",
            scenario="summary",
            table="by-corruption",
            note="Means over severities; the interval is that of accuracy.",
        ),
        Section(
            title="On published files, over all corruptions",
            kind="metrics",
            scenario="published/summary",
            note="The files are samples of their own: what is lost from the clean ones is told "
            "where both name an image alike.",
        ),
        Section(
            title="On published files, by corruption",
            kind="table",
            scenario="published/summary",
            table="by-corruption",
            note="Means over severities; the interval is that of accuracy.",
        ),
        Section(
            title="Error by severity",
            kind="line",
            table="error-curve",
            x="severity",
            y="mae",
            note="Severity 0 is the clean samples, the same ones.",
        ),
        Section(
            title="Error by perturbation and severity",
            kind="heat",
            table="error-curve",
            x="severity",
            y="mae",
            note="Severity 0 is the clean samples, the same ones.",
        ),
        Section(
            title="By perturbation",
            kind="table",
            scenario="summary",
            table="by-perturbation",
            note="Means over severities; the interval is that of the error.",
        ),
        Section(
            title="Headline metric by severity",
            kind="line",
            table="quality-curve",
            x="severity",
            y="value",
            note="Of kinds without one right answer; severity 0 is the clean samples, the same "
            "ones.",
        ),
        Section(
            title="Headline metric by corruption",
            kind="table",
            scenario="summary",
            table="by-corruption-quality",
            note="Means over severities.",
        ),
        Section(
            title="Other populations",
            kind="metrics",
            metrics=tuple(metric.id for metric in OF_POPULATION),
            note="No sample is changed: they are weighted along a column. The effective sample "
            "size says how many samples of equal weight would say as much.",
        ),
        Section(title="Worst of a grid", kind="metrics", scenario="geometric_worst"),
        Section(
            title="Subpopulations",
            kind="metrics",
            metrics=(WORST_GROUP.id, WORST_GROUP_MAE.id),
            note="The worst group of all, then that of each column, alone and with the true class. "
            "Intervals are of the lowest true value, whichever group that is.",
        ),
        Section(
            title="Worst groups",
            kind="table",
            table="worst-groups",
            note="'The worst again': in what share of repetitions the group would be the worst; 'p "
            "if all were equal': how often chance alone brings about a group so far from the "
            "others.",
        ),
        Section(
            title="On shifted data of your own",
            kind="metrics",
            metrics=tuple(
                metric.id for metric in (HOME_DROP, HOME_MAE_RISE, HOME_RMSE_RISE, *ESTIMATES)
            ),
            note="The estimates use no labels there, and each rests on an assumption that no "
            "unlabelled data can prove: that the model is calibrated there (average confidence), "
            "that errors rise by as much as confidence falls (difference), or that the threshold "
            "that tells right from wrong at home still does (thresholded). Intervals cover the "
            "samples of both sets, not the assumption.",
        ),
        Section(
            title="Drift",
            kind="metrics",
            metrics=tuple(metric.id for metric in OF_DRIFT),
            note="Whether the data come from where the home test set came from: not whether the "
            "model is any worse there.",
        ),
        Section(
            title="Drift, test by test",
            kind="table",
            table="drift",
            note="Holm's correction over all lines keeps the chance of any false alarm at 1 - "
            "level. The customary 0.1 and 0.25 of the population stability index know no sample "
            "size; beside it stands what it is below in 95 of 100 samples without drift.",
        ),
        Section(
            title="Groups",
            kind="table",
            table="groups",
            note="Groups that are left out are in no figure over groups.",
        ),
        Section(
            title="Samples",
            kind="gallery",
            note="Drawn by id, those first that the model got wrong at some severity: they show "
            "what a perturbation does, and are no fair sample of how often it fools the model.",
        ),
        Section(
            title="All numbers",
            kind="metrics",
            note="A calibration error grows as samples get fewer: compare it between equal numbers "
            "of samples only.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = ShiftConfig
    scoring = (
        "audits", "drift_scoring", "group_scoring", "joining", "kind_scoring", "known_answers",
        "place_scoring",
        "population_scoring", "published_scoring", "scoring",
    )  # fmt: skip
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios, or why none applies."""
        task = request.data.task
        if not task.definition.headline:
            return f"a plain pass over data of the task {task.kind} is not judged"
        found: list[Scenario] = []
        reasons = []
        for part in (_perturbed(request), data_scenarios(request)):
            if isinstance(part, str):
                reasons.append(part)
            else:
                # What is recorded of the inputs serves drift and perturbed tables alike.
                found += [scenario for scenario in part if scenario not in found]
        if not (task.one_class or task.one_number):
            infos = of_kind(task.definition)
            found = [replace(one, metrics=infos) if isinstance(one, Corrupted | CorruptionSummary)
                     else one for one in found]  # fmt: skip
        return found or "; ".join(reasons)


def _perturbed(request: SuiteRequest) -> Sequence[Scenario] | str:
    task = request.data.task
    if "test" not in request.data.counts:
        return "the data has no role 'test'"
    if task.modality is Modality.TEXT:
        return text_scenarios(request) or "no perturbation of texts was asked for"
    if task.modality is Modality.TABLE:
        return table_scenarios(request) or "the data has no columns for the perturbations asked for"
    if task.modality is not Modality.IMAGE:
        return f"it knows no perturbation of {task.modality} samples"
    if task.one_number:
        return "it counts right answers, which regression has none of"
    return image_scenarios(request)
