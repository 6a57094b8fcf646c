from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pytest

from crucibench.comparing.differences import Flips
from crucibench.comparing.results import Comparison, MetricDifference, Refusal
from crucibench.contracts.rows import parse_address
from crucibench.gating.evaluate import Opponent, evaluate
from crucibench.gating.policy import parse_policy
from crucibench.gating.result import GateVerdict, Sides
from crucibench.gating.sides import Broken, GatedNumber, GateSide
from crucibench.stats import Interval

TODAY = date(2026, 6, 15)


@pytest.fixture
def difference() -> Callable[..., MetricDifference]:
    """Makes a difference: by its gain and half-width, or by its ends."""

    def make(
        address: str = "m:s/c/top-1",
        *,
        gain: float = 0.0,
        half: float | None = 0.01,
        p: float | None = 0.5,
        direction: str = "higher",
        baseline: float = 0.9,
        n: int = 1000,
        flips: tuple[int, int] | None = None,
        **more: Any,
    ) -> MetricDifference:
        delta = gain if direction == "higher" else -gain
        ids = [np.array([f"{kind}{k}" for k in range(count)], dtype=object)
               for kind, count in zip("lg", flips or (0, 0), strict=True)]  # fmt: skip
        return MetricDifference(
            address=parse_address(address), data=more.pop("data", "d"), direction=direction,
            baseline=baseline, candidate=baseline + delta, delta=delta,
            interval=None if half is None else Interval(delta - half, delta + half, 0.95, "x"),
            standard_error=None if half is None else half / 1.959963984540054, p=p, method="x",
            n=n, verdicts=("valid", "valid"), flips=None if flips is None else Flips(*ids), **more,
        )  # fmt: skip

    return make


@pytest.fixture
def judge() -> Callable[..., GateVerdict]:
    """Applies a policy to differences; sides are made of them and can be overridden."""

    def run(
        policy: Mapping[str, Any],
        differences: list[MetricDifference],
        *,
        candidate: Mapping[str, Mapping[str, Any]] | None = None,
        baseline: Mapping[str, Mapping[str, Any]] | None = None,
        lost: tuple[str, ...] = (),
        missing: tuple[str, ...] = (),
        broken: tuple[Broken, ...] = (),
        baseline_models: tuple[str, ...] = (),
        candidate_models: tuple[str, ...] = (),
        refused: tuple[Refusal, ...] = (),
        anchor: list[MetricDifference] | None = None,
        unchanged: bool = False,
        today: date = TODAY,
        metrics: Mapping[str, tuple[str, ...]] | None = None,
    ) -> GateVerdict:
        """`lost` are gone from the candidate, `missing` from the baseline."""

        def side(
            whose: str,
            found: list[MetricDifference],
            changes: Mapping[str, Mapping[str, Any]],
            without: tuple[str, ...],
            models: tuple[str, ...],
        ) -> GateSide:
            numbers = []
            for one in found:
                value = getattr(one, whose)
                facts = {
                    "value": value, "lower": value - 0.01, "upper": value + 0.01, "n": one.n,
                    "direction": one.direction, "percent": True,
                } | dict(changes.get(str(one.address), {}))  # fmt: skip
                if str(one.address) not in without:
                    numbers.append(GatedNumber(address=one.address, data=one.data, **facts))
            named = {(one.data, one.address.model) for one in numbers}
            return GateSide(
                name=whose, numbers={one.key: one for one in numbers},
                models=frozenset(named | {("d", model) for model in models}),
                broken=broken if whose == "candidate" else (), metrics=metrics or {},
            )  # fmt: skip

        opponents = [
            Opponent(
                against="baseline",
                side=side("baseline", differences, baseline or {}, missing, baseline_models),
                comparison=Comparison([one for one in differences
                                       if str(one.address) not in {*lost, *missing}
                                       and not any(r.cell in str(one.address) for r in refused)],
                                      list(refused)),
                unchanged=lambda key: unchanged,
            )
        ]  # fmt: skip
        if anchor is not None:
            opponents.append(
                Opponent(against="anchor", side=side("baseline", anchor, {}, (), ()),
                         comparison=Comparison(anchor))
            )  # fmt: skip
        return evaluate(
            parse_policy(dict(policy), "policy"),
            side("candidate", differences, candidate or {}, lost, candidate_models),
            opponents, today=today, sides=Sides(baseline="old", candidate="new"),
        )  # fmt: skip

    return run
