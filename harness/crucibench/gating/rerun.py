"""``gate --rerun``: the models of two runs timed in turns, and what that adds to a verdict.

Speed is advisory, unless the policy says ``speed: required``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from crucibench.comparing.runs import name_pairs
from crucibench.contracts.rows import RECIPE
from crucibench.engine.listener import Listener
from crucibench.engine.rerun import Clock, Rerun, Seconds, timed_call
from crucibench.engine.worker.environment import environment
from crucibench.engine.worker.opening import Reopened
from crucibench.gating.evaluate import effect_of, with_checks
from crucibench.gating.latency import (
    ROUNDS,
    LatencyVerdict,
    Rounds,
    judge_latency,
    schedule,
)
from crucibench.gating.policy import SpeedRule, Tier
from crucibench.gating.result import Check, GateVerdict, Outcome
from crucibench.gating.runs import data_pairs
from crucibench.gating.sides import side_of
from crucibench.store.run import Run
from crucibench.util.devices import set_threads, torch_numerics
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.user_errors import one_line

ADDRESS = "throughput/rerun/latency"
METHOD = "rounds in turns, Hodges-Lehmann ratio, bootstrap over rounds"


@dataclass(frozen=True, kw_only=True)
class RerunOptions:
    """How speed is measured.

    Attributes:
        scratch: where indexes of data are kept.
        rounds: how often each model is timed.
        batch: samples a call; 64 by default, or all where there are fewer.
        rule: what the policy says of speed.
        clock: seconds.
    """

    scratch: Path
    rule: SpeedRule = field(default_factory=SpeedRule)
    rounds: int = ROUNDS
    batch: int | None = None
    clock: Clock = time.perf_counter


class _Pair(NamedTuple):
    model: str
    data: str
    old_model: str
    old_data: str


def with_latency(
    verdict: GateVerdict, baseline: Run, candidate: Run, options: RerunOptions, listener: Listener
) -> GateVerdict:
    """Returns a verdict with a check of speed for each pair of models and data set.

    A verdict without checks stays as it is: its runs can't be held against each other.

    Raises:
        InputError: if a run is a pack, or names files that are gone or changed.
    """
    for name, run in (("baseline", baseline), ("candidate", candidate)):
        if run.packed:
            raise InputError(
                f"--rerun: the {name} is a pack, which holds no models: give the run's folder"
            )
    if not verdict.checks:
        return verdict
    old = Reopened(baseline, options.scratch, listener)
    new = Reopened(candidate, options.scratch, listener)
    if old.threads != new.threads:
        raise InputError(
            f"--rerun: threads differ: {old.threads} in the baseline, {new.threads} in the "
            "candidate; both models share one process"
        )
    pairs = list(_paired(baseline, candidate))
    if not pairs and options.rule.tier == "required":
        reason = "--rerun: the runs share no model and data set, and the policy requires speed"
        return with_checks(verdict.model_copy(update={"errors": [*verdict.errors, reason]}), [])
    if not pairs:
        return _noted(verdict, "--rerun: the runs share no model and data set: nothing is timed")
    set_threads(new.threads)
    try:
        old.open()
        new.open()
        checks = []
        for pair in pairs:
            listener.note(f"timing {pair.model} on {pair.data}")
            checks.append(_check(pair, old, new, options, len(pairs)))
    finally:
        old.close()
        new.close()
    advisory = "it is advisory, and says" if options.rule.tier == "advisory" else "it says"
    note = (
        f"speed was measured on this machine ({_machine(new)}), baseline and candidate in turns; "
        f"{advisory} nothing of other hardware"
    )
    return _noted(with_checks(verdict, checks), note)


def _noted(verdict: GateVerdict, note: str) -> GateVerdict:
    return verdict.model_copy(update={"notes": [*verdict.notes, note]})


def _paired(baseline: Run, candidate: Run) -> Iterator[_Pair]:
    old, new = side_of(baseline), side_of(candidate)
    models = name_pairs({name for _, name in old.models}, {name for _, name in new.models})
    data = data_pairs(baseline, candidate, old, new)
    for place, name in sorted(new.models):
        if name.endswith(RECIPE):
            continue
        if name in models and (data.get(place), models[name]) in old.models:
            yield _Pair(name, place, models[name], data[place])


def _check(pair: _Pair, old: Reopened, new: Reopened, options: RerunOptions, tests: int) -> Check:
    tier = options.rule.tier
    try:
        return _timed(pair, old, new, options, tests)
    except CrucibenchError as error:
        return _base(pair, tier, Outcome.INVALID, f"not timed: {error}")
    except Exception as error:
        reason = f"it failed while it was timed: {one_line(error)}"
        return _base(pair, tier, Outcome.INVALID, reason)


def _timed(pair: _Pair, old: Reopened, new: Reopened, options: RerunOptions, tests: int) -> Check:
    first, second = old.data[pair.old_data], new.data[pair.data]
    places = old.device_of(pair.old_model), new.device_of(pair.model)
    if first.card.fingerprint != second.card.fingerprint:
        raise InputError("the two runs have different data")
    if places[0] != places[1]:
        raise InputError(f"the devices differ: {places[0]} in the baseline, {places[1]} now")
    before, _ = timed_call(old.model(pair.old_model, pair.old_data), first, options.batch)
    after, size = timed_call(new.model(pair.model, pair.data), second, options.batch)
    rerun = Rerun(before, after, schedule(options.rounds), clock=options.clock)
    floor, measured = rerun.floor(), rerun.measured()
    judged = judge_latency(
        _rounds(floor), _rounds(measured), lambda: _rounds(rerun.measured()), tests=tests,
        effect=options.rule.margin.value,
    )  # fmt: skip
    what = f"a batch of {size} on {places[1]}"
    return _judged_check(pair, options.rule, judged, measured, what=what, tests=tests)


def _rounds(seconds: Seconds) -> Rounds:
    return Rounds.of(seconds.first, seconds.second)


def _judged_check(
    pair: _Pair,
    rule: SpeedRule,
    judged: LatencyVerdict,
    measured: Seconds,
    *,
    what: str,
    tests: int,
) -> Check:
    # One ratio says it all; times next to the baseline's median are for people.
    base = 1000 * float(np.median(measured.first))
    ratio = judged.ratio
    # Where it is too coarse, the message says so itself.
    effect = rule.margin.value
    fine = judged.resolution < effect
    limit = f" (which tells slowdowns from {judged.resolution:.1%} up)" if fine else ""
    return _base(
        pair, rule.tier, judged.outcome,
        f"{judged.message}; {what}, on this machine{limit}",
        test="margin", direction="lower", unit="ms", bound=effect * base, baseline=base,
        candidate=base * ratio.value, gain=base * (1 - ratio.value),
        lower=base * (1 - ratio.upper), upper=base * (1 - ratio.lower), level=1 - 0.05 / tests,
        n=ratio.rounds, detectable=judged.resolution * base, method=METHOD, family=tests,
    )  # fmt: skip


def _base(
    pair: _Pair,
    tier: Tier,
    outcome: Outcome,
    message: str,
    *,
    test: Literal["margin", "presence"] = "presence",
    **numbers: object,
) -> Check:
    address = f"{pair.model}:{ADDRESS}"
    return Check.model_validate(
        {
            "rule": "--rerun", "tier": tier, "test": test, "against": "baseline",
            "data": pair.data, "model": pair.model, "address": address, "outcome": outcome,
            "effect": effect_of(outcome, tier), "message": message, **numbers,
        }
    )  # fmt: skip


def _machine(side: Reopened) -> str:
    names: Sequence[str] = [environment(Path(), side.threads, side.device)["hardware"]["processor"]]
    if side.device.startswith("cuda"):
        names = [*names, torch_numerics(side.device)["device_name"]]
    return ", ".join(names)
