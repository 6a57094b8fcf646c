"""Further data beside a main data set: columns, types, classes, labels, images and groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crucibench import registry
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import DataOpening, Labels
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI, parse_uri
from crucibench.data.evalset import ArrowEvalSet, ExtendedEvalSet, open_data, open_suite_data
from crucibench.util.errors import InputError

ROLE = "shift/v2"
TABLE = InputSpec(modality=Modality.TABLE)
MAIN = "age,code,pay,sex,site,y\n" + "".join(
    f"{20 + row},{code},{row + 0.5},{'fm'[row % 2]},{row % 3},{['no', 'yes'][row % 2]}\n"
    for row, code in enumerate(["007", "A1", "B2", "007"] * 3)
)


class Bench:
    """Opens a main data set and a further one beside it."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def main(self, address: str = "csv:main.csv?target=y&features=age,code,pay&groups=sex") -> Any:
        return open_data(*self._opening("main", address))

    def further(self, main: ArrowEvalSet, address: str, labels: Labels = "optional") -> Any:
        found = open_suite_data(*self._opening(ROLE, address), main, labels)
        return ExtendedEvalSet(main, {ROLE: found})

    def _opening(self, name: str, address: str, live: Any = None) -> tuple[Any, DataOpening]:
        uri: URI = parse_uri(address)
        source = registry.sources().get(uri.scheme)()
        scratch = self.base / "scratch"
        return source, DataOpening(name=name, uri=uri, base=self.base, scratch=scratch, live=live)

    def write(self, name: str, text: str) -> None:
        (self.base / name).write_text(text)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.write("main.csv", MAIN)
    return bench


def test_a_table_takes_the_main_one_s_columns_types_and_classes(bench: Bench) -> None:
    # Codes are all digits here, pay whole numbers, the columns in another order, one more.
    bench.write("v2.csv", "y,more,pay,code,age,sex\nyes,1,3,007,30,f\nyes,2,4,012,31,m\n")
    both = bench.further(bench.main(), "csv:v2.csv")
    frame = both.batch(ROLE, range(2), TABLE).inputs
    first = both.batch("test", range(2), TABLE).inputs
    assert list(frame.columns) == ["age", "code", "pay"]
    assert (frame.dtypes == first.dtypes).all()
    assert frame.code.tolist() == ["007", "012"] and frame.pay.tolist() == [3.0, 4.0]
    samples = both.samples(ROLE)
    assert samples.targets.tolist() == [1, 1] and samples.targets.dtype == np.int64
    assert samples.groups.sex.tolist() == ["f", "m"]
    assert both.card.class_counts[ROLE] == [0, 2]
    assert both.card.unlabelled == () and both.card.counts == {"test": 12, ROLE: 2}


def test_equal_rows_have_equal_ids(bench: Bench) -> None:
    header, *rows = MAIN.splitlines()
    kept = [row.replace(".5,", ".0,") for row in rows if "A1" not in row and "B2" not in row]
    bench.write("main.csv", "\n".join([header, *kept]).replace("007", "A7"))
    bench.write("v2.csv", "\n".join([header, *kept[:3]]).replace("007", "A7").replace(".0,", ","))
    both = bench.further(bench.main(), "csv:v2.csv")
    assert set(both.samples(ROLE).ids) <= set(both.samples("test").ids)


@pytest.mark.parametrize(
    ("text", "labels", "unlabelled"),
    [
        ("age,code,pay\n30,A1,2.5\n", "optional", True),
        ("age,code,pay,y\n30,A1,2.5,\n31,A1,2.5,\n", "optional", True),
        ("age,code,pay,y\n30,A1,2.5,yes\n", "ignored", True),
        ("age,code,pay,y\n30,A1,2.5,other\n", "ignored", True),
        ("age,code,pay,y\n30,A1,2.5,yes\n", "optional", False),
    ],
)
def test_labels(bench: Bench, text: str, labels: Labels, unlabelled: bool) -> None:
    bench.write("v2.csv", text)
    both = bench.further(bench.main(), "csv:v2.csv", labels)
    samples = both.samples(ROLE)
    assert both.card.unlabelled == ((ROLE,) if unlabelled else ())
    assert samples.labelled is not unlabelled
    assert set(samples.targets.tolist()) == ({-1} if unlabelled else {1})
    assert list(both.card.class_counts[ROLE]) == ([] if unlabelled else [0, 1])
    assert samples.groups.sex.tolist() == ["(missing)"] * len(samples)
    assert both.slice(ROLE, range(1)).groups.sex.tolist() == ["(missing)"]
    assert any(ROLE in note and "'sex'" in note for note in both.card.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,pay,y\n1,2,no\n", "there is no column 'code', which is a feature of 'main'"),
        (
            "age,code,pay,y\nold,A1,2,no\nnew,A1,2,no\n",
            "column 'age' holds strings, and numbers in 'main'",
        ),
        (
            "age,code,pay,y\n1,A1,2,no\n1,A1,2,perhaps\n",
            "classes: target 'y' holds 'perhaps', not among no, yes, the classes of 'main'",
        ),
        ("age,code,pay,y\n1,A1,2,no\n1,A1,2,\n", "1 of 2 values is missing"),
    ],
)
def test_what_does_not_go_with_the_main_data(
    bench: Bench, text: str, message: str, refusal: Any
) -> None:
    bench.write("v2.csv", text)
    assert message in refusal(InputError, lambda: bench.further(bench.main(), "csv:v2.csv"))


def test_an_address_s_own_options_go_first(bench: Bench) -> None:
    bench.write("v2.csv", "age,code,pay,truth,kind\n30,A1,2.5,yes,f\n")
    with pytest.raises(InputError, match="option target: there is no column 'no'"):
        bench.further(bench.main(), "csv:v2.csv?target=no")
    both = bench.further(bench.main(), "csv:v2.csv?target=truth&groups=kind")
    assert both.samples(ROLE).targets.tolist() == [1]
    assert list(both.samples(ROLE).groups) == ["sex"]


def test_regression(bench: Bench) -> None:
    bench.write("main.csv", "a,y\n" + "".join(f"{row},{row / 7}\n" for row in range(30)))
    main = bench.main("csv:main.csv?target=y")
    bench.write("v2.csv", "a,y\n1,2\n3,4\n")
    assert bench.further(main, "csv:v2.csv").samples(ROLE).targets.tolist() == [2.0, 4.0]
    bench.write("v3.csv", "a\n1\n3\n")
    both = bench.further(main, "csv:v3.csv")
    assert np.isnan(both.samples(ROLE).targets).all() and not both.samples(ROLE).labelled
    bench.write("v4.csv", "a,y\n1,high\n")
    with pytest.raises(InputError, match="expected numbers for regression, got 'high'"):
        bench.further(main, "csv:v4.csv")


def test_new_categories_follow_the_known_ones(bench: Bench) -> None:
    kinds = pd.Categorical(["b", "a", "b"], ["b", "a"])
    frame = pd.DataFrame({"kind": kinds, "n": pd.array([1, 2, None], "Int64"), "y": [0, 1, 0]})
    frame.to_parquet(bench.base / "main.parquet")
    main = bench.main("parquet:main.parquet?target=y")
    pd.DataFrame({"kind": ["z", "a"], "n": [3, 4]}).to_parquet(bench.base / "v2.parquet")
    found = bench.further(main, "parquet:v2.parquet").batch(ROLE, range(2), TABLE).inputs
    assert found.kind.tolist() == ["z", "a"]
    assert list(found.kind.cat.categories) == ["b", "a", "z"]
    assert str(found.n.dtype) == "Int64" and found.n.tolist() == [3, 4]


def image(path: Path, size: tuple[int, int], shade: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 0, 0)).save(path)


@pytest.fixture
def images(bench: Bench) -> ArrowEvalSet:
    for number in range(6):
        image(bench.base / "main" / "ab"[number % 2] / f"{number}.png", (10, 8), number)
    main: ArrowEvalSet = bench.main("imagefolder:main")
    return main


def test_images_of_other_sizes_and_without_folders_of_classes(
    bench: Bench, images: ArrowEvalSet
) -> None:
    for number in range(3):
        image(bench.base / "flat" / f"{number}.png", (20 + number, 30), 100 + number, "L")
    both = bench.further(images, "imagefolder:flat")
    assert both.card.unlabelled == (ROLE,) and both.card.counts[ROLE] == 3
    as_they_are = both.batch(ROLE, range(3), InputSpec(modality=Modality.IMAGE))
    assert as_they_are.inputs.shape == (3, 3, 8, 10), "what the model was inspected with"
    assert as_they_are.role == ROLE
    sized = both.batch(ROLE, [2, 0], InputSpec(modality=Modality.IMAGE, size=(5, 6), channels=1))
    assert sized.inputs.shape == (2, 1, 5, 6)
    np.testing.assert_allclose(sized.inputs.numpy().mean(axis=(1, 2, 3)) * 255, [102, 100], atol=1)


def test_folders_of_classes(bench: Bench, images: ArrowEvalSet) -> None:
    for number in range(4):
        image(bench.base / "v2" / "b" / f"{number}.png", (10, 8), 50 + number)
    both = bench.further(images, "imagefolder:v2")
    assert both.samples(ROLE).targets.tolist() == [1] * 4
    image(bench.base / "v2" / "c" / "x.png", (10, 8), 90)
    with pytest.raises(InputError, match="holds 'c', not among a, b, the classes of 'main'"):
        bench.further(images, "imagefolder:v2")
    ignored = bench.further(images, "imagefolder:v2", "ignored")
    assert ignored.card.counts[ROLE] == 5 and ignored.card.unlabelled == (ROLE,)


def test_of_folders_with_splits_test_alone_is_taken(bench: Bench, images: ArrowEvalSet) -> None:
    for role, count in (("train", 3), ("test", 2)):
        for number in range(count):
            image(bench.base / "split" / role / "z" / f"{number}.png", (9, 9), 10 * number)
    assert bench.further(images, "imagefolder:split", "ignored").card.counts[ROLE] == 2


def test_the_main_data_must_be_labelled_still(bench: Bench) -> None:
    image(bench.base / "flat" / "0.png", (4, 4), 1)
    with pytest.raises(InputError, match="holds no folder: expected one per class"):
        bench.main("imagefolder:flat")
    np.savez(bench.base / "bare.npz", X=np.zeros((4, 3)))
    with pytest.raises(InputError, match="expected arrays X and y"):
        bench.main("npz:bare.npz")


def test_arrays_named_by_the_source_are_matched_by_name(bench: Bench) -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["versicolor", "setosa", "virginica"] * 4)
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    np.savez(bench.base / "main.npz", X=rng.random((12, 4)), y=labels, feature_names=names)
    main = bench.main("npz:main.npz?classes=versicolor,virginica,setosa")
    both = bench.further(main, "sklearn:iris")
    # scikit-learn's own order is setosa, versicolor, virginica, fifty each.
    assert both.samples(ROLE).targets.tolist() == [2] * 50 + [0] * 50 + [1] * 50


def test_texts_of_another_column_name(bench: Bench) -> None:
    bench.write("main.csv", "text,y\n" + "".join(f"a film {n},{'ab'[n % 2]}\n" for n in range(6)))
    bench.write("v2.csv", "body,y\nanother film,b\n")
    main = bench.main("csv:main.csv?target=y&input=text")
    with pytest.raises(InputError, match="there is no column 'text', which is a feature of 'main'"):
        bench.further(main, "csv:v2.csv")
    both = bench.further(main, "csv:v2.csv?input=body")
    assert list(both.batch(ROLE, range(1), InputSpec(modality=Modality.TEXT)).inputs) == [
        "another film"
    ]
    assert both.samples(ROLE).targets.tolist() == [1]


def test_a_hub_folder_without_labels(bench: Bench) -> None:
    bench.write("main.csv", "text,y\n" + "".join(f"a film {n},{'ab'[n % 2]}\n" for n in range(6)))
    main = bench.main("csv:main.csv?target=y&input=text")
    (bench.base / "hub").mkdir()
    bench.write(
        "hub/test.jsonl", '{"text": "one film", "label": "b"}\n{"text": "two", "label": "a"}'
    )
    both = bench.further(main, "hf:hub?split=test")
    assert both.samples(ROLE).targets.tolist() == [1, 0]
    assert bench.further(main, "hf:hub?split=test", "ignored").card.unlabelled == (ROLE,)
    bench.write("hub/test.jsonl", '{"text": "one film"}\n{"text": "two"}')
    assert bench.further(main, "hf:hub?split=test").card.unlabelled == (ROLE,)
