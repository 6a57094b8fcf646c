"""Transfer: do the saved examples of other models break what the model's own attacks missed?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.attack import Norm
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Selection, StageView, Work
from crucibench_suites.adversarial.attacked import Attacked, OneAttack, right_as_they_are
from crucibench_suites.adversarial.audits.series import withstood
from crucibench_suites.adversarial.probing.choosing import MOST_SAMPLES, SHARE, spread
from crucibench_suites.adversarial.saved import ADVERSARIALS
from crucibench_suites.adversarial.threat import ThreatModel

if TYPE_CHECKING:
    import torch

_OWN = "own"
_CANDIDATES = 2
"""Of an example: as it is, and drawn out to the largest radius that the sample withstands."""


@dataclass(frozen=True, kw_only=True)
class Transfer(OneAttack):
    """Asks the model about examples that attacks found for the other models of the run."""

    surrogates: tuple[str, ...] = ()

    audits: ClassVar[tuple[str, ...]] = ("transferred-examples",)

    @classmethod
    def of(cls, suite: str, attack: Attacked, surrogates: Sequence[str]) -> Transfer:
        """Returns the scenario.

        Args:
            suite: the suite's name.
            attack: the model's own, whose cell of each surrogate holds examples.
            surrogates: names of models.
        """
        norm, eps = attack.threat.norm, attack.threat.eps
        threat = ThreatModel(norm=norm, eps=eps, access="transfer")
        return cls(
            suite=suite,
            name=f"transfer-{norm}",
            threat=threat,
            surrogates=tuple(surrogates),
            parameters={
                "examples": attack.name,
                "surrogates": list(surrogates),
                "threat": {"norm": norm, "eps": list(eps), "access": "transfer", "targeted": False},
            },
            points=threat.points,
            limit=min(MOST_SAMPLES, attack.limit or MOST_SAMPLES),
            needs=(
                Need(alias="clean", cell="pass/test"),
                Need(alias=_OWN, cell=attack.address),
                *(
                    Need(alias=_alias(at), cell=attack.address, model=name, optional=True)
                    for at, name in enumerate(surrogates)
                ),
            ),
        )

    probe = Mapped.probe  # it searches nothing that could be tested

    @property
    def attack(self) -> str:
        """Its name in records and tables."""
        return "transfer"

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses samples with examples of a surrogate, as many as the passes allow."""
        seen = view()
        ids = seen.samples.ids
        own = seen.needs[_OWN].records
        examples = {
            _alias(at): found
            for at in range(len(self.surrogates))
            if (need := seen.needs.get(_alias(at))) is not None
            and (found := _nearest(need, ids, self.threat.norm)) is not None
        }
        keep = right_as_they_are(seen) & (self.threat.eps[-1] > 0)
        known = [~np.isnan(found[:, 0]) for found in examples.values()]
        keep &= np.any(known, axis=0) if known else False
        spent = sum(int(own.array(name).sum()) for name in ("forwards", "backwards") if len(own))
        cost = _CANDIDATES * max(len(examples), 1)
        keep = spread(keep, min(MOST_SAMPLES, int(SHARE * spent) // cost))
        levels = withstood(own, ids, len(self.threat.eps))
        return Selection(keep, {"white_box_level": levels, **examples})

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: the smallest eps that a surrogate's example breaks."""
        import torch

        from crucibench_suites.adversarial.confirm import AttackedBatch

        attacked = AttackedBatch(self.threat, work, context)
        ledger, grid, x = attacked.ledger, attacked.grid, work.batch.inputs
        unbroken = work.carry["white_box_level"].astype(np.int64)
        whose = np.full(len(x), "", dtype=object)
        smallest = int((grid == 0).sum())
        radii = torch.from_numpy(grid[np.clip(unbroken - 1, smallest, len(grid) - 1)])
        for at, name in enumerate(self.surrogates):
            flat = work.carry.get(_alias(at))
            if flat is None or flat.shape[1] != x[0].numel():
                continue  # it has no examples, or of images of another size
            rows = np.flatnonzero(~np.isnan(flat[:, 0]))
            where = torch.from_numpy(rows)
            found = torch.from_numpy(flat[rows].astype(np.float32)).reshape(x[where].shape)
            before = ledger.level.copy()
            drawn = _drawn(x[where], found, radii[where], norm=self.threat.norm)
            for candidate in (found, drawn):
                attacked.confirm(rows, attacked.snapped(rows, candidate)[0])
            whose[ledger.level < before] = name
        return {
            **self.image_columns(work, context, ledger),
            "surrogate": [str(name) for name in whose],
            "white_box_level": unbroken.astype(np.int32),
        }


def _alias(at: int) -> str:
    return f"surrogate-{at}"


def _nearest(need: CellEvidence, ids: NDArray[np.object_], norm: str) -> NDArray[np.float32] | None:
    """Returns a surrogate's nearest example of each sample, (n, pixels), NaN where it has none."""
    kept = need.artifacts.get(ADVERSARIALS)
    if kept is None:
        return None
    distance = f"distance_{norm}"
    distances = need.records.table.select(["id", "attack", distance]).to_pandas()
    frame = kept.table.select(["id", "attack"]).to_pandas()
    frame = frame.merge(distances, how="left", on=["id", "attack"], validate="one_to_one")
    nearest = frame.sort_values(distance, kind="stable").drop_duplicates("id")
    rows = pd.Series(nearest.index.to_numpy(), index=nearest["id"]).reindex(ids)
    flat = kept.array("x_adv")
    found = np.full((len(ids), flat.shape[1]), np.nan, dtype=np.float32)
    known = rows.notna().to_numpy()
    found[known] = flat[rows[known].to_numpy(dtype=np.int64)]
    return found


def _drawn(
    x: torch.Tensor, examples: torch.Tensor, radii: torch.Tensor, *, norm: Norm
) -> torch.Tensor:
    """Returns examples in the same directions, at the distance of a radius, in the box."""
    from crucibench_suites.adversarial.attacks.model import by_sample, length

    moved = examples.double() - x.double()
    share = radii / length(moved, norm).clamp(min=1e-12)
    return (x.double() + moved * by_sample(share)).clamp(0, 1).float()
