"""Tables: CSV and Parquet, columns, types and mistakes."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.data.columnar import MappedTable, plain_schema, storable
from crucibench.data.sources.tables import CsvFiles
from crucibench.util.doors import StorageError
from crucibench.util.errors import InputError

SETTINGS = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"),
    min_size=1,
    max_size=6,
).filter(lambda text: text.strip() == text and not text[0].isdigit())
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        WORDS,
        st.booleans(),
    ),
    min_size=4,
    max_size=12,
)


def frame_of(rows: Any) -> Any:
    frame = pd.DataFrame(rows, columns=["i", "f", "s", "b"])
    frame["f"] += 0.0
    frame["i"] = frame["i"].astype("int64")
    return frame.assign(
        s="t" + frame["s"], y=["p", "q"] * (len(rows) // 2) + ["p"] * (len(rows) % 2)
    )


@SETTINGS
@given(ROWS)
def test_csv_parquet_and_frame_are_the_same_data(
    tmp_path: Path, open_uri: Any, open_live: Any, rows: Any
) -> None:
    frame = frame_of(rows)
    # A float column must read as one.
    frame["f"] = np.where(frame["f"] == np.floor(frame["f"]), 0.5, frame["f"])
    table = pa.Table.from_pandas(frame)
    pacsv.write_csv(table, tmp_path / "data.csv")
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=3)
    from_csv = open_uri("csv:data.csv?target=y&groups=b")
    from_parquet = open_uri("parquet:data.parquet?target=y&groups=b")
    live = open_live(frame, target="y", groups="b")
    assert from_csv.card.ids_digest == from_parquet.card.ids_digest == live.card.ids_digest
    assert from_csv.card.fingerprint == from_parquet.card.fingerprint == live.card.fingerprint
    assert from_csv.card.features == {"i": "int64", "f": "float64", "s": "string", "b": "bool"}
    for data in (from_csv, from_parquet, live):
        batch = data.batch("test", range(len(frame)), InputSpec())
        pd.testing.assert_frame_equal(batch.inputs, frame[["i", "f", "s", "b"]])


@SETTINGS
@given(ROWS, st.randoms())
def test_ids_do_not_depend_on_order_or_role_mates(open_live: Any, rows: Any, random: Any) -> None:
    frame = frame_of(rows).drop_duplicates(["i", "f", "s", "b"])
    if frame["y"].nunique() < 2:
        return
    order = list(range(len(frame)))
    random.shuffle(order)
    before, after = open_live(frame, target="y"), open_live(frame.iloc[order], target="y")
    assert before.card.fingerprint == after.card.fingerprint
    assert list(before.samples("test").ids[order]) == list(after.samples("test").ids)
    batch = after.batch("test", [len(frame) - 1, 0], InputSpec())
    assert batch.ids == tuple(after.samples("test").ids[[-1, 0]])


def test_ids_leave_out_targets_groups_and_the_users_names(open_live: Any) -> None:
    frame = pd.DataFrame(
        {"a": [1, 2, 3], "g": ["x", "y", "x"], "k": ["k1", "k2", "k3"], "y": [0, 1, 0]}
    )
    said = {"target": "y", "groups": "g", "features": "a", "id": "k"}
    before = open_live(frame, **said)
    other = frame.assign(g=["y", "y", "y"], y=[1, 0, 0], k=["a", "b", "c"])
    after = open_live(other, **said)
    assert list(before.samples("test").ids) == list(after.samples("test").ids)
    assert before.card.ids_digest == after.card.ids_digest
    assert before.card.fingerprint != after.card.fingerprint
    assert (
        before.card.fingerprint == open_live(frame.assign(k=list("abc")), **said).card.fingerprint
    )
    assert list(after.samples("test").keys) == ["a", "b", "c"]
    assert after.batch("test", [2], InputSpec()).keys == ("c",)


def test_groups_are_features_unless_features_are_said(open_live: Any) -> None:
    frame = pd.DataFrame(
        {"a": [1, 2], "g": [1, 2], "c": ["u", "v"], "k": ["r", "s"], "y": ["p", "q"]}
    )
    data = open_live(frame, target="y", groups="g", cluster="c", id="k")
    assert list(data.card.features) == ["a", "g"]
    assert list(data.samples("test").clusters) == ["u", "v"]
    assert data.card.cluster == "c"
    chosen = open_live(frame, target="y", groups="g", features="c,a")
    assert list(chosen.batch("test", [0], InputSpec()).inputs.columns) == ["c", "a"]


def test_group_values_are_plain_strings(open_live: Any) -> None:
    frame = pd.DataFrame(
        {
            "f": [1.0, 2.5, np.nan],
            "i": [1, 2, 3],
            "b": [True, False, True],
            "s": ["x", None, "NA"],
            "y": ["p", "q", "p"],
        }
    )
    groups = open_live(frame, target="y", groups="f,i,b,s").samples("test").groups
    assert groups.to_dict("list") == {
        "f": ["1", "2.5", "(missing)"],
        "i": ["1", "2", "3"],
        "b": ["True", "False", "True"],
        "s": ["x", "(missing)", "NA"],
    }
    assert all(isinstance(value, str) for column in groups for value in groups[column])


def test_duplicates_get_suffixes_and_a_note(open_live: Any) -> None:
    frame = pd.DataFrame({"a": [7, 7, 1, 7], "y": [0, 1, 0, 1]})
    data = open_live({"test": frame, "train": frame.iloc[:3]}, target="y")
    ids = data.samples("test").ids
    assert [name[32:] for name in ids] == ["", "-1", "", "-2"]
    assert data.card.notes == (
        "2 of 4 samples of test repeat another exactly",
        "1 of 3 samples of train repeats another exactly",
        "2 of 2 unlike samples of test are in train too",
    )


def test_dtypes_do_not_depend_on_the_rows(tmp_path: Path, open_uri: Any, open_live: Any) -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([1, 2, None, 4], dtype="Int64"),
            "f": np.array([1, np.nan, 3, 4], dtype=np.float32),
            "b": pd.Series([True, None, False, True], dtype=object),
            "B": pd.array([True, None, False, True], dtype="boolean"),
            "c": pd.Categorical(["x", None, "z", "x"], ["z", "y", "x"], ordered=True),
            "o": pd.Series(["u", None, "w", "u"], dtype=object),
            "t": pd.to_datetime(["2020-01-01", None, "2021-01-01", "2022-01-01"]),
            "n": [None] * 4,
            "u": np.array([1, 2, 3, 4], dtype=np.uint8),
            "y": ["p", "q", "p", "q"],
        }
    )
    inputs = frame.drop(columns="y").assign(n=[np.nan] * 4)
    inputs["b"] = inputs["b"].where(inputs["b"].notna(), np.nan)
    inputs["o"] = inputs["o"].where(inputs["o"].notna(), np.nan)
    data = open_live(frame, target="y")
    assert data.card.features["c"] == "category, some missing"
    assert data.card.features["i"] == "Int64, some missing"
    for rows in ([0, 1, 2, 3], [0], [1], [3, 2]):
        got = data.batch("test", rows, InputSpec()).inputs
        expected = inputs.iloc[rows].reset_index(drop=True)
        expected["n"] = expected["n"].astype(got["n"].dtype)
        pd.testing.assert_frame_equal(got, expected)


def test_missing_values_reach_the_model_as_pandas_reads_them(tmp_path: Path, open_uri: Any) -> None:
    text = "i,f,s,b,m,y\n1,0.5,x,True,,p\n,NA,,False,NaN,q\n3,nan,None,,,p\n4,-1e3,NA x,True,,q\n"
    (tmp_path / "data.csv").write_text(text)
    expected = pd.read_csv(tmp_path / "data.csv").drop(columns="y")
    data = open_uri("csv:data.csv?target=y")
    pd.testing.assert_frame_equal(data.batch("test", range(4), InputSpec()).inputs, expected)
    for row in range(4):
        got = data.batch("test", [row], InputSpec()).inputs
        pd.testing.assert_frame_equal(got, expected.iloc[[row]].reset_index(drop=True))


def test_what_csv_types_are(tmp_path: Path, open_uri: Any) -> None:
    text = 'a,b,c,d,e,y\n007,1.0,0,0x1F,true,NA\n+5, 2,1,1,FALSE,b\n-6,1e400,0,2,True,"x, ""y"""\n'
    (tmp_path / "data.csv").write_text(text)
    data = open_uri("csv:data.csv?target=y")
    assert data.card.features == {
        "a": "int64",
        "b": "float64",
        "c": "int64",
        "d": "string",
        "e": "bool",
    }
    assert data.task.classes == ("NA", "b", 'x, "y"')
    inputs = data.batch("test", range(3), InputSpec()).inputs
    assert inputs["a"].tolist() == [7, 5, -6]
    assert inputs["b"].tolist() == [1.0, 2.0, float("inf")]


def test_ids_and_clusters_are_read_as_written(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "data.csv").write_text("k,c,a,y\n007,01,1,p\n7,1,2,q\n")
    samples = open_uri("csv:data.csv?target=y&id=k&cluster=c").samples("test")
    assert list(samples.keys) == ["007", "7"]
    assert list(samples.clusters) == ["01", "1"]


def test_csv_dialects(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "data.tsv").write_text("a\ty\n1\tp\n2\tq\n")
    (tmp_path / "semi.csv").write_bytes("ä;y\n1,5;ü\n-;q\n".encode("latin-1"))
    assert open_uri("csv:data.tsv?target=y").card.counts == {"test": 2}
    (tmp_path / "data.tsv.gz").write_bytes(gzip.compress(b"a\ty\n1\tp\n2\tq\n"))
    packed = open_uri("csv:data.tsv.gz?target=y")
    assert packed.card.fingerprint == open_uri("csv:data.tsv?target=y").card.fingerprint
    data = open_uri("csv:semi.csv?target=y&delimiter=;&encoding=latin-1&missing=-")
    inputs = data.batch("test", [0, 1], InputSpec()).inputs
    assert list(inputs.columns) == ["ä"]
    assert data.task.classes == ("q", "ü")
    assert inputs["ä"].tolist()[0] == "1,5"
    assert inputs["ä"].isna().tolist() == [False, True]


def test_an_unnamed_column_is_left_out(tmp_path: Path, open_uri: Any) -> None:
    pd.DataFrame({"a": [3, 4], "y": ["p", "q"]}).to_csv(tmp_path / "data.csv")
    data = open_uri("csv:data.csv?target=y")
    assert list(data.card.features) == ["a"]
    assert data.card.notes == ("a column without a name is left out (Unnamed: 0)",)
    named = open_uri("csv:data.csv?target=y&features=Unnamed: 0,a")
    assert list(named.card.features) == ["Unnamed: 0", "a"]


def test_types_of_later_blocks_count(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.tables.BLOCK", 64)
    rows = "".join(f"{number},{number % 2}\n" for number in range(100))
    (tmp_path / "data.csv").write_text(f"a,y\n{rows}1.5,1\n")
    (tmp_path / "text.csv").write_text(f"a,y\n{rows}word,1\n")
    assert open_uri("csv:data.csv?target=y").card.features == {"a": "float64"}
    assert open_uri("csv:text.csv?target=y").card.features == {"a": "string"}


def test_a_file_rewritten_in_place_is_read_anew(tmp_path: Path, open_uri: Any) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,y\n1,p\n2,q\n")
    stamp = path.stat()
    before = open_uri("csv:data.csv?target=y")
    path.write_text("a,y\n1,p\n3,q\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    after = open_uri("csv:data.csv?target=y")
    assert before.card.fingerprint != after.card.fingerprint
    assert after.batch("test", [1], InputSpec()).inputs["a"].tolist() == [3]
    assert before.batch("test", [1], InputSpec()).inputs["a"].tolist() == [2]


def test_an_index_is_made_once(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.csv").write_text("a,y\n1,p\n2,q\n")
    seen: list[tuple[int, int]] = []
    first = open_uri("csv:data.csv?target=y", progress=lambda *done: seen.append(done))
    assert (2, 2) in seen
    monkeypatch.setattr("crucibench.data.indexing.read_contents", None)
    again = open_uri("csv:data.csv?target=y")
    assert again.card == first.card
    left = {path.name for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")}
    assert left == set()


def test_a_source_that_fails_leaves_nothing(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.tables.BLOCK", 64)
    rows = "1,p\n" * 50
    (tmp_path / "data.csv").write_text(f"a,y\n{rows}{'x' * 1000},p\n{rows}")
    with pytest.raises(Exception, match=r"data\.csv has a row longer than"):
        open_uri("csv:data.csv?target=y")
    assert list((tmp_path / "cache" / "arrow").iterdir()) == []


TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=2, max_size=8)


@SETTINGS
@given(TEXTS)
def test_texts_survive(tmp_path: Path, open_live: Any, open_uri: Any, texts: Any) -> None:
    labels = ["p", "q"] * (len(texts) // 2) + ["p"] * (len(texts) % 2)
    live = open_live((texts, labels))
    assert live.task.modality is Modality.TEXT
    assert live.batch("test", range(len(texts)), InputSpec()).inputs == texts
    pq.write_table(pa.table({"text": texts, "y": labels}), tmp_path / "data.parquet")
    stored = open_uri("parquet:data.parquet?target=y&input=text")
    assert stored.batch("test", range(len(texts)), InputSpec()).inputs == texts
    assert stored.card.ids_digest == live.card.ids_digest


@SETTINGS
@given(TEXTS)
def test_texts_survive_csv(tmp_path: Path, open_uri: Any, texts: Any) -> None:
    # Line ends inside a quoted cell stay as they are; NUL can't stand in CSV.
    texts = [f"<{text}>".replace("\x00", "") for text in texts]
    labels = ["p", "q"] * (len(texts) // 2) + ["p"] * (len(texts) % 2)
    table = pa.table({"text": texts, "y": labels})
    pacsv.write_csv(table, tmp_path / "data.csv")
    data = open_uri("csv:data.csv?target=y&input=text")
    assert data.batch("test", range(len(texts)), InputSpec()).inputs == texts


def test_text_is_never_missing_in_csv(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "data.csv").write_text('text,y\nNA,p\n"",q\nnan,p\n')
    data = open_uri("csv:data.csv?target=y&input=text")
    assert data.batch("test", range(3), InputSpec()).inputs == ["NA", "", "nan"]


def test_long_unlike_strings_are_text(open_live: Any) -> None:
    reviews = [f"This was review number {number} of many." for number in range(20)]
    frame = pd.DataFrame({"review": reviews, "sex": ["f", "m"] * 10, "y": ["p", "q"] * 10})
    assert open_live(frame[["review", "y"]], target="y").task.modality is Modality.TEXT
    beside = open_live(frame, target="y", groups="sex")
    assert (beside.task.modality, list(beside.card.features)) == (Modality.TEXT, ["review"])
    assert open_live(frame, target="y").task.modality is Modality.TABLE
    words = frame.assign(review=["red", "blue"] * 10)
    assert open_live(words[["review", "y"]], target="y").task.modality is Modality.TABLE


def test_several_text_columns_are_tuples(open_live: Any) -> None:
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "y": [0, 1]})
    data = open_live(frame, target="y", input="b,a")
    spec = InputSpec(modality=Modality.TEXT, columns=2)
    assert data.batch("test", [1, 0], spec).inputs == [("v", "y"), ("u", "x")]
    live = open_live(([("u", "x"), ("v", "y")], [0, 1]))
    assert live.card.ids_digest == data.card.ids_digest


def test_parquet_files_are_sorted_and_widened(tmp_path: Path, open_uri: Any) -> None:
    folder = tmp_path / "parts" / "deep"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"a": pa.array([3], pa.int32()), "y": ["q"]}), folder / "b.parquet")
    pq.write_table(pa.table({"y": ["p"], "a": pa.array([2**40])}), folder / "a.parquet")
    for address in ("parts", "parts/**/*.parquet", f"{folder}/[ab].parquet"):
        data = open_uri(f"parquet:{address}?target=y")
        assert data.batch("test", [0, 1], InputSpec()).inputs["a"].tolist() == [2**40, 3]


def test_parquet_keeps_what_pandas_noted(tmp_path: Path, open_uri: Any) -> None:
    frame = pd.DataFrame(
        {
            "c": pd.Categorical(["x", "z", None, "x"]),
            "i": pd.array([1, None, 3, 4], dtype="Int64"),
            "y": [0, 1, 0, 1],
        }
    )
    frame.to_parquet(tmp_path / "data.parquet", row_group_size=2)
    inputs = open_uri("parquet:data.parquet?target=y").batch("test", [3], InputSpec()).inputs
    assert inputs["c"].cat.categories.tolist() == ["x", "z"]
    assert str(inputs["i"].dtype) == "Int64"


def test_parquet_keeps_what_datasets_noted(tmp_path: Path, open_uri: Any) -> None:
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["b", "a"]),
        site=datasets.Value("string"),
    )
    images = [Image.new("RGB", (4, 3), (shade, 0, 0)) for shade in (0, 255)]
    rows = {"image": images, "label": [1, 0], "site": ["u", "v"]}
    table = datasets.Dataset.from_dict(rows, features=features).data.table
    pq.write_table(table, tmp_path / "images.parquet")
    data = open_uri("parquet:images.parquet?target=label&groups=site")
    assert data.task.classes == ("b", "a")
    assert data.card.features == {"image": "3x3x4"}
    assert data.batch("test", [0, 1], InputSpec()).inputs[:, 0, 0, 0].tolist() == [0.0, 1.0]


def test_several_may_open_the_same_data_at_once(tmp_path: Path, open_uri: Any) -> None:
    pd.DataFrame({"a": range(2000), "y": ["p", "q"] * 1000}).to_csv(tmp_path / "data.csv")
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(open_uri, ["csv:data.csv?target=y"] * 4))
    assert len({data.card.fingerprint for data in opened}) == 1
    assert len(list((tmp_path / "cache" / "arrow").iterdir())) == 1


def test_inputs_are_mapped_from_disk(tmp_path: Path, open_uri: Any) -> None:
    pq.write_table(pa.table({"a": [1, 2], "y": ["p", "q"]}), tmp_path / "data.parquet")
    data = open_uri("parquet:data.parquet?target=y")
    assert isinstance(data._raw.roles["test"], MappedTable)


def test_splits_are_by_content_stratified_and_stable(tmp_path: Path, open_uri: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "y": rng.choice(["p", "q", "r"], 300)})
    frame.iloc[:200].to_parquet(tmp_path / "a.parquet")
    frame.sample(frac=1.0, random_state=1).to_parquet(tmp_path / "b.parquet")
    few = open_uri("parquet:a.parquet?target=y&split=0.3")
    many = open_uri("parquet:b.parquet?target=y&split=3/10")
    assert few.roles == ("test", "train")
    for role, share in (("test", 0.3), ("train", 0.7)):
        counts = np.bincount(few.samples(role).targets)
        sizes = frame.iloc[:200]["y"].value_counts().sort_index().to_numpy()
        assert (np.abs(counts - share * sizes) <= 0.5).all()
    ids = {role: set(few.samples(role).ids) for role in few.roles}
    later = {role: set(many.samples(role).ids) for role in many.roles}
    moved = len(ids["test"] & later["train"]) + len(ids["train"] & later["test"])
    assert moved <= 10
    assert few.card.split == "0.3 test, the rest train, by content hash, stratified by class"
    inputs = few.batch("train", range(few.card.counts["train"]), InputSpec()).inputs
    known = frame.iloc[:200].set_index("a")["y"]
    classes = np.array(few.task.classes)[few.samples("train").targets]
    assert known[inputs["a"]].tolist() == classes.tolist()


def test_splits_keep_clusters_and_repeats_whole(open_live: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": rng.integers(0, 40, 200),
            "c": rng.integers(0, 25, 200),
            "y": rng.choice(["p", "q"], 200),
        }
    )
    data = open_live(frame, target="y", cluster="c", split="0.4")
    test, train = data.samples("test"), data.samples("train")
    assert not set(test.clusters) & set(train.clusters)
    assert abs(len(test) / 200 - 0.4) < 0.06
    assert data.card.split.endswith("stratified by class, each 'c' whole")
    apart = open_live(frame.drop(columns="c"), target="y", split="0.4")
    contents = {role: {name[:32] for name in apart.samples(role).ids} for role in apart.roles}
    assert not contents["test"] & contents["train"]


def test_slices_agree_with_the_whole(open_live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucibench.data.indexing.BATCH", 7)
    monkeypatch.setattr("crucibench.data.indexing.BATCH", 7)
    frame = pd.DataFrame({"a": range(50), "g": ["x", "y"] * 25, "y": [0, 1] * 25})
    data = open_live(frame, target="y", groups="g", id="a", features="g,a")
    whole = data.samples("test")
    for rows in ([0], [49, 0, 13, 14, 7], range(5, 30), np.array([20, 20, 3]), []):
        some, expected = data.slice("test", rows), whole.take(np.array(list(rows), dtype=np.int64))
        assert list(some.ids) == list(expected.ids)
        assert some.targets.tolist() == expected.targets.tolist()
        assert some.groups["g"].tolist() == expected.groups["g"].tolist()
        assert list(some.keys) == list(expected.keys)
        batch = data.batch("test", rows, InputSpec())
        assert batch.inputs["a"].tolist() == [int(key) for key in expected.keys]
        assert batch.rows == tuple(rows)


# A NUL byte in a CSV file is refused.


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,x\n2,y\0z\n", "column 'b' holds a NUL byte"),
        (b"a,b\n\0,x\n", "column 'a' holds a NUL byte"),
        (b"a,b\0\n1,x\n", "its header holds a NUL byte"),
        (b"a,b\n1,x\n", None),
    ],
)
def test_a_nul_byte(tmp_path: Path, content: bytes, expected: str | None) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    table = CsvFiles((path,), ",", "utf-8", ("",))
    if expected is None:
        assert table.kinds() == {"a": "int64", "b": "string"}
        return
    with pytest.raises(InputError, match=expected):
        table.kinds()


# Mapped tables answer as `datasets` does.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    schema = pa.schema([("n", pa.int64()), ("x", pa.float32()), ("t", pa.string())])
    file = tmp_path / "0.arrow"
    with file.open("wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for rows in (3, 1, 40, 0, 16):
            numbers = rng.integers(0, 99, rows)
            texts = [None if number % 7 == 0 else str(number) for number in numbers]
            columns = [pa.array(numbers), pa.array(rng.random(rows, np.float32)), pa.array(texts)]
            writer.write(pa.record_batch(columns, schema=schema))
    return file


def test_rows_are_those_of_datasets(path: Path) -> None:
    import datasets

    ours = MappedTable(path)
    theirs = datasets.Dataset.from_file(str(path)).with_format("arrow")
    assert len(ours) == len(theirs) == 60
    assert ours.column_names == theirs.column_names
    rng = np.random.default_rng(1)
    asked = [
        slice(None), slice(2, 50), slice(59, 90), slice(7, 7), np.arange(60), np.array([59]),
        *(rng.integers(0, 60, size) for size in (1, 5, 60, 200)),
    ]  # fmt: skip
    for rows in asked:
        assert ours[rows].equals(theirs[rows])
    assert ours[np.array([], np.int64)].num_rows == 0
    some = ours.select_columns(["t", "n"])
    assert some[rows].equals(theirs.select_columns(["t", "n"])[rows])
    assert [table.num_rows for table in some.iter(25)] == [25, 25, 10]


def test_it_stays_on_disk_and_is_sent_by_its_path(path: Path) -> None:
    before = pa.total_allocated_bytes()
    table = MappedTable(path, ["x", "t"])
    assert pa.total_allocated_bytes() == before
    sent = pickle.dumps(table)
    assert len(sent) < 300
    assert pickle.loads(sent)[:].equals(table[:])


def test_what_datasets_notes_is_not_plain() -> None:
    plain = pa.schema([("c", pa.dictionary(pa.int8(), pa.string())), ("n", pa.uint8())])
    assert storable(plain) == pa.schema([("c", pa.string()), ("n", pa.uint8())])
    assert plain_schema(plain.with_metadata({"huggingface": "{}"})) is None
    assert plain_schema(pa.schema([("l", pa.list_(pa.int8()))])) is None


def test_a_table_is_read_without_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20, encoding="utf-8")
    code = (
        "import sys, crucibench as cb;"
        "cb.run(models={'m': lambda f: [[.5, .5]] * len(f)}, data='csv:a.csv?target=y',"
        "suites=['accuracy']);"
        "assert 'datasets' not in sys.modules and 'torch' not in sys.modules"
    )
    home = os.environ | {"CRUCIBENCH_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=home, check=True)


# What is wrong with tables, options and specs, each in one sentence.

FILES = {
    "good.csv": "a,b,text,sex,y\n1,u,hello you,f,p\n2,v,good bye,m,q\n",
    "empty.csv": "",
    "header.csv": "a,y\n",
    "twice.csv": "a,a,y\n1,2,p\n",
    "nameless.csv": ",,y\n1,2,p\n",
    "ragged.csv": "a,y\n1,p\n2,q,9\n",
    "latin.csv": "a,y\ncaf\xe9,p\nx,q\n",
    "alone.csv": "y\np\nq\n",
    "keys.csv": "k,a,y\nr,1,p\nr,2,q\n",
    "holes.csv": "k,a,y\nr,1,p\n,2,q\n",
    "tiny.csv": "a,y\n1,p\n2,q\n3,p\n4,q\n",
}
COLUMNS = "(columns: a, b, text, sex, y)"


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    (tmp_path / "text.parquet").write_text("not Parquet")
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "one.parquet")
    (tmp_path / "parts").mkdir()
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "parts/1.parquet")
    pq.write_table(pa.table({"b": [1], "y": ["q"]}), tmp_path / "parts/2.parquet")
    (tmp_path / "types").mkdir()
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "types/1.parquet")
    pq.write_table(pa.table({"a": ["1"], "y": ["q"]}), tmp_path / "types/2.parquet")
    return tmp_path


BAD = {
    "csv:god.csv?target=y": "data file 'god.csv' does not exist; did you mean 'good.csv'?",
    "csv:no/good.csv?target=y": "data file 'no/good.csv': there is no folder '{base}/no'",
    "csv:parts?target=y": "data file: expected a file, got the folder 'parts'",
    "csv:good.csv": f"option target is missing: which column is it; is it 'y'? {COLUMNS}",
    "csv:good.csv?target=Y": f"option target: there is no column 'Y'; did you mean 'y'? {COLUMNS}",
    "csv:good.csv?target=y&groups=sexx": (
        f"option groups: there is no column 'sexx'; did you mean 'sex'? {COLUMNS}"
    ),
    "csv:good.csv?target=y&cluster=zzzzz": f"option cluster: there is no column 'zzzzz' {COLUMNS}",
    "csv:good.csv?target=y&id=zzzzz": f"option id: there is no column 'zzzzz' {COLUMNS}",
    "csv:good.csv?target=y&features=a,zzzzz": (
        f"option features: there is no column 'zzzzz' {COLUMNS}"
    ),
    "csv:good.csv?target=y&features=a,y": "option features: column 'y' is the target",
    "csv:good.csv?target=y&features=a,a": "csv: option features: 'a' is named twice",
    "csv:good.csv?target=y&groups=": "csv: option groups: expected column names, got none",
    "csv:good.csv?target=y&features=a&input=text": (
        "csv: options features and input exclude each other"
    ),
    "csv:good.csv?target=y&group=sex": (
        "unknown option of csv: 'group'; did you mean 'groups'? (known: citation, classes, "
        "cluster, delimiter, encoding, features, groups, id, input, licence, missing, "
        "on_bad_sample, split, target, task)"
    ),
    "csv:good.csv?target=y&split=1.5": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got '1.5'"
    ),
    "csv:good.csv?target=y&split=half": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got 'half'"
    ),
    "csv:good.csv?target=y&split=nan": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got 'nan'"
    ),
    "csv:tiny.csv?target=y&split=0.01": ("option split: 0.01 of 4 samples leaves no test sample"),
    "csv:tiny.csv?target=y&split=0.99": ("option split: 0.99 of 4 samples leaves no train sample"),
    "csv:good.csv?target=y&classes=p": (
        "csv: option classes: expected at least 2 different names, got 'p'"
    ),
    "csv:good.csv?target=y&classes=p,r": "classes: target 'y' holds 'q', not among p, r",
    "csv:good.csv?target=y&task=classify": (
        "unknown task 'classify'; did you mean 'classification'? "
        "(known: classification, detection, generation, multilabel, regression)"
    ),
    "csv:good.csv?target=y&task=regression": (
        "target 'y': expected numbers for regression, got 'p' (test row 0)"
    ),
    "csv:good.csv?target=y&delimiter=ab": (
        "csv: option delimiter: expected one character, got 'ab'"
    ),
    "csv:good.csv?target=y&encoding=utf-9": "csv: option encoding: unknown encoding 'utf-9'",
    "csv:empty.csv?target=y": "empty.csv: expected a header, got an empty file",
    "csv:header.csv?target=y": "the data has no rows",
    "csv:twice.csv?target=y": "column 'a' is there 2 times; rename one",
    "csv:nameless.csv?target=y": "2 columns have no name; name them",
    "csv:ragged.csv?target=y": (
        "1 of 2 samples of test can't be used: ragged.csv: a row has 3 values, expected 2: "
        "'2,q,9'; on_bad_sample=skip leaves such samples out"
    ),
    "csv:latin.csv?target=y": (
        "1 of 2 samples of test can't be used: latin.csv: column 'a' holds b'caf\\xe9', which is "
        "not utf-8 (say encoding=, e.g. encoding=latin-1); on_bad_sample=skip leaves such samples "
        "out"
    ),
    "csv:alone.csv?target=y": "no column is left as a feature (columns: y; target: y)",
    "csv:keys.csv?target=y&id=k": (
        "option id: 1 value names more than one sample of test in column 'k', e.g. 'r'; name "
        "what is drawn together with cluster="
    ),
    "csv:holes.csv?target=y&id=k": "option id: 1 of 2 values of column 'k' is missing in test",
    "csv:holes.csv?target=y&cluster=k": (
        "option cluster: 1 of 2 values of column 'k' is missing in test"
    ),
    "parquet:tex.parquet?target=y": (
        "data file 'tex.parquet' does not exist; did you mean 'text.parquet'?"
    ),
    "parquet:none/*.parquet?target=y": ("no file is called 'none/*.parquet' (looked in '{base}')"),
    "parquet:parts?target=y": "2.parquet and 1.parquet have different columns: a, b",
    "parquet:one.parquet?target=y": (
        "target 'y': expected at least 2 classes, got only 'p'; name them with classes= if the "
        "data lacks one"
    ),
    "parquet:one.parquet?target=y&input=a": (
        "option input: expected columns of text, but 'a' holds none"
    ),
}


@pytest.mark.parametrize("uri", BAD)
def test_bad_input(folder: Path, open_uri: Any, uri: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_uri(uri)) == BAD[uri].format(base=folder)


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        ("parquet:text.parquet?target=y", "text.parquet can't be read as Parquet: "),
        ("parquet:types?target=y", "the files' types don't agree: "),
    ],
)
def test_bad_files(folder: Path, open_uri: Any, uri: str, start: str) -> None:
    with pytest.raises(InputError) as caught:
        open_uri(uri)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_a_row_longer_than_a_block(
    folder: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.tables.BLOCK", 1 << 20)
    (folder / "long.csv").write_text("a,y\n1,p\n" + "x" * (3 << 20) + ",q\n")
    with pytest.raises(InputError, match=r"^long\.csv has a row longer than 1 MiB$"):
        open_uri("csv:long.csv?target=y")


def test_an_unwritable_cache(folder: Path, open_uri: Any) -> None:
    (folder / "cache").write_text("in the way")
    with pytest.raises(StorageError, match=r"^the cache folder '.*' can't be written to: "):
        open_uri("csv:tiny.csv?target=y")


def test_specs_that_do_not_fit(folder: Path, open_uri: Any, refusal: Any) -> None:
    table = open_uri("csv:good.csv?target=y")
    assert (
        refusal(InputError, lambda: table.batch("test", [0], InputSpec(modality=Modality.IMAGE)))
        == "the model takes image input, the data 'data' is table"
    )
    text = open_uri("csv:good.csv?target=y&input=text,b")
    assert refusal(
        InputError, lambda: text.batch("test", [0], InputSpec(modality=Modality.TEXT))
    ) == ("the model takes texts of 1 columns, the data 'data' has 2: text, b")


def test_sources_finds_missing_files_and_unknown_options_early(folder: Path, sources: Any) -> None:
    assert sources("csv:good.csv?target=y").files == (folder / "good.csv",)
    names = [path.name for path in sources("parquet:parts/*.parquet").files]
    assert names == ["1.parquet", "2.parquet"]
    for uri in ("csv:god.csv", "csv:good.csv?targt=y", "npz:x.npz", "imagefolder:x", "sklearn:x"):
        with pytest.raises(InputError):
            sources(uri)


def test_a_file_that_changes_while_it_is_read(folder: Path, open_uri: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": ["p", "q"]})
    frame.to_csv(folder / "moving.csv", index=False)

    def meddle(done: Any, total: Any) -> None:
        frame.assign(a=[3, 4]).to_csv(folder / "moving.csv", index=False)

    with pytest.raises(
        InputError, match=r"^moving\.csv changed while it was being read; run again$"
    ):
        open_uri("csv:moving.csv?target=y", progress=meddle)
