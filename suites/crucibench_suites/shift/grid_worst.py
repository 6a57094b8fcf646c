"""What `GridWorst` asks and says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.statistic import Share
from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    Answers,
    Bools,
    clean_answers,
    cluster_codes,
    shifted_answers,
)
from crucibench_suites.shift.asking import ask_variants
from crucibench_suites.shift.corruptions.geometric import moved, rotated
from crucibench_suites.shift.points import Place
from crucibench_suites.shift.sheet import Sheet


def ask_grid(places: Sequence[Place], work: Work, context: MapContext) -> Columns:
    """Returns the records of one batch: a row a sample and place."""

    def variants(images: torch.Tensor, draws: TensorDraws) -> Iterator[tuple[str, torch.Tensor]]:
        for place in places:
            turns = rotated(np.deg2rad(np.full(len(images), place.degrees)))
            shift = np.full((len(images), 2), (place.across, place.down))
            yield place.point, moved(images, turns, shift)

    return ask_variants(variants, work, context)


def score_grid(evidence: Evidence, stream: str) -> Scored:
    """Scores the worst case of each sample, and each place."""
    cell = evidence.own
    if not len(cell.samples):
        return Scored([])
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    sheet = Sheet(
        len(cell.samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(cell.samples.clusters),
    )  # fmt: skip
    worst = _right_everywhere(found)
    sheet.share(metrics.WORST_CASE, worst)
    sheet.less(metrics.DROP, clean.correct, worst)
    for point, answers in found.items():
        sheet.share(metrics.TOP_1, answers.correct, point)
        sheet.share(metrics.FLIP_RATE, clean.predictions != answers.predictions, point)
    return Scored(sheet.rows())


def comparables_of_grid(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of the grid as shares of samples."""
    if not len(evidence.own.samples):
        return []
    found = shifted_answers(evidence.own, evidence.task)
    worst = Share(_right_everywhere(found))
    return [
        Comparable(metric=metrics.WORST_CASE.id, form=worst),
        *(
            Comparable(metric=metrics.TOP_1.id, point=point, form=Share(answers.correct))
            for point, answers in found.items()
        ),
    ]


def _right_everywhere(found: Mapping[str, Answers]) -> Bools:
    return np.asarray(np.stack([answers.correct for answers in found.values()]).all(axis=0))
