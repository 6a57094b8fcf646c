from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 3


def images(*shape: Any) -> Any:
    return RNG.integers(0, 256, (12, *shape), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels"), ("data", "target")])
def test_images_in_either_layout(tmp_path: Path, open_uri: Any, save: Any, names: Any) -> None:
    pixels = images(3, 5, 6)
    save(tmp_path / "first.npz", **dict(zip(names, (pixels, LABELS), strict=True)))
    last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    save(tmp_path / "last.npz", **dict(zip(names, (last, LABELS), strict=True)))
    first, other = open_uri("npz:first.npz"), open_uri("npz:last.npz")
    assert first.card.features == {"image": "3x5x6"}
    assert first.card.fingerprint == other.card.fingerprint
    expected = pixels.astype(np.float32) / np.float32(255)
    for data in (first, other):
        got = data.batch("test", range(12), InputSpec()).inputs
        assert got.is_contiguous()
        assert np.array_equal(got.numpy(), expected)
    assert first.samples("test").targets.tolist() == LABELS.tolist()


def test_floats_and_wide_integers(tmp_path: Path, open_uri: Any) -> None:
    floats = RNG.random((12, 4, 4))
    np.savez(tmp_path / "floats.npz", X=floats, y=LABELS)
    got = open_uri("npz:floats.npz").batch("test", [3], InputSpec()).inputs
    assert np.array_equal(got[0, 0].numpy(), floats[3].astype(np.float32))
    wide = images(4, 4)
    np.savez(tmp_path / "wide.npz", X=wide.astype(np.int64), y=LABELS)
    np.savez(tmp_path / "narrow.npz", X=wide, y=LABELS)
    ids = {name: open_uri(f"npz:{name}.npz").card.ids_digest["test"] for name in ("wide", "narrow")}
    assert ids["wide"] == ids["narrow"]


def test_resizing_arrays_is_sample_by_sample(tmp_path: Path, open_uri: Any) -> None:
    np.savez(tmp_path / "data.npz", X=images(3, 8, 10), y=LABELS)
    data = open_uri("npz:data.npz")
    spec = InputSpec(size=(5, 5), channels=1, resize="bicubic")
    whole = data.batch("test", range(12), spec).inputs
    assert whole.shape == (12, 1, 5, 5)
    assert np.array_equal(data.batch("test", [7], spec).inputs[0].numpy(), whole[7].numpy())


def test_roles_have_their_own_arrays(tmp_path: Path, open_uri: Any) -> None:
    for test, train, around in (
        (("x_test", "y_test"), ("x_train", "y_train"), "{}_{}"),
        (("test_images", "test_labels"), ("train_images", "train_labels"), "{1}_{0}"),
    ):
        arrays = {}
        for role, (samples, target) in (("test", test), ("train", train)):
            arrays[samples], arrays[target] = images(4, 4), LABELS
            arrays[around.format("site", role)] = np.array(["a", "b"] * 6)
        np.savez(tmp_path / "data.npz", **arrays)
        data = open_uri("npz:data.npz?groups=site")
        assert data.card.counts == {"test": 12, "train": 12}
        assert data.card.split == "as the file names its arrays"
        assert data.samples("train").groups["site"].tolist() == ["a", "b"] * 6


def test_tables_and_texts(tmp_path: Path, open_uri: Any) -> None:
    table = RNG.random((12, 2), dtype=np.float32)
    np.savez(tmp_path / "t.npz", X=table, y=LABELS, feature_names=np.array(["u", "v"]))
    data = open_uri("npz:t.npz")
    inputs = data.batch("test", range(12), InputSpec()).inputs
    assert list(inputs.columns) == ["u", "v"]
    assert np.array_equal(inputs.to_numpy(), table)
    fortran = np.asfortranarray(table.astype(np.float64))
    np.savez(tmp_path / "f.npz", X=fortran, y=RNG.random(12))
    data = open_uri("npz:f.npz")
    assert data.task.kind == "regression"
    assert np.array_equal(data.batch("test", range(12), InputSpec()).inputs.to_numpy(), fortran)
    np.savez(tmp_path / "s.npz", X=np.array([f"tëxt {n}" for n in range(12)]), y=LABELS)
    data = open_uri("npz:s.npz")
    assert data.task.modality is Modality.TEXT
    assert data.batch("test", [11], InputSpec()).inputs == ["tëxt 11"]


def test_large_arrays_come_in_pieces(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.npz.rows_at_once", lambda size: 5)
    pixels = images(4, 4)
    np.savez(tmp_path / "data.npz", X=pixels, y=LABELS)
    monkeypatch.setattr("crucibench.util.untrusted.arrays.NpzFile.load", _targets_alone)
    got = open_uri("npz:data.npz").batch("test", range(12), InputSpec()).inputs
    assert np.array_equal((got * 255).round().numpy()[:, 0], pixels)


def _targets_alone(arrays: Any, name: str) -> Any:
    assert name == "y"
    return LABELS


def test_objects_need_the_pickle_flag(tmp_path: Path, open_uri: Any, refusal: Any) -> None:
    target = np.array(["a", "b"] * 6, dtype=object)
    np.savez(tmp_path / "data.npz", X=images(4, 4), y=target)
    assert refusal(InputError, lambda: open_uri("npz:data.npz")) == (
        "data.npz: array 'y': expected numbers or strings, got Python objects, which only "
        "unpickling can read (--allow-pickle)"
    )
    assert open_uri("npz:data.npz", allow_pickle=True).task.classes == ("a", "b")


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"a": LABELS, "b": LABELS},
            "",
            "data.npz: expected arrays X and y, images and labels, or x_test and y_test, got a, b",
        ),
        (
            {"X": images(3, 9, 3), "y": LABELS},
            "",
            "array 'X': shape (12, 3, 9, 3) can be (N, C, H, W) or (N, H, W, C); say layout=nchw "
            "or layout=nhwc",
        ),
        (
            {"X": images(5, 9, 7), "y": LABELS},
            "",
            "array 'X': expected images of 1 or 3 channels, got shape (12, 5, 9, 7)",
        ),
        (
            {"X": images(4, 4), "y": LABELS},
            "?layout=nchv",
            "unknown layout 'nchv'; did you mean 'nchw'? (known: nchw, nhw, nhwc)",
        ),
        (
            {"X": np.linspace(0, 255, 192).reshape(12, 4, 4), "y": LABELS},
            "",
            "array 'X': expected images of uint8, or of floats from 0 to 1, got 0 to 255",
        ),
        (
            {"X": np.arange(-1, 191).reshape(12, 4, 4), "y": LABELS},
            "",
            "array 'X': expected images of uint8, or of floats from 0 to 1, got -1 to 190",
        ),
        (
            {"X": images(4, 4), "y": LABELS[:5]},
            "",
            "array 'y' has 5 values for the 12 samples of 'X'",
        ),
        (
            {"X": images(4, 4), "y": np.eye(12)},
            "",
            "array 'y': expected one value per sample, got shape (12, 12)",
        ),
        (
            {"X": images(2, 2, 2, 2), "y": LABELS},
            "",
            "array 'X': expected a table (2 dimensions) or images (3 or 4), "
            "got shape (12, 2, 2, 2, 2)",
        ),
        (
            {"X": images(4, 4)[:0], "y": LABELS[:0]},
            "",
            "the data has no rows",
        ),
        (
            {"X": images(4, 4), "y": LABELS, "site": LABELS},
            "?groups=sites",
            "option groups: there is no array 'sites'; did you mean 'site'? (arrays: X, y, site)",
        ),
        (
            {"x_test": images(4, 4), "y_test": LABELS, "x_train": images(5, 5), "y_train": LABELS},
            "",
            "data.npz: the samples of train differ from those of test",
        ),
        (
            {"x_test": images(4, 4), "y_test": LABELS, "x_train": images(4, 4), "y_train": LABELS},
            "?split=0.5",
            "option split: the data is split already, into test, train",
        ),
        (
            {"X": images(2), "y": LABELS, "feature_names": np.array(["a"])},
            "",
            "array 'X': expected 1 columns, got 2",
        ),
    ],
)
def test_bad_arrays(
    tmp_path: Path, open_uri: Any, arrays: Any, options: Any, message: str, refusal: Any
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    assert refusal(InputError, lambda: open_uri(f"npz:data.npz{options}")) == message


def test_bad_files(tmp_path: Path, open_uri: Any) -> None:
    np.save(tmp_path / "data.npy", LABELS)
    with pytest.raises(InputError, match=r"^data\.npy: expected a ZIP archive"):
        open_uri("npz:data.npy")
    np.savez(tmp_path / "data.npz", X=images(4, 4), y=LABELS)
    with zipfile.ZipFile(tmp_path / "data.npz") as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as bad:
        bad.writestr("X.npy", members["X.npy"][:-10])
        bad.writestr("y.npy", members["y.npy"])
    with pytest.raises(InputError, match=r"^short\.npz: array 'X': .* it is shorter than"):
        open_uri("npz:short.npz")
