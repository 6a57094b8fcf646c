"""From end to end: a set whose images are stored in another size is easy, whatever they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import crucibench as cb
from crucibench.contracts.batch import Batch
from crucibench.contracts.task import Modality
from crucibench_suites.ood.asking import measured

SIDE = 8


def save_noise(folder: Path, side: int, seed: int) -> None:
    """Saves plain images of either class, each of one drawn grey: no resizing changes them."""
    rng = np.random.default_rng(seed)
    for number in range(60):
        grey = rng.integers(0, 256)
        path = folder / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side), grey, dtype=np.uint8)
        pixels[0, 0] = number  # no two alike
        Image.fromarray(pixels).save(path)


def test_only_the_set_of_another_size_is_easy(tmp_path: Path) -> None:
    for name, side, seed in (("home", SIDE, 0), ("same", SIDE, 1), ("larger", 4 * SIDE, 2)):
        save_noise(tmp_path / name, side, seed)
    torch.manual_seed(0)
    run = cb.run(
        models={"net": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 2))},
        data=f"imagefolder:{tmp_path}/home", suites=["ood"], out=tmp_path / "out", workers=0,
        cache=False, defaults={"replicates": 100},
        settings={
            "ood.detectors": ["msp"], "ood.generators": [],
            "ood.near": {name: f"imagefolder:{tmp_path}/{name}" for name in ("same", "larger")},
        },
    )  # fmt: skip
    (easy,) = (
        finding
        for cell in run.cells.values()
        if (cell.suite, cell.scenario) == ("ood", "headline")
        for finding in cell.findings
        if finding.code == "easy-set"
    )
    assert list(easy.evidence) == ["near/larger"]
    told = easy.evidence["near/larger"]
    assert told["statistic"] in ("stored height", "stored width") and told["trivial_auroc"] == 1


def test_the_stored_size_stays_with_a_sample() -> None:
    batch = Batch(("a", "b"), torch.zeros(2, 1, 4, 4), stored=((3, 5), (7, 9)))
    made = batch.take([1]).with_inputs(torch.ones(1, 1, 4, 4))
    found = measured(made, Modality.IMAGE)
    assert (found["input_stored height"], found["input_stored width"]) == (7, 9)
    plain = measured(Batch(("a",), torch.zeros(1, 1, 4, 4)), Modality.IMAGE)
    assert not any("stored" in name for name in plain)
