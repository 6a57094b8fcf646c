from __future__ import annotations

import datetime
import hashlib
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.data import ids
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
    assert ids.identify(ids.encoded_digests([content])) == [
        hashlib.sha256(content).hexdigest()[:32]
    ]
    text = "héllo".encode()
    expected = hashlib.sha256(len(text).to_bytes(8, "little") + text).hexdigest()[:32]
    assert ids.identify(ids.text_digests([["héllo"]])) == [expected]
    array = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    expected = hashlib.sha256(b"float32[1, 2, 3]" + array.tobytes()).hexdigest()[:32]
    assert ids.identify(ids.array_digests(array)) == [expected]
    # Pinned: an id that changes makes every published run incomparable.
    rows = [(1, 0.5, "x", True, [1, 2])]
    assert ids.identify(np.frombuffer(digests(rows), "S16")) == ["5021d526fbbdf05cd26d8ba14c51c8e7"]


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
    names = ids.identify(ids.encoded_digests([letter.encode() for letter in letters]))
    assert len(set(names)) == len(names)
    seen: dict[str, int] = {}
    for letter, name in zip(letters, names, strict=True):
        base = hashlib.sha256(letter.encode()).hexdigest()[:32]
        number = seen.get(letter, 0)
        assert name == (f"{base}-{number}" if number else base)
        seen[letter] = number + 1


def test_the_users_own_names_order_equal_contents() -> None:
    contents = ids.encoded_digests([b"a", b"a", b"a"])
    names = ids.identify(contents, ["z", "x", "y"])
    assert [name[32:] for name in names] == ["-2", "", "-1"]


def test_digests_that_end_in_zero_bytes_are_whole() -> None:
    raw = b"".join([bytes(16), bytes(15) + b"\x01", b"\x01" + bytes(15)])
    names = ids.identify(np.frombuffer(raw, dtype="S16"))
    assert names == [raw[start : start + 16].hex() for start in (0, 16, 32)]
