from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from crucibench.util.draws import Draws
from crucibench.util.names import Names, sample_words

STRINGS = ["é1", "", "b-2", "c"] * 40_000


@pytest.fixture(params=["objects", "one chunk", "chunks", "large"])
def names(request: pytest.FixtureRequest) -> Names:
    if request.param == "objects":
        return Names(np.array(STRINGS, dtype=object))
    kind = pa.large_string() if request.param == "large" else pa.string()
    cuts = [0, 70_001, len(STRINGS)] if request.param == "chunks" else [0, len(STRINGS)]
    chunks = [pa.array(STRINGS[a:b], kind) for a, b in pairwise(cuts)]
    return Names(pa.chunked_array(chunks))


def test_names_are_the_same_however_they_are_held(names: Names) -> None:
    assert len(names) == len(STRINGS)
    assert names.array.tolist() == STRINGS
    assert names.array.dtype == object
    assert names.column.to_pylist() == STRINGS
    assert names.column.type == pa.string()
    assert np.array_equal(names.words, sample_words(STRINGS))


def test_draws_of_names_are_those_of_their_strings(names: Names) -> None:
    draws = Draws(3, "stream")
    assert np.array_equal(draws.words(names, "a", 5), draws.words(STRINGS, "a", 5))
    assert np.array_equal(draws.uniform(names, "b", (2,)), draws.uniform(STRINGS, "b", (2,)))


def test_taken_names_are_those_of_the_rows(names: Names) -> None:
    rows = np.array([4, 2, 2, 159_999])
    taken = names.take(rows)
    assert len(taken) == 4
    assert taken.array.tolist() == taken.column.to_pylist() == ["é1", "b-2", "b-2", "c"]
    assert np.array_equal(taken.take(np.array([1])).words, sample_words(["b-2"]))


@pytest.mark.parametrize(
    ("held", "numbered"), [(["a", "b"], False), (["a", "b-1"], True), ([], False)]
)
def test_a_dash_is_seen(held: Any, numbered: bool) -> None:
    assert Names(np.array(held, dtype=object)).numbered is numbered
    assert Names(pa.chunked_array([pa.array(held, pa.string())])).numbered is numbered


def test_what_names_draw_is_the_same_among_many() -> None:
    many = np.array([f"name {number}" for number in range(40_000)], dtype=object)
    rows = np.array([0, 4_095, 4_096, 16_383, 16_384, 39_999])
    names, few = Names(many), many[rows].tolist()
    assert np.array_equal(names.words[rows], sample_words(few))
    draws = Draws(3, "stream")
    assert np.array_equal(draws.words(names, "a", 5)[rows], draws.words(few, "a", 5))
