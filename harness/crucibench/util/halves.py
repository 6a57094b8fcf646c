"""A fixed split of samples into two halves, for what is found on one and judged on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.util.draws import Draws
from crucibench.util.ids import contents, together


@dataclass(frozen=True)
class Halves:
    """Splits by sample id: a sample's half depends on seed, stream and its own id alone.

    Attributes:
        seed: the run's seed.
        stream: what the halves are for.
    """

    seed: int
    stream: str

    def first(
        self, ids: NDArray[np.object_], clusters: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """Says of each sample whether it is in the first half, shape (n,).

        Samples of one cluster, and samples of equal content, stay together: otherwise what is
        found on one half would have seen the other.

        Args:
            ids: sample ids, shape (n,).
            clusters: codes of samples drawn together, shape (n,), or None.
        """
        names = contents(ids) if clusters is None else together(ids, clusters)
        words = Draws(self.seed, self.stream).words(names.tolist(), "half", 1)
        return np.asarray((words[:, 0] & 1) == 0)
