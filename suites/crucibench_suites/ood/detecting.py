"""Fits a detector, chooses its setting by the validation sets, and scores every set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Columns
from crucibench.stats import auc
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score, UnfitError
from crucibench_suites.ood.head import read_head
from crucibench_suites.ood.moments import read_moments
from crucibench_suites.ood.reading import TrainPass, answers_of, columns_of, picked
from crucibench_suites.ood.sources import KNOWN, UNFIT, OODSet, kept_apart, scored

Ids = NDArray[np.object_]


def detected(entry: Detector, sets: Sequence[OODSet], share: float, evidence: Evidence) -> Columns:
    """Returns a row for every scored sample: id, set, score, and the setting's value.

    Args:
        entry: the detector.
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart to choose settings by.
        evidence: the passes.

    A detector that can't be fitted has one row, at the point ``UNFIT``, with the reason.

    Raises:
        ValueError: if the detector gives scores that are no numbers.
    """
    reader = _Reader(entry, evidence)
    test = evidence.needs["test"].samples
    mask = kept_apart(test, share)
    apart = set(test.ids[mask].tolist())
    try:
        score = entry.fit(reader.material(test.ids[mask]))
    except UnfitError as error:
        reason = f"it can't be fitted: {error}"
        return {"id": [UNFIT], "point": UNFIT, "score": np.array([np.nan]),
                "value": np.array([np.nan]), "reason": [reason]}  # fmt: skip
    values = _values(entry, sets) if apart else (entry.default,)
    # Those kept apart have scores only where these choose something.
    ids, known = reader.scores("test", score, values, apart if len(values) == 1 else frozenset())
    keep = np.array([identity not in apart for identity in ids], dtype=np.bool_)
    value = _chosen(values, sets, reader, score, known[~keep])
    parts: list[tuple[str, Ids, Floats]] = [(KNOWN, ids[keep], known[keep, values.index(value)])]
    for one in scored(sets):
        ids, found = reader.scores(one.address, score, (value,))
        parts.append((one.address, ids, found[:, 0]))
    lengths = [len(ids) for _, ids, _ in parts]
    return {
        "id": np.concatenate([ids for _, ids, _ in parts]),
        "point": np.repeat(np.array([name for name, _, _ in parts], dtype=object), lengths),
        "score": np.concatenate([values for _, _, values in parts]),
        "value": np.full(sum(lengths), value if entry.setting else np.nan),
    }


def _values(entry: Detector, sets: Sequence[OODSet]) -> tuple[float, ...]:
    """Returns the values to choose from, the default first; that alone where nothing chooses."""
    if any(one.kind == "validation" for one in sets):
        return tuple(dict.fromkeys((entry.default, *entry.values)))
    return (entry.default,)


def _chosen(
    values: Sequence[float], sets: Sequence[OODSet], reader: _Reader, score: Score, known: Floats
) -> float:
    """Returns the value of highest mean AUROC over the validation sets, the first among equals.

    Args:
        values: those to choose from.
        sets: the OOD sets.
        reader: of the detector.
        score: what it scores by.
        known: scores of the familiar samples that are kept apart, (n, len(values)).
    """
    if len(values) == 1:
        return values[0]
    means = np.zeros(len(values))
    for one in sets:
        if one.kind == "validation":
            _, strange = reader.scores(one.address, score, values)
            if not len(strange):
                return values[0]
            means += [auc(strange[:, k], known[:, k]) for k in range(len(values))]
    return values[int(np.argmax(means))]


class _Reader:
    """Gives a detector what it reads of the evidence."""

    def __init__(self, entry: Detector, evidence: Evidence) -> None:
        self._entry = entry
        self._evidence = evidence
        self._columns = columns_of(entry)

    def material(self, apart: Ids) -> Material:
        """Returns what the detector is fitted on; `apart` names the samples kept apart."""
        needs, uses = self._evidence.needs, self._entry.uses
        return Material(
            classes=len(self._evidence.task.classes),
            train=TrainPass(needs["train"], self._columns) if "train" in uses else None,
            moments=read_moments(needs["moments"]) if "moments" in uses else None,
            head=read_head(needs["head"]) if "head" in uses else None,
            kept=picked(needs["test"], self._columns, apart) if "kept" in uses else None,
        )

    def scores(
        self, alias: str, score: Score, values: Sequence[float], but: Set[str] = frozenset()
    ) -> tuple[Ids, Floats]:
        """Returns ids and scores of a cell's samples, (n,) and (n, len(values)).

        Args:
            alias: the cell's.
            score: what the detector scores by.
            values: of its setting.
            but: ids of samples that are left out.
        """
        ids: list[Any] = []
        found: list[Floats] = []
        for every, whole in self._answers(alias):
            names, answers = every, whole
            if but:
                rows = np.flatnonzero([name not in but for name in every])
                if not len(rows):
                    continue
                names, answers = every[rows], whole.take(rows)
            part = np.asarray(score(answers, values), dtype=np.float64)
            wanted = (len(answers), len(values))
            if part.shape != wanted:
                raise ValueError(
                    f"detector {self._entry.name!r}: expected scores of shape {wanted}, got "
                    f"{part.shape}"
                )
            if not np.isfinite(part).all():
                bad = int((~np.isfinite(part)).any(axis=1).sum())
                raise ValueError(
                    f"detector {self._entry.name!r}: {bad} of {len(part)} scores of {alias} are "
                    "not finite"
                )
            ids.append(names)
            found.append(part)
        if not ids:
            return np.array([], dtype=object), np.zeros((0, len(values)))
        return np.concatenate(ids), np.concatenate(found)

    def _answers(self, alias: str) -> Iterator[tuple[Ids, Answers]]:
        cell = self._evidence.needs["steps" if self._stepped and alias == "test" else alias]
        if not self._stepped:
            yield from answers_of(cell, self._columns)
            return
        for block in cell.records.blocks("id", "steps"):
            steps = block.array("steps")
            yield block.ids, Answers(raw=steps, kind="probabilities", steps=steps)

    @property
    def _stepped(self) -> bool:
        return "steps" in self._evidence.needs


def in_rows(cell: CellEvidence, ids: Ids, name: str) -> NDArray[Any]:
    """Returns a column of a cell's records at some ids, in their order."""
    places = pd.Index(cell.records.ids, dtype=object).get_indexer(pd.Index(ids, dtype=object))
    return np.asarray(cell.records.array(name)[places])
