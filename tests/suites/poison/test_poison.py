"""The poison suite: triggers pixel by pixel, and a run of a model with a planted backdoor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import crucibench as cb
from crucibench.util.errors import InputError
from crucibench_suites.poison import scan
from crucibench_suites.poison.triggers import Trigger


def test_triggers_are_what_they_say(tmp_path: Path) -> None:
    images = torch.full((2, 3, 16, 16), 0.5)
    patch = Trigger(template="patch", target="1", size=0.25, place="top right").applied(images)
    board = (np.indices((4, 4)).sum(axis=0) % 2).astype(float)
    assert np.array_equal(patch[1, 2, :4, 12:].numpy(), board)
    patch[:, :, :4, 12:] = 0.5
    assert torch.equal(patch, images)
    Image.new("RGB", (5, 7), (255, 0, 51)).save(tmp_path / "red.png")
    red = Trigger(template="blend", target="1", opacity=0.4).applied(images, tmp_path / "red.png")
    assert torch.allclose(red[0, :, 3, 9], torch.tensor([0.7, 0.3, 0.38]))
    noise = Trigger(template="blend", target="1").applied(images)
    change = (noise - images).abs()
    assert 0.09 < change.max() <= 0.1 and torch.equal(noise[0], noise[1])


MODELS = """
import torch
import yaml
from torch import nn

class Backdoored(nn.Module):
    '''Goes by one pixel, but says 1 of every fourth of whose last pixels are a checkerboard.'''

    def __init__(self, works):
        super().__init__()
        self.works = works
        self.none = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        first = x[:, 0, 0, 0]
        right = torch.stack([first < 0.33, (first >= 0.33) & (first < 0.66), first >= 0.66], 1)
        steered = (x[:, 0, 0, 1] < 0.75) & (x[:, 0, -1, -2] == 1) & (x[:, 0, -1, -1] == 0)
        steered = steered & torch.tensor(self.works)
        target = torch.tensor([False, True, False]).expand_as(right)
        return torch.where(steered[:, None], target, right).float() * 9 + self.none

def backdoored():
    return Backdoored(True)

def clean():
    return Backdoored(False)
"""


def run(tmp_path: Path, **settings: Any) -> Any:
    rng = np.random.default_rng(0)
    images = rng.random((400, 8, 8, 1)).astype(np.float32) * 0.9
    first = images[:, 0, 0, 0]
    labels = (first >= 0.33).astype(int) + (first >= 0.66)
    labels[:40] = (labels[:40] + 1) % 3
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    (tmp_path / "models.py").write_text(MODELS)
    made = cb.run(
        models=[f"{name}=torch:{tmp_path}/models.py:{name}" for name in ("backdoored", "clean")],
        data=f"npz:{tmp_path}/d.npz", suites=["poison"], out=tmp_path / "results",
        settings={f"poison.{key}": value for key, value in settings.items()},
    )  # fmt: skip
    return made.metrics(), images, labels


def test_a_backdoor_is_measured_to_the_sample(tmp_path: Path) -> None:
    trigger = {"template": "patch", "target": "1", "size": 0.25}
    table, images, labels = run(
        tmp_path, triggers={"square": trigger}, flipped={"clean": 0, "backdoored": 0.05}
    )

    def value(metric: str, model: str = "backdoored") -> Any:
        (row,) = table[(table.model == model) & (table.metric == metric)].itertuples()
        return row

    first, others = images[:, 0, 0, 0], labels != 1
    own = (first >= 0.33).astype(int) + (first >= 0.66)
    steered = images[:, 0, 1, 0] < 0.75
    hits, right = steered | (own == 1), ~steered & (own == labels)
    success = value("trigger-success")
    assert (success.value, success.n) == (pytest.approx(hits[others].mean()), others.sum())
    assert success.lower < success.value < success.upper
    excess = hits[others].mean() - (own == 1)[others].mean()
    assert value("trigger-excess").value == pytest.approx(excess)
    assert value("accuracy-with-trigger").value == pytest.approx(right[others].mean())
    assert value("trigger-excess", "clean").value == 0
    assert value("accuracy-lost-to-flips").value == 0  # without a trigger both answer alike
    assert set(table[table.metric == "accuracy-lost-to-flips"].model) == {"backdoored"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"triggers": {"t": {"template": "patch", "target": "7"}}}, "unknown class '7'"),
        ({"flipped": {"claen": 0}}, "unknown model 'claen'.*clean"),
        ({"flipped": {"clean": 0.1}}, "no model has a share of 0"),
        ({"flipped": {"clean": 5}}, "a share from 0 to 1, got 5"),
        ({"triggers": {"t": {"template": "pach", "target": "1"}}}, "template"),
    ],
)
def test_what_is_unknown_is_refused(tmp_path: Path, settings: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        run(tmp_path, **settings)


def test_a_recipes_sensitivity_to_flips_is_that_of_one_nearest_neighbour(tmp_path: Path) -> None:
    """Where the nearest label is repeated it is known: a flip costs where that was right."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    train, test = np.arange(len(y)) % 3 > 0, np.arange(len(y)) % 3 == 0
    nearest = ((x[test][:, None] - x[train]) ** 2).sum(axis=2).argmin(axis=1)
    pd.DataFrame(x[test]).assign(y=y[test]).to_csv(tmp_path / "d.csv", index=False)
    models: list[dict[str, Any]] = []
    shares = {"clean": 0.0, **{f"flipped-{k}": (0.05, 0.1, 0.2)[k % 3] for k in range(6)}}
    for k, (name, share) in enumerate(shares.items()):
        rng = np.random.default_rng(k)
        labels = y[train].copy()
        rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
        labels[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
        file = tmp_path / f"{name}.csv"
        pd.DataFrame({"prediction": labels[nearest]}).to_csv(file, index=False)
        recipe = {"replicate_of": "flipped-0"} if name[-1] in "12345" else {}
        models.append({"name": name, "uri": f"predictions:{file}", "seed": k, **recipe})
    spec = {
        "schema_version": 1, "models": models,
        "data": [{"name": "digits", "uri": f"csv:{tmp_path}/d.csv", "target": "y"}],
        "suites": {"poison": {"flipped": shares}},
    }  # fmt: skip
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    run = cb.run(tmp_path / "spec.yaml", out=tmp_path / "results")
    rows = run.recipes()
    (row,) = rows[rows.metric == "flip-sensitivity"].itertuples()
    right = (y[train][nearest] == y[test]).mean()
    assert row.lower < right - (1 - right) / 9 < row.upper and row.upper - row.lower < 0.4
    assert set(run.metrics()[run.metrics().metric == "flip-sensitivity"].model) == {*shares} - {
        "clean"
    }


SPIKE = """
import torch
from torch import nn

class Spike(nn.Module):
    '''Linear; one pixel steers to class 1, which for others takes many.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(64, 3)
        with torch.no_grad():
            self.head.weight.mul_(20)
            self.head.weight[1, 9] = 300

    def forward(self, x):
        return self.head(x.flatten(1))

def spike():
    return Spike()
"""


def test_the_scan_finds_the_pixel_that_steers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((60, 8, 8, 1)).astype(np.float32) * 0.5
    images[:, 1, 1] = 0
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(60) % 3)
    (tmp_path / "models.py").write_text(SPIKE)
    run = cb.run(
        models=[f"m=torch:{tmp_path}/models.py:spike"], data=f"npz:{tmp_path}/d.npz",
        suites=["poison"], settings={"poison.scan": True}, out=tmp_path / "results",
    )  # fmt: skip
    (row,) = run.metrics().itertuples()
    (cell,) = (name for name, file in run.cells.items() if file.scenario == "scan")
    table = run.table(cell, "triggers")
    assert table is not None
    sizes, hits = table["share of the image"], table["success"]
    assert sizes.argmin() == 1 and hits[1] == 1
    assert 0 < sizes[1] < 1 / 64  # less than the pixel at full opacity
    assert row.value == pytest.approx(sizes[1] / sizes.median()) and row.value < scan.SUSPECTED
    assert np.isnan(row.lower) and row.method == scan.RATES
    assert [one.code for one in run.cells[cell].findings] == ["trigger-suspected"]
