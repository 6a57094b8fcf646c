"""Two models of one run, and of two, share records only if they are the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crucibench.store.cell_cache import CellCache
from crucibench.store.run import Run

FAMILY = """
import json
from dataclasses import dataclass
from pathlib import Path
import torch


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = torch.nn.Linear(64, 2)

    def forward(self, x):
        return self.layer(x.flatten(1))


class Flipped(Linear):
    def forward(self, x):
        return -super().forward(x)


@dataclass
class Settings:
    table: dict


class Configured(Linear):
    def __init__(self):
        super().__init__()
        text = (Path(__file__).parent / "config.json").read_text()
        self.settings = Settings(json.loads(text))

    def forward(self, x):
        return super().forward(x) * self.settings.table["sign"]


class Reading(Linear):
    def __init__(self):
        super().__init__()
        self.table = iter([1])


class Counting(Linear):
    asked = 0

    def forward(self, x):
        self.asked += 1
        return super().forward(x)


def a(): return Linear()
def b(): return Flipped()
def configured(): return Configured()
def reading(): return Reading()
def counting(): return Counting()
"""
DEFAULTS = {"batch_size": 32, "threads": 1, "replicates": 100}


@pytest.fixture
def run(run_spec: Any, tmp_path: Path) -> Any:
    (tmp_path / "net.py").write_text(FAMILY)
    (tmp_path / "config.json").write_text('{"sign": 1}')

    def made(*names: str, **options: Any) -> Run:
        models = {name: f"torch:net.py:{name}" for name in names}
        usual = {"data": "stripes:120", "defaults": DEFAULTS, "cache": True,
                 "suites": ("accuracy",), "settings": {}}  # fmt: skip
        found: Run = run_spec(models=models, **usual | options)
        return found

    return made


def predictions(run: Run, model: str) -> list[int]:
    (cell,) = [
        file.cell for file in run.cells.values()
        if file.model == model and file.suite == "pass"
    ]  # fmt: skip
    found: list[int] = run.records(cell)["prediction"].tolist()
    return found


def test_two_factories_of_one_file_do_not_share_records(run: Any) -> None:
    first = run("a", "b")
    assert all(
        x != y for x, y in zip(predictions(first, "a"), predictions(first, "b"), strict=True)
    )
    again = run("b", out="again")
    assert predictions(again, "b") == predictions(first, "b")


def test_a_table_that_a_factory_read_is_part_of_the_model(run: Any, tmp_path: Path) -> None:
    first = run("configured")
    (tmp_path / "config.json").write_text('{"sign": -1}')
    second = run("configured", out="second")
    assert predictions(second, "configured") != predictions(first, "configured")


def test_models_that_nobody_can_tell_are_not_kept_and_say_why(run: Any, tmp_path: Path) -> None:
    made = run("a", "reading", "counting")
    assert made.exit_code == 0
    assert {name: info.unidentified for (name, _), info in made.models.items()} == {
        "a": "",
        "reading": "attribute table is an iterator",
        "counting": "attribute asked is another after each question",
    }
    entries = CellCache(tmp_path / "scratch" / "cells").entries()
    assert {entry.model for entry in entries} == {"a"}
