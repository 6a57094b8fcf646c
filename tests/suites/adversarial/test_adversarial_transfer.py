"""Transfer: examples of other models of a run tell of gradients that are masked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import crucibench as cb
from crucibench.integrity.verify import verify
from crucibench.store.run import Run

MODELS = """
import torch
from sklearn.datasets import load_digits


class Centroids(torch.nn.Module):
    def __init__(self, half, masked=False):
        super().__init__()
        x, y = load_digits(return_X_y=True)
        x, y = torch.tensor(x[half::2] / 16), y[half::2]
        means = torch.stack([x[y == k].mean(0) for k in range(10)]).float()
        self.weight = torch.nn.Parameter(4 * means)
        self.bias = torch.nn.Parameter(-2 * (means**2).sum(1))
        self.masked = masked

    def forward(self, x):
        x = x.flatten(1)
        if self.masked:  # digits have 17 levels: they stay as they are, and gradients are 0
            x = (x * 16).round() / 16
        return x @ self.weight.T + self.bias


def plain():
    return Centroids(0)


def other():
    return Centroids(1)


def masked():
    return Centroids(0, masked=True)
"""
N = 12
NAMES = ("plain", "other", "masked")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return attacked(tmp_path_factory.mktemp("transfer"), {"adversarial.save_adversarials": True})


def attacked(folder: Path, settings: Mapping[str, Any]) -> Run:
    (folder / "nets.py").write_text(MODELS, encoding="utf-8")
    x, y = load_digits(return_X_y=True)
    images = (x[:N] / 16).astype(np.float32).reshape(N, 8, 8)
    np.savez(folder / "digits.npz", images=images, labels=y[:N])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cb.run(
            models={name: f"torch:{folder / 'nets.py'}:{name}" for name in NAMES},
            data=f"npz:{folder / 'digits.npz'}", suites=["adversarial"], out=folder / "runs",
            workers=0, cache=False, defaults={"batch_size": 12, "threads": 1},
            settings={"adversarial.eps": 0.2, **settings},
        )  # fmt: skip


def cell(run: Run, model: str, scenario: str) -> str:
    (found,) = [
        name for name, file in run.cells.items()
        if (file.model, file.scenario) == (model, scenario)
    ]  # fmt: skip
    return found


def records(run: Run, model: str, scenario: str = "transfer-linf") -> pd.DataFrame:
    return run.cell_records(cell(run, model, scenario)).frame()


def test_masked_gradients_are_told_and_honest_models_left_alone(run: Run) -> None:
    findings = {name: run.cells[cell(run, name, "transfer-linf")].findings for name in NAMES}
    codes = {name: {one.code for one in found if not one.cell} for name, found in findings.items()}
    assert codes == {"plain": set(), "other": set(), "masked": {"transfer-beats-white-box"}}
    (told,) = [one for one in findings["masked"] if one.code == "transfer-beats-white-box"]
    found = records(run, "masked")
    gained = found["level"] < found["white_box_level"]
    assert told.evidence["broken"] == gained.sum() > 2
    assert set(found["surrogate"][gained]) == set(told.evidence["surrogates"])
    assert set(told.evidence["surrogates"]) <= {"plain", "other"}


def test_what_others_break_is_broken_and_costs_little(run: Run) -> None:
    assert verify(run) == []
    for name in NAMES:
        found, attacks = records(run, name), records(run, name, "autoattack-quick-linf")
        assert 0 < len(found) <= 100
        assert set(found["id"]) <= set(attacks["id"])
        spent = attacks["forwards"].sum() + attacks["backwards"].sum()
        assert found["forwards"].sum() + found["backwards"].sum() <= 0.25 * spent
        assert found["forwards"].max() <= 2 * (len(NAMES) - 1)
        broken = found["level"] < 1
        assert (found["distance_linf"][broken] <= 0.2).all()


def test_a_surrogate_tells_without_saved_examples(tmp_path: Path) -> None:
    run = attacked(tmp_path, {"adversarial.surrogate": "other"})
    codes = {
        name: {one.code for one in run.cells[cell(run, name, "worst-case-linf")].findings}
        for name in ("plain", "masked")
    }
    assert "transfer-beats-white-box" not in codes["plain"]
    assert "transfer-beats-white-box" in codes["masked"]
    joined = run.cells[cell(run, "masked", "worst-case-linf")].findings
    (told,) = [one for one in joined if one.code == "transfer-beats-white-box"]
    asked = records(run, "masked", "surrogate-linf").set_index("id")
    assert (asked["queries"] == 1).all()
    examples = asked["level"]
    attacks = records(run, "masked", "autoattack-quick-linf")
    gradients = attacks[attacks["attack"].str.startswith("apgd")].groupby("id")["level"].min()
    gained = examples < gradients.reindex(examples.index).fillna(1)
    assert told.evidence == {
        "samples": len(examples), "broken": int(gained.sum()), "surrogates": ["other"],
    }  # fmt: skip
    assert not any("adversarials" in name for name in run.manifest["files"])
