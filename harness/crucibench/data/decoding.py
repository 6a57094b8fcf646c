"""Work on many samples at once, by as many threads as the process was given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_SEVERAL = 4
"""Samples, from which on threads are worth their start."""


def threads() -> int:
    """Returns how many threads to use: torch's setting where torch is loaded, else all cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(work: Callable[[T], R], values: Sequence[T]) -> list[R]:
    """Returns what `work` makes of each value, in their order.

    Each thread gets one stretch of them: handing over single samples costs as much as decoding a
    small one.
    """
    count = min(threads(), len(values) // _SEVERAL)
    if count < 2:
        return [work(value) for value in values]
    # A few stretches a thread, so that one of large images does not hold up the rest.
    step = -(-len(values) // (4 * count))
    stretches = [values[start : start + step] for start in range(0, len(values), step)]
    with ThreadPoolExecutor(count) as pool:
        done = pool.map(lambda some: [work(value) for value in some], stretches)
        return [result for some in done for result in some]
