"""Puts the clean scenario's rows and tables together."""

from __future__ import annotations

import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench_suites.accuracy.answers import read_answers
from crucibench_suites.accuracy.calibration import calibration_rows, temperature_rows
from crucibench_suites.accuracy.classification import class_rows, label_rows, score_rows
from crucibench_suites.accuracy.gap import gap_rows
from crucibench_suites.accuracy.halves import Halves
from crucibench_suites.accuracy.regression import regression_rows, regression_tables
from crucibench_suites.accuracy.sheet import Sheet
from crucibench_suites.accuracy.tables import class_tables, score_tables


def score_clean(evidence: Evidence, stream: str) -> Scored:
    """Scores the pass over the test role and, where it is there, the train role's."""
    if not len(evidence.needs["test"].samples):
        return Scored([])
    if evidence.task.kind == "regression":
        return _regression(evidence, stream)
    return _classification(evidence, stream)


def _classification(evidence: Evidence, stream: str) -> Scored:
    options = evidence.options
    answers = read_answers(evidence.needs["test"], evidence.task)
    sheet = Sheet(len(answers), options=options, stream=stream, clusters=answers.clusters)
    label_rows(sheet, answers)
    score_rows(sheet, answers)
    halves = Halves(options.seed, f"{stream}/temperature")
    calibration_rows(sheet, answers)
    temperature_rows(sheet, answers, options, halves)
    by_class = Sheet(len(answers), options=options, stream=stream, clusters=answers.clusters)
    class_rows(by_class, answers)
    per_class = by_class.rows()
    rows = [*sheet.rows(), *gap_rows(evidence, stream), *per_class]
    tables: dict[str, pd.DataFrame] = {
        **class_tables(answers, per_class),
        **score_tables(answers, options.level),
    }
    return Scored(rows, tables)


def _regression(evidence: Evidence, stream: str) -> Scored:
    rows = [*regression_rows(evidence, stream), *gap_rows(evidence, stream)]
    return Scored(rows, regression_tables(evidence))
