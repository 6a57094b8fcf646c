from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.data.subset import choose_test

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
