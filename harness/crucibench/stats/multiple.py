"""Many tests at once: p-values adjusted so that each can be held against one threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's step-down adjusted p-values: family-wise error, under any dependence.

    Args:
        p_values: (m,) in [0, 1]. A nan is a test that could not be made: it stays nan and is not
            counted in the family.

    Returns:
        (m,) adjusted p-values in [0, 1], in the order given.

    Raises:
        ValueError: Not one-dimensional, not numbers, or a value outside [0, 1].

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    p, tested = _family(p_values)
    ascending = np.argsort(p[tested], kind="stable")
    m = ascending.size
    stepped = p[tested][ascending] * np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    result = np.full(p.size, np.nan)
    result[tested] = adjusted
    return result


def _family(p_values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    p = np.asarray(p_values)
    # An empty list comes as float64; None among numbers comes as object.
    if p.dtype.kind not in "biuf" or p.ndim != 1:
        raise ValueError(
            f"p_values: expected one dimension of numbers, got shape {p.shape}, dtype {p.dtype}"
        )
    p = p.astype(np.float64)
    tested = ~np.isnan(p)
    # Checked by name, so that the message gives the position in what was passed.
    outside = tested & ~((p >= 0.0) & (p <= 1.0))
    if outside.any():
        first = int(np.argmax(outside))
        raise ValueError(f"p_values: expected values in [0, 1], got {p[first]!r} at {first}")
    return p, tested
