"""Taking some samples: the smallest hashes of (seed, id), stratified by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.draws import order_key


def take(
    ids: Sequence[str] | NDArray[np.object_],
    targets: NDArray[Any],
    limit: int | None,
    seed: int,
    sizes: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Returns the rows of the first `limit` samples in an order that `limit` has no part in.

    Within a class, samples are ordered by hash; the sample of rank r in a class of n samples comes
    at (r + 0.5) / n. So a smaller limit gives a subset of a larger one's, and every class is cut at
    the same fraction of its samples, to within half a sample. Where the target is a number, samples
    are ordered by hash alone.

    Args:
        ids: sample ids.
        targets: class indices (integers) or numbers (floats).
        limit: how many samples at most; None takes all.
        seed: of the run.
        sizes: samples of each class in the whole role, where `ids` are already a limited part of
            it: a limit on the part then gives what it gives on the whole.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: if `limit` is not positive.
    """
    count = len(ids)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    keys = np.fromiter((order_key(seed, name) for name in ids), dtype=np.uint64, count=count)
    if targets.dtype.kind == "f":
        order = np.argsort(keys, kind="stable")
    else:
        _, strata = np.unique(targets, return_inverse=True)
        present = np.bincount(strata)
        within = np.lexsort((keys, strata))
        starts = np.cumsum(present) - present
        ranks = np.empty(count, dtype=np.int64)
        ranks[within] = np.arange(count) - np.repeat(starts, present)
        whole = present[strata] if sizes is None else np.asarray(sizes)[targets]
        order = np.lexsort((keys, (ranks + 0.5) / whole))
    return np.sort(order[:limit]).astype(np.int64)
