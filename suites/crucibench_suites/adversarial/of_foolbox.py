"""Attacks of foolbox, as this suite calls attacks: seeded for each batch, and counted.

foolbox draws from the global generators of torch and NumPy, for a whole batch at once. They are
seeded by the ids of the batch, and put back afterwards. Nothing that it returns counts before the
checks of this suite.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from crucibench.contracts.attack import (
    FEW_QUERIES,
    TOLERANCE,
    Attack,
    Ball,
    GradientAttack,
    Norm,
)
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.foolbox_names import NEEDS_DISTANCE, NEEDS_NUMBA, FoolboxName


class FoolboxAttack(Attack):
    """One attack of foolbox with its options, for one norm.

    Attributes:
        named: which.
        norm: of the ball.
    """

    requires = GradientAttack.requires

    def __init__(self, named: FoolboxName, norm: Norm) -> None:
        """Makes it.

        Raises:
            InputError: if an option is not the constructor's, or a package is missing.
        """
        self.named, self.norm = named, norm
        self.name, self.access, self.norms = str(named), named.access, (norm,)  # type: ignore[misc]
        self.nearest = not named.fixed  # type: ignore[misc]
        self.tolerance = TOLERANCE if named.access == "white-box" else FEW_QUERIES  # type: ignore[misc]
        self._foolbox = _imported()
        made = getattr(self._foolbox.attacks, named.name, None)
        if made is None:
            raise InputError(f"{named}: the installed foolbox has no attack of this name")
        options: dict[str, Any] = dict(named.options)
        known = sorted(set(inspect.signature(made).parameters) - {"args", "kwargs", "distance"})
        for key in options:
            if key not in known:
                raise InputError(
                    f"{named}: expected options of {', '.join(known) or 'no name'}, got {key!r}"
                )
        if named.name in NEEDS_DISTANCE:
            options["distance"] = getattr(self._foolbox.distances, norm)
        try:
            self._attack = made(**options)
        except ModuleNotFoundError as error:
            if named.name in NEEDS_NUMBA and error.name == "numba":
                raise InputError(
                    f"{named} needs numba, which foolbox doesn't install: pip install numba"
                ) from error
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"{named}: foolbox refuses its options: {error}") from error

    def __eq__(self, other: object) -> bool:
        mine = (self.named, self.norm)
        return isinstance(other, FoolboxAttack) and (other.named, other.norm) == mine

    def __hash__(self) -> int:
        return hash((self.named, self.norm))

    def run(self, given: Ball) -> torch.Tensor:
        """Returns what it comes to within ``given.radius``, or wherever it looks for the nearest.

        Args:
            given: a model in evaluation mode; attacks that look for the nearest leave the radius
                alone.
        """
        points = given.points
        asked = self._foolbox.PyTorchModel(
            given.oracle.module, bounds=(0, 1), device=points.x.device
        )
        criterion = self._foolbox.criteria.Misclassification(points.y)
        if self.nearest:
            found: torch.Tensor = self._attack(asked, points.x, criterion, epsilons=None)[0]
        else:
            found = self._attack(asked, points.x, criterion, epsilons=given.radius)[1]
        return found.detach()


@contextmanager
def seeded(draws: Draws, ids: tuple[str, ...], step: str) -> Iterator[None]:
    """Seeds the global generators by a batch's ids, and puts them back afterwards."""
    words = draws.words(["\x1f".join(ids)], step, 2)[0]
    before = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(int(words[0]) << 32 | int(words[1]))
        np.random.seed(int(words[0]))
        try:
            yield
        finally:
            np.random.set_state(before)


def _imported() -> Any:
    with warnings.catch_warnings():
        # Of SciPy and of requests, at what foolbox imports: nothing that a user could fix.
        warnings.simplefilter("ignore")
        import foolbox
    return foolbox
