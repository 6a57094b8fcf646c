"""Runs of logged answers of several trainings, for tests of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

import crucibench as cb
from crucibench.store.run import Run


class Drawn(Protocol):
    """See `_drawn`."""

    def __call__(
        self, skills: list[float], n: int = 400, seed: int = 0, answers: int = 1
    ) -> tuple[np.ndarray, np.ndarray]: ...


class LoggedRun(Protocol):
    """See `_logged_run`."""

    def __call__(
        self, folder: Path, targets: np.ndarray, scores: np.ndarray, **options: Any
    ) -> Run: ...


@pytest.fixture
def drawn() -> Drawn:
    """Draws targets and scores of several trainings."""
    return _drawn


@pytest.fixture
def logged_run() -> LoggedRun:
    """Makes a run of logged scores of several trainings."""
    return _logged_run


def _drawn(
    skills: list[float], n: int = 400, seed: int = 0, answers: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Returns targets (n,) and scores (S, n): training s is right by its skill, samples differ."""
    hard = np.random.default_rng(seed)
    targets, ease = hard.integers(0, 2, n), hard.normal(size=n)
    rng = np.random.default_rng([seed, answers])
    margin = np.array(skills)[:, None] + ease + rng.normal(size=(len(skills), n))
    return targets, 1 / (1 + np.exp(-margin * (2 * targets - 1)))


def _logged_run(
    folder: Path,
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    name: str = "net",
    seeds: list[int] | None = None,
    **spec: Any,
) -> Run:
    """Runs `accuracy` on logged scores of one recipe's trainings, a file each.

    Scores (S, R, n) are R answers of each training to each sample.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{k},{k},{'ab'[target]}" for k, target in enumerate(targets)]
    (folder / "data.csv").write_text("\n".join(["row,x,y", *rows]))
    models: list[dict[str, Any]] = []
    draw, repeat = ("&draw=time", scores.shape[1]) if scores.ndim == 3 else ("", 1)
    for k, rows_of in enumerate(scores.reshape(len(scores), repeat, -1)):
        lines = [f"{i},{time},{1 - score:.17g},{score:.17g}"
                 for time, row in enumerate(rows_of, 1) for i, score in enumerate(row)]  # fmt: skip
        (folder / f"{name}-{k}.csv").write_text("\n".join(["row,time,a,b", *lines]))
        entry = {"name": name if k == 0 else f"{name}-{k}", "repeat": repeat,
                 "uri": f"predictions:{folder}/{name}-{k}.csv?id=row{draw}&scores=a,b",
                 "seed": k if seeds is None else seeds[k]}  # fmt: skip
        models.append(entry if k == 0 else {**entry, "replicate_of": name})
    data = {"name": "d", "uri": f"csv:{folder}/data.csv?target=y&id=row"}
    return cb.run(
        {"models": models, "data": [data], **spec}, suites=["accuracy"], out=folder / "out"
    )
