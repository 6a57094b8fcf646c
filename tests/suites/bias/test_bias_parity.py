"""Every number that fairlearn, AIF360 or scikit-learn also has, on random data; and where not.

AIF360's definitions are written out here from its documentation: `benchmarks/bias_parity.py`
compares with the package itself.
"""

from __future__ import annotations

import warnings
from typing import Any

import fairlearn.metrics as fm
import numpy as np
import pytest
from sklearn import metrics as sk

EXACT = {"rel": 0.0, "abs": 1e-12}


def random_case(seed: int, groups: int) -> Any:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(200, 2000))
    names = np.array([f"g{place}" for place in range(groups)])
    group = names[np.concatenate([np.arange(groups * 40) % groups,
                                  rng.integers(0, groups, n - groups * 40)])]  # fmt: skip
    truth = (rng.random(n) < rng.uniform(0.2, 0.8)).astype(int)
    # In steps of 2^-12, so that p and 1 - p sum to 1 in single precision.
    p = np.clip(np.round(4096 * (0.3 * truth + 0.7 * rng.random(n))), 1, 4095) / 4096
    return truth, p, group


@pytest.mark.parametrize(("seed", "groups"), [(0, 2), (1, 3), (2, 5), (3, 4)])
def test_fairlearn_and_scikit_learn(build: Any, score: Any, seed: int, groups: int) -> None:
    truth, p, group = random_case(seed, groups)
    scores = np.stack([1 - p, p], axis=1)
    rows = score(build(truth, {"g": group}, scores=scores, replicates=2))
    said = (p >= 0.5).astype(int)
    given = {"y_true": truth, "y_pred": said, "sensitive_features": group}
    expected = {
        "demographic-parity-difference": fm.demographic_parity_difference(**given),
        "demographic-parity-ratio": fm.demographic_parity_ratio(**given),
        "equal-opportunity-difference": fm.equal_opportunity_difference(**given),
        "equal-opportunity-ratio": fm.equal_opportunity_ratio(**given),
        "equalized-odds-difference": fm.equalized_odds_difference(**given),
        "equalized-odds-difference-mean": fm.equalized_odds_difference(**given, agg="mean"),
        "equalized-odds-ratio": fm.equalized_odds_ratio(**given),
        "top-1-difference": fm.accuracy_score_difference(**given),
        "predictive-parity-difference": fm.MetricFrame(
            metrics=sk.precision_score, **given
        ).difference(),
    }
    for metric, value in expected.items():
        assert rows[metric, "g"].value == pytest.approx(value, **EXACT), metric
        if metric != "equalized-odds-difference-mean":
            assert rows[metric, ""].value == pytest.approx(value, **EXACT), metric
    worst = fm.accuracy_score_group_min(**given)
    assert rows["worst-group-top-1", ""].value == pytest.approx(worst, **EXACT)
    for name in np.unique(group):
        inside = group == name
        own, answer = truth[inside], said[inside]
        by_group = {
            "top-1": sk.accuracy_score(own, answer),
            "base-rate": own.mean(),
            "selection-rate": fm.selection_rate(own, answer),
            "tpr": fm.true_positive_rate(own, answer),
            "fnr": fm.false_negative_rate(own, answer),
            "fpr": fm.false_positive_rate(own, answer),
            "tnr": fm.true_negative_rate(own, answer),
            "ppv": sk.precision_score(own, answer),
            "npv": sk.precision_score(own, answer, pos_label=0),
            "auroc": sk.roc_auc_score(own, p[inside]),
            "log-loss": sk.log_loss(own, scores[inside]),
        }
        for metric, value in by_group.items():
            assert rows[metric, f"g={name}"].value == pytest.approx(value, **EXACT), metric


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_aif360_s_definitions(build: Any, score: Any, seed: int) -> None:
    """Unprivileged less privileged (or over), and inequality of benefits."""
    truth, p, group = random_case(seed, 2)
    said = (p >= 0.5).astype(int)
    rows = score(build(truth, {"g": group}, predictions=said), reference={"g": "g1"})
    counts = []
    for name in ("g0", "g1"):
        own, answer = truth[group == name], said[group == name]
        counts.append([int(((own == t) & (answer == s)).sum()) for t in (0, 1) for s in (0, 1)])
    (tn, fp, fn, tp), (tn_p, fp_p, fn_p, tp_p) = counts
    n, n_p = sum(counts[0]), sum(counts[1])
    selected, selected_p = (tp + fp) / n, (tp_p + fp_p) / n_p
    tpr, fpr = tp / (tp + fn) - tp_p / (tp_p + fn_p), fp / (fp + tn) - fp_p / (fp_p + tn_p)
    signed = {
        "selection-rate": selected - selected_p,  # statistical_parity_difference
        "tpr": tpr,  # equal_opportunity_difference
        "fpr": fpr,  # false_positive_rate_difference
        "top-1": (tp + tn) / n - (tp_p + tn_p) / n_p,  # -error_rate_difference
        "ppv": tp / (tp + fp) - tp_p / (tp_p + fp_p),  # -false_discovery_rate_difference
    }
    for metric, value in signed.items():
        row = rows[f"{metric}-minus-reference", "g=g0"]
        assert row.value == pytest.approx(value, **EXACT), metric
    impact = selected / selected_p  # disparate_impact
    benefits = said - truth + 1.0
    shares = benefits / benefits.mean()
    unsigned = {
        "demographic-parity-ratio": min(impact, 1 / impact),
        "equalized-odds-difference": max(abs(tpr), abs(fpr)),
        "equalized-odds-difference-mean": (abs(tpr) + abs(fpr)) / 2,  # average_abs_odds_difference
        "generalized-entropy-2": np.mean(shares**2 - 1) / 2,
        "theil-index": np.mean(shares * np.log(np.where(shares > 0, shares, 1.0))),
    }
    for metric, value in unsigned.items():
        row = rows.get((metric, "")) or rows[metric, "g"]
        assert row.value == pytest.approx(value, **EXACT), metric


def test_regression(build: Any, score: Any) -> None:
    rng = np.random.default_rng(7)
    truth, group = rng.normal(0, 1, 300), rng.choice(["a", "b", "c"], 300)
    said = truth + rng.normal(0, 1, 300)
    rows = score(build(truth, {"g": group}, predictions=said))
    given = {"y_true": truth, "y_pred": said, "sensitive_features": group}
    errors = fm.MetricFrame(metrics=sk.mean_absolute_error, **given)
    assert rows["mae-difference", "g"].value == pytest.approx(errors.difference(), **EXACT)
    worst = fm.mean_absolute_error_group_max(**given)
    assert rows["worst-group-mae", ""].value == pytest.approx(worst, **EXACT)
    means = fm.MetricFrame(metrics=fm.mean_prediction, **given)
    assert rows["mean-prediction-difference", "g"].value == pytest.approx(
        means.difference(), **EXACT
    )
    for name in "abc":
        assert rows["mae", f"g={name}"].value == pytest.approx(errors.by_group[name], **EXACT)


def test_what_others_call_0_is_unknown_here(build: Any, score: Any, drawn: Any) -> None:
    """By design: without a denominator there is no rate, and no gap to it."""
    truth, said, group = drawn(a=(60, 20, 10, 30), b=(50, 10, 20, 20), none=(40, 0, 0, 0))
    given = {"y_true": truth, "y_pred": said, "sensitive_features": group}
    rows = score(build(truth, {"g": group}, predictions=said))
    assert fm.equal_opportunity_difference(**given) == pytest.approx(0.75)
    row = rows["equal-opportunity-difference", "g"]
    assert row.value == pytest.approx(0.25) and "without 1 of 3 groups" in row.method
    assert fm.equal_opportunity_ratio(**given) == 0.0
    assert rows["equal-opportunity-ratio", "g"].value == pytest.approx(2 / 3)
    own = np.array(group) == "none"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sk.precision_score(truth[own], said[own]) == 0.0
    for metric, reason in {
        "tpr": "no positive samples", "fnr": "no positive samples",
        "ppv": "no positive predictions",
    }.items():  # fmt: skip
        row = rows[metric, "g=none"]
        assert row.value is None and row.n == 0 and row.reason == reason
    assert rows["fpr", "g=none"].value == 0.0
