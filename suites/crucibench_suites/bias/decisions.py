"""What was answered, as measures of samples: hits among some of them, or a number each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence
from crucibench.metrics.group_counts import RATES
from crucibench.tasks.classification.view import ClassView
from crucibench.tasks.regression.kind import read_values

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Measure:
    """A proportion, sample by sample.

    Attributes:
        id: the metric.
        hits: (n,) successes; never outside of `among`.
        among: (n,) the denominator; None for all samples.
        undefined: why there is no proportion of no samples.
    """

    id: str
    hits: Bools
    among: Bools | None = None
    undefined: str = "no samples"


@dataclass(frozen=True)
class Number:
    """A number of each sample whose mean is taken.

    Attributes:
        id: the metric.
        values: (n,).
    """

    id: str
    values: Floats


def right(answers: ClassView) -> Measure:
    """Returns accuracy."""
    return Measure("top-1", answers.correct)


def binary_measures(answers: ClassView) -> tuple[Measure, ...]:
    """Returns every rate of two-class decisions; none for more classes."""
    if answers.positive is None:
        return ()
    truth = answers.targets == answers.positive
    said = answers.predictions == answers.positive
    cells = 2 * truth.astype(np.int64) + said
    found = []
    for rate in RATES.values():
        hits, among = np.array(rate.hits, dtype=bool), np.array(rate.among, dtype=bool)
        mask = None if among.all() else among[cells]
        found.append(Measure(rate.id, hits[cells], mask, rate.undefined))
    return tuple(found)


def of_class(answers: ClassView, index: int) -> dict[str, Measure]:
    """Returns the rates of a class against the rest: selection, TPR, FPR and PPV."""
    truth, said = answers.targets == index, answers.predictions == index
    name = answers.classes[index]
    return {
        "selection-rate": Measure("selection-rate", np.asarray(said)),
        "tpr": Measure("tpr", np.asarray(truth & said), np.asarray(truth), f"no sample of {name}"),
        "fpr": Measure(
            "fpr", np.asarray(~truth & said), np.asarray(~truth), f"samples of {name} alone"
        ),
        "ppv": Measure("ppv", np.asarray(truth & said), np.asarray(said), f"no answer {name}"),
    }


def errors(cell: CellEvidence) -> tuple[Number, ...]:
    """Returns the absolute error, the signed error and the prediction of each sample."""
    return errors_of(read_values(cell.records, cell.samples.ids), cell.samples.targets)


def errors_of(values: Floats, targets: NDArray[Any]) -> tuple[Number, ...]:
    """Returns the same of predictions, shape (n,)."""
    off = values - targets
    return (
        Number("mae", np.abs(off)), Number("mean-error", off), Number("mean-prediction", values)
    )  # fmt: skip
