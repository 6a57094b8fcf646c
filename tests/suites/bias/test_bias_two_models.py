"""Two models' gaps and worst groups, compared on the same samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crucibench.comparing.cell import FormPair, measure_cell


@pytest.mark.parametrize("repetitions", [60, pytest.param(200, marks=pytest.mark.thorough)])
def test_two_models_gaps_are_compared_as_surely_as_said(
    build: Any, numbers: Any, repetitions: int
) -> None:
    """Where groups are alike, resampling the largest gap would cover 0 too seldom."""
    rng = np.random.default_rng(7)
    n = 300
    groups = ["a", "b"] * (n // 2)
    missed: dict[str, int] = {"top-1-difference": 0, "worst-group-top-1": 0}
    for _ in range(repetitions):
        truth = rng.integers(0, 2, n)
        sides = []
        for _ in range(2):
            said = np.where(rng.random(n) < 0.8, truth, 1 - truth)
            found = numbers(build(truth, {"g": groups}, predictions=said))
            sides.append({one.metric: one.form for one in found if one.group == ""})
        pairs = {(name, "", ""): FormPair(sides[0][name], sides[1][name]) for name in missed}
        ids = np.array([str(i) for i in range(n)], dtype=object)
        for key, one in measure_cell(pairs, ids).items():
            assert one.method == "bounds-of-paired-contrasts" and one.interval is not None
            assert one.delta is not None
            assert one.interval.lower <= one.delta <= one.interval.upper
            missed[key[0]] += not one.interval.lower <= 0 <= one.interval.upper
    allowed = 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / repetitions)
    assert max(missed.values()) <= allowed * repetitions


def test_the_same_answers_and_clusters_across_groups_are_resampled(
    build: Any, numbers: Any
) -> None:
    rng = np.random.default_rng(8)
    truth, said, other = rng.integers(0, 2, (3, 200))
    groups, ids = ["a", "b"] * 100, np.array([str(i) for i in range(200)], dtype=object)

    def form(answers: Any) -> Any:
        found = numbers(build(truth, {"g": groups}, predictions=answers))
        return next(
            one.form for one in found if (one.metric, one.group) == ("top-1-difference", "")
        )

    key = ("top-1-difference", "", "")
    same = measure_cell({key: FormPair(form(said), form(said))}, ids)[key]
    assert same.identical and same.interval is None
    spanning = np.arange(200) // 2
    apart = measure_cell({key: FormPair(form(said), form(other))}, ids, spanning)[key]
    assert "bootstrap" in apart.method
    within = np.arange(200) % 40
    held = measure_cell({key: FormPair(form(said), form(other))}, ids, within)[key]
    assert held.method == "bounds-of-paired-contrasts"
