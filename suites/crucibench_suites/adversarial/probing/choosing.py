"""Which samples are probed, what that costs, and the name of the stage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Selection
from crucibench_suites.adversarial.threat import ThreatModel

PROBE = "probe"
"""The stage's name, and what its records have as ``attack``."""

MOST_SAMPLES = 100
SHARE = 0.25
"""Of the forwards and backwards that the attacks needed."""

AROUND = 64
"""Answers, two for each direction, of which differences make a gradient."""

_SHALLOW = 20
"""Places that are kept for samples that withstand nothing: the model answers these, too."""


def choose(
    threat: ThreatModel,
    right: NDArray[np.bool_],
    level: NDArray[np.int64],
    earlier: Iterable[Records],
) -> Selection:
    """Returns which samples are probed.

    Args:
        threat: of the attacks.
        right: whether each sample is right as it is, shape (n,).
        level: how many radii of the grid each withstands, as far as is known.
        earlier: the records of the attacks.
    """
    budget = int(SHARE * passes(earlier)) if threat.eps[-1] > 0 else 0
    none = sum(1 for eps in threat.eps if eps == 0)
    withstand, fall = right & (level > none), right & (level <= none)
    plain, deep = plain_cost(), plain_cost() + deep_cost(threat)
    room = MOST_SAMPLES - min(_SHALLOW, int(fall.sum()))
    some = spread(withstand, min(room, budget // deep))
    others = spread(right & ~some, min(MOST_SAMPLES, (budget - deep * int(some.sum())) // plain))
    others = spread(others, MOST_SAMPLES - int(some.sum()))
    return Selection(some | others, {"level": level, "deep": some})


def passes(earlier: Iterable[Records]) -> int:
    """Returns the forwards and backwards that stages needed."""
    return sum(
        int(records.array(name).sum())
        for records in earlier
        if len(records)
        for name in ("forwards", "backwards")
    )


def settling_cost(eot: int) -> int:
    """Returns the passes of each sample that asking whether it is settled makes."""
    return 3 * eot + AROUND + 1


def spread(of: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Returns at most so many of the samples in `of`, evenly spread over them."""
    rows = np.flatnonzero(of)
    chosen = np.zeros(len(of), dtype=np.bool_)
    if most > 0 and len(rows):
        at = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)
        chosen[rows[at]] = True
    return chosen


NOISE_DRAWS = 16
"""Random points of the ball that a sample withstands."""

NEAR_DRAWS = 4
"""Random points of the ball that a sample falls in."""

SCALES = (5e-4, 4e-3, 1.6e-2)
"""Steps of finite differences, each pixel's: below half a grey level of 8 bits, one, and four."""

LATE_DRAWS = 6
"""Random directions in which the loss is held against its gradient where an attack ended."""

PLANTED_STEPS = 10
UNBOUNDED_STEPS = 20


def plain_cost() -> int:
    """Returns the passes of each probed sample."""
    gradients = 3  # as it is, again, and beside
    forwards = (
        len(SCALES) + 4 + NEAR_DRAWS
    )  # the scale, finite differences, a step, an odd image, noise
    return 2 * gradients + forwards


def deep_cost(threat: ThreatModel) -> int:
    """Returns the passes that come on top for a sample that withstands some radius."""
    planted = 2 * PLANTED_STEPS + 1
    longer = threat.eot * 2 * (2 * threat.steps + 1)
    unbounded = 2 * (UNBOUNDED_STEPS + 1)
    late = 2 + LATE_DRAWS
    return NOISE_DRAWS + planted + longer + late + unbounded
