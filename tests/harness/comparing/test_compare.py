from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crucibench.comparing import compare_outcomes, differing, pair, require_comparable
from crucibench.contracts.evidence import OutcomeView
from crucibench.contracts.verdict import Status
from crucibench.store.cells import CellFile
from crucibench.util.errors import NotComparableError


def view(correct: np.ndarray, ids: np.ndarray | None = None, point: str = "") -> OutcomeView:
    count = len(correct)
    names = np.array([f"s{n}" for n in range(count)], dtype=object) if ids is None else ids
    points = np.full(count, point, dtype=object)
    return OutcomeView(names, points, correct.astype(int), np.zeros(count), correct.astype(float))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_pairing_does_not_depend_on_order(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, n), rng.integers(0, 2, n)
    order = rng.permutation(n)
    ids = np.array([f"s{k}" for k in range(n)], dtype=object)
    straight = compare_outcomes(view(a), view(b))[0]
    shuffled = compare_outcomes(view(a), view(b[order], ids[order]))[0]
    assert shuffled.difference == straight.difference == pytest.approx(b.mean() - a.mean())
    assert set(shuffled.flips.lost) == {f"s{k}" for k in range(n) if a[k] and not b[k]}
    assert shuffled.p == straight.p
    swapped = compare_outcomes(view(b), view(a))[0]
    assert swapped.difference == -straight.difference
    assert swapped.interval.lower == pytest.approx(-straight.interval.upper, abs=1e-12)


def test_the_p_value_is_the_exact_mcnemar_test() -> None:
    a = np.r_[np.ones(70), np.zeros(30)]
    b = np.r_[np.ones(58), np.zeros(12), np.ones(4), np.zeros(26)]
    found = compare_outcomes(view(a), view(b))[0]
    assert found.p == pytest.approx(stats.binomtest(4, 16).pvalue, rel=1e-12)
    assert (len(found.flips.lost), len(found.flips.gained)) == (12, 4)
    assert found.interval.lower < found.difference < found.interval.upper < 0.01


def test_identical_models_differ_by_nothing() -> None:
    same = np.r_[np.ones(90), np.zeros(10)]
    found = compare_outcomes(view(same), view(same))[0]
    assert found.difference == 0.0 and found.p == 1.0
    assert found.interval.lower < 0.0 < found.interval.upper
    assert found.detectable is None or found.detectable > 0


def test_other_samples_are_refused_unless_intersected() -> None:
    a, b = view(np.ones(5)), view(np.ones(4), np.array(["s1", "s2", "s3", "zz"], dtype=object))
    with pytest.raises(NotComparableError, match="3 are common, 2 and 1 are on one side"):
        compare_outcomes(a, b)
    found = compare_outcomes(a, b, intersect=True)[0]
    assert (found.n, found.only_first, found.only_second) == (3, 2, 1)
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
    require_comparable(first, first)
    other = cell(data="f1", scenario={"version": 1, "parameters": {"eps": 0.2}}, ids="x")
    assert differing(first, other) == ["scenario.parameters.eps"]
    with pytest.raises(NotComparableError, match=r"scenario\.parameters\.eps is 0\.1 and 0\.2"):
        require_comparable(first, other)
    elsewhere = cell(data="f2", scenario=first.comparison["scenario"], ids="y")
    with pytest.raises(NotComparableError, match=r"data is 'f1' and 'f2' \(and 1 more\)"):
        require_comparable(first, elsewhere)
    require_comparable(first, elsewhere, intersect=True)
