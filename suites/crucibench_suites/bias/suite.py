"""The suite's declaration: its scenario, and how leaderboard and report show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import OF_OBJECTS, DataCard
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality, task_kinds
from crucibench.util.errors import InputError
from crucibench.util.optional import require
from crucibench.util.suggest import unknown
from crucibench_suites.bias.across import METRICS as OF_ACROSS
from crucibench_suites.bias.across import Across, readable
from crucibench_suites.bias.config import MOST_CROSSED, BiasConfig
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN_METRICS, PREFIX
from crucibench_suites.bias.identity_terms import Category, bundled
from crucibench_suites.bias.kinds import of_kind
from crucibench_suites.bias.objects import FOUND, MINUS_REST, ObjectGroups
from crucibench_suites.bias.reworded import Reworded
from crucibench_suites.bias.scenario import METRICS, FairlearnMetrics, Groups
from crucibench_suites.bias.swapped import Swapped

_OVERALL = (
    "worst-group-top-1",
    "top-1-difference",
    "demographic-parity-difference",
    "demographic-parity-ratio",
    "equal-opportunity-difference",
    "equalized-odds-difference",
    "equalized-odds-ratio",
    "predictive-parity-difference",
    "base-rate-difference",
    "demographic-parity-difference-ovr-worst",
    "equal-opportunity-difference-ovr-worst",
    "worst-group-subset-accuracy",
    "subset-accuracy-difference",
    "hamming-loss-difference",
    "worst-group-detection-found",
    "detection-found-difference",
    "worst-group-mae",
    "mae-difference",
    "mean-error-difference",
    "mean-prediction-difference",
)

_BY_GROUP = (
    "top-1",
    "base-rate",
    "selection-rate",
    "tpr",
    "fpr",
    "ppv",
    "auroc",
    "ece-l2-15-equal-mass-debiased-positive-class",
    "ece-l2-15-equal-mass-debiased-top-label",
    "subset-accuracy",
    "hamming-loss",
    "detection-ap",
    "detection-found",
    "mae",
    "mean-error",
    "mean-prediction",
)

_AGAINST = tuple(
    f"{metric}-minus-{other}"
    for metric in ("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error")
    for other in ("rest", "reference")
)


class BiasSuite(Suite):
    """Rates by group and gaps between groups from one clean pass; rows with another group."""

    name: ClassVar[str] = "bias"
    axis: ClassVar[str] = "bias"
    description: ClassVar[str] = (
        "How a model's answers and errors differ between groups of samples, with intervals that "
        "can hold no difference."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {"discrimination": ("*",)}
    headline: ClassVar[tuple[str, ...]] = (
        "groups/worst-group-top-1",
        "groups/demographic-parity-difference",
        "groups/equalized-odds-difference",
        "groups/equal-opportunity-difference-ovr-worst",
        "groups/worst-group-mae",
        "groups/mae-difference",
        "groups/worst-group-subset-accuracy",
        "groups/worst-group-detection-found",
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Between groups",
            kind="metrics",
            scenario="groups",
            metrics=_OVERALL,
            note="Without a group: the widest of the single group columns. An interval that "
            "reaches no gap (0, or 1 of a ratio) says that the groups can't be told apart by these "
            "samples, not that they are alike. A difference is a fact about answers on this data: "
            "what it means, and for whom, no number here says.",
        ),
        Section(
            title="Gaps and chance",
            kind="table",
            scenario="groups",
            table="gaps",
            note="p_chance: how often shuffled groups lie as far apart; null: what was shuffled; "
            "p_holm: p_chance corrected by Holm for all gaps of this table. less_noise: the gap "
            "less what noise adds to a largest difference. detectable: a difference between these "
            "two groups that their sizes would show in four of five cases, at 5 % over all pairs.",
        ),
        Section(
            title="By group",
            kind="metrics",
            scenario="groups",
            metrics=_BY_GROUP,
            note="Ranks and calibration are made for single columns alone.",
        ),
        Section(
            title="Class by class",
            kind="table",
            scenario="groups",
            table="class-gaps",
            note="Of more than two classes each against the rest: how far groups lie apart in how "
            "often it is answered (selection-rate), found (tpr), answered wrongly (fpr) and right "
            "where answered (ppv). p_holm: p_chance corrected by Holm for all lines.",
        ),
        Section(
            title="Class by class and group",
            kind="table",
            scenario="groups",
            table="class-rates",
        ),
        Section(
            title="Each group against the others",
            kind="forest",
            scenario="groups",
            metrics=_AGAINST,
            note="The group less all other samples, or less the reference group. Each interval "
            "stands for itself: of many, some miss by chance.",
        ),
        Section(
            title="By attributes of objects",
            kind="metrics",
            scenario="objects",
            note="How many objects are found, whatever else is detected beside them.",
        ),
        Section(
            title="fairlearn's own",
            kind="metrics",
            scenario="fairlearn",
            metrics=tuple(metric.id for metric in FAIRLEARN_METRICS),
            note="Metrics that the settings name, computed by fairlearn.",
        ),
        Section(
            title="Gaps under shift and attack",
            kind="table",
            table="across",
            note="The same samples, as they are and changed; nothing was asked again. rise: the "
            "gap there less the gap on the samples as they are, with an interval of paired "
            "samples. p_holm: of no change, corrected by Holm for all lines of the table.",
        ),
        Section(
            title="Accuracy difference by strength",
            kind="line",
            table="gap-curve",
            x="strength",
            y="accuracy_difference",
            note="Strength 0 is the samples as they are. The band is of the widest pair of groups, "
            "whichever that is.",
        ),
        Section(
            title="With another group in the column",
            kind="metrics",
            scenario="swapped",
            note="The same rows, asked again with another group in a column that the model is "
            "shown: whether answers hang on that column itself. They may hang on what goes along "
            "with it, too, which this does not see.",
        ),
        Section(
            title="With another group's words",
            kind="metrics",
            scenario="reworded",
            note="Texts that name a group, asked again with another group's words. The lists of "
            "words are short: no flip among few texts shows little.",
        ),
        Section(
            title="Groups",
            kind="table",
            scenario="groups",
            table="groups",
            note="Small groups and samples of unknown group are shown, and not compared.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = BiasConfig
    scoring = (
        "across_scoring",
        "audits",
        "classes",
        "fairlearn_numbers",
        "known_answers",
        "scoring",
    )
    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(
        {
            info.id: info
            for info in (
                *METRICS,
                *OF_ACROSS,
                FOUND,
                MINUS_REST,
                *FAIRLEARN_METRICS,
                *(
                    info
                    for name in ("multilabel", "detection")
                    for info in of_kind(task_kinds().get(name))
                ),
            )
        }.values()
    )

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios, or why none applies.

        Raises:
            InputError: if the settings name a column that is no group column of the data, or a
                metric of fairlearn where that is not installed.
        """
        config = request.settings(BiasConfig)
        data = request.data
        _check(config, data.groups, data.name)
        if config.metrics:
            require("fairlearn")
        if not (data.task.one_class or data.task.one_number):
            return self._of_kind(data, config)
        if data.task.one_class and len(data.task.classes) < 2:
            return f"bias needs at least two classes, the data has {len(data.task.classes)}"
        scenarios: list[Scenario] = []
        if data.groups:
            columns = config.columns or data.groups
            scenarios.append(Groups.of(self.name, _parameters(config, data.groups)))
            if config.metrics:
                names = [name.removeprefix(PREFIX) for name in config.metrics]
                scenarios.append(
                    FairlearnMetrics.of(self.name, names, _parameters(config, data.groups))
                )
            # Columns that are cut at edges have no other value to be swapped for.
            shown = [name for name in columns if name in data.features and name not in config.edges]
            if shown and data.task.modality is Modality.TABLE and config.swap:
                scenarios.append(Swapped.of(self.name, shown, _asked(request)))
        if data.task.modality is Modality.TEXT and config.swap:
            scenarios.append(Reworded.of(self.name, _terms(config), _asked(request)))
        return scenarios or "the data names no groups (option groups=COLUMN,...)"

    def _of_kind(self, data: DataCard, config: BiasConfig) -> Sequence[Scenario] | str:
        """Returns the one scenario of a kind whose targets are neither classes nor numbers."""
        if config.metrics:
            raise InputError(
                f"suites.bias.metrics: fairlearn's metrics take classes or numbers, and "
                f"{data.task.kind} answers with neither"
            )
        if not data.task.definition.headline:
            return f"a plain pass over data of the task {data.task.kind} is not judged"
        if not data.groups:
            return "the data names no groups (option groups=COLUMN,...)"
        of_objects = [name for name in data.groups if name.startswith(OF_OBJECTS)]
        own = [name for name in data.groups if name not in of_objects]
        found: list[Scenario] = [ObjectGroups.of(self.name, of_objects)] if of_objects else []
        if own:
            groups = Groups.of(self.name, _parameters(config, own))
            found.insert(0, replace(groups, metrics=of_kind(data.task.definition)))
        return found

    def across(self, request: SuiteRequest, planned: Sequence[Scenario]) -> Sequence[Scenario]:
        """Returns one scenario for each of other suites' that changes the test samples."""
        config = request.settings(BiasConfig)
        task = request.data.task
        if not request.data.groups or not (task.one_class or task.one_number):
            return ()
        parameters = _parameters(config, request.data.groups)
        return [Across.of(self.name, one, parameters) for one in planned if readable(one)]


def _parameters(config: BiasConfig, groups: Sequence[str]) -> dict[str, Any]:
    columns = config.columns or groups
    depth = config.depth or (2 if len(columns) <= MOST_CROSSED else 1)
    return {
        "columns": list(columns),
        "depth": min(depth, len(columns)),
        "edges": {name: list(edges) for name, edges in sorted(config.edges.items())},
        "reference": dict(sorted(config.reference.items())),
    }


def _terms(config: BiasConfig) -> tuple[Category, ...]:
    if config.terms is None:
        return bundled()
    return tuple(
        Category(
            name=name, groups=rows[0],
            terms=tuple(tuple(word.lower() for word in row) for row in rows),
        )
        for name, rows in config.terms.items()
    )  # fmt: skip


def _asked(request: SuiteRequest) -> str:
    """Returns what the model is asked for where a group is swapped."""
    if request.data.task.one_number:
        return "values"
    return "scores" if Capability.SCORES in request.model.capabilities else "labels"


def _check(config: BiasConfig, groups: Sequence[str], data: str) -> None:
    for key, names in (
        ("columns", config.columns or ()),
        ("edges", tuple(config.edges)),
        ("reference", tuple(config.reference)),
    ):
        for name in names:
            if name not in groups:
                what = f"group column of {data!r}"
                raise InputError(f"suites.bias.{key}: {unknown(what, name, groups)}")
