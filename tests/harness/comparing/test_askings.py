"""Models that are asked about the same samples several times, from logged answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from sklearn.metrics import f1_score, log_loss, roc_auc_score

import crucibench as cb
from crucibench.cli._app import application
from crucibench.contracts.statistic import Share, TableMetric
from crucibench.engine.packing import pack_run
from crucibench.gating.looks import looked_verdict
from crucibench.gating.policy import parse_policy
from crucibench.gating.result import Outcome
from crucibench.integrity.verify import verify
from crucibench.metrics.askings import mean_over_askings
from crucibench.metrics.classification import f1_macro
from crucibench.metrics.forms import as_rows
from crucibench.stats import bootstrap_many, wilson
from crucibench.stats.two_way import Components, components_of_one, two_way


@pytest.fixture
def asked(drawn: Any) -> Any:
    """Draws targets, and the scores of trainings that answer with noise, (S, R, n)."""

    def make(skills: list[float], times: int = 4, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
        targets, scores = drawn(skills, n)
        margins = np.log(scores / (1 - scores))[:, None]
        noise = np.random.default_rng(7).normal(size=(len(skills), times, n))
        return targets, 1 / (1 + np.exp(-margins - 1.5 * noise))

    return make


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.group == ""].set_index("metric")


def codes(run: Any, scenario: str) -> dict[str, str]:
    cell = next(one for one in run.cells.values() if one.scenario == scenario)
    return {found.code: str(found.severity) for found in cell.findings}


def test_numbers_are_means_over_askings_of_the_same_samples(
    tmp_path: Path, asked: Any, logged_run: Any
) -> None:
    targets, scores = asked([1.0])
    run = logged_run(tmp_path, targets, scores)
    rows, right = plain(run.metrics()), (scores[0] > 0.5) == targets
    expected = {
        "top-1": right.mean(),
        "auroc": np.mean([roc_auc_score(targets, one) for one in scores[0]]),
        "log-loss": np.mean([log_loss(targets, one) for one in scores[0]]),
        "f1-macro": np.mean([f1_score(targets, one > 0.5, average="macro") for one in scores[0]]),
    }
    for metric, value in expected.items():
        row = rows.loc[metric]
        assert row.value == pytest.approx(value) and row.lower < row.value < row.upper
        assert "mean over 4 askings" in row.method and row.n == 400
    # Not as exact as 1,600 samples would be, and more than 400 of one answer each.
    top = rows.loc["top-1"]
    ends = [wilson(round(n * top.value), n) for n in (400, 1600)]
    assert ends[1].upper - ends[1].lower < top.upper - top.lower < ends[0].upper - ends[0].lower
    cell = next(one.cell for one in run.cells.values() if one.scenario == "test")
    assert sorted(run.records(cell).groupby("id").draw.agg(tuple).unique()) == [(0, 1, 2, 3)]
    assert codes(run, "clean") == {} and verify(run) == []


def test_of_a_model_that_answers_alike_nothing_changes_and_a_finding_says_so(
    tmp_path: Path, drawn: Any, logged_run: Any
) -> None:
    targets, scores = drawn([1.0])
    once = plain(logged_run(tmp_path / "once", targets, scores).metrics())
    run = logged_run(tmp_path / "again", targets, np.repeat(scores[:, None], 3, axis=1))
    pd.testing.assert_frame_equal(
        plain(run.metrics())[["value", "lower", "upper", "method"]],
        once[["value", "lower", "upper", "method"]],
    )
    assert codes(run, "test")["askings-agree"] == "info"


def test_askings_that_move_together_are_told(tmp_path: Path, asked: Any, logged_run: Any) -> None:
    targets, scores = asked([1.0])
    scores[:, 2, ::5] = 1 - scores[:, 2, ::5]
    assert codes(logged_run(tmp_path, targets, scores), "clean")["askings-move-together"] == (
        "suspect"
    )


@pytest.mark.parametrize("metric", ["share", "f1"])
def test_intervals_cover_and_answers_to_a_sample_are_not_independent(metric: str) -> None:
    rng, n, times, hits, naive = np.random.default_rng(3), 120, 10, 0, 0
    many = 600 if metric == "share" else 150
    hard = rng.beta(1.2, 0.5, 200_000)
    truth, targets = hard.mean(), np.arange(n) % 2  # of balanced classes also macro F1, nearly
    for k in range(many):
        right = rng.random((times, n)) < rng.choice(hard, n)
        if metric == "share":
            form = mean_over_askings([Share(one) for one in right], n)
            found = form.closed(0.95)
        else:
            said = np.where(right, targets, 1 - targets)
            tables = [TableMetric(one, targets, 2, f1_macro) for one in said]
            form = mean_over_askings(tables, n)
            found = bootstrap_many({"f": as_rows(form)}, n, seed=k, stream="f1")["f"].interval
        hits += found.lower <= truth <= found.upper
        alone = wilson(int(right.sum()), times * n)
        naive += alone.lower <= truth <= alone.upper
    assert hits / many >= 0.92 and naive / many < 0.8


def test_a_recipe_s_variance_is_split_into_trainings_samples_and_askings(
    tmp_path: Path, asked: Any, logged_run: Any
) -> None:
    targets, scores = asked([0.6, 1.2, 0.9])
    run = logged_run(tmp_path, targets, scores)
    row, right = plain(run.recipes()).loc["top-1"], ((scores > 0.5) == targets).astype(float)
    parts = two_way(right.mean(axis=1), list(right)).components()
    assert row.unsplit == "" and row.estimand == "recipe/population"
    for name in Components._fields:
        assert row[f"sd_{name}"] == pytest.approx(np.sqrt(getattr(parts, name)))
    assert row.sd_repeat == pytest.approx(np.sqrt(right.var(axis=1, ddof=1).mean() / 400))
    assert plain(run.recipes()).loc["auroc"].sd_repeat > 0
    assert "askings" in (run.root / "report.html").read_text()
    once = plain(logged_run(tmp_path / "once", targets, scores[:, 0]).recipes()).loc["top-1"]
    assert pd.isna(once.sd_repeat) and "asked several times" in once.unsplit


def test_of_one_training_samples_are_told_from_askings(
    tmp_path: Path, asked: Any, logged_run: Any
) -> None:
    targets, scores = asked([0.8])
    run = logged_run(tmp_path, targets, scores)
    row = plain(run.recipes()).loc["top-1"]
    parts = components_of_one(((scores[0] > 0.5) == targets).astype(float))
    assert pd.isna(row.value) and "one training" in row.reason and "one training" in row.unsplit
    assert pd.isna(row.sd_training) and pd.isna(row.sd_residual)
    assert row.sd_samples == pytest.approx(np.sqrt(parts.samples))
    assert row.sd_repeat == pytest.approx(np.sqrt(parts.repeat))


def test_a_model_asked_several_times_is_compared_with_one_asked_once(
    tmp_path: Path, asked: Any, logged_run: Any
) -> None:
    targets, scores = asked([1.0])
    again = logged_run(tmp_path / "again", targets, scores)
    once = logged_run(tmp_path / "once", targets, scores[:, 0])
    right = (scores[0] > 0.5) == targets
    pack_run(again, tmp_path / "again.cbz")
    for old in (again, tmp_path / "again.cbz"):
        found = cb.compare(old, once, models={"net": "net"})
        one = next(one for one in found.differences if one.address.metric == "top-1")
        assert one.delta == pytest.approx(right[0].mean() - right.mean()) and one.method == "gaffke"
        assert one.interval.lower < 0 < one.interval.upper
        assert not found.refused


def test_looks_hold_means_over_askings(tmp_path: Path, asked: Any, logged_run: Any) -> None:
    rule = {"address": "*:accuracy/clean/top-1", "margin": 0.05}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({"required": [rule]}))
    defaults = {"until_decided": str(tmp_path / "policy.yaml")}
    run = logged_run(tmp_path, *asked([0.8, 1.4], 3, 3000), defaults=defaults)
    verdict = looked_verdict(run, parse_policy({"required": [rule]}, "policy"))
    rows = run.metrics().query("metric == 'top-1' and group == ''")
    assert verdict.outcome is Outcome.PASS and rows.n.iloc[0] < 3000
    (check,) = verdict.checks
    assert [check.baseline, check.candidate] == pytest.approx(rows.value.tolist())


def test_too_few_logged_answers_are_refused_before_anything_runs(
    tmp_path: Path, asked: Any, logged_run: Any
) -> None:
    run = logged_run(tmp_path, *asked([1.0], 3))
    (model,), (data,) = run.spec["models"], run.spec["data"]
    command = ["run", "--model", model["uri"], "--data", data["uri"], "--suite", "accuracy",
               "--out", str(tmp_path / "cli"), "--format", "json", "--repeat"]  # fmt: skip
    result = CliRunner().invoke(application, [*command, "3"])
    assert result.exit_code == 0
    refused = CliRunner().invoke(application, [*command, "4"])
    assert refused.exit_code == 2 and "asked for the time 4" in refused.output


def test_suites_that_ask_by_themselves_say_that_they_asked_once(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    data = pd.DataFrame(noise.normal(size=(300, 3)), columns=list("xyz"))

    def model(frame: pd.DataFrame) -> np.ndarray:
        score = 2 * frame["x"].to_numpy() * np.where(noise.random(len(frame)) < 0.15, -1, 1)
        return np.stack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))], axis=1)

    run = cb.run(
        models={"m": model}, data=(data, (data["x"] > 0).astype(int).rename("y_")), repeat=3,
        suites=["accuracy", "shift"], out=tmp_path,
    )  # fmt: skip
    assert codes(run, "clean") == {} and codes(run, "test")["non-deterministic-output"] == "info"
    assert codes(run, "feature_noise")["asked-once"] == "suspect"
    assert "mean over 3 askings" in plain(run.metrics()).loc["top-1"].method.iloc[0]
