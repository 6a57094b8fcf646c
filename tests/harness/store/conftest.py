"""A run of two models on people, and a cell to keep in a cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import crucibench as cb
from crucibench.store.cell_cache import CellCache
from crucibench.store.run import Run

MODEL = """
import numpy as np


def scores(batch):
    print("customer Ada said no")
    lead = np.tanh({scale} * batch["x"].to_numpy() - 0.2 * ({scale} - 1))
    return np.stack([(1 - lead) / 2, (1 + lead) / 2], axis=1)
"""


@pytest.fixture(scope="session", name="run")
def run_of_people(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two models on data with groups, clusters, names and free text; bias reads the groups."""
    place = tmp_path_factory.mktemp("bundled")
    rng = np.random.default_rng(0)
    x = rng.normal(size=160).round(6)
    frame = pd.DataFrame(
        {
            "x": x,
            "note": [f"A secret about customer {row}" for row in range(160)],
            "sex": rng.choice(["woman", "man"], 160),
            "household": [f"Household-{row // 2}" for row in range(160)],
            "name": [f"customer-{row}" for row in range(160)],
            "y": np.where(x + rng.normal(0, 0.7, 160) > 0, "yes", "no"),
        }
    )
    frame.to_csv(place / "people.csv", index=False)
    for name, scale in (("a", 1), ("b", 3)):
        (place / f"{name}.py").write_text(MODEL.format(scale=scale), encoding="utf-8")
    return cb.run(
        models={name: f"python:{place / f'{name}.py'}:scores" for name in "ab"},
        data=f"people=csv:{place / 'people.csv'}",
        data_options={
            "target": "y", "groups": ["sex"], "cluster": "household", "id": "name",
            "features": ["x", "note"],
        },
        suites=["accuracy", "bias"], out=place / "out", defaults={"replicates": 100}, workers=1,
    )  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> CellCache:
    return CellCache(tmp_path / "cache" / "cells")
