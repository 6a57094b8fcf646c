"""Arrays, frames, data sets and what comes with scikit-learn."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from PIL import Image
from sklearn import datasets as bundled

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.data.sources.python_factory import PythonSource
from crucibench.util.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Pairs(torch.utils.data.Dataset):
    """A torch Dataset of what it is given."""

    def __init__(self, samples: Any, targets: Any) -> None:
        self.samples, self.targets = samples, targets

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: Any) -> Any:
        return self.samples[row], self.targets[row]


def test_arrays_and_tensors_are_the_same_data(open_live: Any) -> None:
    forms = [
        (PIXELS, LABELS),
        (torch.from_numpy(PIXELS), torch.from_numpy(LABELS)),
        (list(PIXELS), LABELS.tolist()),
        (PIXELS.transpose(0, 2, 3, 1), LABELS[:, None]),
        Pairs(torch.from_numpy(PIXELS), LABELS),
        torch.utils.data.TensorDataset(torch.from_numpy(PIXELS), torch.from_numpy(LABELS)),
    ]
    opened = [open_live(data) for data in forms]
    assert len({data.card.fingerprint for data in opened}) == 1
    for data in opened:
        got = data.batch("test", range(6), InputSpec()).inputs
        assert np.array_equal(got.numpy(), PIXELS / np.float32(255))
        assert data.task.classes == ("0", "1", "2")


def test_tables_and_regression(open_live: Any) -> None:
    X, y = RNG.normal(size=(6, 2)).astype(np.float32), RNG.normal(size=6)
    opened = [
        open_live((X, y)),
        open_live((torch.from_numpy(X), torch.from_numpy(y))),
        open_live((pd.DataFrame(X, columns=["x0", "x1"]), pd.Series(y, name="target"))),
        open_live(Pairs(torch.from_numpy(X), y)),
    ]
    assert len({data.card.fingerprint for data in opened}) == 1
    inputs = opened[0].batch("test", range(6), InputSpec()).inputs
    assert np.array_equal(inputs.to_numpy(), X)
    assert opened[0].samples("test").targets.tolist() == y.tolist()
    named = open_live((pd.DataFrame(X, columns=[0, 1]), pd.Series(y, name="price")), groups="1")
    assert named.card.target == "price"
    assert named.card.groups == ("1",)


def test_frames_of_one_array_with_objects(open_live: Any) -> None:
    X = np.array([[1, "a"], [2, "b"], [3, "a"]], dtype=object)
    data = open_live((X, ["p", "q", "p"]))
    assert data.card.features == {"x0": "int64", "x1": "string"}


def test_texts(open_live: Any) -> None:
    texts = ["One.", "Two, näïve.", ""]
    forms = [
        (texts, [0, 1, 0]),
        (np.array(texts), [0, 1, 0]),
        (np.array(texts, dtype=object), [0, 1, 0]),
        (pd.Series(texts), [0, 1, 0]),
        Pairs(texts, [0, 1, 0]),
    ]
    for form in forms:
        data = open_live(form)
        assert data.task.modality is Modality.TEXT
        assert data.batch("test", range(3), InputSpec()).inputs == texts


def test_pictures_are_kept_as_their_pixels(open_live: Any) -> None:
    pictures = [Image.fromarray(pixels.transpose(1, 2, 0)) for pixels in PIXELS]
    pictures[2] = pictures[2].crop((0, 0, 3, 3))
    data = Pairs(pictures, LABELS.tolist())
    data.classes = ["cat", "dog", "owl"]
    opened = open_live(data)
    assert opened.task.classes == ("cat", "dog", "owl")
    assert opened.card.features == {"image": "3x3x3 to 3x4x5"}
    got = opened.batch("test", [1], InputSpec(size=(4, 5))).inputs[0]
    assert np.array_equal(got.numpy(), PIXELS[1] / np.float32(255))


def test_hugging_face_datasets(open_live: Any) -> None:
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"])
    )
    rows = {"image": [Image.fromarray(p.transpose(1, 2, 0)) for p in PIXELS], "label": LABELS}
    encoded = open_live(datasets.Dataset.from_dict(rows, features=features))
    assert encoded.task.classes == ("a", "b", "c")
    got = encoded.batch("test", [4, 2], InputSpec()).inputs
    assert np.array_equal(got.numpy(), PIXELS[[4, 2]] / np.float32(255))

    features = datasets.Features(
        image=datasets.Array3D((3, 4, 5), "uint8"), label=datasets.Value("int64")
    )
    arrays = datasets.Dataset.from_dict({"image": PIXELS, "label": LABELS}, features=features)
    shuffled = open_live(arrays.shuffle(seed=1))
    assert shuffled.card.ids_digest == open_live((PIXELS, LABELS)).card.ids_digest
    samples = shuffled.samples("test")
    got = shuffled.batch("test", range(6), InputSpec()).inputs
    expected = {
        tuple((p / np.float32(255)).ravel()): y for p, y in zip(PIXELS, LABELS, strict=True)
    }
    for image, target in zip(got.numpy(), samples.targets, strict=True):
        assert expected[tuple(image.ravel())] == target


def test_a_dataset_dict_gives_roles(open_live: Any) -> None:
    part = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]})
    whole = datasets.DatasetDict({"train": part, "validation": part, "extra": part})
    data = open_live(whole, input="text")
    assert data.card.counts == {"test": 2, "train": 2}
    assert data.card.notes[:2] == ("extra is left out", "test is what the data calls validation")


def test_roles_of_a_dict(open_live: Any) -> None:
    far = (PIXELS[:2], LABELS[:2])
    data = open_live({"ood/far/noise": far, "test": (PIXELS, LABELS)})
    assert data.roles == ("test", "ood/far/noise")
    assert len(data.samples("ood/far/noise")) == 2


def test_rows_of_a_filtered_dataset(open_live: Any) -> None:
    whole = datasets.Dataset.from_dict({"a": list(range(10)), "label": [0, 1] * 5})
    some = whole.select([7, 2, 4])
    data = open_live(some)
    assert data.batch("test", [0, 1, 2], InputSpec()).inputs["a"].tolist() == [7, 2, 4]
    assert data.samples("test").targets.tolist() == [1, 0, 0]


def test_categories_are_those_of_all_roles(open_live: Any) -> None:
    test = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "y": [0, 1]})
    train = pd.DataFrame({"c": pd.Categorical(["z", "x"]), "y": [0, 1]})
    data = open_live({"test": test, "train": train}, target="y")
    for role, values in (("test", ["x", "y"]), ("train", ["z", "x"])):
        column = data.batch(role, [0, 1], InputSpec()).inputs["c"]
        assert column.tolist() == values
        assert column.cat.categories.tolist() == ["x", "y", "z"]


def test_a_factory_in_a_file(tmp_path: Path, open_uri: Any, sources: Any, refusal: Any) -> None:
    (tmp_path / "helper.py").write_text("LABELS = ['p', 'q', 'p']\n")
    (tmp_path / "made.py").write_text(
        "import pandas as pd\nfrom helper import LABELS\n"
        "def frame():\n    return pd.DataFrame({'a': [1, 2, 3], 'y': LABELS})\n"
        "def fails():\n    return 1 / 0\n"
        "def wrong():\n    return 5\n"
    )
    data = open_uri("python:made.py:frame?target=y")
    assert data.task.classes == ("p", "q")
    assert data.card.uri == "python:made.py:frame?target=y"
    names = [path.name for path in sources("python:made.py:frame").files]
    assert names == ["helper.py", "made.py"]
    (tmp_path / "helper.py").write_text("LABELS = ['p', 'q', 'r']\n")
    assert open_uri("python:made.py:frame?target=y").task.classes == ("p", "q", "r")
    with pytest.raises(InputError) as caught:
        open_uri("python:made.py:fails")
    assert str(caught.value) == "made.py:fails raised ZeroDivisionError: division by zero"
    assert "1 / 0" in caught.value.detail
    assert refusal(InputError, lambda: open_uri("python:made.py:wrong")) == (
        "made.py:wrong: expected a datasets.Dataset, a torch Dataset of pairs, a DataFrame, "
        "(X, y), or a dict from role to one of these, got int"
    )
    with pytest.raises(InputError, match="did you mean 'frame'"):
        sources("python:made.py:frames")


def test_what_is_data() -> None:
    good = [
        (PIXELS, LABELS),
        (["a"], ["b"]),
        pd.DataFrame(),
        Pairs([], []),
        {"test": (PIXELS, LABELS)},
        datasets.Dataset.from_dict({}),
    ]
    bad = [5, "path.csv", PIXELS, (PIXELS,), (PIXELS, None), {}, {"test": 5}, {1: (PIXELS, LABELS)}]
    assert all(PythonSource.accepts(data) for data in good)
    assert not any(PythonSource.accepts(data) for data in bad)


def frame(**columns: Any) -> Any:
    return pd.DataFrame({"a": [1, 2], "y": ["p", "q"], **columns})


class Fails(Pairs):
    def __getitem__(self, row: Any) -> None:
        raise KeyError(row)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            frame(),
            {},
            "option target is missing: which column is it; is it 'y'? (columns: a, y)",
        ),
        (
            frame(),
            {"target": "yy"},
            "option target: there is no column 'yy'; did you mean 'y'? (columns: a, y)",
        ),
        (
            frame(b=[1, "x"]),
            {"target": "y"},
            "column 'b': expected values of one type, got a mixture",
        ),
        (
            pd.DataFrame([[1, 2, "p"], [3, 4, "q"]], columns=["a", "a", "y"]),
            {"target": "y"},
            "column 'a' is there 2 times; rename one",
        ),
        (frame().iloc[:0], {"target": "y"}, "the data has no rows"),
        (
            {"test": frame(), "train": frame().drop(columns="a")},
            {"target": "y"},
            "the frame of train has no column 'a'",
        ),
        (
            {"test": frame(), "train": frame(a=[0.5, 1.5])},
            {"target": "y"},
            "column 'a' holds int64 in test and double in train",
        ),
        ({"train": frame()}, {"target": "y"}, "the data has no role test (got train)"),
        (
            {"test": frame(), "train": (PIXELS, LABELS)},
            {"target": "y"},
            "the roles are of different kinds: {'test': 'frame', 'train': 'pair'}",
        ),
        ((PIXELS, LABELS[:4]), {}, "y has 4 values for the 6 samples of X"),
        ((frame(), ["p", "q"]), {"target": "a"}, "(X, y): X has the target column 'a' too"),
        (
            ([PIXELS[0], PIXELS[1][:, :2]], [0, 1]),
            {},
            "X: expected samples of one shape, got several",
        ),
        (
            (["a", 5], [0, 1]),
            {},
            "X: expected texts, got 5 (row 1, counted from 0)",
        ),
        (
            (PIXELS, LABELS),
            {"groups": "sex"},
            "option groups: there is no column 'sex' (columns: image, target)",
        ),
        (
            {"test": (PIXELS, LABELS), "train": (PIXELS[:, :1], LABELS)},
            {},
            "X of train is uint8 of shape (6, 1, 4, 5), not as X of test: uint8 of shape "
            "(6, 3, 4, 5)",
        ),
        (Pairs([], []), {}, "the data of test has no samples"),
        (
            Fails([1, 2], [0, 1]),
            {},
            "reading the data of test raised KeyError: 0",
        ),
        (
            Pairs(["a", "b"], [[1, 2], [3, 4]]),
            {},
            "the data of test: expected one target per sample, got [1, 2]",
        ),
        (
            Pairs([np.zeros((1, 2, 2)), np.zeros((1, 3, 2))], [0, 1]),
            {},
            "the data of test: sample 1 has shape (1, 3, 2), sample 0 (1, 2, 2)",
        ),
        (
            Pairs([5, 6], [0, 1]),
            {},
            "the data of test: expected tensors, texts or images, got int",
        ),
        (
            Pairs(torch.full((2, 1, 2, 2), 2.0), [0, 1]),
            {},
            "the data of test: expected images of uint8, or of floats from 0 to 1, got 2 to 2",
        ),
        (
            datasets.Dataset.from_dict({"a": [1, 2], "y": [0, 1]}),
            {},
            "option target is missing: which column is it; is it 'y'? (columns: a, y)",
        ),
        (
            datasets.Dataset.from_dict({"text": ["x", None], "label": [0, 1]}),
            {"input": "text"},
            "1 of 2 samples of test can't be used: row 1: the text 'text' is missing; "
            "on_bad_sample=skip leaves such samples out",
        ),
    ],
)
def test_bad_objects(open_live: Any, data: Any, options: Any, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_live(data, **options)) == message


LABELS_NPZ = np.arange(12) % 3


def images(*shape: Any) -> Any:
    return RNG.integers(0, 256, (12, *shape), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels"), ("data", "target")])
def test_images_in_either_layout(tmp_path: Path, open_uri: Any, save: Any, names: Any) -> None:
    pixels = images(3, 5, 6)
    save(tmp_path / "first.npz", **dict(zip(names, (pixels, LABELS_NPZ), strict=True)))
    last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    save(tmp_path / "last.npz", **dict(zip(names, (last, LABELS_NPZ), strict=True)))
    first, other = open_uri("npz:first.npz"), open_uri("npz:last.npz")
    assert first.card.features == {"image": "3x5x6"}
    assert first.card.fingerprint == other.card.fingerprint
    expected = pixels.astype(np.float32) / np.float32(255)
    for data in (first, other):
        got = data.batch("test", range(12), InputSpec()).inputs
        assert got.is_contiguous()
        assert np.array_equal(got.numpy(), expected)
    assert first.samples("test").targets.tolist() == LABELS_NPZ.tolist()


def test_floats_and_wide_integers(tmp_path: Path, open_uri: Any) -> None:
    floats = RNG.random((12, 4, 4))
    np.savez(tmp_path / "floats.npz", X=floats, y=LABELS_NPZ)
    got = open_uri("npz:floats.npz").batch("test", [3], InputSpec()).inputs
    assert np.array_equal(got[0, 0].numpy(), floats[3].astype(np.float32))
    wide = images(4, 4)
    np.savez(tmp_path / "wide.npz", X=wide.astype(np.int64), y=LABELS_NPZ)
    np.savez(tmp_path / "narrow.npz", X=wide, y=LABELS_NPZ)
    ids = {name: open_uri(f"npz:{name}.npz").card.ids_digest["test"] for name in ("wide", "narrow")}
    assert ids["wide"] == ids["narrow"]


def test_resizing_arrays_is_sample_by_sample(tmp_path: Path, open_uri: Any) -> None:
    np.savez(tmp_path / "data.npz", X=images(3, 8, 10), y=LABELS_NPZ)
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
            arrays[samples], arrays[target] = images(4, 4), LABELS_NPZ
            arrays[around.format("site", role)] = np.array(["a", "b"] * 6)
        np.savez(tmp_path / "data.npz", **arrays)
        data = open_uri("npz:data.npz?groups=site")
        assert data.card.counts == {"test": 12, "train": 12}
        assert data.card.split == "as the file names its arrays"
        assert data.samples("train").groups["site"].tolist() == ["a", "b"] * 6


def test_tables_and_texts(tmp_path: Path, open_uri: Any) -> None:
    table = RNG.random((12, 2), dtype=np.float32)
    np.savez(tmp_path / "t.npz", X=table, y=LABELS_NPZ, feature_names=np.array(["u", "v"]))
    data = open_uri("npz:t.npz")
    inputs = data.batch("test", range(12), InputSpec()).inputs
    assert list(inputs.columns) == ["u", "v"]
    assert np.array_equal(inputs.to_numpy(), table)
    fortran = np.asfortranarray(table.astype(np.float64))
    np.savez(tmp_path / "f.npz", X=fortran, y=RNG.random(12))
    data = open_uri("npz:f.npz")
    assert data.task.kind == "regression"
    assert np.array_equal(data.batch("test", range(12), InputSpec()).inputs.to_numpy(), fortran)
    np.savez(tmp_path / "s.npz", X=np.array([f"tëxt {n}" for n in range(12)]), y=LABELS_NPZ)
    data = open_uri("npz:s.npz")
    assert data.task.modality is Modality.TEXT
    assert data.batch("test", [11], InputSpec()).inputs == ["tëxt 11"]


def test_large_arrays_come_in_pieces(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.arrays.rows_at_once", lambda size: 5)
    pixels = images(4, 4)
    np.savez(tmp_path / "data.npz", X=pixels, y=LABELS_NPZ)
    monkeypatch.setattr("crucibench.util.untrusted.arrays.NpzFile.load", _targets_alone)
    got = open_uri("npz:data.npz").batch("test", range(12), InputSpec()).inputs
    assert np.array_equal((got * 255).round().numpy()[:, 0], pixels)


def _targets_alone(arrays: Any, name: str) -> Any:
    assert name == "y"
    return LABELS_NPZ


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
            {"a": LABELS_NPZ, "b": LABELS_NPZ},
            "",
            "data.npz: expected arrays X and y, images and labels, or x_test and y_test, got a, b",
        ),
        (
            {"X": images(3, 9, 3), "y": LABELS_NPZ},
            "",
            "array 'X': shape (12, 3, 9, 3) can be (N, C, H, W) or (N, H, W, C); say layout=nchw "
            "or layout=nhwc",
        ),
        (
            {"X": images(5, 9, 7), "y": LABELS_NPZ},
            "",
            "array 'X': expected images of 1 or 3 channels, got shape (12, 5, 9, 7)",
        ),
        (
            {"X": images(4, 4), "y": LABELS_NPZ},
            "?layout=nchv",
            "unknown layout 'nchv'; did you mean 'nchw'? (known: nchw, nhw, nhwc)",
        ),
        (
            {"X": np.linspace(0, 255, 192).reshape(12, 4, 4), "y": LABELS_NPZ},
            "",
            "array 'X': expected images of uint8, or of floats from 0 to 1, got 0 to 255",
        ),
        (
            {"X": np.arange(-1, 191).reshape(12, 4, 4), "y": LABELS_NPZ},
            "",
            "array 'X': expected images of uint8, or of floats from 0 to 1, got -1 to 190",
        ),
        (
            {"X": images(4, 4), "y": LABELS_NPZ[:5]},
            "",
            "array 'y' has 5 values for the 12 samples of 'X'",
        ),
        (
            {"X": images(4, 4), "y": np.eye(12)},
            "",
            "array 'y': expected one value per sample, got shape (12, 12)",
        ),
        (
            {"X": images(2, 2, 2, 2), "y": LABELS_NPZ},
            "",
            "array 'X': expected a table (2 dimensions) or images (3 or 4), "
            "got shape (12, 2, 2, 2, 2)",
        ),
        (
            {"X": images(4, 4)[:0], "y": LABELS_NPZ[:0]},
            "",
            "the data has no rows",
        ),
        (
            {"X": images(4, 4), "y": LABELS_NPZ, "site": LABELS_NPZ},
            "?groups=sites",
            "option groups: there is no array 'sites'; did you mean 'site'? (arrays: X, y, site)",
        ),
        (
            {
                "x_test": images(4, 4),
                "y_test": LABELS_NPZ,
                "x_train": images(5, 5),
                "y_train": LABELS_NPZ,
            },
            "",
            "data.npz: the samples of train differ from those of test",
        ),
        (
            {
                "x_test": images(4, 4),
                "y_test": LABELS_NPZ,
                "x_train": images(4, 4),
                "y_train": LABELS_NPZ,
            },
            "?split=0.5",
            "option split: the data is split already, into test, train",
        ),
        (
            {"X": images(2), "y": LABELS_NPZ, "feature_names": np.array(["a"])},
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
    np.save(tmp_path / "data.npy", LABELS_NPZ)
    with pytest.raises(InputError, match=r"^data\.npy: expected a ZIP archive"):
        open_uri("npz:data.npy")
    np.savez(tmp_path / "data.npz", X=images(4, 4), y=LABELS_NPZ)
    with zipfile.ZipFile(tmp_path / "data.npz") as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as bad:
        bad.writestr("X.npy", members["X.npy"][:-10])
        bad.writestr("y.npy", members["y.npy"])
    with pytest.raises(InputError, match=r"^short\.npz: array 'X': .* it is shorter than"):
        open_uri("npz:short.npz")


def test_digits_are_sixteenths(open_uri: Any, sources: Any) -> None:
    data = open_uri("sklearn:digits")
    plain = bundled.load_digits()
    got = data.batch("test", range(1797), InputSpec())
    assert got.inputs.shape == (1797, 1, 8, 8)
    assert np.array_equal(got.inputs.numpy()[:, 0] * 16, plain.images)
    assert data.samples("test").targets.tolist() == plain.target.tolist()
    assert data.task.classes == tuple("0123456789")
    assert sources("sklearn:digits").facts == {"scikit-learn": sklearn.__version__}
    assert data.card.licence == "CC BY 4.0"
    assert data.card.revision == f"scikit-learn {sklearn.__version__}"


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_tables_are_scikit_learns(open_uri: Any, name: str) -> None:
    data = open_uri(f"sklearn:{name}")
    plain = getattr(bundled, f"load_{name}")(as_frame=True)
    rows = range(len(plain.data))
    inputs = data.batch("test", rows, InputSpec()).inputs
    assert inputs.equals(plain.data)
    assert data.task.classes == tuple(plain.target_names)
    assert data.samples("test").targets.tolist() == plain.target.tolist()
    assert data.card.citation


def test_diabetes(open_uri: Any) -> None:
    plain = bundled.load_diabetes(scaled=False, as_frame=True)
    data = open_uri("sklearn:diabetes")
    assert data.task.kind == "regression"
    assert list(data.card.features) == list(plain.data.columns)
    samples = data.samples("test")
    assert samples.targets.tolist() == plain.target.tolist()
    assert set(samples.groups["sex"]) == {"1", "2"}
    expected = np.where(plain.data["age"] >= 50, "yes", "no")
    assert samples.groups["age>=50"].tolist() == expected.tolist()
    assert data.card.notes == ("the source codes sex as 1 and 2 and does not say which is which",)


def test_diabetes_as_a_binary_task(open_uri: Any) -> None:
    plain = bundled.load_diabetes(scaled=False)
    data = open_uri("sklearn:diabetes?threshold=140&split=0.3")
    assert data.task.classes == ("<=140", ">140")
    both = np.concatenate([data.samples(role).targets for role in data.roles])
    assert both.sum() == (plain.target > 140).sum()
    assert data.card.counts == {"test": 132, "train": 310}
    other = open_uri("sklearn:diabetes?threshold=200&groups=sex&features=age,bmi")
    assert other.card.groups == ("sex",)
    assert list(other.card.features) == ["age", "bmi"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "sklearn:digit",
            "unknown data set of scikit-learn 'digit'; did you mean 'digits'? "
            "(known: breast_cancer, diabetes, digits, iris, wine)",
        ),
        (
            "sklearn:iris?treshold=1",
            "unknown option of sklearn: 'treshold' "
            "(known: citation, classes, cluster, features, groups, licence, on_bad_sample, split, "
            "task)",
        ),
        (
            "sklearn:diabetes?threshold=x",
            "sklearn: option threshold: expected a number, got 'x'",
        ),
        (
            "sklearn:diabetes?threshold=1000",
            "sklearn: option threshold: expected a number from 25 to below 346, got 1000",
        ),
    ],
)
def test_bad_sets(open_uri: Any, uri: str, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_uri(uri)) == message
