"""Detectors against pytorch-ood, against plain formulas, and in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Head,
    Material,
    Moments,
    recorded,
)
from crucibench.testing import check_detector
from crucibench.util.errors import InputError
from crucibench_suites.ood.detectors import detector, detectors
from crucibench_suites.ood.detectors.features import shaped

OWN = detectors().names()
PEER = np.load(Path(__file__).with_name("peer_scores.npz"))
HEAD = Head(weight=PEER["weight"].astype(np.float64), bias=PEER["bias"].astype(np.float64))
N, K = len(PEER["train"]), len(PEER["bias"])

# What pytorch-ood's number is multiplied by to be ours: it sums scatter where we divide by n,
# halves the Mahalanobis distance, and takes the mean over classes of GEN.
FACTORS = {"mahalanobis": 2.0 * N, "relative-mahalanobis": N, "gen": K}
VALUES = {"gen": 0.1, "knn": 5, "vim": 0.5, "react": 90, "ash": 65}


def scores_of(name: str, bench: Any, value: float | None = None) -> np.ndarray:
    entry = detector(name)
    score = entry.fit(bench.material(PEER["train"], PEER["targets"], HEAD))
    asked = bench.answers(PEER["asked"], HEAD)
    return score(asked, (VALUES.get(name, 0.0) if value is None else value,))[:, 0]


@pytest.mark.parametrize("name", sorted(set(OWN) - {"odin", "temperature"}))
def test_scores_are_pytorch_oods(name: str, bench: Any) -> None:
    theirs = PEER[f"peer {name}"] * FACTORS.get(name, 1.0)
    rows = np.ones(len(theirs), dtype=bool)
    if name == "gen":
        # pytorch-ood cuts probabilities off at 1e-7, whose power of 0.1 is 0.2: no rounding error.
        rows = bench.answers(PEER["asked"], HEAD).probabilities.min(axis=1) > 1e-7
        assert rows.sum() > 20
    np.testing.assert_allclose(scores_of(name, bench)[rows], theirs[rows], rtol=1e-4, atol=1e-4)


def test_every_known_answer_tells_samples_apart() -> None:
    """So that a detector that says the same of all of them fails, and none is without an answer."""
    for name in set(OWN) - {"temperature"}:  # which has a test of its own
        theirs = PEER[f"peer {name}"]
        assert np.ptp(theirs) > 100 * 1e-6 * max(1.0, np.abs(theirs).max()), name


def test_odin_is_pytorch_oods() -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.Tanh(), torch.nn.Linear(10, 4))
    net.load_state_dict(
        {key.removeprefix("net_").replace("_", ".", 1): torch.from_numpy(PEER[key])
         for key in PEER.files if key.startswith("net_")}
    )  # fmt: skip
    odin, inputs = detector("odin"), torch.from_numpy(PEER["asked"])
    asked = recorded(odin, net, inputs, odin.values)
    score = odin.fitted(Material(classes=4))
    found = score(Answers(raw=asked, kind="probabilities", asked=asked), (0.0014,))[:, 0]
    # At a temperature of 1000 float32 leaves pytorch-ood four digits of what tells samples apart.
    np.testing.assert_allclose(found, PEER["peer odin"], atol=1e-6)
    logits = net(inputs).detach().double().numpy()
    np.testing.assert_allclose(
        asked[:, odin.values.index(0.0)], softmax(logits / 1000, axis=1).max(axis=1), rtol=1e-12
    )
    assert (np.diff(asked, axis=1) > 0).all()  # each further step makes it surer
    alone = recorded(odin, net, inputs, (0.0014,))
    place = odin.values.index(0.0014)
    np.testing.assert_array_equal(alone[:, place], asked[:, place])
    assert np.isnan(np.delete(alone, place, axis=1)).all()  # nobody asked for these


@pytest.mark.parametrize("name", OWN)
def test_every_registered_detector_passes_the_kit(name: str) -> None:
    check_detector(detector(name))


class Constant(type(detector("msp"))):  # type: ignore[misc]
    """Does nothing."""

    def fit(self, material: Material) -> Any:
        return lambda answers, values: np.ones((len(answers), len(values)))


class Turned(type(detector("knn"))):  # type: ignore[misc]
    """The sign is wrong."""

    def fit(self, material: Material) -> Any:
        score = super().fit(material)
        return lambda answers, values: -score(answers, values)


class Batchwise(type(detector("energy"))):  # type: ignore[misc]
    """A sample's score depends on its neighbours when it comes alone."""

    def fit(self, material: Material) -> Any:
        score = super().fit(material)
        return lambda answers, values: score(answers, values) + (len(answers) < 9)


class Agreeing(Constant):
    """Says of itself that it is right."""

    def known_answer(self, example: DetectorExample) -> np.ndarray:
        return np.ones(len(example.asked))


@pytest.mark.parametrize(
    ("planted", "message"),
    [(Constant, "same score"), (Agreeing, "same score"), (Turned, "its known answer is"),
     (Batchwise, "depends on the other samples")],
)  # fmt: skip
def test_planted_defects_fail_the_kit(planted: type[Detector], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_detector(planted())


def test_a_detector_without_a_known_answer_is_none() -> None:
    class Lacking(Detector):
        name = "lacking"

        def fit(self, material: Material) -> Any:
            return None

    with pytest.raises(TypeError, match="known_answer"):
        Lacking()  # type: ignore[abstract]


def test_a_temperature_without_a_minimum_is_one(bench: Any) -> None:
    answers = Answers(raw=np.array([[3.0, 0.0], [0.0, 2.0]]), kind="logits")
    material = Material(classes=2, kept=(answers, np.array([0, 1])))
    found = detector("temperature").fit(material)(answers, (0.0,))[:, 0]
    np.testing.assert_allclose(found, -answers.probabilities.max(axis=1))


@settings(max_examples=25, deadline=None)
@given(block=st.integers(1, 200), shift=st.sampled_from([0.0, 1e3, -1e6]))
def test_moments_do_not_depend_on_blocks(block: int, shift: float, bench: Any) -> None:
    features = PEER["train"].astype(np.float64) + shift
    train = bench.train_class(bench.answers(features, HEAD), PEER["targets"], block)
    found = Moments.of(train.blocks(), K)
    means = [features[PEER["targets"] == k].mean(axis=0) for k in range(K)]
    np.testing.assert_allclose(found.means, means, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.T, bias=True), atol=1e-6)
    within = np.mean([np.cov(features[PEER["targets"] == k].T, bias=True) for k in range(K)], 0)
    np.testing.assert_allclose(found.within, within, atol=1e-6)
    assert found.n == N


@settings(max_examples=15, deadline=None)
@given(block=st.integers(1, 200))
def test_neighbours_do_not_depend_on_blocks(block: int, bench: Any) -> None:
    material = bench.material(PEER["train"], PEER["targets"], HEAD, block)
    score = detector("knn").fit(material)
    asked = bench.answers(PEER["asked"], HEAD)
    found = score(asked, (1, 5, 1000))
    unit = PEER["train"] / np.linalg.norm(PEER["train"], axis=1, keepdims=True)
    query = PEER["asked"] / np.linalg.norm(PEER["asked"], axis=1, keepdims=True)
    apart = np.sort(np.linalg.norm(query[:, None] - unit[None], axis=2), axis=1)
    np.testing.assert_allclose(found, apart[:, [0, 4, N - 1]], atol=2e-3)  # k is at most N
    # Away from zero distance float32 products keep more digits.
    np.testing.assert_allclose(found[:, 1:], apart[:, [4, N - 1]], atol=1e-5)


def test_neighbours_are_read_again_where_they_are_too_many(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scores_of("knn", bench)
    monkeypatch.setattr("crucibench_suites.ood.detectors.features._HELD_BYTES", 0)
    monkeypatch.setattr("crucibench_suites.ood.detectors.features._CELLS", 100)
    np.testing.assert_allclose(scores_of("knn", bench), before, atol=1e-6)


def test_classes_without_samples_attract_nothing(bench: Any) -> None:
    targets = np.where(PEER["targets"] == 3, 2, PEER["targets"])
    entry = detector("mahalanobis")
    score = entry.fit(bench.material(PEER["train"], targets, HEAD))
    found = score(bench.answers(np.zeros((1, 10)), HEAD), (0.0,))
    assert found[0, 0] > 1.0  # the mean of no samples, 0, would be at distance 0


def test_features_that_never_vary_are_left_out() -> None:
    # A dead unit: its variance is 0, and what it says at a test sample has no scale.
    rng = np.random.default_rng(0)
    z = np.c_[rng.normal(size=(50, 2)), np.zeros(50)]
    moments = Moments.of(
        [(Answers(raw=np.zeros((50, 2)), kind="logits", features=z), np.arange(50) % 2)], 2
    )
    score = detector("mahalanobis").fit(Material(classes=2, moments=moments))
    answers = Answers(raw=np.zeros((1, 2)), kind="logits", features=np.array([[0.0, 0.0, 9.0]]))
    assert np.isfinite(score(answers, (0.0,))).all()


def test_features_that_are_all_equal_are_refused() -> None:
    moments = Moments(count=np.array([2, 2]), means=np.ones((2, 3)), right_count=np.array([2, 2]),
                      right_means=np.ones((2, 3)), scatter=np.zeros((3, 3)))  # fmt: skip
    with pytest.raises(ValueError, match="do not vary"):
        detector("mahalanobis").fit(Material(classes=2, moments=moments))


def test_ash_of_nothing_is_nothing() -> None:
    assert (shaped(np.zeros((2, 8)), 65) == 0).all()
    kept = shaped(np.array([[1.0, 2.0, 3.0, 4.0]]), 50)
    np.testing.assert_allclose(kept, np.array([[0.0, 0.0, 3.0, 4.0]]) * np.exp(10 / 7))


def test_gen_keeps_digits_where_a_class_is_certain() -> None:
    answers = Answers(raw=np.array([[60.0, 0.0, 0.0], [50.0, 0.0, 0.0]]), kind="logits")
    found = detector("gen").fit(Material(classes=3))(answers, (1.0,))[:, 0]
    np.testing.assert_allclose(found, 4 * np.exp([-60.0, -50.0]), rtol=1e-9)


def test_probabilities_do_as_logits_where_only_ratios_count() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5))
    by_logits = Answers(raw=logits, kind="logits")
    by_shares = Answers(raw=softmax(logits, axis=1), kind="probabilities")
    for name in ("msp", "entropy", "gen"):
        entry = detector(name)
        score = entry.fit(Material(classes=5))
        np.testing.assert_allclose(
            score(by_logits, (entry.default,)), score(by_shares, (entry.default,)), atol=1e-12
        )


def test_what_is_not_listed_is_not_there() -> None:
    for ask in ("the_train", "the_moments", "the_head", "the_kept"):
        with pytest.raises(TypeError, match="does not list"):
            getattr(Material(classes=2), ask)()
    with pytest.raises(TypeError, match=r"Capability\.FEATURES"):
        _ = Answers(raw=np.zeros((1, 2)), kind="logits").known_features


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(InputError, match=r"detector 'energie'.*'energy'"):
        detector("energie")
