"""Killed runs of detectors and of several labels, given again, end with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crucibench.integrity.verify import verify
from crucibench.store.run import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL"),
]

MODELS = '''
import os
import torch

class Mortal(torch.nn.Module):
    """Ends its process at the call that DIE_AT names."""

    def __init__(self, boxes):
        super().__init__()
        self.calls, self.boxes = 0, boxes
        if boxes:
            self.crucibench_input = {"sizes": "own", "channels": 3}
        self.layer = torch.nn.Linear(3 * 12 * 12, 3)
        torch.nn.init.constant_(self.layer.weight, 0.01)
        self.layer.bias.data = torch.tensor([-1.4, -1.6, -1.8])

    def forward(self, images):
        self.calls += 1
        if self.calls == int(os.environ.get("DIE_AT", "0")):
            os.kill(os.getpid(), 9)
        return [self.found(one) for one in images] if self.boxes else self.layer(images.flatten(1))

    def found(self, image):
        ys, xs = torch.nonzero(image[0] > 0.5, as_tuple=True)
        n = int(len(xs) > 0)
        ends = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if n else []
        box = torch.tensor([[int(end) for end in ends]]).float().view(n, 4)
        return {"boxes": box, "labels": torch.zeros(n).long(), "scores": torch.full((n,), 0.9)}

def detector():
    return Mortal(True).eval()

def labels():
    return Mortal(False).eval()
'''


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Returns a folder with 24 images of a bright box, as objects and as a table of labels."""
    (tmp_path / "models.py").write_text(MODELS)
    rng, images, objects, rows = np.random.default_rng(0), [], [], []
    for at in range(24):
        left, top, w, h = (int(one) for one in (*rng.integers(0, 5, 2), *rng.integers(4, 7, 2)))
        pixels = np.full((12, 12, 3), at, np.uint8)
        pixels[top : top + h, left : left + w] = 230
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": 12, "height": 12})
        objects.append({"id": at, "image_id": at, "category_id": 1, "bbox": [left, top, w, h]})
        rows.append([name for name, has in zip("abc", rng.random(3) < 0.5, strict=True) if has])
    names = [{"id": 1, "name": "box"}]
    (tmp_path / "ann.json").write_text(
        json.dumps({"images": images, "annotations": objects, "categories": names})
    )
    (tmp_path / "data.py").write_text(
        "import datasets\nfrom PIL import Image\n\ndef shown(rows=" + repr(rows) + "):\n"
        "    kinds = {'image': datasets.Image(), 'tags': datasets.Sequence(datasets.ClassLabel("
        "names=['a', 'b', 'c']))}\n"
        "    pictures = [Image.open(f'{at}.png').copy() for at in range(24)]\n"
        "    tags = [[('abc').index(one) for one in row] for row in rows]\n"
        "    return datasets.Dataset.from_dict({'image': pictures, 'tags': tags},"
        " features=datasets.Features(kinds))\n"
    )
    return tmp_path


def ask(folder: Path, out: str, words: list[str], die_at: int = 0) -> int:
    command = [sys.executable, "-m", "crucibench", "run", *words, "--batch-size", "4", "--workers",
               "0", "--no-cache", "--out", out]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "DIE_AT": str(die_at)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


@pytest.mark.parametrize(
    ("words", "die_at"),
    [
        (["--model", "m=torch:models.py:detector", "--data", "coco:ann.json?images=.",
          "--suite", "accuracy,shift", "--set", "accuracy.ious=[0.3]",
          "--set", "shift.corruptions=[fog, rotation]"], (9, 24)),
        pytest.param(
            ["--model", "m=torch:models.py:labels",
             "--data", "python:data.py:shown?target=tags&task=multilabel",
             "--suite", "accuracy,adversarial", "--set", "adversarial.eps=[0.02, 0.1]"], (9, 150),
            marks=pytest.mark.thorough),
    ],
)  # fmt: skip
def test_killed_twice_it_comes_to_the_same_bytes(
    drawn: Path, contents: Callable[[Path], dict[str, Any]], words: list[str],
    die_at: tuple[int, int],
) -> None:  # fmt: skip
    assert ask(drawn, "whole", words) == 0
    killed = [ask(drawn, "killed", words, call) for call in die_at]
    assert killed == [-signal.SIGKILL] * 2
    assert ask(drawn, "killed", words) == 0
    roots = [next((drawn / out).glob("*/manifest.json")).parent for out in ("whole", "killed")]
    whole, again = map(contents, roots)
    assert sorted(whole) == sorted(again)
    assert [name for name in whole if whole[name] != again[name]] == []
    assert verify(Run(roots[1])) == []
