"""The scenario ``clean``: everything that a plain pass over the test role says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import Metric, MetricInfo, metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number
from crucibench.contracts.task import TaskKind, task_kinds
from crucibench.contracts.verdict import no_samples
from crucibench.metrics.catalogue import CATALOGUE, metric_info

if TYPE_CHECKING:
    import pandas as pd

_OWN = (
    "temperature",
    "ece-15-equal-width-top-label-before-temperature",
    "ece-15-equal-width-top-label-after-temperature",
    "top-1-train-minus-test",
    "mae-train-minus-test",
)
"""Numbers of halves and of two roles: two models are not compared by them."""

METRICS: tuple[MetricInfo, ...] = tuple(
    metric_info(metric)
    for metric in (
        *(
            name
            for kind in ("classification", "regression", "multilabel")
            for name in task_kinds().get(kind).metrics
        ),
        *_OWN,
    )
)  # fmt: skip
"""What the suite reports of the bundled kinds of task."""

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Clean(Derived):
    """Scores the pass over the test role, and the train role's where there is one.

    Attributes:
        more: registered metrics that it reports beside those of the task's kind.
    """

    more: tuple[str, ...] = ()
    metrics: tuple[MetricInfo, ...] = METRICS  # type: ignore[misc]

    version: ClassVar[int] = 1
    audits: ClassVar[tuple[str, ...]] = (
        "constant-prediction", "threshold-not-applied", "zero-probability",
        "classes-without-samples", "duplicates", "undeclared-dependence", "too-few-samples",
    )  # fmt: skip

    @classmethod
    def of(
        cls, suite: str, *, train: bool, kind: TaskKind | None = None, more: Sequence[str] = ()
    ) -> Clean:
        """Returns the scenario.

        Args:
            suite: the suite's name.
            train: whether to ask for a pass over the train role as well.
            kind: of the task, where it is none of the bundled ones.
            more: registered metrics to report beside those of the task's kind.

        Raises:
            InputError: if a metric is not registered.
        """
        needs = [Need(alias="test", cell="pass/test")]
        if train:
            needs.append(Need(alias="train", cell="pass/train", optional=True))
        names = (*(kind.metrics if kind else ()), *more)
        others = [name for name in dict.fromkeys(names) if name not in CATALOGUE]
        infos = tuple(metric.info for metric in metrics_named(others))
        return cls(
            suite=suite, name="clean", needs=tuple(needs), more=tuple(more),
            metrics=(*METRICS, *infos), parameters={"metrics": others} if others else {},
        )  # fmt: skip

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the numbers of the task's metrics."""
        from crucibench.metrics.numbers import numbers_of

        cell, kind = evidence.needs["test"], evidence.task.definition
        if not len(cell.samples):
            return ()
        more = metrics_named([name for name in self.more if name not in kind.metrics])
        own = [*metrics_named(kind.metrics), *(one for one in more if _takes(one, kind))]
        return [
            *numbers_of(own, kind.view(cell, evidence.task)),
            *(
                Number(metric=one.name, undefined=f"it is of {one.kinds[0]}, not of {kind.name}")
                for one in more
                if one not in own
            ),
        ]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns the tables of the task's kind."""
        kind = evidence.task.definition
        view = kind.view(evidence.needs["test"], evidence.task)
        return kind.tables(view, rows, evidence.options.level)

    def score(self, evidence: Evidence) -> Scored:
        """Computes the calibrating temperature, and the gap between train and test."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.accuracy.split_numbers import gap_numbers, temperature_numbers

        cell, kind = evidence.needs["test"], evidence.task.definition
        if not len(cell.samples):
            return Scored([])
        numbers = gap_numbers(evidence)
        if evidence.task.one_class:
            view = kind.view(cell, evidence.task)
            numbers = [*temperature_numbers(view, evidence, self.stream), *numbers]
        return Scored(rows_of(numbers, self, evidence))

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        if not len(evidence.needs["test"].samples):
            return [no_samples()]
        return super().audit(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per test sample, under the model's decision rule."""
        kind = evidence.task.definition
        return kind.outcomes(kind.view(evidence.needs["test"], evidence.task))


def _takes(metric: Metric, kind: TaskKind) -> bool:
    """Whether a metric takes the answers of a kind of task, or of one that is derived from its."""
    known = task_kinds()
    names = set(metric.kinds) & set(known.names())
    return any(isinstance(kind, type(known.get(name))) for name in names)
