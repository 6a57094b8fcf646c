"""Published images and their originals: paired by the names that the data give, never by place."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench_suites.shift.answers import Answers, clean_answers
from crucibench_suites.shift.cells import OWN
from crucibench_suites.shift.corruptions.catalogue import COMMON
from crucibench_suites.shift.joining import Joined

NO_TWINS = (
    "the home test set does not hold the originals under the names of the published files (their "
    "paths or rows) with the same classes"
)
OTHER_ORIGINALS = (
    "the published files do not hold the same originals by name (path or row); under a limit each "
    "keeps others"
)


def twin_answers(home: CellEvidence, here: Samples, evidence: Evidence) -> Answers | None:
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
    for name in sorted(cells, key=_order):
        corruption, _, severity = name.rpartition("/")
        cell = cells[name]
        rows = _rows(cell.samples, base)
        if rows is None or len(cell.samples) != len(base):
            return None
        answers = clean_answers(cell, cell.samples.ids[rows], evidence.task)
        shifted.setdefault(corruption, {})[severity] = answers
    return Joined(twin_answers(clean, base, evidence), shifted, NO_TWINS)


def _order(name: str) -> tuple[int, str]:
    corruption = name.rpartition("/")[0]
    return (COMMON.index(corruption) if corruption in COMMON else len(COMMON), name)


def _rows(there: Samples, here: Samples) -> NDArray[np.intp] | None:
    """Returns the row there of each sample here, by name; None unless each has one of its class."""
    if there.keys is None or here.keys is None:
        return None
    rows = pd.Index(there.keys).get_indexer(pd.Index(here.keys))
    if (rows < 0).any() or not np.array_equal(there.targets[rows], here.targets):
        return None
    return np.asarray(rows)
