"""The scenario of one detector: fit it, choose its setting, score every set, and say how well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Answers, Detector, Floats, Material, Score, UnfitError
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number
from crucibench.stats import auc
from crucibench_suites.ood import metrics
from crucibench_suites.ood.asking import read_head
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.passes import TrainPass, answers_of, columns_of, picked, read_moments
from crucibench_suites.ood.scores import numbers_of
from crucibench_suites.ood.sets import (
    KNOWN,
    UNFIT,
    OODSet,
    kept_apart,
    mark_perturbing,
    meanings,
    points_of,
    scored,
)

Ids = NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Detection(Derived):
    """One detector over all sets, computed from passes: without the model.

    Attributes:
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart for validation.
    """

    suite: str = "ood"
    sets: tuple[OODSet, ...] = ()
    share: float = 0.0

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.OF_DETECTOR
    audits: ClassVar[tuple[str, ...]] = ("detector-scores",)

    @classmethod
    def of(cls, name: str, sets: tuple[OODSet, ...], share: float) -> Detection:
        """Returns the scenario of the detector of that name."""
        entry = detector(name)
        with_features = Capability.FEATURES in entry.requires
        outputs = frozenset({"scores", "features"} if with_features else {"scores"})
        needs = [
            Need(alias="test", cell="pass/test", outputs=outputs),
            Need(alias="sets", cell="ood/sets"),
        ]
        if entry.asks:
            needs.append(Need(alias="asked", cell=f"ood/asked/{name}/test"))
        for one in sets:
            plain = frozenset() if one.generated or entry.asks else outputs
            cell = f"ood/asked/{name}/{one.address}" if entry.asks else one.cell
            needs.append(Need(alias=one.address, cell=cell, outputs=plain))
        if "train" in entry.uses:
            needs.append(Need(alias="train", cell="pass/train", outputs=outputs))
        needs += [
            Need(alias=part, cell=f"ood/{part}")
            for part in ("moments", "head")
            if part in entry.uses
        ]
        parameters = {
            "detector": name, "version": entry.version, "definition": entry.definition,
            "setting": entry.setting, "values": list(entry.values), "default": entry.default,
            "sets": meanings(sets), "kept_apart": share,
        }  # fmt: skip
        return cls(
            name=name, sets=sets, share=share, needs=tuple(needs), points=points_of(sets),
            parameters=parameters,
        )  # fmt: skip

    def __post_init__(self) -> None:
        # What a model must give depends on the detector; elsewhere it belongs to the class.
        object.__setattr__(self, "requires", detector(self.name).requires)
        mark_perturbing(self, self.sets)

    def derive(self, evidence: Evidence) -> Columns:
        """Returns the score of every sample of every set."""
        return detected(detector(self.name), self.sets, self.share, evidence)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns every number at each point."""
        return numbers_of(evidence, evidence.own, self.points, self.metrics)


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
        score = entry.fitted(reader.material(test.ids[mask]))
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
            part = score(answers, values)
            ids.append(names)
            found.append(part)
        if not ids:
            return np.array([], dtype=object), np.zeros((0, len(values)))
        return np.concatenate(ids), np.concatenate(found)

    def _answers(self, alias: str) -> Iterator[tuple[Ids, Answers]]:
        needs, columns = self._evidence.needs, self._columns
        if not self._entry.asks:
            yield from answers_of(needs[alias], columns)
            return
        for block in needs["asked" if alias == "test" else alias].records.blocks("id", "asked"):
            asked = block.array("asked")
            yield block.ids, Answers(raw=asked, kind="probabilities", asked=asked)
