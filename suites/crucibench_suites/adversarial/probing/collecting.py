"""The probe stage's records: one of each probed sample."""

from __future__ import annotations

import numpy as np
import torch

from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.model import Oracle, Points, device_of, frozen
from crucibench_suites.adversarial.probing.asking import Asker
from crucibench_suites.adversarial.probing.deep import probe_deeply
from crucibench_suites.adversarial.probing.plain import Arrays, probe_plainly
from crucibench_suites.adversarial.threat import ThreatModel

_INSIDE = 1 - 1e-6
"""By how much radii are shrunk: what float32 makes of them is within what was asked for."""


def probe_batch(threat: ThreatModel, work: Work, context: MapContext) -> Arrays:
    """Returns what was asked about the samples of a batch, with forwards and backwards.

    Args:
        threat: of the attacks.
        work: carries `level`, and whether each sample is probed `deep`.
        context: the model and the draws.
    """
    module = context.adapter.module()
    draws = context.draws
    draws = draws if threat.seed is None else Draws(threat.seed, draws.stream)
    level = work.carry["level"].astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    # The largest radius that a sample withstands, else the smallest there is.
    at = np.maximum(level - 1, min(int((grid == 0).sum()), len(grid) - 1))
    device = device_of(module)
    points = Points(
        x=work.batch.inputs.to(device),
        y=torch.from_numpy(work.samples.targets.astype(np.int64)).to(device),
        eps=torch.from_numpy((_INSIDE * grid[at]).astype(np.float32)).to(device),
        ids=work.batch.ids,
        norm=threat.norm,
    )
    asker = Asker(module, len(points))
    with frozen(module):
        columns, near = probe_plainly(asker, draws, points, level <= at)
        deep = np.flatnonzero(work.carry["deep"])
        found = probe_deeply(
            asker, Oracle(module, draws), points, rows=deep, logits=near.logits, threat=threat
        )
    return {
        **columns,
        **found,
        "radius": grid[at],
        "forwards": asker.forwards,
        "backwards": asker.backwards,
    }
