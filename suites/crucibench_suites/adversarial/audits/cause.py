"""Whether a second opinion is asked for, about which samples, and what it may cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import attacks
from crucibench.contracts.scenario import Selection, StageView
from crucibench_suites.adversarial.audits.probed import Probed, causes, is_random
from crucibench_suites.adversarial.probing.choosing import (
    AROUND,
    PROBE,
    passes,
    settling_cost,
    spread,
)

if TYPE_CHECKING:
    from crucibench_suites.adversarial.scenario import AutoAttack

_SHARE, _SHARE_RANDOM = 0.22, 1.0
"""Of the passes of all stages before, what ascents may take; of a model that is random."""

_SETTLED = 50
"""Samples of which it is asked whether anything is settled."""

_STEPS = (16, 1000)
_OF_DIFFERENCES = 0.3
"""The share of the passes that the ascent by differences has."""

_EOT = 8
"""Answers averaged, of models that are random."""

_GAINED = 2
"""So many samples that an attack without gradients alone broke are a cause."""


def choose_second(
    scenario: AutoAttack, seen: StageView, right: NDArray[np.bool_], level: NDArray[np.int64]
) -> Selection:
    """Returns the samples that survived, if there is cause, with `budget`: steps, queries, eot."""
    threat, variant = scenario.threat, seen.needs["clean"].model.variant
    none = sum(1 for eps in threat.eps if eps == 0)
    survived = right & (level > none)
    probes = seen.earlier.get(PROBE)
    random = cause = False
    if probes is not None and len(probes):
        probed = Probed(probes, probes.array("noise_breaks") >= 0)
        random, cause = is_random(probed, variant), bool(causes(probed, variant, threat))
    if not cause and _unseen_gained(seen, scenario.protocol.attacks) < _GAINED:
        survived[:] = False
    eot = _EOT if random and threat.eot == 1 else threat.eot
    settle = spread(survived, _SETTLED)
    share = _SHARE if eot == 1 else _SHARE_RANDOM
    allowed = share * passes(seen.earlier.values()) - settling_cost(eot) * settle.sum()
    allowed = int(allowed / max(survived.sum(), 1))
    queries = int(_OF_DIFFERENCES * allowed)
    if queries < eot * (AROUND + 1):
        queries = 0
    steps = int(np.clip((allowed - queries) / 2, *_STEPS))
    budget = np.tile(np.array([steps, queries, eot]), (len(right), 1))
    return Selection(survived, {"level": level, "budget": budget, "settle": settle})


def _unseen_gained(seen: StageView, stages: Collection[str]) -> int:
    """Returns how many samples scores alone broke, at radii that gradients had not."""
    before: dict[str, int] = {}
    for stage, records in seen.earlier.items():
        levels = dict(zip(records.ids, records.array("level"), strict=True)) if len(records) else {}
        if stage in stages and attacks().get(stage).access != "white-box":
            return sum(levels[one] < before[one] for one in levels)
        before.update(levels)
    return 0
