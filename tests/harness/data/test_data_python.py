from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

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
