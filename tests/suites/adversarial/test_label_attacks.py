"""Attacks on several labels against the closed form of linear models: which samples fall where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import crucibench as cb
from crucibench.cli._app import application
from crucibench.tasks.multilabel.kind import flags_of
from crucibench.util.errors import InputError

WEIGHTS = np.array([[2.0, 0, 0, 1], [0, 3.0, 0, -1], [0, 0, 1.5, 0.5]])
EPS = [0.02, 0.05, 0.1]

FILES = '''
import datasets
import numpy as np
import torch
from PIL import Image

W = np.array({weights})

def shown():
    """60 images of 2 x 2 grey pixels; three labels of a linear rule, a tenth of the first wrong."""
    pixels = np.random.default_rng(0).integers(40, 216, (60, 2, 2)).astype(np.uint8)
    truth = (pixels.reshape(60, 4) / 255 @ W.T > W.sum(1) / 2).astype(int)
    truth[:6, 0] ^= 1
    labels = datasets.Sequence(datasets.ClassLabel(names=["a", "b", "c"]))
    kinds = datasets.Features({{"image": datasets.Image(), "labels": labels}})
    rows = [list(np.flatnonzero(row)) for row in truth]
    images = [Image.fromarray(one) for one in pixels]
    return datasets.Dataset.from_dict({{"image": images, "labels": rows}}, features=kinds)

class Linear(torch.nn.Module):
    def __init__(self, sigmoid):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.layer.weight.data.copy_(torch.tensor(W))
        self.layer.bias.data.copy_(torch.tensor(-W.sum(1) / 2))
        self.sigmoid = sigmoid
    def forward(self, x):
        z = self.layer(x.flatten(1))
        return torch.sigmoid(z) if self.sigmoid else z

def logits():
    return Linear(False).eval()

def probabilities():
    return Linear(True).eval()

def function(images):
    with torch.no_grad():
        return Linear(True)(images).numpy()
'''


def margins(x: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns by how much, in Linf, each label of each sample can be moved: exact, (n, 3)."""
    offset = WEIGHTS.sum(1) / 2 + np.log(thresholds) - np.log1p(-thresholds)
    lead = x @ WEIGHTS.T - offset
    return np.where(truth, lead, -lead) / np.abs(WEIGHTS).sum(1)


def levels(run: cb.Run, scenario: str) -> dict[str, int]:
    """Returns the place in the grid of the smallest radius that breaks each sample asked about."""
    (cell,) = (key for key, one in run.cells.items() if one.scenario == scenario)
    return run.records(cell).groupby("id")["level"].min().to_dict()


@pytest.mark.parametrize(
    ("model", "scenario", "flips", "threshold", "settings"),
    [
        ("torch:models.py:logits", "autoattack-quick-linf", None, {}, {}),
        (
            "torch:models.py:probabilities?output=probabilities",
            "autoattack-quick-linf",
            None,
            {"b": 0.4},
            {},
        ),
        ("torch:models.py:logits", "autoattack-quick-linf", "c", {"c": 0.6}, {}),
        ("python:models.py:function", "square-linf", None, {}, {"adversarial.queries": 300}),
    ],
)
def test_what_breaks_each_sample_is_what_a_linear_model_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, scenario: str, flips: str | None,
    threshold: dict[str, float], settings: dict[str, object],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("models.py").write_text(FILES.format(weights=WEIGHTS.tolist()))
    more = {"adversarial.flips": flips} if flips else {}
    spec = {
        "models": [{"name": "m", "uri": model, "decision": {"thresholds": threshold}}],
        "data": [{"name": "d", "uri": "python:models.py:shown?target=labels&task=multilabel"}],
    }
    run = cb.run(
        spec, suites=["adversarial"], out=tmp_path / "out", workers=0,
        settings={"adversarial.eps": EPS, **settings, **more},
    )  # fmt: skip
    samples = run.samples("d", "test")
    truth = flags_of(samples.targets, 3)
    thresholds = np.array([threshold.get(name, 0.5) for name in "abc"])
    scope: dict[str, object] = {}
    exec(FILES.format(weights=WEIGHTS.tolist()), scope)
    pictures = scope["shown"]()  # type: ignore[operator]
    x = np.stack([np.asarray(one) for one in pictures["image"]]).reshape(-1, 4) / 255
    reach = margins(x, truth, thresholds)[:, [*range(3)] if flips is None else ["abc".index(flips)]]
    nearest = reach.min(axis=1)
    found = levels(run, scenario)
    right = {
        str(one): radius for one, radius in zip(samples.ids, nearest, strict=True) if radius > 0
    }
    assert set(found) == set(right)
    clear = {one for one, radius in right.items() if np.abs(np.array(EPS) - radius).min() > 1e-3}
    assert len(clear) > 40
    exact = {one: int(np.searchsorted(EPS, right[one])) for one in clear}
    # A search without gradients may miss a few; nothing falls within less than it can.
    missed = sum(found[one] != level for one, level in exact.items())
    assert all(found[one] >= level for one, level in exact.items())
    assert missed <= (6 if scenario.startswith("square") else 0)
    rows = run.metrics()
    rows = rows[rows["scenario"] == scenario]
    values = rows.set_index(["metric", "point"])["value"]
    assert values["clean-accuracy", ""] == pytest.approx(np.mean(nearest > 0))
    held = [found.get(str(one), 0) > 0 for one in samples.ids]
    assert values["robust-accuracy", f"eps={EPS[0]}"] == pytest.approx(np.mean(held))
    if flips:
        done = CliRunner().invoke(application, ["verify", str(run.root), "--with-model"])
        assert done.exit_code == 0, done.output


def test_rows_of_a_table_are_attacked_by_label_and_what_is_of_one_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (80, 4))
    truth = (x @ WEIGHTS.T > 0).astype(int)
    frame = pd.DataFrame(x, columns=list("wxyz")).assign(
        a=truth[:, 0], b=truth[:, 1], c=truth[:, 2]
    )
    frame.to_csv("rows.csv", index=False)
    Path("models.py").write_text(
        f"import numpy as np\nW = np.array({WEIGHTS.tolist()})\n"
        "def rule(frame):\n    return 1 / (1 + np.exp(-frame.to_numpy() @ W.T))\n"
    )
    where = {
        "models": {"m": "python:models.py:rule"}, "suites": ["adversarial"],
        "data": "csv:rows.csv?target=a,b,c&features=w,x,y,z", "workers": 0,
    }  # fmt: skip
    settings = {"adversarial.eps": [0.05, 0.2], "adversarial.queries": 200,
                "adversarial.constraints": {"mutable": list("wxyz")}}  # fmt: skip
    run = cb.run(out=tmp_path / "out", settings=settings, **where)
    spread = x.std(axis=0, ddof=0)
    lead = np.abs(x @ WEIGHTS.T) / (np.abs(WEIGHTS) * spread).sum(1)
    (name,) = (one.scenario for one in run.cells.values()
               if one.scenario.startswith("table-") and "greedy" in one.scenario)  # fmt: skip
    found = levels(run, name)
    exact = np.searchsorted([0.05, 0.2], lead.min(axis=1))
    ids = run.samples("rows", "test").ids
    assert all(found[one] >= level for one, level in zip(ids, exact, strict=True))
    assert np.mean([found[one] == level for one, level in zip(ids, exact, strict=True)]) > 0.8
    for key, value, sentence in (
        ("flips", "d", "unknown label 'd'"), ("save_adversarials", True, "several labels there is"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            cb.run(out=tmp_path / "no", settings={**settings, f"adversarial.{key}": value}, **where)
