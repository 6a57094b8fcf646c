"""The suite's declaration: its settings, its scenarios, and how the report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.leak import metrics
from crucibench_suites.leak.scenarios import CROSS_VALIDATED, Labels, NearDuplicates, TrainedOn
from crucibench_suites.leak.sketches import Sketches

_MOST = 200_000
"""Images, or texts, beyond which not every pair is looked at in reasonable time."""


class LeakConfig(SuiteConfig):
    """Settings of the leak suite."""

    labels: str | None = None
    """What judges the test labels: ``cross-validated``, or a model of the run by name, such as
    logged predictions with the probabilities that another tool gave; null for nothing."""

    embedding: str | None = None
    """A model of the run: images near in its features are compared as mirrored and cropped, too;
    null for none. One for all models, so that the same samples are left out for all."""


class LeakSuite(Suite):
    """What test and train share, which labels are doubtful, and what membership inference finds."""

    name: ClassVar[str] = "leak"
    axis: ClassVar[str] = "leakage"
    description: ClassVar[str] = (
        "Which test samples are near-duplicates and what each number is without them, which labels "
        "are doubtful and what they leave open, and how well membership is inferred from the loss."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {"membership": ("membership/*",)}
    headline: ClassVar[tuple[str, ...]] = (
        "near-duplicates[train]/near-duplicate-share",
        "membership/membership-tpr-at-fpr-1e-2",
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Near-duplicates",
            kind="metrics",
            scenario="near-duplicates",
            note="Shares of test samples, and each number of all samples minus the same of those "
            "that are new.",
        ),
        Section(title="Doubtful labels", kind="metrics", scenario="labels"),
        Section(
            title="Most doubtful labels",
            kind="table",
            scenario="labels",
            table="doubtful",
            note="Least probable first.",
        ),
        Section(title="Membership", kind="metrics", scenario="membership"),
        Section(
            title="Membership inference",
            kind="line",
            scenario="membership",
            table="roc",
            x="false_positive_rate",
            y="true_positive_rate",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = LeakConfig
    scoring = ("audits", "known_answers")
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        metrics.NEAR.info,
        metrics.EFFECT,
        *Labels.metrics,
        *TrainedOn.metrics,
    )

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
        data, config = request.data, request.settings(LeakConfig)
        task, kind = data.task, data.task.definition
        if config.labels and config.labels not in (CROSS_VALIDATED, *request.models):
            raise InputError(
                unknown("judge of labels", config.labels, (CROSS_VALIDATED, *request.models))
            )
        if config.embedding is not None:
            if config.embedding not in request.models:
                raise InputError(unknown("model", config.embedding, request.models))
            if task.modality is not Modality.IMAGE:
                raise InputError(f"leak.embedding is for images, not for a {task.modality}")
        if not kind.headline:
            return f"a plain pass over data of the task {task.kind} is not judged"
        train = data.counts.get("train", 0) > 0
        roles = ("train", "test") if train else ("test",)
        found: list[Scenario] = []
        samples = sum(data.counts.get(role, 0) for role in roles)
        sketched = task.modality is Modality.TABLE or samples <= _MOST
        judged = bool(config.labels) and task.one_class and "test" not in data.unlabelled
        for role in roles:
            if sketched or (judged and role == "test"):
                pixels = config.embedding is not None
                parameters = {"pixels": True} if pixels else {}
                found.append(Sketches(name=f"sketches/{role}", role=role, pixels=pixels,
                                      parameters=parameters))  # fmt: skip
        if sketched:
            found.append(NearDuplicates.of(kind, train=train, embedding=config.embedding))
        if judged and config.labels:
            found.append(Labels.of(config.labels, request.model.name, request.models))
        if train and task.one_class and Capability.SCORES in request.model.capabilities:
            found.append(TrainedOn())
        return found or "there are too many samples to look at all pairs, and no train role"
