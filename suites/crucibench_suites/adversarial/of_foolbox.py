"""Attacks of foolbox, as this suite calls attacks: seeded for each batch, and counted.

foolbox draws from the global generators of torch and NumPy, for a whole batch at once. They are
seeded by the ids of the batch, and put back afterwards. Nothing that it returns counts before the
checks of this suite.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.foolbox_names import NEEDS_DISTANCE, NEEDS_NUMBA, FoolboxName
from crucibench_suites.adversarial.protocol import FEW_QUERIES, TOLERANCE
from crucibench_suites.adversarial.self_test import SelfTestResult, installed, self_test
from crucibench_suites.adversarial.threat import Norm


class FoolboxAttack:
    """One attack of foolbox with its options.

    Attributes:
        named: which.
        norm: of the ball.
    """

    def __init__(self, named: FoolboxName, norm: Norm) -> None:
        """Makes it.

        Raises:
            InputError: if an option is not the constructor's, or a package is missing.
        """
        self.named, self.norm = named, norm
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

    def __call__(
        self, model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float
    ) -> torch.Tensor:
        """Returns what it comes to within `radius`, or wherever if that is infinite.

        Args:
            model: logits of images, in evaluation mode.
            x: float32 in [0, 1], shape (m, C, H, W).
            y: true classes, shape (m,).
            radius: of the ball; attacks that look for the nearest example leave it alone.
        """
        asked = self._foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        criterion = self._foolbox.criteria.Misclassification(y)
        if self.named.fixed:
            found: torch.Tensor = self._attack(asked, x, criterion, epsilons=radius)[1]
        else:
            found = self._attack(asked, x, criterion, epsilons=None)[0]
        return found.detach()


@cache
def tested(named: FoolboxName, norm: Norm) -> SelfTestResult:
    """Returns how an attack does where the answer is known, tested once a process."""
    return self_test(
        FoolboxAttack(named, norm),
        norm,
        name=str(named),
        kind="within" if named.fixed else "nearest",
        tolerance=TOLERANCE if named.access == "white-box" else FEW_QUERIES,
        versions=installed("foolbox", "eagerpy"),
    )


class Counting(nn.Module):
    """A model that counts what it is asked.

    Attributes:
        forwards: samples that passed through.
        backwards: samples that a gradient came back for.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self.forwards = self.backwards = 0
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the model's logits."""
        logits: torch.Tensor = self._model(x)
        self.forwards += len(x)
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: torch.Tensor) -> None:
        self.backwards += len(gradient)

    def take(self, samples: int) -> tuple[int, int]:
        """Returns forwards and backwards a sample since the last call, rounded up."""
        taken = math.ceil(self.forwards / samples), math.ceil(self.backwards / samples)
        self.forwards = self.backwards = 0
        return taken


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
        # Of SciPy and of requests, at what foolbox imports: nothing a user of ours could mend.
        warnings.simplefilter("ignore")
        import foolbox
    return foolbox
