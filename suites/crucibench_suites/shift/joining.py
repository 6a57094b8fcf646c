"""Rows, tables and comparables of all corruptions together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import CellEvidence, Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived
from crucibench.contracts.statistic import Form, RowMetric, Share
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.stats import SumStatistic, WeightedStatistic
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    NO_PROBABILITIES,
    Answers,
    Bools,
    Floats,
    clean_answers,
    cluster_codes,
    shifted_answers,
)
from crucibench_suites.shift.cells import ALEXNET, OWN, REFERENCE
from crucibench_suites.shift.comparing import mean_form
from crucibench_suites.shift.corruption_error import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    corruption_error_statistic,
)
from crucibench_suites.shift.corruptions.catalogue import COMMON, KERNELS, SEVERITIES
from crucibench_suites.shift.sheet import Sheet

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Joined:
    """What one model answered under every corruption, on the same samples.

    Attributes:
        clean: to the clean samples; None where these are not known to be the same.
        shifted: corruption to point to answers.
        no_clean: why `clean` is None.
    """

    clean: Answers | None
    shifted: dict[str, dict[str, Answers]]
    no_clean: str = ""

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(next(self.everything()))

    def right(self, name: str) -> Bools:
        """Returns whether each sample is right at each severity, (severities, n)."""
        return np.stack([answers.correct for answers in self.shifted[name].values()])

    def everything(self) -> Iterator[Answers]:
        """Yields the answers of every corruption and severity."""
        for points in self.shifted.values():
            yield from points.values()

    def mean_right(self) -> Floats:
        """Returns the mean over severities of each corruption, (corruptions, n)."""
        return np.stack([self.right(name).mean(axis=0) for name in self.shifted])

    def errors(self, names: tuple[str, ...]) -> Floats:
        """Returns whether each sample is wrong clean, and how often under each of `names`.

        NaN for clean where that is not known.
        """
        wrong = np.full(self.size, np.nan) if self.clean is None else ~self.clean.correct
        rows = [wrong, *(1.0 - self.right(name).mean(axis=0) for name in names)]
        return np.stack(rows).astype(np.float64)


Joiner = Callable[[Evidence, str], Joined | None]
"""From evidence and what aliases begin with."""


class _Reference(NamedTuple):
    """Errors to be relative to, or why there are none."""

    errors: Floats | None
    reason: str = ""


def join(
    evidence: Evidence, prefix: str = OWN, *, names: Iterable[str] = tuple(KERNELS)
) -> Joined | None:
    """Joins the cells whose aliases begin with `prefix`; None where there is nothing to join.

    Args:
        evidence: of the summary.
        prefix: whose cells.
        names: of all corruptions that there may be, in a fixed order.
    """
    ids = evidence.own.samples.ids
    pass_cell = evidence.needs.get("clean" if prefix == OWN else prefix + "clean")
    # Needs come in any order; sums of floats must not.
    cells = {
        name: evidence.needs[prefix + name] for name in names if prefix + name in evidence.needs
    }
    if pass_cell is None or not cells or not len(ids):
        return None
    shifted = {name: _aligned(cell, evidence) for name, cell in cells.items()}
    return Joined(clean_answers(pass_cell, ids, evidence.task), shifted)


def score_summary(evidence: Evidence, scenario: Derived) -> Scored:
    """Scores all corruptions together."""
    joined = join(evidence)
    return Scored([]) if joined is None else score_joined(evidence, scenario, joined, join)


def score_joined(evidence: Evidence, scenario: Derived, joined: Joined, joiner: Joiner) -> Scored:
    """Scores all corruptions together; `joiner` joins the reference's cells likewise."""
    sheet = Sheet(
        joined.size, options=evidence.options, stream=scenario.stream,
        clusters=cluster_codes(evidence.own.samples.clusters),
    )  # fmt: skip
    put_joined(sheet, joined)
    _put_corruption_errors(sheet, evidence, scenario, joined, joiner)
    families = {name: kernel.family for name, kernel in KERNELS.items()}
    return Scored(sheet.rows(), {"by-corruption": by_corruption(evidence, joined, families)})


def put_joined(sheet: Sheet, joined: Joined) -> None:
    """Puts down means over all corruptions, the worst of them, and each sample's worst."""
    means = joined.mean_right()
    average = means.mean(axis=0)
    sheet.mean(metrics.CORRUPTED_TOP_1, average)
    if joined.clean is None:
        sheet.without(metrics.DROP, joined.no_clean)
        sheet.without(metrics.CORRUPTED_FLIP_RATE, joined.no_clean)
    else:
        sheet.mean(metrics.DROP, joined.clean.correct - average)
        sheet.mean(metrics.CORRUPTED_FLIP_RATE, _flips(joined, joined.clean))
    error = _mean_ece(joined)
    if error is None:
        sheet.without(metrics.CORRUPTED_ECE, NO_PROBABILITIES)
    else:
        sheet.resampled(metrics.CORRUPTED_ECE, error, biased=True)
    worst = list(joined.shifted)[int(means.mean(axis=1).argmin())]
    sheet.resampled(metrics.WORST_CORRUPTION, _lowest(means), note=f"it is {worst}")
    sheet.share(metrics.WORST_CASE, _right_everywhere(joined))


def comparables_of_summary(evidence: Evidence, scenario: Derived) -> list[Comparable]:
    """Returns the summary's numbers as statistics of samples."""
    joined = join(evidence)
    return [] if joined is None else comparables_of_joined(evidence, scenario, joined, join)


def comparables_of_joined(
    evidence: Evidence, scenario: Derived, joined: Joined, joiner: Joiner
) -> list[Comparable]:
    """Returns the same of what is joined; `joiner` joins the reference's cells likewise."""
    forms = forms_of_joined(joined)
    reference = _reference(evidence, scenario, joined, joiner)
    if reference.errors is not None:
        errors = joined.errors(COMMON)
        for metric, relative in ((metrics.MCE, False), (metrics.RELATIVE_MCE, True)):
            if relative and joined.clean is None:
                continue
            statistic = corruption_error_statistic(errors, reference.errors, relative=relative)
            forms[metric] = RowMetric(statistic)
    return [Comparable(metric=metric.id, form=form) for metric, form in forms.items()]


def forms_of_joined(joined: Joined) -> dict[MetricInfo, Form]:
    """Returns the numbers over all corruptions as statistics of samples."""
    means = joined.mean_right()
    average = means.mean(axis=0)
    forms: dict[MetricInfo, Form] = {
        metrics.CORRUPTED_TOP_1: mean_form(average),
        metrics.WORST_CORRUPTION: RowMetric(_lowest(means)),
        metrics.WORST_CASE: Share(_right_everywhere(joined)),
    }
    if joined.clean is not None:
        forms[metrics.DROP] = mean_form(joined.clean.correct - average)
        forms[metrics.CORRUPTED_FLIP_RATE] = mean_form(_flips(joined, joined.clean))
    return forms


def _aligned(cell: CellEvidence, evidence: Evidence) -> dict[str, Answers]:
    """Reads a corruption's cell, whose samples are those of the summary."""
    if not np.array_equal(cell.samples.ids, evidence.own.samples.ids):
        raise ValueError(f"{cell.cell}: expected the samples of the summary, got others")
    return shifted_answers(cell, evidence.task)


def _flips(joined: Joined, clean: Answers) -> Floats:
    """Returns the share of variants under which each sample's class changes, (n,)."""
    by_corruption = [
        np.mean([clean.predictions != one.predictions for one in points.values()], axis=0)
        for points in joined.shifted.values()
    ]
    return np.asarray(np.mean(by_corruption, axis=0))


def _right_everywhere(joined: Joined) -> Bools:
    return np.asarray(np.all([answers.correct for answers in joined.everything()], axis=0))


def _mean_ece(joined: Joined) -> WeightedStatistic | None:
    answers = list(joined.everything())
    if not all(one.probabilistic for one in answers):
        return None
    parts = [calibration_error_statistic(one.confidence, one.correct) for one in answers]
    return lambda weights: np.asarray(np.mean([part(weights) for part in parts], axis=0))


def _lowest(means: Floats) -> SumStatistic:
    """Returns the lowest of several means over samples, (corruptions, n), as a statistic."""
    columns = np.concatenate([np.ones((1, means.shape[1])), means])
    return SumStatistic(columns, lambda sums: (sums[:, 1:] / sums[:, :1]).min(axis=1))


def _put_corruption_errors(
    sheet: Sheet, evidence: Evidence, scenario: Derived, joined: Joined, joiner: Joiner
) -> None:
    reference = _reference(evidence, scenario, joined, joiner)
    name = scenario.parameters["reference"]
    for metric, relative in ((metrics.MCE, False), (metrics.RELATIVE_MCE, True)):
        if reference.errors is None:
            sheet.without(metric, reference.reason)
            continue
        if relative and joined.clean is None:
            sheet.without(metric, joined.no_clean)
            continue
        statistic = corruption_error_statistic(
            joined.errors(COMMON), reference.errors, relative=relative
        )
        itself = name == evidence.own.model.name
        if itself and np.isfinite(statistic(np.ones((1, joined.size)))[0]):
            sheet.exact(metric, 100.0, "it is the reference: 100 by definition")
            continue
        sheet.resampled(
            metric, statistic, note=f"relative to {name}",
            undefined=f"{name} loses nothing under some corruption",
        )  # fmt: skip


def _reference(evidence: Evidence, scenario: Derived, joined: Joined, joiner: Joiner) -> _Reference:
    """Returns what the corruption errors are relative to."""
    missing = [name for name in COMMON if name not in joined.shifted]
    if missing:
        return _Reference(
            None, f"it is of all 15 common corruptions, {len(missing)} of which were not run"
        )
    name = scenario.parameters["reference"]
    if name is None:
        return _Reference(None, "no reference: set shift.reference to a model of the run")
    if name == ALEXNET:
        return _published(evidence, scenario)
    reference = joiner(evidence, REFERENCE)
    if reference is None or set(COMMON) - set(reference.shifted):
        return _Reference(
            None, f"the reference {name} has not been through the 15 corruptions here"
        )
    if any(reference.shifted[one].keys() != joined.shifted[one].keys() for one in COMMON):
        return _Reference(None, f"the reference {name} has been through other severities")
    return _Reference(reference.errors(COMMON))


def _published(evidence: Evidence, scenario: Derived) -> _Reference:
    """Returns AlexNet's errors, where they are of the same thing."""
    if len(evidence.task.classes) != _IMAGENET_CLASSES:
        return _Reference(None, "AlexNet's published errors are of ImageNet's 1,000 classes")
    if tuple(scenario.parameters["severities"]) != SEVERITIES:
        return _Reference(None, "AlexNet's published errors are of severities 1 to 5")
    published = [ALEXNET_CLEAN_ERROR, *(ALEXNET_ERRORS[name] for name in COMMON)]
    return _Reference(np.array(published))


def by_corruption(evidence: Evidence, joined: Joined, families: Mapping[str, str]) -> pd.DataFrame:
    """Returns a line a corruption: means over severities."""
    clusters = cluster_codes(evidence.own.samples.clusters)
    sheet = Sheet(joined.size, options=evidence.options, stream="by-corruption", clusters=clusters)
    for name in joined.shifted:
        sheet.mean(metrics.MEAN_TOP_1, joined.right(name).mean(axis=0))
    lines = []
    clean = joined.clean
    for (name, points), row in zip(joined.shifted.items(), sheet.rows(), strict=True):
        answers = list(points.values())
        errors = [
            calibration_error_statistic(one.confidence, one.correct).value().value
            if one.probabilistic
            else None
            for one in answers
        ]
        known = [error for error in errors if error is not None]
        accuracy = row.value if row.value is not None else np.nan
        lost = flip_rate = None
        if clean is not None:
            lost = float(clean.correct.mean()) - accuracy
            flip_rate = float(
                np.mean([(clean.predictions != one.predictions).mean() for one in answers])
            )
        lines.append(
            {
                "corruption": name,
                "family": families.get(name, ""),
                "accuracy": accuracy,
                "lower": row.lower,
                "upper": row.upper,
                "lost": lost,
                "at_worst": min(float(one.correct.mean()) for one in answers),
                "flip_rate": flip_rate,
                "ece": float(np.mean(known)) if len(known) == len(errors) else None,
            }
        )
    return pd.DataFrame(lines)
