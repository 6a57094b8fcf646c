"""Subpopulations: known worst groups, intervals that cover, chance told from a real gap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Severity
from crucibench.metrics.scoring import score
from crucibench_suites.shift.group_scoring import partitions
from crucibench_suites.shift.own_data import Subpopulations

SPLIT = Subpopulations.of("shift", "test", [])


def scored_by(evidence: Evidence, cross: Any) -> Scored:
    return score(Subpopulations.of("shift", "test", cross), evidence)


@pytest.fixture
def told(bench: Any) -> Any:
    """Makes evidence of right answers in groups."""

    def made(
        right: Any, groups: dict[str, Any], targets: Any = None, clusters: Any = None
    ) -> Evidence:
        right = np.asarray(right, dtype=bool)
        targets = np.zeros(len(right), dtype=np.int64) if targets is None else targets
        hand = bench(targets, 3, clusters=clusters)
        hand.samples = hand.samples.replaced(groups=pd.DataFrame(groups))
        said = np.where(right, targets, (np.asarray(targets) + 1) % 3)
        cell = hand.clean(said)
        found: Evidence = hand.evidence(cell, **{"pass": cell})
        return found

    return made


def by(rows: list[Row], metric: str) -> dict[str, Row]:
    return {row.group: row for row in rows if row.metric == metric}


def test_by_hand(told: Any) -> None:
    site = np.repeat(["a", "b", "c"], [40, 60, 50])
    right = np.concatenate([np.arange(40) < 30, np.arange(60) < 54, np.arange(50) < 50])
    evidence = told(right, {"site": site})
    scored = scored_by(evidence, [])
    top = by(scored.rows, "top-1")
    assert top[""].value == pytest.approx(134 / 150) and top[""].n == 150
    assert (top["site=a"].value, top["site=b"].value, top["site=c"].value) == (0.75, 0.9, 1.0)
    worst = by(scored.rows, "worst-group-top-1")
    assert worst["site"].value == 0.75 and worst["site"].n == 40
    assert "it is site=a" in worst["site"].method
    assert by(scored.rows, "group-average-top-1")["site"].value == pytest.approx(0.88333333)
    tenth = by(scored.rows, "group-percentile-10-top-1")["site"]
    assert tenth.value == pytest.approx(np.percentile([0.75, 0.9, 1.0], 10))
    # One class only: with the class there are the same groups, and two ways to split.
    whole = worst[""]
    assert whole.value == 0.75 and "bonferroni" in whole.method
    assert whole.lower < worst["site"].lower < 0.75 < worst["site"].upper <= whole.upper
    table = scored.tables["worst-groups"].set_index("groups by")
    assert table.loc["site", "worst group"] == "site=a"
    assert table.loc["site", "p if all were equal"] < 0.01


def test_with_the_class_a_column_shows_what_it_hides_alone(told: Any) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 2000)
    colour = np.where(rng.random(2000) < 0.9, targets, 1 - targets)
    right = (colour == targets) | (rng.random(2000) < 0.4)
    evidence = told(right, {"colour": np.array(["red", "blue"])[colour]}, targets)
    worst = by(scored_by(evidence, []).rows, "worst-group-top-1")
    assert worst["colour"].value > 0.9
    assert worst["class, colour"].value < 0.5
    assert worst[""].value == worst["class, colour"].value
    assert "it is class=" in worst[""].method


def test_crossings_and_a_column_called_class(told: Any) -> None:
    groups = {"class": ["x", "y"] * 3, "age": ["1", "1", "2", "2", NO_GROUP, "1"]}
    evidence = told([True] * 6, groups, np.array([0, 1, 2, 0, 1, 2]))
    found = {
        entry.name: entry.labels
        for entry in partitions(
            evidence.needs["pass"], evidence.task, [["class", "age"], ["age", "nothing"]]
        )
    }
    assert list(found) == ["class", "age", "true class, class", "true class, age", "class, age"]
    assert found["class, age"][0] == "class=x, age=1" and found["class, age"][4] == NO_GROUP
    assert found["true class, class"][2] == "true class=c2, class=x"


def test_crossings_that_differ_share_no_figures(told: Any) -> None:
    groups = {"age": ["1", "2"] * 30, "sex": ["f"] * 30 + ["m"] * 30}
    evidence = told([True] * 60, groups)
    for cross in ([], [["age", "sex"]], []):
        ways = {row.group for row in scored_by(evidence, cross).rows}
        assert ("age, sex" in ways) == bool(cross)


def test_small_and_unknown_groups_are_shown_and_left_out(told: Any) -> None:
    site = ["a"] * 40 + ["b"] * 40 + ["c"] * 10 + [NO_GROUP] * 30
    right = [True] * 36 + [False] * 4 + [True] * 38 + [False] * 2 + [False] * 40
    evidence = told(right, {"site": site})
    scored = scored_by(evidence, [])
    top = by(scored.rows, "top-1")
    assert top["site=c"].value == 0.0 and "in no figure" in top["site=c"].method
    assert by(scored.rows, "worst-group-top-1")["site"].value == 0.9
    codes = {finding.code: finding for finding in SPLIT.audit(evidence)}
    assert codes["groups-too-small"].evidence == {"site": 2}
    few = told([True] * 20, {"site": ["a"] * 10 + ["b"] * 10})
    row = by(scored_by(few, []).rows, "worst-group-top-1")["site"]
    assert row.value is None and row.reason == "no group has at least 30 samples"


def test_a_group_that_is_worst_by_chance_is_told_and_a_bad_one_is_not(told: Any) -> None:
    rng = np.random.default_rng(5)
    site = np.array([f"s{k}" for k in rng.integers(0, 12, 1200)], dtype=object)
    right = rng.random(1200) < 0.8
    (found,) = SPLIT.audit(told(right, {"site": site}))
    assert found.code == "worst-group-by-chance" and found.severity is Severity.INFO
    assert set(found.evidence) == {"site", "class, site"}
    assert found.evidence["site"]["p_chance"] > 0.05
    assert "'site=" in found.message
    right &= (site != "s3") | (rng.random(1200) < 0.6)
    planted = told(right, {"site": site})
    assert SPLIT.audit(planted) == []
    worst = by(scored_by(planted, []).rows, "worst-group-top-1")["site"]
    assert "it is site=s3" in worst.method


@pytest.mark.parametrize("repetitions", [25, pytest.param(200, marks=pytest.mark.thorough)])
def test_the_interval_of_the_worst_of_all_covers_the_worst_truth(
    told: Any, repetitions: int
) -> None:
    rng = np.random.default_rng(9)
    truth = np.array([0.8, 0.8, 0.8, 0.75])
    covered = 0
    for _ in range(repetitions):
        site = rng.integers(0, 4, 600)
        right = rng.random(600) < truth[site]
        evidence = told(right, {"site": np.array(list("abcd"), dtype=object)[site]})
        row = by(scored_by(evidence, []).rows, "worst-group-top-1")[""]
        covered += bool(row.lower <= 0.75 <= row.upper)
    assert covered >= repetitions * 0.95 - 3 * np.sqrt(repetitions * 0.95 * 0.05)


def test_regression_is_by_absolute_error(told: Any) -> None:
    evidence = told([True] * 100, {"site": ["a"] * 50 + ["b"] * 50})
    cell = evidence.needs["pass"]
    targets = np.zeros(100)
    said = np.concatenate([np.tile([1.0, -1.0], 25), np.tile([2.0, 4.0], 25)])
    table = cell.records.table.drop_columns(["scores", "prediction"])
    records = type(cell.records)(table.append_column("prediction", [said]))
    cell = replace(cell, records=records, samples=cell.samples.replaced(targets=targets))
    task = Task(kind="regression", modality=Modality.TABLE)
    evidence = replace(evidence, needs={"pass": cell}, data=replace(evidence.data, task=task))
    scored = scored_by(evidence, [])
    worst = by(scored.rows, "worst-group-mae")["site"]
    assert worst.value == 3.0 and "it is site=b" in worst.method
    assert by(scored.rows, "mae")["site=a"].value == 1.0
    assert by(scored.rows, "group-percentile-90-mae")["site"].value == pytest.approx(2.8)
    assert [entry.name for entry in partitions(cell, task, [])] == ["site"]


def test_clusters(told: Any) -> None:
    rng = np.random.default_rng(4)
    site = np.repeat(["a", "b"], 100)
    patient = np.array([f"p{k // 10}" for k in range(200)], dtype=object)
    right = np.repeat(rng.random(20) < 0.7, 10)
    alone = by(scored_by(told(right, {"site": site}), []).rows, "top-1")
    together = by(scored_by(told(right, {"site": site}, clusters=patient), []).rows, "top-1")
    for group in ("", "site=a"):
        width = [row[group].upper - row[group].lower for row in (alone, together)]
        assert width[1] > 1.5 * width[0]
