"""Numbers, tables and outcomes of one corruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import Number, Share, Units
from crucibench.metrics.scoring import rows_of
from crucibench.tasks.classification.view import NO_PROBABILITIES, Bools, ClassView, Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers, shifted_answers
from crucibench_suites.shift.kind_scoring import kind_curve, kind_numbers, kind_outcomes
from crucibench_suites.shift.names import severity_of
from crucibench_suites.shift.numbers import calibration, lost, mean_of, number, without


def image_numbers(evidence: Evidence) -> list[Number]:
    """Returns the mean over severities, and the numbers of each, against the clean pass."""
    if not evidence.task.one_class:
        return kind_numbers(evidence)
    found = shifted_answers(evidence.own, evidence.task)
    clean = _clean(evidence)
    right = np.stack([answers.correct for answers in found.values()])
    numbers = [number(metrics.MEAN_TOP_1, mean_of(right.mean(axis=0)))]
    for point, answers in found.items():
        numbers += answer_numbers(clean, answers, point)
    return numbers


def answer_numbers(
    clean: ClassView | None, shifted: ClassView, point: str, no_clean: str = ""
) -> list[Number]:
    """Returns the numbers of one point; `no_clean` says why there are no clean answers."""
    numbers = [number(metrics.TOP_1, Share(shifted.correct), point)]
    if clean is None:
        numbers += [
            without(metric, no_clean, point) for metric in (metrics.DROP, metrics.FLIP_RATE)
        ]
    else:
        flipped = Share(clean.predictions != shifted.predictions)
        numbers += [
            number(metrics.DROP, lost(clean.correct, shifted.correct), point),
            number(metrics.FLIP_RATE, flipped, point),
        ]
    return numbers + probability_numbers(shifted, point)


def probability_numbers(answers: ClassView, point: str = "") -> list[Number]:
    """Returns the numbers that need a probability for every sample; else why there are none."""
    if not answers.probabilistic:
        return [
            without(metric, NO_PROBABILITIES, point)
            for metric in (metrics.LOG_LOSS, metrics.ECE, metrics.CONFIDENCE)
        ]
    return [
        number(metrics.LOG_LOSS, mean_of(answers.known_loss), point),
        number(metrics.ECE, calibration(answers), point),
        number(metrics.CONFIDENCE, mean_of(answers.known_confidence), point),
    ]


def corrupted_numbers(evidence: Evidence) -> list[Number]:
    """Returns `image_numbers` with worst cases, or of regression the errors."""
    if evidence.task.one_number:
        return _error_numbers(read_values(evidence))
    if not evidence.task.one_class:
        return image_numbers(evidence)
    found, clean = shifted_answers(evidence.own, evidence.task), _clean(evidence)
    return [
        *image_numbers(evidence),
        number(metrics.WORST_CASE, Share(right_everywhere(found))),
        number(metrics.INVARIANCE, Share(unchanged(clean, found))),
    ]


def grid_numbers(evidence: Evidence) -> list[Number]:
    """Returns the worst case of each sample, and each point."""
    found, clean = shifted_answers(evidence.own, evidence.task), _clean(evidence)
    worst = right_everywhere(found)
    numbers = [
        number(metrics.WORST_CASE, Share(worst)),
        number(metrics.DROP, lost(clean.correct, worst)),
    ]
    for point, answers in found.items():
        flipped = Share(clean.predictions != answers.predictions)
        numbers += [
            number(metrics.TOP_1, Share(answers.correct), point),
            number(metrics.FLIP_RATE, flipped, point),
        ]
    return numbers


def perturbed_shares(evidence: Evidence, scenario: Scenario) -> Scored:
    """Scores how many samples differ: it is the same for every model."""
    ids = evidence.own.samples.ids
    touched = {
        point: evidence.own.records.at(point).aligned(ids).array("touched").astype(np.bool_)
        for point in evidence.own.records.points
    }
    numbers = [number(metrics.PERTURBED, Share(hits), point) for point, hits in touched.items()]
    return Scored(rows_of(numbers, scenario, evidence))


def curve(evidence: Evidence, scenario: Scenario, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
    """Returns a line a severity, 0 being the clean samples."""
    clean = Units(evidence.own.samples, "clean")
    if evidence.task.one_number:
        errors = read_values(evidence).clean_errors
        first = rows_of([number(metrics.MAE, mean_of(errors), units=clean)], scenario, evidence)
        lines = [(0, first[0])]
        lines += [(severity_of(row.point), row) for row in rows if row.metric == metrics.MAE.id]
        return {
            "error-curve": pd.DataFrame(
                [
                    {"severity": severity, "mae": row.value, "lower": row.lower, "upper": row.upper}
                    for severity, row in lines
                ]
            )
        }
    if not evidence.task.one_class:
        return {"quality-curve": kind_curve(evidence, scenario, rows)}
    right = Share(_clean(evidence).correct)
    first = rows_of([number(metrics.TOP_1, right, units=clean)], scenario, evidence)
    values = {(row.metric, row.point): row for row in rows}
    table = [_line(0, {metrics.TOP_1.id: first[0]}, 0.0)]
    for point in evidence.own.records.points:
        found = {metric: row for (metric, at), row in values.items() if at == point}
        distance = evidence.own.records.at(point).array("distance")
        table.append(_line(severity_of(point), found, float(distance.mean(dtype=np.float64))))
    return {"curve": pd.DataFrame(table)}


def _line(severity: int, rows: Mapping[str, Row], distance: float) -> dict[str, float | None]:
    accuracy = rows[metrics.TOP_1.id]

    def value(metric: str) -> float | None:
        return rows[metric].value if metric in rows else None

    return {
        "severity": severity,
        "accuracy": accuracy.value,
        "lower": accuracy.lower,
        "upper": accuracy.upper,
        "flip_rate": 0.0 if severity == 0 else value(metrics.FLIP_RATE.id),
        "ece": value(metrics.ECE.id),
        "confidence": value(metrics.CONFIDENCE.id),
        "distance": distance,
    }


def right_everywhere(found: Mapping[str, ClassView]) -> Bools:
    """Returns whether each sample is right at every point."""
    return np.asarray(np.all([answers.correct for answers in found.values()], axis=0))


def unchanged(clean: ClassView, found: Mapping[str, ClassView]) -> Bools:
    """Returns whether each sample's class is the clean one at every point."""
    same = [clean.predictions == answers.predictions for answers in found.values()]
    return np.asarray(np.all(same, axis=0))


@dataclass(frozen=True)
class Values:
    """What a model answered, rows as the cell's samples.

    Attributes:
        targets: shape (n,).
        clean: predictions of the clean samples, (n,).
        shifted: point to predictions, (n,).
    """

    targets: Floats
    clean: Floats
    shifted: dict[str, Floats]

    def errors(self, point: str) -> Floats:
        """Returns absolute errors at a point, (n,)."""
        return np.asarray(np.abs(self.shifted[point] - self.targets))

    @property
    def clean_errors(self) -> Floats:
        """Absolute errors of the clean samples, (n,)."""
        return np.asarray(np.abs(self.clean - self.targets))

    def all_errors(self) -> Floats:
        """Returns absolute errors at every point, (points, n)."""
        return np.stack([self.errors(point) for point in self.shifted])


def read_values(evidence: Evidence, alias: str | None = None) -> Values:
    """Reads the predictions of a cell, by default the evidence's own, and those of the pass."""
    cell = evidence.own if alias is None else evidence.needs[alias]
    clean = evidence.needs["clean"]
    rows = pd.Index(clean.records.ids).get_indexer(pd.Index(cell.samples.ids))
    if (rows < 0).any():
        raise ValueError(f"{clean.cell}: {int((rows < 0).sum())} samples have no record")
    return Values(
        cell.samples.targets.astype(np.float64),
        clean.records.array("prediction").astype(np.float64)[rows],
        {point: _predictions(cell, point) for point in cell.records.points},
    )


def _error_numbers(values: Values) -> list[Number]:
    """Returns the errors of one corruption."""
    errors = values.all_errors()
    numbers = [number(metrics.MEAN_MAE, mean_of(errors.mean(axis=0)))]
    for point, wrong in zip(values.shifted, errors, strict=True):
        moved = np.abs(values.shifted[point] - values.clean)
        numbers += [
            number(metrics.MAE, mean_of(wrong), point),
            number(metrics.MAE_RISE, mean_of(wrong - values.clean_errors), point),
            number(metrics.CHANGE, mean_of(moved), point),
        ]
    return [*numbers, number(metrics.WORST_CASE_MAE, mean_of(errors.max(axis=0)))]


def outcomes_of_corrupted(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, whatever the task."""
    if evidence.task.one_class:
        return _outcomes_of_classes(evidence)
    if not evidence.task.one_number:
        return kind_outcomes(evidence)
    records = evidence.own.records
    predicted = records.array("prediction").astype(np.float64)
    return OutcomeView(
        records.ids, records.array("point"), predicted, predicted, np.full(len(records), np.nan)
    )


def _predictions(cell: CellEvidence, point: str) -> Floats:
    records = cell.records.at(point).aligned(cell.samples.ids)
    return records.array("prediction").astype(np.float64)


def _outcomes_of_classes(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, points in order, samples in canonical order."""
    found = shifted_answers(evidence.own, evidence.task)
    ids = evidence.own.samples.ids
    answers = list(found.values())
    if not answers:
        empty = np.zeros(0)
        none = np.zeros(0, dtype=object)
        return OutcomeView(none, none.copy(), empty.astype(np.int64), empty, empty.copy())
    return OutcomeView(
        ids=np.tile(ids, len(found)),
        point=np.repeat(np.array(list(found), dtype=object), len(ids)),
        prediction=np.concatenate([entry.predictions for entry in answers]),
        score=np.concatenate([entry.score for entry in answers]),
        correct=np.concatenate([entry.correct for entry in answers]).astype(np.float64),
    )


def _clean(evidence: Evidence) -> ClassView:
    return clean_answers(evidence.needs["clean"], evidence.own.samples.ids, evidence.task)
