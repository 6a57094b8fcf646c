"""Numbers and tables of all corruptions together.

Mean corruption errors are those of Hendrycks and Dietterich (ICLR 2019), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from crucibench.contracts.corruption import SEVERITIES
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.scenario import Derived
from crucibench.contracts.statistic import Number, RowMetric, Share, Units
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.scoring import rows_of
from crucibench.stats import SumStatistic
from crucibench.tasks.classification.view import NO_PROBABILITIES, Bools, ClassView, Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers, shifted_answers
from crucibench_suites.shift.corruptions.images import COMMON, IMAGES
from crucibench_suites.shift.corruptions.tables import TABLES
from crucibench_suites.shift.corruptions.texts import TEXTS
from crucibench_suites.shift.kind_scoring import kind_summary_numbers, kind_summary_table
from crucibench_suites.shift.names import ALEXNET, OWN, REFERENCE
from crucibench_suites.shift.numbers import extreme_of, mean_of, number, without
from crucibench_suites.shift.scoring import read_values

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

    clean: ClassView | None
    shifted: dict[str, dict[str, ClassView]]
    no_clean: str = ""

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(next(self.everything()))

    def right(self, name: str) -> Bools:
        """Returns whether each sample is right at each severity, (severities, n)."""
        return np.stack([answers.correct for answers in self.shifted[name].values()])

    def everything(self) -> Iterator[ClassView]:
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


def summary_numbers(evidence: Evidence) -> list[Number]:
    """Returns means and worst cases over all corruptions of texts or tables."""
    names = _present(evidence)
    if not names or not len(evidence.own.samples):
        return []
    if evidence.task.one_number:
        found = _Errors(evidence, names)
        worst = found.names[int(found.means.mean(axis=1).argmax())]
        highest = extreme_of(found.means, highest=True)
        return [
            number(metrics.CORRUPTED_MAE, mean_of(found.average)),
            number(metrics.MAE_RISE, mean_of(found.average - found.clean)),
            number(metrics.WORST_CORRUPTION_MAE, highest, note=f"it is {worst}"),
            number(metrics.WORST_CASE_MAE, mean_of(found.worst)),
        ]
    if not evidence.task.one_class:
        return kind_summary_numbers(evidence, _cells(evidence))
    joined = join(evidence)
    if joined is None or joined.clean is None:
        return []
    same = Share(_unchanged(joined, joined.clean))
    return [*joined_numbers(joined), number(metrics.INVARIANCE, same)]


def summary_table(evidence: Evidence, scenario: Derived) -> dict[str, pd.DataFrame]:
    """Returns a line a corruption."""
    if evidence.task.one_number:
        found = _Errors(evidence, _present(evidence))
        return {"by-perturbation": _by_perturbation(evidence, found, scenario)}
    if not evidence.task.one_class:
        cells = _cells(evidence)
        table = "by-corruption-quality"
        return {table: kind_summary_table(evidence, cells, scenario)} if cells else {}
    joined = join(evidence)
    return {} if joined is None else {"by-corruption": by_corruption(evidence, joined, scenario)}


def image_summary_numbers(evidence: Evidence, scenario: Derived) -> list[Number]:
    """Returns means and worst cases over all corruptions, and mean corruption errors."""
    if not evidence.task.one_class:
        return summary_numbers(evidence)
    joined = join(evidence)
    if joined is None:
        return []
    return [*joined_numbers(joined), *corruption_errors(evidence, scenario, joined, join)]


def joined_numbers(joined: Joined) -> list[Number]:
    """Returns means over all corruptions, the worst of them, and each sample's worst."""
    means = joined.mean_right()
    average = means.mean(axis=0)
    numbers = [number(metrics.CORRUPTED_TOP_1, mean_of(average))]
    if joined.clean is None:
        numbers += [
            without(metric, joined.no_clean)
            for metric in (metrics.DROP, metrics.CORRUPTED_FLIP_RATE)
        ]
    else:
        numbers += [
            number(metrics.DROP, mean_of(joined.clean.correct - average)),
            number(metrics.CORRUPTED_FLIP_RATE, mean_of(_flips(joined, joined.clean))),
        ]
    error = _mean_ece(joined)
    worst = list(joined.shifted)[int(means.mean(axis=1).argmin())]
    lowest = extreme_of(means, highest=False)
    return [
        *numbers,
        without(metrics.CORRUPTED_ECE, NO_PROBABILITIES)
        if error is None
        else number(metrics.CORRUPTED_ECE, error),
        number(metrics.WORST_CORRUPTION, lowest, note=f"it is {worst}"),
        number(metrics.WORST_CASE, Share(_right_everywhere(joined))),
    ]


def corruption_errors(
    evidence: Evidence, scenario: Derived, joined: Joined, joiner: Joiner
) -> list[Number]:
    """Returns mean corruption errors; `joiner` joins the reference's cells likewise."""
    reference = _reference(evidence, scenario, joined, joiner)
    name = scenario.parameters["reference"]
    numbers = []
    for metric, relative in ((metrics.MCE, False), (metrics.RELATIVE_MCE, True)):
        if reference.errors is None:
            numbers.append(without(metric, reference.reason))
            continue
        if relative and joined.clean is None:
            numbers.append(without(metric, joined.no_clean))
            continue
        statistic = corruption_error_statistic(
            joined.errors(COMMON), reference.errors, relative=relative
        )
        if name == evidence.own.model.name and np.isfinite(statistic(np.ones((1, joined.size)))[0]):
            hundred = RowMetric(lambda weights: np.full(len(weights), 100.0))
            why = "it is the reference: 100 by definition"
            numbers.append(replace(number(metric, hundred), exact=why))
            continue
        numbers.append(
            number(
                metric, RowMetric(statistic), note=f"relative to {name}",
                undefined=f"{name} loses nothing under some corruption",
            )
        )  # fmt: skip
    return numbers


def _aligned(cell: CellEvidence, evidence: Evidence) -> dict[str, ClassView]:
    """Reads a corruption's cell, whose samples are those of the summary."""
    if not np.array_equal(cell.samples.ids, evidence.own.samples.ids):
        raise ValueError(f"{cell.cell}: expected the samples of the summary, got others")
    return shifted_answers(cell, evidence.task)


def _flips(joined: Joined, clean: ClassView) -> Floats:
    """Returns the share of variants under which each sample's class changes, (n,)."""
    by_corruption = [
        np.mean([clean.predictions != one.predictions for one in points.values()], axis=0)
        for points in joined.shifted.values()
    ]
    return np.asarray(np.mean(by_corruption, axis=0))


def _right_everywhere(joined: Joined) -> Bools:
    return np.asarray(np.all([answers.correct for answers in joined.everything()], axis=0))


def _mean_ece(joined: Joined) -> RowMetric | None:
    answers = list(joined.everything())
    if not all(one.probabilistic for one in answers):
        return None
    parts = [calibration_error_statistic(one.known_confidence, one.correct) for one in answers]
    return RowMetric(
        lambda weights: np.asarray(np.mean([part(weights) for part in parts], axis=0)), bias="up"
    )


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
    units = Units(evidence.own.samples, "by-corruption")
    numbers = [
        number(metrics.MEAN_TOP_1, mean_of(joined.right(name).mean(axis=0)), name, units=units)
        for name in joined.shifted
    ]
    rows = rows_of(numbers, scenario, evidence)
    lines = []
    clean = joined.clean
    for (name, points), row in zip(joined.shifted.items(), rows, strict=True):
        answers = list(points.values())
        errors = [
            calibration_error_statistic(one.known_confidence, one.correct).value().value
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


def _cells(evidence: Evidence) -> dict[str, CellEvidence]:
    return {name: evidence.needs[OWN + name] for name in _present(evidence)}


def _families(scenario: Derived) -> dict[str, str]:
    """Returns the family of each corruption; of published files the suite's own names tell."""
    own = {name: one.family for name, one in IMAGES.items()}
    given = scenario.parameters["corruptions"]
    return {**own, **given} if isinstance(given, Mapping) else own


def _unchanged(joined: Joined, clean: ClassView) -> Bools:
    predicted = clean.predictions
    return np.asarray(np.all([predicted == one.predictions for one in joined.everything()], axis=0))


def _by_perturbation(evidence: Evidence, found: _Errors, scenario: Derived) -> pd.DataFrame:
    """Returns a line a perturbation: means over severities."""
    units = Units(evidence.own.samples, "by-perturbation")
    numbers = [
        number(metrics.MEAN_MAE, mean_of(means), name, units=units)
        for name, means in zip(found.names, found.means, strict=True)
    ]
    rows = rows_of(numbers, scenario, evidence)
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
            for name, row in zip(found.names, rows, strict=True)
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
