from __future__ import annotations

import numpy as np
import pytest

from crucibench.comparing import differing, pair
from crucibench.comparing.comparability import first_difference
from crucibench.contracts.verdict import Status
from crucibench.store.cells import CellFile
from crucibench.util.errors import NotComparableError


def test_other_samples_are_refused_unless_intersected() -> None:
    a = np.array(["s0", "s1", "s2", "s3", "s4"], dtype=object)
    b = np.array(["zz", "s3", "s1", "s2"], dtype=object)
    with pytest.raises(NotComparableError, match="3 are common, 2 and 1 are on one side"):
        pair(a, b, intersect=False)
    found = pair(a, b, intersect=True)
    assert a[found.rows_a].tolist() == b[found.rows_b].tolist()
    assert (len(found.rows_a), found.only_a, found.only_b) == (3, 2, 1)
    with pytest.raises(NotComparableError, match="share no id"):
        pair(np.array(["a"], dtype=object), np.array(["b"], dtype=object), intersect=True)
    with pytest.raises(NotComparableError, match="an id occurs twice"):
        pair(np.array(["a", "a"], dtype=object), np.array(["a", "b"], dtype=object))


def cell(**comparison: object) -> CellFile:
    return CellFile(
        cell="c", kind="mapped", model="m", data="d", suite="s", scenario="t", version=1,
        role="test", points=[""], status=Status.OK, comparison=comparison,
    )  # fmt: skip


def test_a_refusal_names_the_field_that_differs() -> None:
    first = cell(data="f1", scenario={"version": 1, "parameters": {"eps": 0.1}}, ids="x")
    assert first_difference(first, first) is None
    other = cell(data="f1", scenario={"version": 1, "parameters": {"eps": 0.2}}, ids="x")
    assert differing(first, other) == ["scenario.parameters.eps"]
    assert "scenario.parameters.eps is 0.1 and 0.2" in str(first_difference(first, other))
    elsewhere = cell(data="f2", scenario=first.comparison["scenario"], ids="y")
    assert "data is 'f1' and 'f2' (and 1 more)" in str(first_difference(first, elsewhere))
    assert first_difference(first, elsewhere, intersect=True) is None
