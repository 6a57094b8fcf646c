"""Rows, tables and comparables of published corrupted files.

Published images and their originals are paired by the names that the data give, never by place.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import Answers, clean_answers, cluster_codes
from crucibench_suites.shift.joining import (
    Joined,
    by_catalogue,
    comparables_of_joined,
    score_joined,
)
from crucibench_suites.shift.names import HERE, HOME, OWN, of_corruption
from crucibench_suites.shift.place_scoring import put_drop
from crucibench_suites.shift.scoring import put_answers
from crucibench_suites.shift.sheet import Sheet
from crucibench_suites.shift.two_places import TwoPlaces

_NO_ORIGINALS = (
    "the home test set does not hold the originals under the names of the published files (their "
    "paths or rows) with the same classes"
)
_OTHER_ORIGINALS = (
    "the published files do not hold the same originals by name (path or row); under a limit each "
    "keeps others"
)


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
    originals = original_answers(home_cell, here_cell.samples, evidence)
    put_answers(own, originals, here, "", no_clean=_NO_ORIGINALS)
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
        Row(metric=metric.id, value=None, n=n, reason=_OTHER_ORIGINALS)
        for metric in metrics.OF_IMAGE_SUMMARY
    ]
    return rows + [
        Row(
            metric=metrics.MEAN_TOP_1.id, value=None, n=n, point=of_corruption(name),
            reason=_OTHER_ORIGINALS,
        )
        for name in scenario.parameters["corruptions"]
    ]  # fmt: skip


def original_answers(home: CellEvidence, here: Samples, evidence: Evidence) -> Answers | None:
    """Returns what was answered at home to the sample that each one here is named after.

    None unless every one has a namesake there of its class.
    """
    rows = _rows(home.samples, here)
    if rows is None:
        return None
    return clean_answers(home, home.samples.ids[rows], evidence.task)


def join_published(evidence: Evidence, prefix: str = OWN) -> Joined | None:
    """Joins the passes whose aliases begin with `prefix`, rows as the cell's own samples.

    None where one is missing, or where they do not hold the same originals.
    """
    base = evidence.own.samples
    cells: dict[str, CellEvidence] = {
        alias.removeprefix(prefix): cell
        for alias, cell in evidence.needs.items()
        if alias.startswith(prefix) and alias != prefix + "clean"
    }
    clean = evidence.needs.get("clean" if prefix == OWN else prefix + "clean")
    if clean is None or not cells or not len(base):
        return None
    shifted: dict[str, dict[str, Answers]] = {}
    for name in sorted(cells, key=_order_of):
        corruption, _, severity = name.rpartition("/")
        cell = cells[name]
        rows = _rows(cell.samples, base)
        if rows is None or len(cell.samples) != len(base):
            return None
        answers = clean_answers(cell, cell.samples.ids[rows], evidence.task)
        shifted.setdefault(corruption, {})[severity] = answers
    return Joined(original_answers(clean, base, evidence), shifted, _NO_ORIGINALS)


def _order_of(name: str) -> tuple[int, str]:
    return by_catalogue(name.rpartition("/")[0])[0], name


def _rows(there: Samples, here: Samples) -> NDArray[np.intp] | None:
    """Returns the row there of each sample here, by name; None unless each has one of its class."""
    if there.keys is None or here.keys is None:
        return None
    rows = pd.Index(there.keys).get_indexer(pd.Index(here.keys))
    if (rows < 0).any() or not np.array_equal(there.targets[rows], here.targets):
        return None
    return np.asarray(rows)
