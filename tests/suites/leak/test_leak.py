"""The leak suite: pairs that were planted, numbers by their definition, and a whole run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

import crucibench as cb
from crucibench.contracts.audit import example_cell
from crucibench.contracts.batch import Batch
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.statistic import RowMetric, Share, Statistic
from crucibench.contracts.task import Modality
from crucibench.contracts.verdict import Severity
from crucibench.metrics.forms import as_rows, evaluate
from crucibench.tasks.classification.kind import Classification
from crucibench.tasks.detection.kind import Detection
from crucibench.tasks.multilabel.kind import MultiLabel
from crucibench.tasks.regression.kind import Regression
from crucibench.testing.metric import made_up_views
from crucibench.util.errors import InputError
from crucibench_suites.leak import audits, embeddings, metrics, scenarios, sketches

RNG = np.random.default_rng(0)


def images(n: int = 40) -> Any:
    """Returns images of smooth patterns, no two alike, and the same a little altered."""
    coarse = torch.from_numpy(RNG.random((n, 3, 6, 6)).astype(np.float32))
    made = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
    return made, (made * 0.9 + 0.01 * torch.from_numpy(RNG.normal(size=made.shape))).float()


def texts(n: int = 40) -> Any:
    words = [f"w{RNG.integers(10**6)}" for _ in range(500)]
    made = [" ".join(RNG.choice(words, 20)) for _ in range(n)]
    return made, [text.upper().replace(" ", "  ") + " indeed" for text in made]


def rows(n: int = 40) -> Any:
    frame = pd.DataFrame({f"x{k}": RNG.normal(size=n) for k in range(4)})
    frame["kind"] = RNG.choice(["a", "b"], n)
    frame.loc[:5, "x0"] = np.nan
    other = frame.copy()
    other[["x1", "x2"]] += 0.005
    other.loc[other.index[-1], "kind"] = "c"
    return frame, other


@pytest.mark.parametrize(
    ("modality", "make", "missed"),
    [(Modality.IMAGE, images, 0), (Modality.TEXT, texts, 0), (Modality.TABLE, rows, 1)],
)
def test_planted_near_duplicates_are_found_and_no_others(
    modality: Modality, make: Any, missed: int
) -> None:
    first, altered = make()
    n = len(first)

    def cell(inputs: Any) -> Any:
        columns = sketches.sketched(Batch(tuple(map(str, range(n))), inputs), modality)
        assert all(name.startswith("input:") for name in columns)  # never published unasked
        return example_cell({"id": [f"{k:032x}" for k in range(n)], **columns}, np.zeros(n))

    across = sketches.partners(cell(altered), cell(first), modality)
    expected = np.where(np.arange(n) < n - missed, np.arange(n), -1)
    assert across.tolist() == expected.tolist()
    assert (sketches.partners(cell(first), None, modality) == -1).all()
    if modality is Modality.TABLE:
        twice = pd.concat([first.iloc[:20], altered.iloc[:20]], ignore_index=True)
    else:
        twice = [*first[:20], *altered[:20]]
    within = sketches.partners(cell(twice), None, modality)
    assert within.tolist() == [-1] * 20 + list(range(20))


def test_near_duplicates_that_say_little_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def severity(modality: Modality, count: int) -> Severity:
        monkeypatch.setattr(audits, "repeated", lambda _: {"train": np.arange(1000) < count})
        evidence: Any = SimpleNamespace(task=SimpleNamespace(modality=modality))
        (found,) = audits.near_duplicates(evidence, evidence)
        return found.severity

    assert severity(Modality.IMAGE, 10) is Severity.SUSPECT
    assert severity(Modality.IMAGE, 9) is Severity.INFO
    assert severity(Modality.TABLE, 500) is Severity.INFO  # alike rows may be different cases


def test_the_perceptual_hash_is_imagededups() -> None:
    from PIL import Image

    ramp = np.add.outer(np.arange(48) ** 2, 7 * np.arange(40)) % 256
    picture = Image.fromarray(np.stack([ramp, ramp[::-1], ramp * 3 % 256], 2).astype(np.uint8))
    bits = np.packbits(sketches.perceptual_hash(picture))
    assert bits.tobytes().hex() == "93e817e817ca355b"  # PHash().encode_image of 0.3.3


def test_min_hashes_estimate_the_jaccard_index() -> None:
    made, altered = texts(1)

    def shingles(text: str) -> set[str]:
        text = " ".join(text.lower().split())
        return {text[k : k + 5] for k in range(len(text) - 4)}

    one, other = (text[: len(text) * 2 // 3] for text in (made[0], altered[0]))
    for a, b in ((made[0], altered[0]), (made[0], one), (one, other), (made[0], "unlike")):
        exact = len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))
        found = (sketches.min_hash(a).astype(float) * sketches.min_hash(b)).mean()
        assert abs(found - exact) < 4 * np.sqrt((1 - exact**2) / 512) + 1e-9


def test_the_effect_is_the_number_minus_that_of_the_rest() -> None:
    hits, fresh = RNG.random(200) < 0.7, RNG.random(200) < 0.8
    form = metrics.effect(Share(hits), metrics.fresh_weights(fresh))
    assert evaluate(form, 200) == pytest.approx(hits.mean() - hits[fresh].mean())
    weights = RNG.integers(0, 3, (1, 200))
    whole, rest = (np.average(hits, weights=weights[0] * mask) for mask in (fresh | True, fresh))
    assert as_rows(form)(weights)[0] == pytest.approx(whole - rest)


def test_effects_under_the_same_weights_share_those_without_repeats() -> None:
    weights, of_fresh = RNG.random((2, 200)), metrics.fresh_weights(RNG.random(200) < 0.8)
    weights.flags.writeable = False
    assert of_fresh(weights) is of_fresh(weights)
    assert not of_fresh(weights)[1].flags.writeable  # else what metrics make of them is made anew


def test_an_effect_looks_only_at_weights_of_repeats() -> None:
    fresh = np.arange(200) != 7
    weights = RNG.integers(0, 3, (3, 200)).astype(np.float64)
    weights[:, 7] = 0, 2, 0
    asked: list[Any] = []

    def compute(weights: Any) -> Any:
        asked.append(weights)
        return np.where(weights[:, 3] > 9, np.nan, weights @ np.arange(200))

    form = RowMetric(Statistic(n=200, compute=compute))
    found = as_rows(metrics.effect(form, metrics.fresh_weights(fresh)))(weights)
    assert found.tolist() == [0.0, 14.0, 0.0]
    assert [len(one) for one in asked] == [3, 1]


def test_any_metric_bears_no_weights_of_repeats() -> None:
    kinds = (Classification, Regression, MultiLabel, Detection)
    judged = {metric.info.id: metric for kind in kinds for metric in metrics_named(kind.metrics)}
    assert len(judged) > 40
    for name, metric in judged.items():
        for view in made_up_views(metric):
            if not metric.by_class and metric.applies(view) == "":
                plain = np.ones((1, len(view)))
                of_fresh = metrics.fresh_weights(np.ones(len(view), dtype=bool))
                found = as_rows(metrics.effect(metric.form(view), of_fresh))(plain)
                assert found.tolist() == [0.0] or np.isnan(found).all(), name


@pytest.mark.parametrize(("n", "shift"), [(200, 0.0), (1000, 1.5)])
def test_the_interval_of_the_tpr_covers(n: int, shift: float) -> None:
    """The truth is in closed form: scores are normal, members' moved by `shift`."""
    from scipy.stats import norm

    truth, held = norm.sf(norm.isf(0.01) - shift), 0
    rng = np.random.default_rng(1)
    for _ in range(300):
        members = np.repeat([True, False], n)
        view = metrics.Membership(rng.normal(size=2 * n) + shift * members, members)
        lower, upper, _, _ = metrics.tpr_interval(view, 0.01, 0.95)
        held += lower <= truth <= upper
    assert held >= 0.95 * 300


def test_confident_learning_finds_flipped_labels() -> None:
    """By cleanlab 2.9's own words: the off-diagonal entries of its confident joint."""
    truth = np.arange(300) % 3
    labels = truth.copy()
    labels[:12] = (truth[:12] + 1) % 3
    p = np.full((300, 3), 0.1)
    p[np.arange(300), truth] = 0.8
    p[12:40] = 1 / 3  # it can't tell: no doubt
    found = scenarios.confident_learning(p, labels)
    assert np.flatnonzero(found.flags).tolist() == list(range(12))
    assert (found.guess[:12] == truth[:12]).all() and (found.guess[12:] == labels[12:]).all()
    assert found.given[found.order].tolist() == sorted(found.given[:12])


def test_a_rank_holds_what_any_relabelling_leaves_open() -> None:
    labels = np.zeros(400, dtype=int)
    own, other = labels.copy(), labels.copy()
    own[:60] = 1
    views: Any = [SimpleNamespace(predictions=p, targets=labels) for p in (own, other)]
    none = scenarios.Doubts(labels > 0, labels, labels * 1.0, labels[:0])
    assert scenarios._rank(views[0], views[1:], none, 0.95).lower == 2
    guess = np.where(np.arange(400) < 55, 1, 0)
    doubted = scenarios.Doubts(guess > 0, guess, labels * 1.0, labels[:0])
    row = scenarios._rank(views[0], views[1:], doubted, 0.95)
    assert (row.value, row.lower, row.upper) == (2, 1, 2)


def test_a_run_finds_what_was_planted(tmp_path: Path) -> None:
    """Rows of train in test, flipped labels, and a tree that knows train by heart."""
    from sklearn.tree import DecisionTreeClassifier

    n, rng = 1200, np.random.default_rng(5)
    x = rng.normal(size=(n, 5))
    y = (x[:, 0] + 0.8 * rng.normal(size=n) > 0).astype(int)
    x[600:660], y[600:660] = x[:60] + 0.001, y[:60]  # test's first sixty are train's
    tree = DecisionTreeClassifier(random_state=0).fit(x[:600], y[:600])
    stump = DecisionTreeClassifier(max_depth=1).fit(x[:600], y[:600])
    np.savez(tmp_path / "d.npz", x_test=x[600:], y_test=y[600:], x_train=x[:600], y_train=y[:600])
    run = cb.run(
        models={"tree": tree, "stump": stump}, data=f"npz:{tmp_path}/d.npz", suites=["leak"],
        settings={"leak.labels": "cross-validated"}, out=tmp_path / "results",
    )  # fmt: skip
    table = run.metrics()

    def value(model: str, metric: str, point: str = "") -> Any:
        keep = (table.model == model) & (table.metric == metric) & (table.point == point)
        (row,) = table[keep].itertuples()
        return row

    assert value("tree", "near-duplicate-share", "train").value == 0.1
    right = tree.predict(x[600:]) == y[600:]
    effect = value("tree", "near-duplicate-effect", "top-1")
    assert effect.value == pytest.approx(right.mean() - right[60:].mean())
    assert 0 < effect.lower < effect.value < effect.upper
    again = value("tree", "top-1", "without near-duplicates")
    assert (again.value, again.n) == (pytest.approx(right[60:].mean()), 540)
    known = value("tree", "membership-tpr-at-fpr-1e-2")
    assert known.value < 0.05  # a tree is as sure of its mistakes: no threshold tells
    assert value("tree", "membership-auroc").lower > 0.6
    assert value("stump", "membership-auroc").lower < 0.5
    assert value("tree", "membership-tpr-at-fpr-1e-3").reason.startswith("it needs at least 1,000")
    rank = value("stump", "top-1-rank")
    assert rank.lower == rank.value == 1 <= rank.upper <= 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"leak.labels": "cros-validated"}, "unknown judge of labels 'cros-validated'"),
        ({"accuracy.metrics": ["membership-auroc"]}, "is of no kind of task"),
    ],
)
def test_what_can_not_be_had_is_refused(tmp_path: Path, settings: Any, says: str) -> None:
    np.savez(tmp_path / "d.npz", x=np.eye(8), y=np.arange(8) % 2)
    with pytest.raises(InputError, match=says):
        cb.run(
            models={"m": lambda frame: np.full((len(frame), 2), 0.5)},
            data=f"npz:{tmp_path}/d.npz", suites=["leak", "accuracy"], settings=settings,
            out=tmp_path / "results",
        )  # fmt: skip


ROW_MEANS = """
import torch
from torch import nn

class RowMeans(nn.Module):
    '''Its features, means of rows, are the same for an image and its mirror image.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(32, 2)

    def forward(self, x):
        return self.head(x.mean(dim=(1, 3)))

def featured():
    return RowMeans()
"""


def test_mirrored_and_cropped_images_are_found_by_an_embedding(tmp_path: Path) -> None:
    made, _ = images(60)
    train, test = made[:40], made[40:].clone()
    test[:10] = train[:10].flip(3)
    test[10:12] = torch.nn.functional.interpolate(train[10:12, :, 3:, 3:], size=32, mode="bilinear")
    arrays = {role: np.rint(part.numpy().transpose(0, 2, 3, 1) * 255).astype(np.uint8)
              for role, part in (("train", train), ("test", test))}  # fmt: skip
    np.savez(
        tmp_path / "d.npz", x_train=arrays["train"], x_test=arrays["test"],
        y_train=np.arange(40) % 2, y_test=np.arange(20) % 2,
    )  # fmt: skip
    (tmp_path / "models.py").write_text(ROW_MEANS)

    def shares(**settings: Any) -> set[float]:
        table = cb.run(
            models=[f"a=torch:{tmp_path}/models.py:featured",
                    f"b=torch:{tmp_path}/models.py:featured"],
            data=f"npz:{tmp_path}/d.npz", suites=["leak"], out=tmp_path / "results",
            settings=settings,
        ).metrics()  # fmt: skip
        keep = (table.metric == "near-duplicate-share") & (table.point == "train")
        return set(table[keep].value)

    assert shares() == {0.0}
    assert shares(**{"leak.embedding": "a"}) == {0.6}
    whole = arrays["train"][:3]
    assert embeddings.aligned(whole, whole[:, :, ::-1]) == pytest.approx(1, abs=1e-5)
    assert (embeddings.aligned(whole, arrays["train"][3:6]) < embeddings.ALIGNED).all()


MORTAL = """
import os
import time
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from crucibench_suites.leak import sketches

HONEST, CALLS = sketches.sketched, Path(__file__).with_name("calls")

def sketched(batch, modality, **more):
    with CALLS.open("a") as stream:
        stream.write("\\n")
    if len(CALLS.read_text()) == int(os.environ.get("STOP_AT", 0)):
        time.sleep(600)
    return HONEST(batch, modality, **more)

sketches.sketched = sketched

def function(images):
    return np.stack([images.mean(axis=(1, 2, 3)), 1 - images.mean(axis=(1, 2, 3))], axis=1)
"""


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
def test_killed_among_sketches_it_keeps_what_it_computed(tmp_path: Path) -> None:
    made, _ = images(120)
    arrays = np.rint(made.numpy().transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    arrays[100:110] = arrays[:10]
    np.savez(tmp_path / "d.npz", x_train=arrays[:60], x_test=arrays[60:],
             y_train=np.arange(60) % 2, y_test=np.arange(60) % 2)  # fmt: skip
    (tmp_path / "models.py").write_text(MORTAL)
    calls = tmp_path / "calls"

    def attempt(out: str, stop_at: int = 0) -> tuple[int, int]:
        calls.write_text("")
        process = subprocess.Popen(
            [sys.executable, "-m", "crucibench", "run", "--suite", "leak", "--workers", "1",
             "--model", "m=python:models.py:function", "--data", "npz:d.npz", "--batch-size", "4",
             "--no-cache", "--quiet", "--out", out],
            cwd=tmp_path, env={**os.environ, "STOP_AT": str(stop_at)}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while stop_at and process.poll() is None and len(calls.read_text()) < stop_at:
            time.sleep(0.05)
        if stop_at:
            engine = psutil.Process(process.pid)
            for one in (engine, *engine.children(recursive=True)):
                one.kill()
        return process.wait(), len(calls.read_text())

    assert attempt("whole") == (0, 30)
    assert attempt("killed", 22) == (-signal.SIGKILL, 22)
    assert not list(tmp_path.glob("killed/*/manifest.json"))
    code, again = attempt("killed")
    assert (code, again) == (0, 9)  # that under way, and those after it
    whole, killed = (cb.load(next(tmp_path.glob(f"{name}/*"))) for name in ("whole", "killed"))
    assert killed.digest == whole.digest
