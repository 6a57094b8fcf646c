"""Warm-up: calls until their times no longer fall, with caps, all counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench_suites.throughput.clock import Clock

TOLERANCE = 0.02
"""A fall by less of the median over the window is flat."""

LEAST = 5
MOST = 20_000
_BLOCKS = 10


@dataclass(frozen=True)
class WarmUp:
    """What warming up took.

    Attributes:
        begun: ns, shape (n,).
        seconds: of each call, the first among them, shape (n,).
        flat: whether it ended since times no longer fell, and not at a cap.
    """

    begun: NDArray[np.int64]
    seconds: NDArray[np.float64]
    flat: bool

    def __len__(self) -> int:
        return len(self.seconds)


def warm_up(
    ask: Callable[[int], object], clock: Clock, *, least: float, seconds: float, most: int = MOST
) -> WarmUp:
    """Asks until the later half of the calls shows no fall.

    Args:
        ask: asks the n-th query.
        clock: the clock.
        least: seconds that it takes at least, unless the count reaches its cap.
        seconds: the cap on time.
        most: the cap on calls.
    """
    now = clock.now
    begun: list[int] = []
    taken: list[float] = []
    start = now()
    look = LEAST
    while True:
        before = now()
        ask(len(taken))
        after = now()
        begun.append(before)
        taken.append((after - before) * 1e-9)
        spent = (after - start) * 1e-9
        count = len(taken)
        if count >= look:
            look = max(look + 1, math.ceil(look * 1.3))
            if spent >= least and is_flat(taken[count // 2 :] if count >= 2 * LEAST else taken):
                return WarmUp(np.array(begun), np.array(taken), True)
        if spent >= seconds or count >= most:
            return WarmUp(np.array(begun), np.array(taken), False)


def is_flat(times: ArrayLike) -> bool:
    """Whether times no longer fall: the slope of their blocks' medians is about nil.

    The times are cut into at most ten blocks, each stands by its median, and a line is fitted. Flat
    is a fall over the whole window of less than 2 % of the median, or of less than two standard
    errors of it.
    """
    values = np.asarray(times, dtype=np.float64)
    if len(values) < 3:
        return False
    blocks = np.array(
        [np.median(part) for part in np.array_split(values, min(_BLOCKS, len(values)))]
    )
    level = float(np.median(blocks))
    if level <= 0:
        return True
    places = np.linspace(-0.5, 0.5, len(blocks))
    spread = float(places @ places)
    slope = float(places @ blocks) / spread
    residuals = blocks - blocks.mean() - slope * places
    error = math.sqrt(float(residuals @ residuals) / (len(blocks) - 2) / spread)
    return -slope <= max(TOLERANCE * level, 2 * error)
