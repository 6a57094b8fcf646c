"""The suite's declaration: its one scenario, its settings, and how the report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from crucibench.contracts.metric import MetricInfo, metrics_named
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteData, SuiteRequest
from crucibench.contracts.task import Modality, task_kinds
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number
from crucibench_suites.accuracy.ious import AT_IOU, OtherIous
from crucibench_suites.accuracy.pictures import WorstImages
from crucibench_suites.accuracy.scenario import METRICS, Clean

_HEADLINE = (
    "top-1",
    "balanced-accuracy",
    "auroc",
    "average-precision",
    "log-loss",
    "ece-l2-15-equal-mass-debiased-top-label",
    "mae",
    "r2",
)


class AccuracyConfig(SuiteConfig):
    """Settings of the accuracy suite."""

    train_gap: bool = True
    """Whether to run the model over the train role, where the data has one, for the train minus
    test gap and for samples that are in both; false saves that pass."""

    validation: str | None = None
    """The address of labelled data on which thresholds may be chosen: the role
    ``accuracy/validation`` of a model's ``decision: {chosen_on: accuracy/validation}``."""

    ious: list[Annotated[Number, Field(gt=0, le=1)]] = Field(default_factory=list, max_length=50)
    """IoU thresholds at which detections are held against objects, beside COCO's ten."""

    metrics: list[str] = Field(default_factory=list)
    """Registered metrics to report beside those of the task's kind."""

    def data_sets(self) -> Mapping[str, SuiteData]:
        """Returns the data of `validation`."""
        if self.validation is None:
            return {}
        data = SuiteData(address=self.validation, setting="validation")
        return {"accuracy/validation": data}

    @field_validator("ious")
    @classmethod
    def _each_once(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each threshold once, got {value}")
        return value

    @field_validator("metrics")
    @classmethod
    def _registered(cls, names: list[str]) -> list[str]:
        try:
            found = metrics_named(names)
        except InputError as error:
            raise ValueError(str(error)) from error
        for metric in found:
            if not set(metric.kinds) & set(task_kinds().names()):
                raise ValueError(
                    f"metric {metric.name!r} is of no kind of task: of {metric.kinds[0]}"
                )
        return names


class AccuracySuite(Suite):
    """Accuracy, calibration and selective prediction, from one clean pass."""

    name: ClassVar[str] = "accuracy"
    axis: ClassVar[str] = "accuracy"
    description: ClassVar[str] = (
        "How often the model is right on clean data, by class and by confidence, and whether its "
        "probabilities can be believed."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "accuracy": ("clean/*", "other-ious/*"),
        "calibration": ("clean/*ece*", "clean/log-loss", "clean/brier*"),
    }
    headline: ClassVar[tuple[str, ...]] = (
        "clean/top-1",
        "clean/balanced-accuracy",
        "clean/auroc",
        "clean/average-precision",
        "clean/log-loss",
        "clean/ece-l2-15-equal-mass-debiased-top-label",
        "clean/subset-accuracy",
        "clean/average-precision-macro-labels",
        "clean/mae",
        "clean/r2",
        "clean/detection-ap",
    )
    sections_by_task: ClassVar[bool] = True
    sections: ClassVar[tuple[Section, ...]] = (
        Section(title="Accuracy", kind="metrics", scenario="clean", metrics=_HEADLINE),
        Section(
            title="Reliability",
            kind="reliability",
            scenario="clean",
            table="reliability",
            x="mean_confidence",
            y="accuracy",
            note="Share of right predictions by confidence of the predicted class, in 15 "
            "equal-width bins; bars are Wilson intervals, as if samples were independent.",
        ),
        Section(
            title="Reliability of the positive class",
            kind="reliability",
            scenario="clean",
            table="reliability-positive",
            x="mean_confidence",
            y="accuracy",
            note="Share of positives by the positive class's probability, in 15 equal-width bins.",
        ),
        Section(
            title="Risk and coverage",
            kind="line",
            scenario="clean",
            table="risk-coverage",
            x="coverage",
            y="risk",
            note="Share of errors if only the most confident samples are answered.",
        ),
        Section(
            title="ROC",
            kind="line",
            scenario="clean",
            table="roc",
            x="false_positive_rate",
            y="true_positive_rate",
        ),
        Section(title="By class", kind="table", scenario="clean", table="per-class"),
        Section(
            title="Confusion",
            kind="matrix",
            scenario="clean",
            table="confusion",
            note="Rows are true classes, columns predicted ones; numbers of samples.",
        ),
        Section(
            title="Error by target",
            kind="bars",
            scenario="clean",
            table="error-by-target",
            x="mean_target",
            y="mae",
            note="Mean absolute error in tenths of the samples, ordered by target.",
        ),
        Section(
            title="All numbers",
            kind="metrics",
            scenario="clean",
            note="A binned calibration error grows as samples get fewer: compare it between equal "
            "numbers of samples only, or use the debiased form.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = AccuracyConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        *METRICS,
        AT_IOU,
        *(metric.info for metric in metrics_named(task_kinds().get("detection").metrics)),
    )

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the clean scenario, or why it does not apply."""
        task = request.data.task
        if task.one_class and len(task.classes) < 2:
            return f"accuracy needs at least two classes, the data has {len(task.classes)}"
        if not task.definition.metrics:
            return f"a plain pass over data of the task {task.kind} is not judged"
        config = request.settings(AccuracyConfig)
        train = config.train_gap and request.data.counts.get("train", 0) > 0
        clean = Clean.of(self.name, train=train, kind=task.definition, more=config.metrics)
        places = any(field.pixels for field in task.definition.fields)
        if config.ious and not places:
            raise InputError(f"suites.accuracy.ious: {task.kind} has no boxes that overlap")
        found = (clean, OtherIous.of(self.name, config.ious)) if config.ious else (clean,)
        if places and task.modality is Modality.IMAGE and "test" in request.data.counts:
            return (*found, WorstImages.of(self.name, request.data))
        return found
