"""The scenario that records the last linear layer, so that detectors need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench_suites.ood.detector import Head

_PROBE = "head"


@dataclass(frozen=True, kw_only=True)
class LinearHead(Mapped):
    """Reads the weights, once; it asks about no sample."""

    suite: str = "ood"
    name: str = "head"

    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.HEAD})

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses one sample, since a cell has to have some."""
        keep = np.zeros(len(view().samples), dtype=np.bool_)
        keep[:1] = True
        return Selection(keep)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record that says nothing."""
        return {"id": list(work.batch.ids)}

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Returns weight and bias, a row a class."""
        weight, bias = context.adapter.head()
        return {
            _PROBE: {
                "id": list(context.adapter.task.classes),
                "weight": np.asarray(weight, dtype=np.float64),
                "bias": np.asarray(bias, dtype=np.float64),
            }
        }


def read_head(cell: CellEvidence) -> Head:
    """Returns the layer that the scenario recorded."""
    probe = cell.probes[_PROBE]
    return Head(weight=probe.array("weight"), bias=probe.array("bias"))
