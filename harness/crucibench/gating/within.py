"""A policy applied within one run: each model by itself, and against the others in its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from crucibench.comparing.results import Comparison
from crucibench.comparing.runs import compare_runs
from crucibench.gating.decide import LEVEL
from crucibench.gating.evaluate import Opponent, evaluate, rule_fits
from crucibench.gating.policy import Policy, Rule, literal_brackets
from crucibench.gating.result import Check, Sides
from crucibench.gating.sides import GateSide, Key, side_of
from crucibench.store.run import Run


class GateWithin:
    """A run's models under a policy's required rules.

    Floors are held by a model alone. Margins are losses against a model that could ship instead:
    each of the others is the baseline in turn.
    """

    def __init__(self, run: Run, policy: Policy) -> None:
        self._run = run
        self._policy = policy
        self._side = side_of(run)
        self._compared: dict[tuple[str, str], Comparison] = {}

    def broken(self, data: str, model: str, rival: str = "") -> list[Check]:
        """Returns the checks that keep a model from shipping.

        Args:
            data: the data set.
            model: the candidate.
            rival: the baseline of rules with a margin; "" judges those with a floor.
        """
        rules = [
            _floor_alone(rule) if not rival else _without_floor(rule)
            for rule in self._policy.required
            if (rule.margin is not None or rule.no_worse if rival else rule.floor is not None)
            and self._meant(rule, data, model)
        ]
        if not rules:
            return []
        own = self._of(data, model)
        other, comparison = own, Comparison()
        if rival:
            other = self._of(data, rival).renamed({rival: model}, {})
            comparison = self._comparison(model, rival)
        verdict = evaluate(
            self._policy.model_copy(update={"required": rules, "supporting": [], "advisory": []}),
            own, [Opponent(against="baseline", side=other, comparison=comparison)],
            today=datetime.now(UTC).date(), sides=Sides(baseline=rival, candidate=model),
        )  # fmt: skip
        return [check for check in verdict.checks if check.effect == "block"]

    def _meant(self, rule: Rule, data: str, model: str) -> bool:
        """Whether a rule speaks of a model: a rule that fits nothing at all is a mistake of all."""
        fitting = [key for key in self._side.numbers if rule_fits(rule, key)]
        return not fitting or any(self._is_of(key, data, model) for key in fitting)

    def _is_of(self, key: Key, data: str, model: str) -> bool:
        return (key[0], self._side.numbers[key].address.model) == (data, model)

    def _of(self, data: str, model: str) -> GateSide:
        return replace(
            self._side,
            numbers={
                key: number
                for key, number in self._side.numbers.items()
                if self._is_of(key, data, model)
            },
            models=frozenset({(data, model)}),
            broken=tuple(
                cell for cell in self._side.broken if (cell.data, cell.model) == (data, model)
            ),
        )

    def _comparison(self, model: str, rival: str) -> Comparison:
        if (model, rival) not in self._compared:
            patterns = [
                literal_brackets(rule.address)
                for rule in self._policy.required
                if rule.margin is not None or rule.no_worse
            ]
            self._compared[model, rival] = compare_runs(
                self._run, self._run, level=LEVEL, models={model: rival}, metrics=patterns
            )
        return self._compared[model, rival]


def _floor_alone(rule: Rule) -> Rule:
    return rule.model_copy(update={"margin": None, "no_worse": False, "treat_as": None})


def _without_floor(rule: Rule) -> Rule:
    return rule.model_copy(update={"floor": None})
