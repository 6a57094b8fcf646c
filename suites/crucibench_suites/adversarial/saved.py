"""Examples that are kept: all saved ones with their checks, and a few for a reader to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.examples import Showing
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.adversarial.threat import COLUMN, ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.confirm import Ledger

ADVERSARIALS = "adversarials"
"""The artefact's name."""


DISTANCES = ["distance_linf", "distance_l2", "distance_l1"]
_KEYS = ["id", "attack"]
ROUNDING = 1e-9
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


def disagreements(
    threat: ThreatModel,
    own: CellEvidence,
    context: MapContext,
    judge: Judge,
    columns: Sequence[str],
) -> Sequence[str]:
    """Asks the plain model about every saved example, and holds what it says against the records.

    Each example must lie at the distances in the records and within what the threat model allows,
    and the model must take it for the class in the records, which is a wrong one. Each sample that
    the records call broken must be broken, at that radius, by one of the examples. Where only float
    noise decides between two classes, the records are believed: in batches of another size other
    kernels may compute.

    Args:
        threat: what the attack was allowed.
        own: the cell, with its examples.
        context: the model.
        judge: says what is wrong with some of them.
        columns: those of the records that it looks at.

    Returns:
        One sentence for each kind of difference.
    """
    samples = own.samples
    levels = own.records.frame().groupby("id")["level"].min() if len(own.records) else pd.Series()
    shown = pd.Series(len(threat.eps), index=levels.index)
    found: list[str] = []
    if ADVERSARIALS in own.artifacts:
        checked = _checked(threat, own, context, judge, columns)
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


def _checked(
    threat: ThreatModel,
    own: CellEvidence,
    context: MapContext,
    judge: Judge,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Returns a row for each example: id, attack, level, and what is wrong with it or ""."""
    assert context.load is not None
    records = own.records.table.select([*_KEYS, "prediction", *columns]).to_pandas()
    kept = own.artifacts[ADVERSARIALS].table.select([*_KEYS, "point"]).to_pandas()
    frame: pd.DataFrame = kept.merge(records, how="left", on=_KEYS, validate="one_to_one")
    frame["row"] = pd.Index(own.samples.ids).get_indexer(pd.Index(frame["id"]))
    frame["prediction"] = frame["prediction"].fillna(-1).astype(np.int64)
    frame["wrong"], frame["level"] = "", len(threat.eps)
    frame.loc[frame["prediction"] < 0, "wrong"] = "are of nothing that the records say was broken"
    rows = np.flatnonzero(frame["wrong"] == "")
    size = context.batch_size or _BATCH
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        at = frame["row"].to_numpy()[part]
        clean = context.load([int(row) for row in at])
        targets = own.samples.targets[at].astype(np.int64)
        wrong, level = judge(SavedExamples(part, frame.iloc[part], clean, targets, own))
        points = np.array([*map(point_of, threat.eps), ""], dtype=object)[level]
        filed = points != frame["point"].to_numpy()[part]
        wrong = np.where((wrong == "") & filed, "are filed under another radius than theirs", wrong)
        frame.loc[part, "wrong"], frame.loc[part, "level"] = wrong, level
    return frame


class SavedExamples(NamedTuple):
    """Some of the saved examples of a cell.

    Attributes:
        at: their places in the artefact, (m,).
        records: what the records say of each: ``prediction``, and the columns asked for.
        clean: the samples that they are of.
        targets: the true classes, (m,).
        own: the cell.
    """

    at: NDArray[np.int64]
    records: pd.DataFrame
    clean: Batch
    targets: NDArray[np.int64]
    own: CellEvidence


Judge = Callable[[SavedExamples], tuple[NDArray[np.object_], NDArray[np.int64]]]
"""Returns what is wrong with each, "" where nothing is, and its level by distance, both (m,)."""


def pixels(threat: ThreatModel, context: MapContext) -> Judge:
    """Returns what judges images."""

    def judge(shown: SavedExamples) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        import torch

        from crucibench_suites.adversarial.confirm import confirm

        flat = shown.own.artifacts[ADVERSARIALS].array("x_adv")[shown.at]
        inputs = torch.from_numpy(np.array(flat, dtype=np.float32))
        inputs = inputs.reshape(shown.clean.inputs.shape)
        seen = confirm(context.adapter, shown.clean, shown.targets, inputs)
        stored = shown.records[DISTANCES].to_numpy(dtype=np.float64)
        near = np.isclose(seen.distances, stored, rtol=ROUNDING, atol=0).all(axis=1)
        wrong = np.select(
            [seen.prediction < 0, ~near],
            ["are not within [0, 1]", "are not at the distances in the records"],
            misclassified(shown, shown.clean.with_inputs(inputs), seen.prediction, context),
        )
        return wrong.astype(object), levels_of(threat, seen.distances)

    return judge


def misclassified(
    shown: SavedExamples, asked: Batch, seen: NDArray[np.integer[Any]], context: MapContext
) -> NDArray[np.object_]:
    """Returns what is wrong with the classes of examples, "" where nothing is, (m,).

    Args:
        shown: the examples.
        asked: the same as inputs.
        seen: what the model takes them for, -1 for what it was not asked about.
        context: the model.
    """
    predicted = shown.records["prediction"].to_numpy()
    other = (seen >= 0) & (seen != predicted)
    at = np.flatnonzero(other)
    # Of labels alone nobody can tell by how little one class lost to another.
    if len(at) and Capability.SCORES in context.adapter.capabilities:
        noise = shown.own.model.noise
        other[at] = _clearly(asked.take([int(row) for row in at]), predicted[at], noise, context)
    wrong = np.select(
        [predicted == shown.targets, other & (seen == shown.targets), other],
        [
            "are of the right class by the records", "are classified rightly",
            "are taken for another class than in the records",
        ],
        "",
    )  # fmt: skip
    return wrong.astype(object)


def _clearly(
    asked: Batch, predicted: NDArray[np.int64], noise: float, context: MapContext
) -> NDArray[np.bool_]:
    """Whether another class than `predicted` leads by more than float noise, shape (m,)."""
    scores = context.adapter.predict(asked, frozenset({"scores"})).scores
    assert scores is not None
    numbers = np.asarray(scores, dtype=np.float64)
    lead = numbers.max(axis=1) - numbers[np.arange(len(predicted)), predicted]
    clearly: NDArray[np.bool_] = lead > noise * np.maximum(1.0, np.abs(numbers).max(axis=1))
    return clearly


def levels_of(threat: ThreatModel, distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the index of the first radius that is no smaller; their number without one."""
    own = distances[:, COLUMN[threat.norm]]
    level: NDArray[np.int64] = np.searchsorted(
        np.asarray(threat.eps), np.nan_to_num(own, nan=np.inf), side="left"
    )
    return level


def show(
    threat: ThreatModel, attack: str, work: Work, context: MapContext, *,
    level: NDArray[np.integer[Any]], found: Callable[[Sequence[int]], Any], changes: bool = False,
) -> None:  # fmt: skip
    """Keeps a few examples, with what the model says of them when it is asked once more.

    Args:
        threat: the grid of radii.
        attack: its name.
        work: the batch, n samples.
        context: the model.
        level: the place in the grid of the smallest radius that breaks each sample, shape (n,);
            the grid's length where none does.
        found: from rows of the batch to the examples of these, as `Batch.inputs`.
        changes: whether pictures of the change are kept, too.
    """
    showing = Showing(work, context)
    rows = showing.first(np.flatnonzero(level < len(threat.eps)))
    if not rows:
        return
    inputs = found(rows)
    adapter, kind = context.adapter, context.adapter.task.definition
    want = frozenset({kind.best_answer(adapter.capabilities)})
    answer = adapter.predict(work.batch.take(rows).with_inputs(inputs), want)
    answers = kind.outcome_columns(answer, work.samples.targets[rows], adapter.score_kind)
    showing.add(
        [point_of(threat.eps[level[row]]) for row in rows], inputs, answers, rows=rows,
        rank=[1 + int(level[row]) for row in rows], by=attack, changes=changes,
    )  # fmt: skip
    showing.keep()


def show_images(
    threat: ThreatModel, attack: str, work: Work, context: MapContext, ledger: Ledger
) -> None:
    """Keeps a few of the images that an attack found."""
    level = levels_of(threat, ledger.distances)
    show(
        threat, attack, work, context, level=level,
        found=lambda rows: ledger.nearest[list(rows)], changes=True,
    )  # fmt: skip
