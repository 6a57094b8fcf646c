"""Rows, tables and comparables of all corruptions together.

Mean corruption errors are those of Hendrycks and Dietterich (ICLR 2019), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.corruption import SEVERITIES
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
from crucibench_suites.shift.corruptions.images import COMMON, IMAGES
from crucibench_suites.shift.corruptions.tables import TABLES
from crucibench_suites.shift.corruptions.texts import TEXTS
from crucibench_suites.shift.names import ALEXNET, OWN, REFERENCE
from crucibench_suites.shift.scoring import mean_form, number, read_values
from crucibench_suites.shift.sheet import Sheet

_ORDER = (*IMAGES, *TEXTS, *TABLES)

ALEXNET_ERRORS: Mapping[str, float] = dict(
    zip(
        COMMON,
        (
            0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
            0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
"""AlexNet's top-1 errors on ImageNet-C, means over severities 1 to 5, as its authors published."""

ALEXNET_CLEAN_ERROR = 0.435
"""AlexNet's top-1 error on ImageNet's validation set, in their table 1."""

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


def by_catalogue(name: str) -> tuple[int, str]:
    """Returns what sorts corruptions: the suite's own in their order, then others by name."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def join(evidence: Evidence, prefix: str = OWN) -> Joined | None:
    """Joins the cells whose aliases begin with `prefix`; None where there is nothing to join."""
    ids = evidence.own.samples.ids
    pass_cell = evidence.needs.get("clean" if prefix == OWN else prefix + "clean")
    # Needs come in any order; sums of floats must not.
    cells = {name: evidence.needs[prefix + name] for name in _present(evidence, prefix)}
    if pass_cell is None or not cells or not len(ids):
        return None
    shifted = {name: _aligned(cell, evidence) for name, cell in cells.items()}
    return Joined(clean_answers(pass_cell, ids, evidence.task), shifted)


def score_image_summary(evidence: Evidence, scenario: Derived) -> Scored:
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
    return Scored(sheet.rows(), {"by-corruption": by_corruption(evidence, joined, scenario)})


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


def comparables_of_image_summary(evidence: Evidence, scenario: Derived) -> list[Comparable]:
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


def by_corruption(evidence: Evidence, joined: Joined, scenario: Derived) -> pd.DataFrame:
    """Returns a line a corruption: means over severities."""
    families = _families(scenario)
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


def score_summary(evidence: Evidence, scenario: Derived) -> Scored:
    """Scores all perturbations together."""
    names = _present(evidence)
    if not names or not len(evidence.own.samples):
        return Scored([])
    sheet = _sheet(evidence, scenario.stream)
    if evidence.task.kind == "regression":
        found = _Errors(evidence, names)
        _put_errors(sheet, found)
        return Scored(
            sheet.rows(), {"by-perturbation": _by_perturbation(evidence, found, scenario)}
        )
    joined = join(evidence)
    if joined is None or joined.clean is None:
        return Scored([])
    put_joined(sheet, joined)
    sheet.share(metrics.INVARIANCE, _unchanged(joined, joined.clean))
    return Scored(sheet.rows(), {"by-corruption": by_corruption(evidence, joined, scenario)})


def comparables_of_summary(evidence: Evidence, scenario: Derived) -> list[Comparable]:
    """Returns the numbers over all perturbations as statistics of samples."""
    names = _present(evidence)
    if not names or not len(evidence.own.samples):
        return []
    if evidence.task.kind == "regression":
        found = _Errors(evidence, names)
        return [
            number(metrics.CORRUPTED_MAE, "", mean_form(found.average)),
            number(metrics.MAE_RISE, "", mean_form(found.average - found.clean)),
            number(metrics.WORST_CORRUPTION_MAE, "", RowMetric(_highest(found.means))),
            number(metrics.WORST_CASE_MAE, "", mean_form(found.worst)),
        ]
    joined = join(evidence)
    if joined is None or joined.clean is None:
        return []
    forms = {**forms_of_joined(joined), metrics.INVARIANCE: Share(_unchanged(joined, joined.clean))}
    return [number(metric, "", form) for metric, form in forms.items()]


class _Errors:
    """Absolute errors under every perturbation, on the same samples.

    Attributes:
        names: of the perturbations.
        clean: of the clean samples, shape (n,).
        means: over severities, (perturbations, n).
        average: over perturbations, too, (n,).
        worst: the largest of each sample, (n,).
    """

    def __init__(self, evidence: Evidence, names: list[str]) -> None:
        values = [read_values(evidence, OWN + name) for name in names]
        self.names = names
        self.clean = values[0].clean_errors
        errors = [one.all_errors() for one in values]
        self.means = np.stack([one.mean(axis=0) for one in errors])
        self.average = self.means.mean(axis=0)
        self.worst = np.concatenate(errors).max(axis=0)


def _present(evidence: Evidence, prefix: str = OWN) -> list[str]:
    """Returns the corruptions whose cells there are, in a fixed order."""
    names = {alias.removeprefix(prefix) for alias in evidence.needs if alias.startswith(prefix)}
    return sorted(names - {"clean"}, key=by_catalogue)


def _families(scenario: Derived) -> dict[str, str]:
    """Returns the family of each corruption; of published files the suite's own names tell."""
    own = {name: one.family for name, one in IMAGES.items()}
    given = scenario.parameters["corruptions"]
    return {**own, **given} if isinstance(given, Mapping) else own


def _sheet(evidence: Evidence, stream: str) -> Sheet:
    samples = evidence.own.samples
    return Sheet(
        len(samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(samples.clusters),
    )  # fmt: skip


def _unchanged(joined: Joined, clean: Answers) -> Bools:
    said = clean.predictions
    return np.asarray(np.all([said == one.predictions for one in joined.everything()], axis=0))


def _put_errors(sheet: Sheet, found: _Errors) -> None:
    sheet.mean(metrics.CORRUPTED_MAE, found.average)
    sheet.mean(metrics.MAE_RISE, found.average - found.clean)
    worst = found.names[int(found.means.mean(axis=1).argmax())]
    sheet.resampled(metrics.WORST_CORRUPTION_MAE, _highest(found.means), note=f"it is {worst}")
    sheet.mean(metrics.WORST_CASE_MAE, found.worst)


def _highest(means: Floats) -> SumStatistic:
    """Returns the highest of several means over samples, (perturbations, n), as a statistic."""
    columns = np.concatenate([np.ones((1, means.shape[1])), means])
    return SumStatistic(columns, lambda sums: (sums[:, 1:] / sums[:, :1]).max(axis=1))


def _by_perturbation(evidence: Evidence, found: _Errors, scenario: Derived) -> pd.DataFrame:
    """Returns a line a perturbation: means over severities."""
    sheet = _sheet(evidence, "by-perturbation")
    for means in found.means:
        sheet.mean(metrics.MEAN_MAE, means)
    clean = float(found.clean.mean())
    return pd.DataFrame(
        [
            {
                "perturbation": name,
                "family": _families(scenario)[name],
                "mae": row.value,
                "lower": row.lower,
                "upper": row.upper,
                "rise": None if row.value is None else row.value - clean,
            }
            for name, row in zip(found.names, sheet.rows(), strict=True)
        ]
    )


def corruption_error_statistic(
    errors: Floats, reference: Floats, *, relative: bool
) -> SumStatistic:
    """Returns a mean corruption error as a function of the weights of samples.

    Args:
        errors: (1 + C, n): whether each sample is wrong clean, then the share of severities at
            which it is wrong under each corruption.
        reference: the same of the reference on the same samples, or (1 + C,) published errors.
        relative: whether errors count less those on clean samples.

    Returns:
        The statistic, in per cent; nan where the reference loses nothing under a corruption.
    """
    count, n = errors.shape
    sampled = reference.ndim == 2
    columns = [np.ones((1, n)), errors] + ([reference] if sampled else [])

    def finish(sums: Floats) -> Floats:
        mine = sums[:, 1 : 1 + count] / sums[:, :1]
        theirs = sums[:, 1 + count :] / sums[:, :1] if sampled else reference[None, :]
        mine_lost, theirs_lost = mine[:, 1:], theirs[:, 1:]
        if relative:
            mine_lost, theirs_lost = mine_lost - mine[:, :1], theirs_lost - theirs[:, :1]
        ratios = mine_lost / np.where(theirs_lost > 0, theirs_lost, np.nan)
        return np.asarray(100.0 * ratios.mean(axis=1))

    return SumStatistic(np.concatenate(columns), finish)
