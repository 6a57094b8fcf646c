"""Transfer: do examples found for other models break what the model's own gradients missed?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Findings
from crucibench.contracts.records import Records
from crucibench_suites.adversarial.audits.probed import finding
from crucibench_suites.adversarial.audits.series import BLACK_BOX_SHARE


def withstood(own: Records, ids: NDArray[np.object_], top: int) -> NDArray[np.int64]:
    """Returns how many radii each sample withstands when gradients alone attack, shape (n,).

    Args:
        own: the records of a series of attacks.
        ids: of the samples, shape (n,).
        top: what samples have that are not in the records: the grid's length.
    """
    if not len(own):
        return np.full(len(ids), top, dtype=np.int64)
    frame = own.table.select(["id", "attack", "level"]).to_pandas()
    # Stages after Square begin from what it broke, so that they show no more than it does.
    attacks = list(dict.fromkeys(frame["attack"]))
    late = attacks[attacks.index("square") :] if "square" in attacks else []
    levels = frame[~frame["attack"].isin(late)].groupby("id")["level"].min()
    found: NDArray[np.int64] = levels.reindex(ids).fillna(top).to_numpy(dtype=np.int64)
    return found


def audit_transfer(gained: NDArray[np.bool_], surrogates: Sequence[str]) -> Findings:
    """Says whether others' examples broke what gradients did not.

    Args:
        gained: whether an example broke a sample at a radius that it withstood when gradients
            attacked it, shape (m,), of the samples that were asked about.
        surrogates: whose examples those are.
    """
    count = int(gained.sum())
    if count < max(min(2, len(gained)), BLACK_BOX_SHARE * len(gained), 1):
        return []
    return [
        finding(
            "transfer-beats-white-box",
            f"examples found for {', '.join(surrogates)} broke {count} of {len(gained)} samples "
            "within radii that attacks with this model's own gradients did not break them at: "
            "gradients may be masked, and the true robust accuracy lower",
            {"samples": len(gained), "broken": count, "surrogates": list(surrogates)},
        )
    ]
