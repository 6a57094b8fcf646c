"""References: scikit-learn; the binormal AUROC; a count over all pairs."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sk

from crucibench.metrics import ranking
from crucibench.metrics.probabilistic import log_odds, softmax

TIES = {"no ties": 15, "some": 2, "many": 0}


def _sample(seed: int, n: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positives = rng.random(n) < 0.3
    positives[:2] = False, True
    return np.round(rng.normal(size=n) + positives, decimals), positives


def _multiclass(seed: int, classes: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(classes), rng.integers(0, classes, 300)])
    logits = rng.normal(size=(len(targets), classes))
    logits[np.arange(len(targets)), targets] += 1
    return softmax(np.round(logits, decimals)), targets


@pytest.mark.parametrize("decimals", TIES.values(), ids=TIES)
@pytest.mark.parametrize("n", [2, 7, 400])
@pytest.mark.parametrize("seed", range(3))
def test_binary_agrees_with_scikit_learn(seed: int, n: int, decimals: int) -> None:
    scores, positives = _sample(seed, n, decimals)
    auroc = ranking.auroc_statistic(scores, positives).value()
    assert auroc.value == pytest.approx(sk.roc_auc_score(positives, scores), abs=1e-12)
    assert auroc.note == f"{positives.sum()} positive, {(~positives).sum()} negative"
    precision = ranking.average_precision_statistic(scores, positives).value().value
    assert precision == pytest.approx(sk.average_precision_score(positives, scores), abs=1e-12)


@pytest.mark.parametrize("decimals", TIES.values(), ids=TIES)
def test_weights_agree_with_scikit_learn(decimals: int) -> None:
    scores, positives = _sample(5, 200, decimals)
    weights = np.random.default_rng(0).poisson(1, (4, 200))
    auroc = ranking.auroc_statistic(scores, positives)(weights)
    precision = ranking.average_precision_statistic(scores, positives)(weights)
    for b, row in enumerate(weights):
        options = {"y_true": positives, "y_score": scores, "sample_weight": row}
        assert auroc[b] == pytest.approx(sk.roc_auc_score(**options), abs=1e-12)
        assert precision[b] == pytest.approx(sk.average_precision_score(**options), abs=1e-12)


@pytest.mark.parametrize("decimals", [15, 1])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_one_vs_rest_agrees_with_scikit_learn(classes: int, decimals: int) -> None:
    probabilities, targets = _multiclass(classes, classes, decimals)
    one_hot = np.eye(classes)[targets]
    auroc = ranking.auroc_ovr_macro_statistic(probabilities, targets).value().value
    assert auroc == pytest.approx(sk.roc_auc_score(one_hot, probabilities), abs=1e-12)
    precision = ranking.average_precision_ovr_macro_statistic(probabilities, targets)
    assert precision.value().value == pytest.approx(
        sk.average_precision_score(one_hot, probabilities), abs=1e-12
    )


def test_log_odds_rank_as_probabilities_do_and_do_not_saturate() -> None:
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(size=(200, 5)), np.tile(np.arange(5), 40)
    by_probability = ranking.auroc_ovr_macro_statistic(softmax(logits), targets).value()
    assert ranking.auroc_ovr_macro_statistic(log_odds(logits), targets).value() == by_probability
    saturated = np.stack([np.zeros(4), [50.0, 60.0, 70.0, 80.0]], axis=1)
    truth = [0, 0, 1, 1]
    assert (softmax(saturated)[:, 1] == 1).all()
    scores = log_odds(saturated)[:, 1]
    assert ranking.auroc_statistic(scores, truth).value().value == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12))
def test_auroc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    scores, positives = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    pairs = np.subtract.outer(scores[positives], scores[~positives])
    value = ranking.auroc_statistic(scores, positives).value().value
    if pairs.size == 0:
        assert value is None
    else:
        assert value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)


def test_auroc_of_two_normals() -> None:
    """AUROC = Phi(d / sqrt 2) for unit normals d apart; 3.5 DeLong-sized standard errors."""
    rng, n = np.random.default_rng(0), 20_000
    for distance in (0.0, 0.5, 2.0):
        scores = np.concatenate([rng.normal(size=n), rng.normal(distance, size=n)])
        value = ranking.auroc_statistic(scores, np.arange(2 * n) >= n).value().value
        assert value == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=3.5 * 0.41 / n**0.5)


def test_auroc_invariances() -> None:
    scores, positives = _sample(1, 300, 1)
    value = ranking.auroc_statistic(scores, positives).value().value
    assert value is not None
    assert ranking.auroc_statistic(np.exp(3 * scores), positives).value().value == value
    mirrored = ranking.auroc_statistic(-scores, positives).value().value
    assert mirrored == pytest.approx(1 - value, abs=1e-15)
    assert ranking.auroc_statistic(scores, ~positives).value().value == mirrored


def test_constant_scores() -> None:
    _, positives = _sample(1, 50, 1)
    same = np.zeros(50)
    assert ranking.auroc_statistic(same, positives).value().value == 0.5
    precision = ranking.average_precision_statistic(same, positives).value().value
    assert precision == pytest.approx(positives.mean(), abs=1e-15)


def test_random_scores_have_the_average_precision_of_the_prevalence() -> None:
    rng, n = np.random.default_rng(0), 200_000
    for prevalence in (0.01, 0.3):
        positives = rng.random(n) < prevalence
        value = ranking.average_precision_statistic(rng.random(n), positives).value().value
        assert value == pytest.approx(prevalence, rel=0.06)


@pytest.mark.parametrize("precision", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("decimals", TIES.values(), ids=TIES)
def test_recall_at_precision_agrees_with_scikit_learns_curve(
    decimals: int, precision: float
) -> None:
    scores, positives = _sample(2, 500, decimals)
    precisions, recalls, _ = sk.precision_recall_curve(positives, scores)
    value = ranking.recall_at_precision_statistic(scores, positives, precision=precision)
    assert value.value().value == recalls[precisions >= precision].max()


def test_recall_at_a_precision_met_exactly_or_never() -> None:
    positives = np.array([1] * 9 + [0] + [1])
    scores = np.array([1.0] * 10 + [0.0])
    at = ranking.recall_at_precision_statistic
    assert at(scores, positives, precision=0.9).value().value == 1.0
    assert at(scores[:10], positives[:10], precision=0.9).value().value == 1.0
    assert at(scores[:10], positives[:10], precision=0.91).value().value == 0.0


def test_what_is_undefined_says_why() -> None:
    scores = [0.1, 0.2]
    assert ranking.auroc_statistic(scores, [0, 0]).value().reason == "no positive sample"
    assert ranking.auroc_statistic(scores, [1, 1]).value().reason == "no negative sample"
    assert ranking.average_precision_statistic(scores, [0, 0]).value().value is None
    assert ranking.average_precision_statistic(scores, [1, 1]).value().value == 1.0
    assert ranking.recall_at_precision_statistic(scores, [0, 0], precision=0.9).value().reason
    for build in (
        ranking.auroc_ovr_macro_statistic,
        ranking.average_precision_ovr_macro_statistic,
    ):
        assert build(np.eye(4), [0, 0, 1, 1]).value().reason == "no sample of class 2, 3"


def test_infinite_scores_are_ranked() -> None:
    scores = [-np.inf, -np.inf, 0.0, np.inf]
    assert ranking.auroc_statistic(scores, [0, 1, 0, 1]).value().value == 0.625


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking.auroc_statistic([np.nan], [1]), r"scores: expected numbers, got nan at"),
        (lambda: ranking.auroc_statistic([0.0], [2]), "positives: expected bool or 0 and 1, got"),
        (
            lambda: ranking.auroc_statistic([0.0], [0, 1]),
            "scores and positives: expected equally many rows",
        ),
        (
            lambda: ranking.recall_at_precision_statistic([0.0], [1], precision=0),
            r"precision: expected a number in \(0, 1\], got 0",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
