"""Robust accuracy that rises with eps, which it can't: a larger ball holds the smaller one."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.evidence import Findings
from crucibench_suites.adversarial.audits.probed import finding


def rising(eps: Sequence[float], robust: Sequence[int], samples: int, attack: str) -> Findings:
    """Says where more samples withstand a larger radius.

    One search over a grid can't show this; attacks that are run for each radius apart, and
    supplied examples, can.

    Args:
        eps: the radii, in any order.
        robust: how many samples withstand each.
        samples: their number.
        attack: whose figures they are.
    """
    ordered = sorted(zip(eps, robust, strict=True))
    worst, where = 0, (ordered[0], ordered[0]) if ordered else None
    for at, small in enumerate(ordered):
        for large in ordered[at + 1 :]:
            if large[0] > small[0] and large[1] - small[1] > worst:
                worst, where = large[1] - small[1], (small, large)
    if not worst or where is None:
        return []
    (less, few), (more, many) = where
    return [
        finding(
            "robust-accuracy-rises",
            f"{attack}: {many} of {samples} samples withstand eps {more:.4g}, but only {few} the "
            f"smaller {less:.4g}: the attack misses at least {worst} examples at the larger one",
            {"attack": attack, "eps": [less, more], "robust": [few, many], "samples": samples},
        )
    ]
