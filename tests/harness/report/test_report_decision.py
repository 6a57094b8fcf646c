"""The decision names the right model, or rightly none, in runs whose right choice is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import crucibench as cb
from crucibench.gating.policy import parse_policy
from crucibench.report.decision import WORDS, decisions_of

Floats = NDArray[np.float64]


class Planted(NamedTuple):
    """A model by its answers: how often it is right, and how sure it is then and otherwise."""

    right: float
    sure: float = 0.85
    wrong: float = 0.85
    cheats: bool = False


class Script(NamedTuple):
    """A run whose right choice is known.

    Attributes:
        name: the situation, for ids.
        models: by name.
        ship: the right choice.
        n: samples.
        rate: of the second class.
        policy: required rules.
        price: part of what the choice costs.
        out: models that may not ship, and part of the reason.
        seed: of the samples.
    """

    name: str
    models: Mapping[str, Planted]
    ship: str | None
    n: int = 600
    rate: float = 0.5
    policy: tuple[Mapping[str, Any], ...] = ()
    price: str = ""
    out: Mapping[str, str] = {}
    seed: int = 0


def _scripts() -> list[Script]:
    good, fair, poor = Planted(0.92), Planted(0.82), Planted(0.70)
    blind, swapped = Planted(0.50), Planted(0.20)
    # Right more often, but so sure of what is wrong that its losses are far larger.
    rash = Planted(0.92, sure=0.999, wrong=0.9999)
    cheat = Planted(1.0, cheats=True)
    ceiling = {"address": "*:accuracy/clean/log-loss", "floor": 0.6}
    floor = {"address": "*:accuracy/clean/top-1", "floor": 0.78}
    strict = {"address": "*:accuracy/clean/top-1", "floor": 0.97}
    narrow = {"address": "*:accuracy/clean/top-1", "margin": 0.001}
    wide = {"address": "*:accuracy/clean/top-1", "margin": 0.06}
    losses = {"address": "*:accuracy/clean/log-loss", "margin": 0.05}
    found: list[Script] = []
    for seed in range(3):
        some = [
            Script("clear", {"a": good, "b": fair}, "a"),
            Script("clear-last", {"a": poor, "b": fair, "c": good}, "c"),
            Script("clear-rare", {"a": good, "b": Planted(0.75)}, "a", rate=0.3),
            Script("alone", {"a": fair}, "a"),
            Script("tie", {"a": good, "b": good}, None),
            Script("tie-near", {"a": good, "b": Planted(0.915), "c": poor}, None),
            Script("trade-off", {"a": rash, "b": fair}, "a", price="log loss"),
            Script("all-fail", {"a": blind, "b": swapped}, None,
                   out={"a": "majority class|mapping error"}),
            Script("alone-fails", {"a": Planted(0.49)}, None,
                   out={"a": "majority class|mapping error"}),
            Script("too-little", {"a": Planted(0.80), "b": Planted(0.75)}, None, n=40),
            Script("cheats", {"a": cheat, "b": fair, "c": poor}, "b",
                   out={"a": "non deterministic|mapping error"}),
            Script("cheats-alone", {"a": cheat}, None,
                   out={"a": "non deterministic|mapping error"}),
            Script("policy-other", {"a": rash, "b": fair}, "b", policy=(ceiling,),
                   out={"a": "policy: log-loss"}),
            Script("policy-holds", {"a": good, "b": fair, "c": poor}, "a", policy=(floor,),
                   out={"c": "policy: top-1"}),
            Script("policy-none", {"a": good, "b": fair}, None, policy=(strict,)),
            Script("policy-tie", {"a": good, "b": Planted(0.915)}, None, policy=(narrow,)),
        ]  # fmt: skip
        found += [one._replace(seed=seed) for one in some]
    return [
        *found,
        Script("policy-margin", {"a": rash, "b": Planted(0.915)}, "b", policy=(wide, losses),
               out={"a": "policy: log-loss"}),
        Script("policy-cheats", {"a": cheat, "b": good}, "b", policy=(floor,)),
    ]  # fmt: skip


def _answers(planted: Planted, targets: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Returns the probability of the second class; exactly so many of each class are wrong."""
    wrong = np.zeros(len(targets), dtype=bool)
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(targets == label))
        wrong[rows[: round(len(rows) * (1 - planted.right))]] = True
    sure = np.where(wrong, planted.wrong, planted.sure)
    return np.where((targets == 1) != wrong, sure, 1 - sure)


def _model(planted: Planted, column: int, targets: NDArray[np.int64]) -> Callable[..., Floats]:
    asked = [0]

    def predict(frame: Any) -> Floats:
        inputs = np.asarray(frame)
        positive = inputs[:, column]
        if planted.cheats:
            # It has the targets in the order of the file, and looks at no input.
            rows = (asked[0] + np.arange(len(inputs))) % len(targets)
            asked[0] += len(inputs)
            positive = np.where(targets[rows] == 1, 0.99, 0.01)
        return np.stack([1 - positive, positive], axis=1)

    return predict


def _carry_out(script: Script, out: Path) -> cb.Run:
    rng = np.random.default_rng(script.seed)
    targets = rng.permutation((np.arange(script.n) < script.n * script.rate).astype(np.int64))
    answers = [_answers(one, targets, rng) for one in script.models.values()]
    inputs = np.stack([*answers, rng.normal(size=script.n)], axis=1)
    models: dict[str, Any] = {
        name: _model(one, column, targets)
        for column, (name, one) in enumerate(script.models.items())
    }
    return cb.run(models=models, data=(inputs, targets), suites=["accuracy"], out=out)


SCRIPTS = _scripts()


FIRST = {"clear", "tie-near", "trade-off", "all-fail", "too-little", "cheats", "policy-other"}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            one,
            id=f"{one.name}-{place}",
            marks=[] if one.name in FIRST and place < 16 else pytest.mark.thorough,
        )
        for place, one in enumerate(SCRIPTS)
    ],
)
def test_the_paragraph_names_the_right_model_or_none(script: Script, tmp_path: Path) -> None:
    run = _carry_out(script, tmp_path)
    policy = parse_policy({"required": list(script.policy)}, "policy") if script.policy else None
    (found,) = decisions_of(run, policy)
    assert found.ship == script.ship, found.text
    assert len(found.text.split()) <= WORDS
    assert found.text.startswith(f"Ship {script.ship}:") == (script.ship is not None)
    assert any(script.price in one for one in found.price) or not script.price
    for model, reason in script.out.items():
        # Answers that have nothing to do with the targets are found to be of other rows, too.
        assert any(one in found.disqualified[model] for one in reason.split("|"))
    if script.ship is None and not found.disqualified:
        assert found.would_help
