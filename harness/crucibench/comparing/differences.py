"""Paired differences of outcomes: what changed, which samples flipped, what n could have shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Flips:
    """The samples on which exactly one of two models is right, by the user's names where given.

    Attributes:
        lost: ids that the first gets right and the second wrong.
        gained: ids that the first gets wrong and the second right.
    """

    lost: NDArray[np.object_]
    gained: NDArray[np.object_]
