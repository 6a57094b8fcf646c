"""Saved examples: what broke each sample, kept beside the records and held against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.adversarial.threat import ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.search import Ledger

ADVERSARIALS = "adversarials"
"""The artefact's name."""

COLUMN = {"linf": 0, "l2": 1}
"""Of the distances in a norm, where those in Linf, L2 and L1 stand side by side."""

_DISTANCES = ["distance_linf", "distance_l2", "distance_l1"]
_KEYS = ["id", "attack"]
_ROUNDING = 1e-9
_BATCH = 256


def examples_of(threat: ThreatModel, work: Work, ledger: Ledger, attack: str) -> Columns:
    """Returns the nearest example of each sample that the attack broke within the largest radius.

    Columns of m rows: ``id``, the smallest radius that it breaks as ``point``, ``attack``, and the
    input itself as ``x_adv``, float32, flat; m may be 0.
    """
    level = levels_of(threat, ledger.distances)
    rows = np.flatnonzero(level < len(threat.eps))
    flat = ledger.nearest.flatten(1).numpy()
    return {
        "id": [work.batch.ids[row] for row in rows],
        "point": [point_of(threat.eps[at]) for at in level[rows]],
        "attack": [attack] * len(rows),
        "x_adv": flat[rows],
    }


def disagreements(threat: ThreatModel, own: CellEvidence, context: MapContext) -> Sequence[str]:
    """Asks the plain model about every saved example, and holds what it says against the records.

    The examples have to be those that the records tell of, by their distances; within the box; and
    taken for the class in the records, which is a wrong one. And what the records say is broken has
    to be broken, at that radius, by one of them. Where only float noise decides between the two
    classes, the records are believed: in other batches, other kernels may compute.

    Returns:
        One sentence for each kind of difference.
    """
    samples = own.samples
    levels = own.records.frame().groupby("id")["level"].min() if len(own.records) else pd.Series()
    shown = pd.Series(len(threat.eps), index=levels.index)
    found: list[str] = []
    if ADVERSARIALS in own.artifacts:
        checked = _checked(threat, own, context)
        for wrong, part in checked[checked["wrong"] != ""].groupby("wrong", sort=False):
            found.append(
                f"{len(part)} of {len(checked)} saved examples {wrong} (the first: of sample "
                f"{part['id'].iloc[0]}, by {part['attack'].iloc[0]})"
            )
        held = checked[checked["wrong"] == ""].groupby("id")["level"].min()
        shown.loc[held.index] = held
    apart = levels.index[levels.to_numpy() != shown.to_numpy()]
    if len(apart):
        found.append(
            f"{len(apart)} of {len(samples)} samples fall at another radius by the records than by "
            f"the saved examples (the first: {apart[0]})"
        )
    return found


def _checked(threat: ThreatModel, own: CellEvidence, context: MapContext) -> pd.DataFrame:
    """Returns a row for each example: id, attack, level, and what is wrong with it or ""."""
    examples = own.artifacts[ADVERSARIALS]
    told = own.records.table.select([*_KEYS, "prediction", *_DISTANCES]).to_pandas()
    kept = examples.table.select([*_KEYS, "point"]).to_pandas()
    frame: pd.DataFrame = kept.merge(told, how="left", on=_KEYS, validate="one_to_one")
    frame["row"] = pd.Index(own.samples.ids).get_indexer(pd.Index(frame["id"]))
    frame["prediction"] = frame["prediction"].fillna(-1).astype(np.int64)
    frame["wrong"], frame["level"] = "", len(threat.eps)
    frame.loc[frame["prediction"] < 0, "wrong"] = "are of nothing that the records say was broken"
    flat = examples.array("x_adv")
    rows = np.flatnonzero(frame["wrong"] == "")
    size = context.batch_size or _BATCH
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        wrong, level = _asked(threat, flat[part], frame.iloc[part], own, context)
        frame.loc[part, "wrong"], frame.loc[part, "level"] = wrong, level
    return frame


def _asked(
    threat: ThreatModel,
    flat: NDArray[np.float32],
    told: pd.DataFrame,
    own: CellEvidence,
    context: MapContext,
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Returns what is wrong with each of some examples, and the levels by their distances."""
    import torch

    from crucibench_suites.adversarial.confirm import confirm

    assert context.load is not None
    rows = told["row"].to_numpy()
    clean = context.load([int(row) for row in rows])
    targets = own.samples.targets[rows].astype(np.int64)
    inputs = torch.from_numpy(np.array(flat, dtype=np.float32)).reshape(clean.inputs.shape)
    seen = confirm(context.adapter, clean, targets, inputs)
    level = levels_of(threat, seen.distances)
    stored = told[_DISTANCES].to_numpy(dtype=np.float64)
    near = np.isclose(seen.distances, stored, rtol=_ROUNDING, atol=0).all(axis=1)
    points = np.array([*map(point_of, threat.eps), ""], dtype=object)[level]
    other = (seen.prediction >= 0) & (seen.prediction != told["prediction"].to_numpy())
    at = np.flatnonzero(other)
    if len(at):
        asked = clean.take([int(row) for row in at]).with_inputs(inputs[torch.from_numpy(at)])
        other[at] = _clearly(asked, told["prediction"].to_numpy()[at], own.model.noise, context)
    wrong = np.select(
        [
            seen.prediction < 0, ~near, points != told["point"].to_numpy(),
            told["prediction"].to_numpy() == targets, other & (seen.prediction == targets), other,
        ],
        [
            "are not within [0, 1]", "are not at the distances in the records",
            "are filed under another radius than theirs", "are of the right class by the records",
            "are classified rightly", "are taken for another class than in the records",
        ],
        "",
    )  # fmt: skip
    return wrong.astype(object), level


def _clearly(
    asked: Batch, said: NDArray[np.int64], noise: float, context: MapContext
) -> NDArray[np.bool_]:
    """Whether another class than `said` leads by more than float noise, shape (m,)."""
    scores = context.adapter.predict(asked, frozenset({"scores"})).scores
    assert scores is not None
    numbers = np.asarray(scores, dtype=np.float64)
    lead = numbers.max(axis=1) - numbers[np.arange(len(said)), said]
    clearly: NDArray[np.bool_] = lead > noise * np.maximum(1.0, np.abs(numbers).max(axis=1))
    return clearly


def levels_of(threat: ThreatModel, distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the index of the first radius that is no smaller; their number without one."""
    own = distances[:, COLUMN[threat.norm]]
    level: NDArray[np.int64] = np.searchsorted(
        np.asarray(threat.eps), np.nan_to_num(own, nan=np.inf), side="left"
    )
    return level
