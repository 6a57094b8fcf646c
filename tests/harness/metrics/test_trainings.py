from __future__ import annotations

import numpy as np
import pytest

from crucibench.contracts.statistic import Ranking, RowMetric, Share
from crucibench.metrics.forms import evaluate
from crucibench.metrics.trainings import SampleUnits, table_of_trainings
from crucibench.stats import weighted_mean

RNG = np.random.default_rng(5)
N = 400
HITS = RNG.random((3, N)) < 0.8
AMONG = RNG.random(N) < 0.5
SCORES = RNG.normal(size=(3, N)) + HITS[0]


def test_the_table_of_a_mean_is_its_samples() -> None:
    table = table_of_trainings([Share(row) for row in HITS], SampleUnits(N, "s"))
    assert table == pytest.approx(HITS.astype(float))


@pytest.mark.parametrize(
    ("forms", "columns"),
    [
        ([Share(row, AMONG) for row in HITS], N),
        ([Share(row, of_share=lambda j: 2 * j / (1 + j)) for row in HITS], 200),
        ([Ranking(row, HITS[0]) for row in SCORES], None),
        ([RowMetric(weighted_mean(row)) for row in SCORES], 200),
    ],
)
def test_rows_have_the_trainings_numbers_as_means(forms: list, columns: int | None) -> None:
    table = table_of_trainings(forms, SampleUnits(N, "s"))
    assert table.mean(axis=1) == pytest.approx([evaluate(form, N) for form in forms])
    assert columns is None or table.shape[1] == columns


def test_groups_left_out_show_the_spread_of_a_mean() -> None:
    # Dealt at random into 200 groups of two: what the samples' own variance says, to its noise.
    table = table_of_trainings(
        [RowMetric(weighted_mean(row)) for row in SCORES], SampleUnits(N, "s")
    )
    expected = SCORES.var(axis=1, ddof=1) / N
    assert table.var(axis=1, ddof=1) / table.shape[1] == pytest.approx(expected, rel=0.3)


def test_samples_of_a_cluster_share_a_column() -> None:
    clusters = np.arange(N) // 10
    table = table_of_trainings([Share(row) for row in HITS], SampleUnits(N, "s", clusters=clusters))
    by_cluster = HITS.reshape(3, -1, 10).mean(axis=2)
    assert table == pytest.approx(by_cluster)


def test_a_number_that_is_undefined_has_no_table() -> None:
    nowhere = np.zeros(N, dtype=np.bool_)
    table = table_of_trainings(
        [Share(HITS[0], AMONG), Share(HITS[1], nowhere)], SampleUnits(N, "s")
    )
    assert np.isnan(table[1]).all()
