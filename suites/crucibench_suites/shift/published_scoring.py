"""Numbers and tables of published corrupted files.

Published images and their originals are paired by the names that the data give, never by place.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.scenario import Derived
from crucibench.contracts.statistic import Number, Units
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.joining import (
    Joined,
    by_catalogue,
    by_corruption,
    corruption_errors,
    joined_numbers,
)
from crucibench_suites.shift.names import HERE, HOME, OWN, of_corruption
from crucibench_suites.shift.numbers import (
    accuracy_lost_from,
    both_sets,
    mean_of,
    number,
    without,
)
from crucibench_suites.shift.scoring import answer_numbers

_NO_ORIGINALS = (
    "the home test set does not hold the originals under the names of the published files (their "
    "paths or rows) with the same classes"
)
_OTHER_ORIGINALS = (
    "the published files do not hold the same originals by name (path or row); under a limit each "
    "keeps others"
)


def level_numbers(evidence: Evidence) -> list[Number]:
    """Returns the numbers of a pass over files of one corruption and severity."""
    home, here = evidence.needs[HOME], evidence.needs[HERE]
    if not len(home.samples) or not len(here.samples):
        return []
    answers = clean_answers(here, here.samples.ids, evidence.task)
    originals = original_answers(home, here.samples, evidence)
    return answer_numbers(originals, answers, "", no_clean=_NO_ORIGINALS)


def lost_from_home(evidence: Evidence) -> list[Number]:
    """Returns what accuracy has lost from the home test set, samples being others there."""
    cells = [evidence.needs[side] for side in (HOME, HERE)]
    if not all(len(cell.samples) for cell in cells):
        return []
    answers = [clean_answers(cell, cell.samples.ids, evidence.task) for cell in cells]
    units = both_sets(*(cell.samples for cell in cells))
    return [number(metrics.HOME_DROP, accuracy_lost_from(*answers), units=units)]


def published_numbers(evidence: Evidence, scenario: Derived) -> list[Number]:
    """Returns the numbers over all corruptions, and the mean of each."""
    if not len(evidence.own.samples):
        return []
    joined = join_published(evidence)
    if joined is None:
        return [
            *(without(metric, _OTHER_ORIGINALS) for metric in metrics.OF_JOINED),
            *(
                without(metrics.MEAN_TOP_1, _OTHER_ORIGINALS, of_corruption(name))
                for name in scenario.parameters["corruptions"]
            ),
        ]
    units = Units(evidence.own.samples, "means")
    means = {name: joined.right(name).mean(axis=0) for name in joined.shifted}
    return [
        *joined_numbers(joined),
        *corruption_errors(evidence, scenario, joined, join_published),
        *(
            number(metrics.MEAN_TOP_1, mean_of(mean), of_corruption(name), units=units)
            for name, mean in means.items()
        ),
    ]


def published_table(evidence: Evidence, scenario: Derived) -> dict[str, pd.DataFrame]:
    """Returns a line a corruption."""
    joined = join_published(evidence)
    return {} if joined is None else {"by-corruption": by_corruption(evidence, joined, scenario)}


def original_answers(home: CellEvidence, here: Samples, evidence: Evidence) -> ClassView | None:
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
    shifted: dict[str, dict[str, ClassView]] = {}
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
