"""The rows of groups, gaps and contrasts: hand counts, the policy for groups, what is undefined."""

from __future__ import annotations

from typing import Any

import fairlearn.metrics as fm
import numpy as np
import pytest

from crucibench.comparing.cell import FormPair, measure_cell
from crucibench.contracts.statistic import RowMetric
from crucibench.metrics.forms import evaluate
from crucibench.stats import holm, newcombe_unpaired, wilson

A, B = (60, 20, 10, 30), (50, 10, 20, 20)


def test_rates_by_group(build: Any, score: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B)
    rows = score(build(truth, {"g": groups}, predictions=said))
    expected = {
        "top-1": (90, 120), "base-rate": (40, 120), "selection-rate": (50, 120), "tpr": (30, 40),
        "fnr": (10, 40), "fpr": (20, 80), "tnr": (60, 80), "ppv": (30, 50), "npv": (60, 70),
    }  # fmt: skip
    for metric, (hits, among) in expected.items():
        row = rows[metric, "g=a"]
        assert row.value == pytest.approx(hits / among) and row.n == among
        assert (row.lower, row.upper) == pytest.approx(wilson(hits, among)[:2])
        assert row.method == "wilson" and row.level == 0.95


def test_gaps_are_fairlearn_s(build: Any, score: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B, c=(30, 30, 5, 35))
    rows = score(build(truth, {"g": groups}, predictions=said))
    for metric, reference in {
        "demographic-parity-difference": fm.demographic_parity_difference,
        "demographic-parity-ratio": fm.demographic_parity_ratio,
        "equalized-odds-difference": fm.equalized_odds_difference,
        "equalized-odds-ratio": fm.equalized_odds_ratio,
        "equal-opportunity-difference": fm.equal_opportunity_difference,
    }.items():
        expected = reference(truth, said, sensitive_features=groups)
        for group in ("g", ""):
            row = rows[metric, group]
            assert row.value == pytest.approx(expected, abs=1e-12)
            assert row.lower is not None and row.lower <= row.value <= row.upper
    assert rows["worst-group-top-1", ""].value == pytest.approx(0.65)
    assert "it is g=c, worst of 3 groups" in rows["worst-group-top-1", ""].method


def test_contrasts_are_newcombe_s(build: Any, score: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B, c=(30, 30, 5, 35))
    evidence = build(truth, {"g": groups}, predictions=said)
    row = score(evidence)["tpr-minus-rest", "g=a"]
    assert row.value == pytest.approx(30 / 40 - 55 / 80) and row.n == 120
    assert (row.lower, row.upper) == pytest.approx(newcombe_unpaired(30, 40, 55, 80)[:2])
    rows = score(evidence, reference={"g": "b"})
    row = rows["selection-rate-minus-reference", "g=c"]
    assert row.value == pytest.approx(0.65 - 0.3)
    assert (row.lower, row.upper) == pytest.approx(newcombe_unpaired(65, 100, 30, 100)[:2])
    assert ("selection-rate-minus-reference", "g=b") not in rows
    assert ("selection-rate-minus-rest", "g=c") not in rows


def test_alike_groups_have_gaps_that_reach_zero(build: Any, score: Any) -> None:
    """Where fairlearn's bootstrap excludes 0 in 100 of 100 simulations."""
    rng = np.random.default_rng(0)
    excluded = 0
    for _ in range(40):
        truth = rng.random(200) < 0.4
        said = np.where(truth, rng.random(200) < 0.7, rng.random(200) < 0.3).astype(int)
        groups = ["a"] * 100 + ["b"] * 100
        rows = score(build(truth.astype(int), {"g": groups}, predictions=said))
        excluded += rows["demographic-parity-difference", "g"].lower > 0
    assert excluded <= 6


def test_small_and_unknown_groups_are_shown_and_not_compared(
    build: Any, score: Any, tables: Any, drawn: Any
) -> None:
    truth, said, groups = drawn(a=A, b=B, tiny=(5, 15, 2, 3), gone=(0, 50, 50, 0))
    groups = ["(missing)" if name == "gone" else name for name in groups]
    evidence = build(truth, {"g": groups}, predictions=said)
    rows = score(evidence)
    assert rows["top-1", "g=tiny"].value == pytest.approx(8 / 25)
    assert rows["top-1", "g=tiny"].method.startswith(
        "clopper-pearson; not compared: fewer than 30 samples; too few: about "
    )
    assert rows["top-1", "g=(missing)"].value == 0.0
    assert rows["top-1", "g=(missing)"].method == "clopper-pearson; not compared: group not known"
    gap = rows["top-1-difference", "g"]
    assert gap.value == pytest.approx(90 / 120 - 70 / 100) and gap.n == 220
    assert "; without 2 of 4 groups" in gap.method
    assert rows["top-1-minus-rest", "g=a"].value == pytest.approx(90 / 120 - 78 / 125)
    shown = tables(evidence)["groups"].set_index("group")
    assert shown.loc["g=tiny", "compared"] == "no: fewer than 30 samples"
    assert shown["samples"].sum() == len(groups)
    assert score(build(truth, {"g": groups}, predictions=said, least=20))[
        "top-1-difference", "g"
    ].value == pytest.approx(90 / 120 - 8 / 25)


def test_small_intersections_are_counted_and_have_no_rows(
    build: Any, score: Any, tables: Any
) -> None:
    rng = np.random.default_rng(11)
    groups = {"g": ["a", "b"] * 100, "h": ["x"] * 160 + ["y"] * 40}
    truth, said = rng.integers(0, 2, (2, 200))
    evidence = build(truth, groups, predictions=said)
    assert ("top-1", "g=a, h=x") in score(evidence)
    assert ("top-1", "g=a, h=y") not in score(evidence)
    shown = tables(evidence)["groups"].set_index("group")
    assert shown.loc["g=a, h=y", "samples"] == 20
    assert shown.loc["g=a, h=y", "compared"] == "no: fewer than 30 samples"


def test_what_is_undefined_is_null_with_its_reason(build: Any, score: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=(40, 20, 0, 0))
    rows = score(build(truth, {"g": groups}, predictions=said))
    row = rows["tpr", "g=b"]
    assert row.value is None and row.n == 0 and row.reason == "no positive samples"
    gap = rows["equal-opportunity-difference", "g"]
    assert gap.value is None
    assert gap.reason == (
        "fewer than two groups have a defined tpr: no positive samples in the others"
    )
    assert rows["equal-opportunity-difference", ""].value is None
    assert rows["demographic-parity-difference", "g"].value is not None
    assert rows["tpr-minus-rest", "g=b"].reason == "no positive samples in the group"
    never = score(build(truth, {"g": groups}, predictions=np.zeros_like(truth)))
    ratio = never["demographic-parity-ratio", "g"]
    assert ratio.value is None and ratio.reason == "a ratio of rates that are all 0"
    assert never["ppv", "g=a"].reason == "no positive predictions"


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (["a"] * 100, "g has one group only"),
        (["(missing)"] * 100, "g has no group only"),
        (["a"] * 80 + ["b"] * 20, "only 'g=a' has at least 30 samples"),
        ([f"u{i}" for i in range(101)], "g has 101 groups, more than the 100"),
    ],
)
def test_columns_that_are_no_groups(build: Any, score: Any, groups: Any, reason: str) -> None:
    rng = np.random.default_rng(1)
    truth, said = rng.integers(0, 2, (2, len(groups)))
    rows = score(build(truth, {"g": groups}, predictions=said))
    assert rows["top-1-difference", "g"].value is None
    assert reason in rows["top-1-difference", "g"].reason
    assert rows["top-1-difference", ""].reason == rows["top-1-difference", "g"].reason
    if len(groups) > 100:
        assert not any(group.startswith("g=") for _, group in rows)


def test_intersections_and_edges(build: Any, score: Any) -> None:
    rng = np.random.default_rng(2)
    n = 600
    sex, age = rng.choice(["f", "m"], n), rng.integers(18, 80, n)
    truth, said = rng.integers(0, 2, (2, n))
    ages = ["(missing)" if i < 40 else str(value) for i, value in enumerate(age)]
    evidence = build(truth, {"sex": sex, "age": ages}, predictions=said)
    rows = score(evidence, edges={"age": [30, 50]})
    known = np.arange(n) >= 40
    inside = known & (sex == "f") & (age >= 30) & (age < 50)
    row = rows["top-1", "sex=f, age=30 to below 50"]
    assert row.n == inside.sum() and row.value == pytest.approx((truth == said)[inside].mean())
    assert rows["top-1", "age=below 30"].n == (known & (age < 30)).sum()
    assert rows["top-1", "age=50 and above"].n == (known & (age >= 50)).sum()
    assert rows["top-1", "age=(missing)"].n == 40
    assert ("top-1", "sex, age=(missing)") not in rows
    assert ("fnr", "sex=f") in rows and ("fnr", "sex=f, age=30 to below 50") not in rows
    assert ("top-1-difference", "sex, age") in rows
    assert not any(", " in group for _, group in score(evidence, edges={"age": [40]}, depth=1))


def test_the_widest_of_several_columns(build: Any, score: Any) -> None:
    rng = np.random.default_rng(3)
    n = 800
    one, other = rng.choice(["x", "y"], n), rng.choice(["u", "v"], n)
    truth = rng.integers(0, 2, n)
    said = np.where(other == "u", truth, rng.integers(0, 2, n))
    rows = score(build(truth, {"one": one, "other": other}, predictions=said))
    whole = rows["top-1-difference", ""]
    assert whole.value == rows["top-1-difference", "other"].value
    assert "; of 2 columns: other" in whole.method
    # Taking all columns' pairs together can only lower the lower bound.
    assert whole.lower <= rows["top-1-difference", "other"].lower
    assert whole.upper == pytest.approx(rows["top-1-difference", "other"].upper)


def test_scores_by_group(build: Any, score: Any) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    rng = np.random.default_rng(4)
    n = 400
    truth, groups = rng.integers(0, 2, n), rng.choice(["a", "b"], n)
    p = np.clip(0.3 * truth + 0.7 * rng.random(n), 0.01, 0.99).astype(np.float32)
    rows = score(build(truth, {"g": groups}, scores=np.stack([1 - p, p], axis=1)))
    inside = groups == "a"
    auroc = rows["auroc", "g=a"]
    assert auroc.value == pytest.approx(roc_auc_score(truth[inside], p[inside]))
    assert rows["log-loss", "g=b"].value == pytest.approx(
        log_loss(truth[~inside], p[~inside].astype(float)), abs=1e-6
    )
    assert rows["ece-l2-15-equal-mass-debiased-positive-class", "g=a"].n == inside.sum()
    assert auroc.lower < auroc.value < auroc.upper


def test_more_classes(build: Any, score: Any, tables: Any) -> None:
    rng = np.random.default_rng(5)
    n = 900
    truth, groups = rng.integers(0, 3, n), rng.choice(["a", "b"], n)
    said = np.where(rng.random(n) < 0.8, truth, rng.integers(0, 3, n))
    said = np.where((groups == "b") & (truth == 2) & (rng.random(n) < 0.7), 0, said)
    evidence = build(truth, {"g": groups}, predictions=said)
    rows = score(evidence)
    recalls = {
        (name, k): np.mean(said[(groups == name) & (truth == k)] == k)
        for name in "ab" for k in range(3)
    }  # fmt: skip
    worst = max(abs(recalls["a", k] - recalls["b", k]) for k in range(3))
    for group in ("", "g"):
        row = rows["equal-opportunity-difference-ovr-worst", group]
        assert row.value == pytest.approx(worst) and row.lower > 0.2
    rates = [abs(np.mean(said[groups == "a"] == k) - np.mean(said[groups == "b"] == k))
             for k in range(3)]  # fmt: skip
    assert rows["demographic-parity-difference-ovr-worst", "g"].value == pytest.approx(max(rates))
    assert ("tpr", "g=a") not in rows and ("equalized-odds-difference", "g") not in rows
    by_class, gaps = (tables(evidence)[name] for name in ("class-rates", "class-gaps"))
    assert len(by_class) == 3 * 4 * 2 and len(gaps) == 3 * 4
    for line in by_class.itertuples():
        inside, k = groups == line.group.removeprefix("g="), int(line[2].removeprefix("c"))
        chosen = {
            "selection-rate": inside, "tpr": inside & (truth == k), "fpr": inside & (truth != k),
            "ppv": inside & (said == k),
        }[line.rate]  # fmt: skip
        hit = truth == k if line.rate == "ppv" else said == k
        assert line.n == chosen.sum()
        assert line.value == pytest.approx(hit[chosen].mean())
        assert line.lower < line.value < line.upper
    for line in gaps.itertuples():
        values = by_class[(by_class["class"] == line[2]) & (by_class.rate == line.rate)].value
        assert line.gap == pytest.approx(values.max() - values.min())
        assert line.gap_lower <= line.gap <= line.gap_upper
        assert line.p_holm >= line.p_chance
    (planted,) = gaps[(gaps["class"] == gaps["class"].max()) & (gaps.rate == "tpr")].itertuples()
    assert planted.p_holm < 0.01 and planted.lowest.endswith("b")


def test_regression(build: Any, score: Any, tables: Any) -> None:
    rng = np.random.default_rng(6)
    n = 300
    groups = rng.choice(["a", "b"], n)
    truth = rng.normal(10, 3, n)
    said = truth + rng.normal(0, 1, n) + np.where(groups == "b", 2.0, 0.0)
    evidence = build(truth, {"g": groups}, predictions=said)
    rows = score(evidence)
    inside, off = groups == "b", said - truth
    row = rows["mean-error", "g=b"]
    assert row.value == pytest.approx(off[inside].mean()) and row.method == "student-t"
    from scipy.stats import t as student

    half = student.ppf(0.975, inside.sum() - 1) * off[inside].std(ddof=1) / np.sqrt(inside.sum())
    assert (row.lower, row.upper) == pytest.approx((row.value - half, row.value + half))
    gap = rows["mean-error-difference", "g"]
    assert gap.value == pytest.approx(off[inside].mean() - off[~inside].mean())
    assert 1 < gap.lower < gap.value < gap.upper
    assert rows["worst-group-mae", ""].value == pytest.approx(np.abs(off)[inside].mean())
    assert rows["mae-minus-rest", "g=b"].value > 0
    shown = tables(evidence)["gaps"].set_index("gap")
    assert shown.loc["Mean error difference", "p_chance"] < 0.01
    assert shown.loc["Mean error difference", "highest"] == "g=b"


def test_clusters_widen_intervals(build: Any, score: Any) -> None:
    """Each of 200 samples five times over, as a cluster, says what 200 samples say."""
    rng = np.random.default_rng(7)
    truth, said = rng.integers(0, 2, (2, 200))
    groups = np.array(["a"] * 100 + ["b"] * 100)
    alone = score(build(truth, {"g": groups}, predictions=said))
    repeated = [np.repeat(part, 5) for part in (truth, said, groups)]
    clusters = [f"c{i}" for i in np.repeat(np.arange(200), 5)]
    rows = score(build(repeated[0], {"g": repeated[2]}, predictions=repeated[1], clusters=clusters))
    for key in (("top-1", "g=a"), ("top-1-difference", "g"), ("top-1-minus-rest", "g=b")):
        assert rows[key].value == pytest.approx(alone[key].value)
        width, expected = (part[key].upper - part[key].lower for part in (rows, alone))
        assert width == pytest.approx(expected, rel=0.03)
    crossing = [f"c{i % 50}" for i in range(1000)]
    rows = score(build(repeated[0], {"g": repeated[2]}, predictions=repeated[1], clusters=crossing))
    gap = rows["top-1-difference", "g"]
    assert gap.lower is not None and gap.lower <= gap.value <= gap.upper


def test_a_cluster_in_both_groups_narrows_what_lies_between_them(build: Any, score: Any) -> None:
    """Answers that hang on the cluster alone: groups differ by nothing, and hardly seem to."""
    rng = np.random.default_rng(13)
    clusters = np.repeat(np.arange(100), 4)
    right = (rng.random(100) < 0.5)[clusters]
    groups = np.tile(["a", "b"], 200)
    truth = rng.integers(0, 2, 400)
    evidence = build(
        truth, {"g": groups}, predictions=np.where(right, truth, 1 - truth),
        clusters=[f"c{i}" for i in clusters],
    )  # fmt: skip
    row = score(evidence)["top-1-minus-rest", "g=a"]
    assert row.value == 0.0 and row.upper - row.lower < 0.02
    assert row.method == "square-and-add"


@pytest.mark.parametrize(
    ("across", "method"),
    [(False, "permutation-of-clusters"), (True, "permutation-within-clusters")],
)
def test_what_is_shuffled_is_stated(build: Any, tables: Any, across: bool, method: str) -> None:
    rng = np.random.default_rng(14)
    clusters = np.repeat(np.arange(60), 5)
    groups = np.where((np.arange(300) if across else clusters) % 2 == 0, "a", "b")
    truth, said = rng.integers(0, 2, (2, 300))
    names = [f"c{i}" for i in clusters]
    frame = tables(build(truth, {"g": groups}, predictions=said, clusters=names))["gaps"]
    assert set(frame["null"]) == {method} and frame["p_chance"].notna().all()
    assert frame["less_noise"].isna().all() == across
    frame = tables(build(truth, {"g": groups}, predictions=said))["gaps"]
    assert set(frame["null"]) == {"permutation-of-samples"}
    values = rng.normal(0, 1, 300)
    frame = tables(build(values, {"g": groups}, predictions=values + 1, clusters=names))["gaps"]
    expected = {True: f"normal-limit-of-{method}", False: "studentized-range-of-clusters"}
    assert set(frame["null"].iloc[2:]) == {expected[across]}


def test_the_gap_table_states_chance(build: Any, tables: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=(90, 10, 10, 90), b=(60, 40, 40, 60))
    frame = tables(build(truth, {"g": groups}, predictions=said))["gaps"].set_index("gap")
    row = frame.loc["Accuracy difference"]
    assert row["p_chance"] < 0.001 and row["highest"] == "g=a" and row["lowest"] == "g=b"
    assert 0 < row["less_noise"] <= row["value"] + 1e-9
    assert frame.loc["Base rate difference", "p_chance"] == 1.0
    tested = frame["p_chance"].notna()
    assert tested.sum() == 6
    assert frame["p_holm"][tested].to_numpy() == pytest.approx(
        holm(frame["p_chance"][tested].to_numpy(dtype=float)), abs=5e-4
    )
    # The difference that 80 % power and 5 % give, from 0.75 down.
    width, low = row["detectable"], 0.75 - row["detectable"]
    none, some = (low + 0.75) / 2, (0.75 * 0.25 + low * (1 - low)) / 200
    expected = 1.95996 * np.sqrt(none * (1 - none) * 2 / 200) + 0.84162 * np.sqrt(some)
    assert width == pytest.approx(expected, abs=1e-3) and 0.12 < width < 0.14


def test_numbers_are_the_rows(build: Any, score: Any, numbers: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B, tiny=(3, 3, 3, 3))
    other = ["x", "y"] * (len(groups) // 2)
    evidence = build(truth, {"g": groups, "h": other}, predictions=said)
    rows, found = score(evidence), numbers(evidence)
    names = {(one.metric, one.group) for one in found}
    assert {("tpr", "g=a"), ("equalized-odds-difference", "g")} <= names
    assert {("worst-group-top-1", ""), ("demographic-parity-difference", "")} <= names
    assert not any("ratio" in metric for metric, _ in names)
    assert ("tpr", "g=tiny") not in names
    for one in found:
        row = rows[one.metric, one.group]
        assert evaluate(one.form, len(groups)) == pytest.approx(row.value, abs=1e-12)


@pytest.mark.parametrize("regression", [False, True])
def test_influences_are_derivatives(build: Any, numbers: Any, regression: bool) -> None:
    rng = np.random.default_rng(12)
    n = 200
    truth, said = rng.normal(0, 1, (2, n)) if regression else rng.integers(0, 2, (2, n))
    columns = {"g": rng.choice(list("abc"), n), "h": rng.choice(list("xy"), n)}
    step, tried = 1e-6, 0
    for one in numbers(build(truth, columns, predictions=said, least=10)):
        if not isinstance(one.form, RowMetric) or one.form.influence is None:
            continue
        weights = np.ones((n, n)) + step * np.eye(n)
        numeric = (one.form.of_rows(weights) - one.form.of_rows(np.ones((1, n)))) / step
        assert one.form.influence() == pytest.approx(numeric, abs=1e-5)
        tried += 1
    assert tried > 6


def test_numbers_of_regression_are_the_rows(build: Any, score: Any, numbers: Any) -> None:
    rng = np.random.default_rng(10)
    evidence = build(
        rng.normal(0, 1, 200), {"g": ["a", "b"] * 100}, predictions=rng.normal(0, 1, 200)
    )
    rows, found = score(evidence), numbers(evidence)
    assert {one.metric for one in found} >= {"mae", "mae-difference", "worst-group-mae"}
    for one in found:
        expected = rows[one.metric, one.group].value
        assert evaluate(one.form, 200) == pytest.approx(expected, abs=1e-12)


def test_no_samples(build: Any, score: Any, numbers: Any) -> None:
    evidence = build(np.zeros(0, dtype=int), {"g": []}, predictions=np.zeros(0, dtype=int),
                     classes=["n", "y"])  # fmt: skip
    assert score(evidence) == {} and numbers(evidence) == []


def test_benefits_of_all_samples(build: Any, score: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=(20, 10, 10, 10), b=(20, 10, 10, 10))
    rows = score(build(truth, {"g": groups}, predictions=said))
    assert rows["generalized-entropy-2", ""].value == pytest.approx(0.2)
    assert rows["theil-index", ""].value == pytest.approx(4 * np.log(2) / 10)
    row = rows["theil-index", ""]
    assert row.lower < row.value < row.upper


def test_benefits_of_clustered_samples(build: Any, score: Any) -> None:
    """Five copies of each sample, as a cluster, say what one says."""
    rng = np.random.default_rng(15)
    truth, said = rng.integers(0, 2, (2, 200))
    groups = np.array(["a", "b"] * 100)
    alone = score(build(truth, {"g": groups}, predictions=said, replicates=2000))
    copied = [np.repeat(part, 5) for part in (truth, groups, said)]
    names = [f"c{i}" for i in np.repeat(np.arange(200), 5)]
    evidence = build(
        copied[0], {"g": copied[1]}, predictions=copied[2], clusters=names, replicates=2000
    )
    rows = score(evidence)
    for metric in ("generalized-entropy-2", "theil-index"):
        row, expected = rows[metric, ""], alone[metric, ""]
        assert row.value == pytest.approx(expected.value)
        assert (row.lower, row.upper) == pytest.approx((expected.lower, expected.upper), rel=0.05)
        assert "cluster" in row.method


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
