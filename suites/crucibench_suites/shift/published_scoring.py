"""Rows, tables and comparables of published corrupted files."""

from __future__ import annotations

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers, cluster_codes
from crucibench_suites.shift.joining import comparables_of_joined, score_joined
from crucibench_suites.shift.place_scoring import put_drop
from crucibench_suites.shift.points import of_corruption
from crucibench_suites.shift.scoring import put_answers
from crucibench_suites.shift.sheet import Sheet
from crucibench_suites.shift.sides import HERE, HOME
from crucibench_suites.shift.twins import (
    NO_TWINS,
    OTHER_ORIGINALS,
    join_published,
    twin_answers,
)
from crucibench_suites.shift.two_places import TwoPlaces


def score_level(evidence: Evidence, stream: str) -> Scored:
    """Scores a pass over files of one corruption and severity."""
    home_cell, here_cell = evidence.needs[HOME], evidence.needs[HERE]
    if not len(home_cell.samples) or not len(here_cell.samples):
        return Scored([])
    here = clean_answers(here_cell, here_cell.samples.ids, evidence.task)
    own = Sheet(
        len(here), options=evidence.options, stream=stream,
        clusters=cluster_codes(here_cell.samples.clusters),
    )  # fmt: skip
    twins = twin_answers(home_cell, here_cell.samples, evidence)
    put_answers(own, twins, here, "", no_clean=NO_TWINS)
    both = TwoPlaces(
        home_cell.samples, here_cell.samples, options=evidence.options, stream=f"{stream}/both"
    )
    put_drop(both, clean_answers(home_cell, home_cell.samples.ids, evidence.task), here)
    return Scored([*own.rows(), *both.rows()])


def score_all(evidence: Evidence, scenario: Derived) -> Scored:
    """Scores all corruptions and severities together."""
    if not len(evidence.own.samples):
        return Scored([])
    joined = join_published(evidence)
    if joined is None:
        return Scored(_without(evidence, scenario))
    scored = score_joined(evidence, scenario, joined, join_published)
    sheet = Sheet(
        joined.size, options=evidence.options, stream=f"{scenario.stream}/means",
        clusters=cluster_codes(evidence.own.samples.clusters),
    )  # fmt: skip
    for name in joined.shifted:
        sheet.mean(metrics.MEAN_TOP_1, joined.right(name).mean(axis=0), of_corruption(name))
    return Scored([*scored.rows, *sheet.rows()], scored.tables)


def comparables_of_all(evidence: Evidence, scenario: Derived) -> list[Comparable]:
    """Returns the numbers as statistics of the originals."""
    joined = join_published(evidence)
    if joined is None:
        return []
    return comparables_of_joined(evidence, scenario, joined, join_published)


def _without(evidence: Evidence, scenario: Derived) -> list[Row]:
    n = len(evidence.own.samples)
    rows = [
        Row(metric=metric.id, value=None, n=n, reason=OTHER_ORIGINALS)
        for metric in metrics.OF_SUMMARY
    ]
    return rows + [
        Row(
            metric=metrics.MEAN_TOP_1.id, value=None, n=n, point=of_corruption(name),
            reason=OTHER_ORIGINALS,
        )
        for name in scenario.parameters["corruptions"]
    ]  # fmt: skip
