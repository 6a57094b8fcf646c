"""Reading what an archive was unpacked into as a run."""

from __future__ import annotations

from crucibench.store.archive import Unpacked
from crucibench.store.run import Run


class PackedRun(Run):
    """A run read from a file; its folder goes when no run uses it any more."""

    packed = True

    def __init__(self, place: Unpacked, run: str) -> None:
        """Opens it.

        Args:
            place: where it was unpacked; kept as long as this is.
            run: the run's id, which the file states.
        """
        super().__init__(place.root)
        self._place = place
        self._id = run

    @property
    def id(self) -> str:
        """The id of the run that the file was made of."""
        return self._id
