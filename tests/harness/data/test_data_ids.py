"""Ids, splits, limits and targets: of content alone."""

from __future__ import annotations

import datetime
import hashlib
from decimal import Decimal
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.data import ids
from crucibench.data.subset import choose_test, take
from crucibench.util.draws import order_key
from crucibench.util.errors import InputError

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | FLOATS,
        st.none() | st.text(max_size=8),
        st.none() | st.booleans(),
        st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3),
    ),
    min_size=1,
    max_size=8,
)
TYPES = [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.list_(pa.int64())]
NAMES = list("abcde")


def table(rows: Any, types: Any = TYPES) -> Any:
    columns = [
        pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types, strict=True)
    ]
    return pa.table(columns, names=NAMES[: len(columns)])


def digests(rows: Any, types: Any = TYPES) -> Any:
    made = table(rows, types)
    return ids.table_digests(made, made.column_names).tobytes()


def one(value: Any, kind: Any) -> Any:
    return ids.table_digests(pa.table({"a": pa.array([value], kind)}), ["a"]).tobytes()


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_a_row_is_its_own(rows: Any) -> None:
    whole = digests(rows)
    alone = b"".join(digests([row]) for row in rows)
    assert whole == alone
    assert digests(rows[::-1]) == b"".join(digests([row]) for row in rows[::-1])


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 4))
def test_storage_does_not_enter(rows: Any, cut: Any) -> None:
    made = table(rows)
    parts = [made.slice(start, cut) for start in range(0, len(rows), cut)]
    chunks = pa.concat_tables(parts)
    coded = chunks.set_column(2, "c", chunks.column(2).dictionary_encode())
    large = coded.set_column(4, "e", coded.column(4).cast(pa.large_list(pa.int16())))
    large = large.set_column(2, "c", large.column(2).cast(pa.large_string()))
    for other in (chunks, coded, large):
        assert ids.table_digests(other, NAMES).tobytes() == digests(rows)


@settings(deadline=None, max_examples=100)
@given(ROWS, st.data())
def test_one_cell_changes_one_id(rows: Any, data: Any) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(TYPES) - 1))
    other = data.draw(ROWS)[0][column]

    def canonical(value: Any) -> Any:
        return None if value != value else value  # NaN is null

    changed = [list(cells) for cells in rows]
    changed[row][column] = other
    before = np.frombuffer(digests(rows), dtype="V16")
    after = np.frombuffer(digests(changed), dtype="V16")
    same = canonical(rows[row][column]) == canonical(other)
    assert [bool(a == b) for a, b in zip(before, after, strict=True)] == [
        same if number == row else True for number in range(len(rows))
    ]


def test_a_bit_of_a_float_counts() -> None:
    assert one(1.0, pa.float64()) != one(np.nextafter(1.0, 2.0), pa.float64())
    assert one(1.0, pa.float32()) == one(1.0, pa.float64())
    assert one(-0.0, pa.float64()) == one(0.0, pa.float64())
    assert one(float("nan"), pa.float64()) == one(None, pa.float64()) == one(None, pa.null())


def test_types_are_distinct() -> None:
    values = [
        (1, pa.int64()),
        (1.0, pa.float64()),
        ("1", pa.string()),
        (True, pa.bool_()),
        (None, pa.int64()),
        (b"1", pa.binary()),
        (Decimal(1), pa.decimal128(5, 0)),
        (datetime.date(1970, 1, 2), pa.date32()),
        (1, pa.timestamp("s")),
        (1, pa.duration("s")),
        (1, pa.time32("s")),
        ([1], pa.list_(pa.int64())),
        ({"a": 1}, pa.struct({"a": pa.int64()})),
        ({"b": 1}, pa.struct({"b": pa.int64()})),
        ("", pa.string()),
        ([], pa.list_(pa.int64())),
    ]
    assert len({one(value, kind) for value, kind in values}) == len(values)


def test_equal_values_of_other_widths_are_equal() -> None:
    assert one(-3, pa.int8()) == one(-3, pa.int64())
    assert one(200, pa.uint8()) == one(200, pa.int64()) == one(200, pa.uint64())
    assert one(2**63, pa.uint64()) != one(-(2**63), pa.int64())
    moments = [
        (5, pa.timestamp("s")),
        (5_000, pa.timestamp("ms")),
        (5_000_000_000, pa.timestamp("ns")),
    ]
    assert len({one(value, kind) for value, kind in moments}) == 1
    assert one(5, pa.timestamp("s", "UTC")) != one(5, pa.timestamp("s"))
    assert one(-1, pa.timestamp("ns")) != one(-1, pa.timestamp("s"))
    assert one([1, 2], pa.list_(pa.int64(), 2)) == one([1, 2], pa.list_(pa.int64()))


def test_neighbours_in_lists_do_not_run_together() -> None:
    lists = pa.list_(pa.list_(pa.int64()))
    assert one([[1], [2]], lists) != one([[1, 2]], lists)
    assert one([[1], []], lists) != one([[], [1]], lists)


def test_column_names_and_their_order_count() -> None:
    made = pa.table({"a": [1], "b": [2]})
    forth = ids.table_digests(made, ["a", "b"])
    assert forth != ids.table_digests(made, ["b", "a"])
    assert forth != ids.table_digests(made.rename_columns(["a", "c"]), ["a", "c"])


def test_a_type_without_canonical_form_is_refused() -> None:
    made = pa.table({"a": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pytest.raises(InputError, match=r"column 'a': values of type month_day_nano_interval"):
        ids.table_digests(made, ["a"])


def test_known_answers() -> None:
    content = b"\x89PNG..."
    assert ids.identify(ids.encoded_digests([content])).to_pylist() == [
        hashlib.sha256(content).hexdigest()[:32]
    ]
    text = "héllo".encode()
    expected = hashlib.sha256(len(text).to_bytes(8, "little") + text).hexdigest()[:32]
    assert ids.identify(ids.text_digests([["héllo"]])).to_pylist() == [expected]
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    expected = hashlib.sha256(b"float32[1, 2, 3]" + array.tobytes()).hexdigest()[:32]
    assert ids.identify(ids.array_digests(array)).to_pylist() == [expected]
    # Pinned: an id that changes makes every published run incomparable.
    rows = [(1, 0.5, "x", True, [1, 2])]
    found = ids.identify(np.frombuffer(digests(rows), "S16"))
    assert found.to_pylist() == ["5021d526fbbdf05cd26d8ba14c51c8e7"]


def test_arrays_of_another_shape_or_dtype_differ() -> None:
    flat = np.zeros((1, 1, 2, 3), dtype=np.uint8)
    assert ids.array_digests(flat) != ids.array_digests(flat.reshape(1, 1, 3, 2))
    assert ids.array_digests(flat) != ids.array_digests(flat.astype(np.float32))
    swapped = np.arange(3, dtype=">f4")[None]
    assert ids.array_digests(swapped) == ids.array_digests(swapped.astype("<f4"))


def test_text_columns_do_not_run_together() -> None:
    assert ids.text_digests([["ab"], ["c"]]) != ids.text_digests([["a"], ["bc"]])


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_equal_contents_get_ordered_suffixes(letters: Any) -> None:
    names = ids.identify(ids.encoded_digests([letter.encode() for letter in letters])).to_pylist()
    assert len(set(names)) == len(names)
    seen: dict[str, int] = {}
    for letter, name in zip(letters, names, strict=True):
        base = hashlib.sha256(letter.encode()).hexdigest()[:32]
        number = seen.get(letter, 0)
        assert name == (f"{base}-{number}" if number else base)
        seen[letter] = number + 1


def test_the_users_own_names_order_equal_contents() -> None:
    contents = ids.encoded_digests([b"a", b"a", b"a"])
    names = ids.identify(contents, pa.array(["z", "x", "y"])).to_pylist()
    assert [name[32:] for name in names] == ["-2", "", "-1"]


def test_digests_that_end_in_zero_bytes_are_whole() -> None:
    raw = b"".join([bytes(16), bytes(15) + b"\x01", b"\x01" + bytes(15)])
    names = ids.identify(np.frombuffer(raw, dtype="S16")).to_pylist()
    assert names == [raw[start : start + 16].hex() for start in (0, 16, 32)]


SHARES = st.floats(0.05, 0.95)
STRATA = st.lists(st.integers(0, 3), min_size=1, max_size=60)


@settings(deadline=None)
@given(SHARES, STRATA)
def test_each_stratum_gets_its_share(share: Any, strata: Any) -> None:
    strata = np.array(strata)
    test = choose_test(share, [f"s{row}" for row in range(len(strata))], strata)
    for stratum in np.unique(strata):
        size = int((strata == stratum).sum())
        assert abs(int(test[strata == stratum].sum()) - share * size) <= 0.5


@settings(deadline=None)
@given(SHARES, STRATA, st.randoms())
def test_order_does_not_matter(share: Any, strata: Any, random: Any) -> None:
    units = [f"s{row}" for row in range(len(strata))]
    before = dict(zip(units, choose_test(share, units, np.array(strata)), strict=True))
    rows = list(range(len(strata)))
    random.shuffle(rows)
    units = [units[row] for row in rows]
    after = choose_test(share, units, np.array(strata)[rows])
    assert dict(zip(units, after, strict=True)) == before


@settings(deadline=None)
@given(SHARES, STRATA, st.lists(st.integers(0, 3), max_size=10))
def test_an_added_row_moves_at_most_one_other(share: Any, strata: Any, more: Any) -> None:
    units = [f"s{row}" for row in range(len(strata) + len(more))]
    before = choose_test(share, units[: len(strata)], np.array(strata))
    after = choose_test(share, units, np.array([*strata, *more]))[: len(strata)]
    moved = np.array(strata)[before != after]
    for stratum in range(4):
        assert (moved == stratum).sum() <= more.count(stratum)


@settings(deadline=None)
@given(SHARES, st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=80))
def test_clusters_stay_whole_and_strata_near_their_shares(share: Any, rows: Any) -> None:
    clusters = [cluster for cluster, _ in rows]
    strata = np.array([stratum for _, stratum in rows])
    test = choose_test(share, clusters, strata)
    for cluster in set(clusters):
        inside = test[np.array(clusters) == cluster]
        assert inside.all() or not inside.any()
    # Every cluster that became test brought the strata nearer to their shares.
    sizes = np.bincount(strata, minlength=3)

    def distance(chosen: Any) -> Any:
        counts = np.bincount(strata[chosen], minlength=3)
        return float((((counts - share * sizes) / np.maximum(sizes, 1)) ** 2).sum())

    assert distance(test) <= distance(np.zeros(len(rows), dtype=bool)) + 1e-9


def test_the_split_is_the_same_everywhere() -> None:
    units = [f"s{row}" for row in range(12)]
    test = choose_test(0.25, units, np.zeros(12, dtype=np.int64))
    assert np.flatnonzero(test).tolist() == [3, 4, 7]


CLASSES = st.lists(st.integers(0, 4), min_size=1, max_size=80)


def names(count: Any) -> Any:
    return [f"{row:032x}" for row in range(count)]


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_smaller_limits_are_subsets(classes: Any, one: Any, other: Any, seed: Any) -> None:
    targets = np.array(classes)
    small, large = sorted((one, other))
    few = take(names(len(targets)), targets, small, seed)
    many = take(names(len(targets)), targets, large, seed)
    assert set(few) <= set(many)
    assert len(few) == min(small, len(targets))
    assert few.tolist() == sorted(few)
    assert few.dtype == np.int64


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90))
def test_classes_are_cut_at_the_same_fraction(classes: Any, limit: Any) -> None:
    targets = np.array(classes)
    chosen = targets[take(names(len(targets)), targets, limit, 0)]
    # Some fraction f leaves each class with f * size samples, to within half a sample.
    low, high = 0.0, 1.0
    for name in np.unique(targets):
        size, count = (targets == name).sum(), (chosen == name).sum()
        low, high = max(low, (count - 0.5) / size), min(high, (count + 0.5) / size)
    assert low <= high + 1e-12


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90), st.randoms())
def test_order_does_not_matter_subset(classes: Any, limit: Any, random: Any) -> None:
    ids, targets = names(len(classes)), np.array(classes)
    before = {ids[row] for row in take(ids, targets, limit, 0)}
    rows = list(range(len(ids)))
    random.shuffle(rows)
    ids = [ids[row] for row in rows]
    assert {ids[row] for row in take(ids, targets[rows], limit, 0)} == before


def test_numbers_go_by_hash_alone() -> None:
    ids = names(50)
    expected = sorted(range(50), key=lambda row: order_key(3, ids[row]))[:7]
    assert take(ids, np.linspace(0, 1, 50), 7, 3).tolist() == sorted(expected)


def test_the_seed_matters_and_no_limit_takes_all() -> None:
    ids, targets = names(40), np.arange(40) % 2
    assert take(ids, targets, 10, 0).tolist() != take(ids, targets, 10, 1).tolist()
    assert take(ids, targets, None, 0).tolist() == list(range(40))
    assert take(ids, targets, 40, 0).tolist() == list(range(40))
    with pytest.raises(ValueError, match="limit: expected at least 1, got 0"):
        take(ids, targets, 0, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(1, 20))
def test_a_limit_on_a_limited_part_is_the_limit_on_the_whole(
    seed: int, large: int, small: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = np.array([f"{value:032x}" for value in rng.permutation(200)], dtype=object)
    targets = rng.choice(4, 200, p=[0.6, 0.3, 0.08, 0.02]).astype(np.int64)
    sizes = np.bincount(targets, minlength=4).tolist()
    part = take(ids, targets, large, 7)
    again = take(ids[part], targets[part], min(small, large), 7, sizes)
    assert set(ids[part][again]) == set(ids[take(ids, targets, min(small, large), 7)])


def frame(target: Any, **columns: Any) -> Any:
    return pd.DataFrame({"a": np.arange(len(target), dtype=float), **columns, "y": target})


def asked(open_live: Any, target: Any, **options: Any) -> Any:
    data = open_live(frame(target), target="y", **options)
    return data.task.kind, data.task.classes, data.samples("test").targets.tolist()


def test_strings_are_classes_in_code_point_order(open_live: Any) -> None:
    kind, classes, targets = asked(open_live, ["b", "a", "Z", "b"])
    assert (kind, classes, targets) == ("classification", ("Z", "a", "b"), [2, 1, 0, 2])


def test_whole_numbers_are_classes_by_size(open_live: Any) -> None:
    assert asked(open_live, [10, 2, 10, -1]) == (
        "classification",
        ("-1", "2", "10"),
        [2, 1, 2, 0],
    )
    assert asked(open_live, [1.0, 0.0, 1.0, 0.0])[:2] == ("classification", ("0", "1"))


def test_booleans_are_classes(open_live: Any) -> None:
    assert asked(open_live, [True, False, True]) == (
        "classification",
        ("False", "True"),
        [1, 0, 1],
    )


def test_fractions_and_many_numbers_are_values(open_live: Any) -> None:
    assert asked(open_live, [0.5, 1.0, 2.0]) == ("regression", (), [0.5, 1.0, 2.0])
    kind, classes, targets = asked(open_live, list(range(21)))
    assert (kind, classes) == ("regression", ())
    assert isinstance(targets[0], float)
    assert asked(open_live, list(range(20)))[0] == "classification"


def test_the_task_can_be_said(open_live: Any) -> None:
    assert asked(open_live, [1, 2, 3], task="regression")[0] == "regression"
    assert asked(open_live, list(range(30)), task="classification")[0] == "classification"


def test_numbers_beside_images_are_classes_without_a_gap(open_live: Any) -> None:
    images = np.zeros((60, 4, 4), dtype=np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None]
    data = open_live((images, np.r_[np.arange(30) * 2, np.arange(30) * 2]))
    assert data.task.classes == tuple(map(str, range(59)))


def test_given_classes_match_by_name_or_index(open_live: Any) -> None:
    assert asked(open_live, ["b", "a", "b"], classes="b,c,a")[1:] == (("b", "c", "a"), [0, 2, 0])
    assert asked(open_live, [0, 2, 0], classes="cat,dog,owl")[1:] == (
        ("cat", "dog", "owl"),
        [0, 2, 0],
    )
    assert asked(open_live, [1, 2, 1], classes="2,1")[1:] == (("2", "1"), [1, 0, 1])
    # A class may be absent if it was said.
    assert asked(open_live, ["a", "a"], classes="a,b")[1:] == (("a", "b"), [0, 0])


def test_class_labels_keep_their_names_and_order(open_live: Any) -> None:
    features = datasets.Features(
        a=datasets.Value("int64"), label=datasets.ClassLabel(names=["z", "y", "x"])
    )
    data = datasets.Dataset.from_dict({"a": [1, 2, 3], "label": [2, 0, 0]}, features=features)
    opened = open_live(data)
    assert opened.task.classes == ("z", "y", "x")
    assert opened.samples("test").targets.tolist() == [2, 0, 0]
    assert open_live(data, classes="x,y,z").samples("test").targets.tolist() == [0, 2, 2]


def test_classes_are_those_of_all_roles(open_live: Any) -> None:
    roles = {"test": frame(["b", "c"]), "train": frame(["a", "b"])}
    data = open_live(roles, target="y")
    assert data.task.classes == ("a", "b", "c")
    assert data.samples("train").targets.tolist() == [0, 1]
    assert data.card.split == "as given: test, train"


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (
            ["a", None, "b", None],
            {},
            "target 'y': 2 of 4 values are missing (test rows 1, 3, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            [0.5, float("nan"), 1.0],
            {},
            "target 'y': 1 of 3 values is missing (test row 1, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            [float("nan")] * 5,
            {},
            "target 'y': 5 of 5 values are missing (test rows 0, 1, 2, ..., counted from 0)",
        ),
        (
            [0.5, float("inf"), 1.0],
            {},
            "target 'y': 1 of 3 values is infinite (test row 1, counted from 0); "
            "on_bad_sample=skip leaves such samples out",
        ),
        (
            ["a", "a"],
            {},
            "target 'y': expected at least 2 classes, got only 'a'; name them with classes= if "
            "the data lacks one",
        ),
        (
            ["a", "b"],
            {"task": "regression"},
            "target 'y': expected numbers for regression, got 'a' (test row 0)",
        ),
        (
            [0.5, 1.0],
            {"task": "classification"},
            "target 'y': expected whole numbers for classification, got 0.5 "
            "(test row 0, counted from 0)",
        ),
        (
            ["a", "b", "c"],
            {"classes": "a,b"},
            "classes: target 'y' holds 'c', not among a, b",
        ),
        (
            [0, 1, 7],
            {"classes": "cat,dog"},
            "classes: target 'y' holds 7, no index of the 2 classes cat, dog",
        ),
        (
            [1, 2, 7],
            {"classes": "1,2"},
            "classes: target 'y' holds '7', not among 1, 2",
        ),
        (
            [f"name {number}" for number in range(150)],
            {},
            "target 'y': expected classes, got 150 distinct strings in 150 rows",
        ),
        (
            [[1], [2]],
            {},
            "target 'y': expected classes or numbers, got values of type list<item: int64>; for a "
            "list of labels say task=multilabel",
        ),
    ],
)
def test_bad_targets(open_live: Any, target: Any, options: Any, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_live(frame(target), target="y", **options)) == message


def test_a_row_has_the_same_digest_among_many() -> None:
    made = pa.table({"a": range(9_000), "b": [f"b{row % 7}" for row in range(9_000)]})
    whole = ids.table_digests(made, ["a", "b"])
    assert len(np.unique(whole)) == len(whole) == 9_000
    for row in (0, 4_095, 4_096, 8_191, 8_192, 8_999):
        assert whole[row] == ids.table_digests(made.slice(row, 1), ["a", "b"])[0]
