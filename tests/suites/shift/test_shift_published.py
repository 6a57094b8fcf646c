"""From end to end: published corrupted files as rows of the suite, with answers known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import crucibench as cb
from crucibench.contracts.rows import parse_address
from crucibench.contracts.verdict import Status
from crucibench.util.errors import InputError
from crucibench_suites.shift.corruptions.images import COMMON

N = 40
SIDE = 8
LEVELS = (2, 5)


class Side(torch.nn.Module):
    """Says on which side an image is brighter; looks at its rows from `first` to `last` only."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.rows = slice(first, last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        strip = images[:, :, self.rows]
        gap = strip[..., SIDE // 2 :].mean((1, 2, 3)) - strip[..., : SIDE // 2].mean((1, 2, 3))
        return torch.stack([-gap, gap], dim=1) * 10


UPPER, LOWER = (0, 4), (4, 8)


def spoilt(corruption: str, severity: int) -> int:
    """How many of the first images of a file have their sides swapped."""
    return severity + 2 * (COMMON.index(corruption) % 3)


@pytest.fixture(scope="module")
def clean() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 2
    images = rng.integers(20, 60, (N, SIDE, SIDE, 3))
    images[labels == 0, :, : SIDE // 2] += 150
    images[labels == 1, :, SIDE // 2 :] += 150
    return images.astype(np.uint8), labels


def corrupted(images: np.ndarray, corruption: str, severity: int) -> np.ndarray:
    """Swaps the sides of the first images, and of two more in the lower half alone."""
    count = spoilt(corruption, severity)
    found = images - np.uint8(severity)
    found[:count] = found[:count, :, ::-1]
    found[count : count + 2, 4:] = found[count : count + 2, 4:, ::-1]
    found[..., 0, 0, 0] = COMMON.index(corruption)  # every file's own
    return found


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory, clean: Any) -> Path:
    """As CIFAR-10-C: a file a corruption, five stretches in each."""
    folder = tmp_path_factory.mktemp("arrays")
    images, labels = clean
    np.save(folder / "test.npy", images)
    np.save(folder / "truth.npy", labels)
    np.savez(folder / "nameless.npz", X=images, y=labels)
    (folder / "C").mkdir()
    np.save(folder / "C/labels.npy", np.tile(labels, 5))
    for name in COMMON:
        stretches = [corrupted(images, name, severity) for severity in range(1, 6)]
        np.save(folder / f"C/{name}.npy", np.concatenate(stretches))
    return folder


def run(out: Path, data: str, limit: int | None = None, **settings: Any) -> cb.Run:
    settings = {"corruptions": [], "severities": list(LEVELS)} | settings
    defaults = {"replicates": 100} | ({} if limit is None else {"limit": limit})
    done = cb.run(
        models={"upper": Side(*UPPER), "lower": Side(*LOWER)}, data=data, suites=["shift"],
        out=out, workers=0, cache=False, defaults=defaults,
        settings={f"shift.{key}": value for key, value in settings.items()},
    )  # fmt: skip
    told = {name: cell.reason for name, cell in done.cells.items() if cell.status is not Status.OK}
    assert not told
    return done


def row(done: cb.Run, scenario: str, metric: str, point: str = "", model: str = "upper") -> Any:
    rows = done.metrics()
    found = rows[
        (rows.scenario == scenario) & (rows.metric == metric) & (rows.point == point)
        & (rows.model == model)
    ]  # fmt: skip
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def from_arrays(arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> cb.Run:
    return run(
        tmp_path_factory.mktemp("out"), f"cifar-npy:{arrays}/test.npy?labels={arrays}/truth.npy",
        published=f"cifar-npy:{arrays}/C", reference="lower", corruptions=["brightness"],
    )  # fmt: skip


def test_a_row_a_corruption_and_severity(from_arrays: cb.Run) -> None:
    for name in ("gaussian_noise", "fog", "jpeg_compression"):
        for severity in LEVELS:
            count = spoilt(name, severity)
            found = row(from_arrays, f"published/{name}/{severity}", "top-1")
            assert found.value == pytest.approx(1 - count / N) and found.n == N
            assert found.lower < found.value < found.upper
            scenario = f"published/{name}/{severity}"
            # The arrays' rows name the originals, so that files and clean images are pairs.
            for metric in ("flip-rate", "top-1-drop", "top-1-home-minus-here"):
                assert row(from_arrays, scenario, metric).value == pytest.approx(count / N)
            assert pd.notna(row(from_arrays, scenario, "ece-15-equal-width-top-label").value)


def test_all_together(from_arrays: cb.Run) -> None:
    counts = np.array([[spoilt(name, level) for level in LEVELS] for name in COMMON])
    expected = {
        "corrupted-top-1": 1 - counts.mean() / N,
        "top-1-drop": counts.mean() / N,
        "corrupted-flip-rate": counts.mean() / N,
        "worst-corruption-top-1": 1 - counts.mean(axis=1).max() / N,
        "worst-case-top-1": 1 - counts.max() / N,
        "mce": 100 * np.mean(counts.sum(axis=1) / (counts + 2).sum(axis=1)),
        # Both models are right on every clean image.
        "relative-mce": 100 * np.mean(counts.sum(axis=1) / (counts + 2).sum(axis=1)),
    }
    for metric, value in expected.items():
        found = row(from_arrays, "published/summary", metric)
        assert found.value == pytest.approx(value), metric
        assert found.lower < found.value < found.upper, metric
    for metric in ("mce", "relative-mce"):
        assert row(from_arrays, "published/summary", metric, model="lower").value == 100
    fog = row(from_arrays, "published/summary", "mean-top-1", "corruption=fog")
    assert fog.value == pytest.approx(1 - counts[COMMON.index("fog")].mean() / N)
    (cell,) = (
        c for c in from_arrays.cells.values()
        if c.scenario == "published/summary" and c.model == "upper"
    )  # fmt: skip
    table = from_arrays.table(cell.cell, "by-corruption")
    assert table is not None and list(table.corruption) == list(COMMON)


def test_never_joined_with_generated_ones(from_arrays: cb.Run) -> None:
    rows = from_arrays.metrics()
    published = rows[rows.scenario.str.startswith("published/")]
    generated = rows[rows.scenario.isin(["brightness", "summary"])]
    assert len(generated) and not set(published.comparison_key) & set(generated.comparison_key)
    sources = {
        cell.scenario: cell.comparison["scenario"]["parameters"].get("source")
        for cell in from_arrays.cells.values()
    }
    assert sources["published/brightness/5"] == sources["published/summary"] == "published"
    assert sources["brightness"] == "generated"
    # The generated summary knows of one corruption, whatever was published.
    assert pd.isna(row(from_arrays, "summary", "mce").value)


def test_a_tree_of_files(tmp_path: Path, clean: Any) -> None:
    images, labels = clean
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        save(tmp_path / f"val/{label}/{number:03}.png", image)
    for name in ("fog", "snow"):
        for severity in (1, 3, 5):
            changed = corrupted(images, name, severity)
            for number, (image, label) in enumerate(zip(changed, labels, strict=True)):
                save(tmp_path / f"C/weather/{name}/{severity}/{label}/{number:03}.png", image)
    done = run(
        tmp_path / "out", f"imagefolder:{tmp_path}/val", published=f"imagenet-c:{tmp_path}/C",
        severities=[1, 5],
    )  # fmt: skip
    levels = {(name, level) for name in ("snow", "fog") for level in (1, 5)}
    names = {cell.scenario for cell in done.cells.values() if cell.suite == "shift"}
    assert names == {f"published/{name}/{level}" for name, level in levels} | {"published/summary"}
    for name, level in levels:
        found = row(done, f"published/{name}/{level}", "flip-rate")
        assert found.value == pytest.approx(spoilt(name, level) / N)
    average = 1 - np.mean([spoilt(name, level) for name, level in levels]) / N
    found = row(done, "published/summary", "corrupted-top-1")
    assert found.value == pytest.approx(average)
    assert "13 of which were not run" in row(done, "published/summary", "mce").reason


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_without_names_nothing_is_paired(arrays: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path, f"npz:{arrays}/nameless.npz", published=f"cifar-npy:{arrays}/C/fog.npy"
        f"?labels={arrays}/C/labels.npy", severities=[2],
    )  # fmt: skip
    lost = spoilt("fog", 2) / N
    for scenario in ("published/fog/2", "published/summary"):
        assert "originals" in row(done, scenario, "top-1-drop").reason
    assert row(done, "published/fog/2", "top-1-home-minus-here").value == pytest.approx(lost)
    assert row(done, "published/summary", "corrupted-top-1").value == pytest.approx(1 - lost)


def test_a_limit_keeps_other_originals(arrays: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path, f"npz:{arrays}/nameless.npz", limit=20, severities=[1, 3],
        published=f"cifar-npy:{arrays}/C/fog.npy?labels={arrays}/C/labels.npy",
    )  # fmt: skip
    assert row(done, "published/fog/3", "top-1").n == 20
    found = row(done, "published/summary", "corrupted-top-1")
    assert pd.isna(found.value) and "under a limit" in found.reason


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ("imagefolder:C", "suites.shift.published: imagefolder: its addresses stand for one data"),
        ("cifar-npy:C/fog.npy", "suites.shift.published: cifar-npy: option labels is missing"),
        ("imagenet-c:C", "suites.shift.published: imagenet-c: 'C' holds no corruptions"),
        ("cifar-npi:C", "did you mean 'cifar-npy'?"),
    ],
)
def test_an_address_that_is_none(
    arrays: Path,
    tmp_path: Path,
    published: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Any,
) -> None:
    monkeypatch.chdir(arrays)
    assert message in refusal(
        InputError,
        lambda: run(tmp_path, "cifar-npy:test.npy?labels=truth.npy", published=published),
    )


class Fooled(Side):
    """The same, but wrong on half of those whose corner is the darkest, as in a file of fog."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # By order and distance, which no other normalisation or inversion changes: none would mend
        # it, nor would other names of the classes.
        half, corner = images[..., : SIDE // 2].flatten(1), images[:, :, 0, 0]
        extreme = (corner.amin(1) <= half.amin(1)) | (corner.amax(1) >= half.amax(1))
        far, near = ((images[:, 0, 1, 1] - images[:, 0, *at]).abs() for at in ((2, 2), (3, 3)))
        return torch.where(extreme & (far > near), -1.0, 1.0)[:, None] * super().forward(images)


def test_a_gate_holds_names_with_slashes(arrays: Path, tmp_path: Path) -> None:
    runs = [
        cb.run(
            models={"m": model}, data=f"cifar-npy:{arrays}/test.npy?labels={arrays}/truth.npy",
            suites=["shift"], out=tmp_path / model.__class__.__name__, workers=0, cache=False,
            settings={
                "shift.corruptions": [], "shift.severities": [2],
                "shift.published": f"cifar-npy:{arrays}/C/fog.npy?labels={arrays}/C/labels.npy",
            },
        )
        for model in (Side(*UPPER), Fooled(*UPPER))
    ]  # fmt: skip
    policy = {
        "required": [
            {"address": "m:shift/published/fog/2/top-1", "margin": 0.2},
            {"address": "m:shift/published/*/corrupted-top-1", "margin": 0.2},
        ]
    }
    for candidate, outcome, code in zip(runs, ("pass", "regression"), (0, 1), strict=True):
        verdict = cb.gate(runs[0], candidate, policy)
        found = {check.address: check.outcome for check in verdict.checks}
        assert found == dict.fromkeys(
            ("m:shift/published/fog/2/top-1", "m:shift/published/summary/corrupted-top-1"), outcome
        )
        assert (verdict.outcome, verdict.exit_code) == (outcome, code)


def test_names_with_slashes_in_addresses_and_patterns() -> None:
    text = "cnn:shift/published/fog/3/top-1@class=a/b"
    found = parse_address(text)
    assert (found.scenario, found.metric, found.group) == ("published/fog/3", "top-1", "class=a/b")
    assert str(found) == text
    summary = parse_address("cnn:shift/published/summary[corruption=fog]/mean-top-1")
    assert (summary.scenario, summary.point) == ("published/summary", "corruption=fog")
