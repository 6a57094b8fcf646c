"""Would another order of the classes explain the predictions much better?

The best permutation is the assignment of predicted to true classes that makes most predictions
right (Kuhn 1955, "The Hungarian method for the assignment problem"). Some permutation always fits
a sample better than it should, so that it is found on one half of the samples, and each of its
cycles is judged on the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.table import confusion_table
from crucibench.stats import mcnemar_exact
from crucibench.tasks.classification.view import ClassView, Ints
from crucibench_suites.accuracy.halves import Halves

_MOST_CLASSES = 2000
_ALPHA = 1e-4

_RATIO, _GAIN = 2.0, 0.1
"""Renaming must make this many times as many predictions right, and this share of samples more."""

_PLAIN_RATIO, _PLAIN_ACCURACY = 4.0, 0.5
"""With these, no honest model is a likelier explanation: the numbers are invalid."""

_SHOWN = 5


class _Cycle(NamedTuple):
    """Classes whose names look exchanged: what is called ``output[i]`` means ``truth[i]``."""

    truth: Ints
    output: Ints


class _Judgement(NamedTuple):
    """What renaming does to the samples of a cycle's classes."""

    n: int
    as_given: int
    renamed: int

    @property
    def better(self) -> bool:
        """Whether renaming makes many more of them right."""
        more = self.renamed - self.as_given
        return self.renamed >= _RATIO * self.as_given and 0 < more >= _GAIN * self.n

    @property
    def p(self) -> float:
        """The exact p-value of no difference: no sample is right both ways."""
        return mcnemar_exact(self.renamed, self.as_given)


def permuted_labels(answers: ClassView, halves: Halves) -> Findings:
    """Flags accuracy that another order of the classes would raise much.

    A cycle of classes counts if, on its samples in the half that it was not found on, renaming
    makes at least twice as many predictions right and a tenth of its samples more, with an exact
    McNemar p-value below 0.0001 after Bonferroni's correction.
    """
    count = len(answers.classes)
    if not 2 <= count <= _MOST_CLASSES:
        return []
    whole = confusion_table(answers.targets, answers.predictions, count)
    if np.count_nonzero(whole.sum(axis=0)) < 2:
        return []  # a constant prediction has no order to find
    if not any(_judge(whole, cycle).better for cycle in _cycles(whole)):
        return []
    if count == 2:
        # There is but one other order: nothing was picked, so nothing needs a second half.
        found, judged = whole, whole
    else:
        first = halves.first(answers.ids, answers.clusters)
        found = confusion_table(answers.targets[first], answers.predictions[first], count)
        judged = whole - found
    candidates = _cycles(found)
    kept = []
    for cycle in candidates:
        judgement = _judge(judged, cycle)
        if judgement.better and judgement.p * len(candidates) < _ALPHA:
            kept.append(cycle)
    return [_finding(answers.classes, whole, kept)] if kept else []


def _cycles(table: Ints) -> list[_Cycle]:
    """Returns the cycles, of two classes or more, of the best permutation for a table."""
    from scipy.optimize import linear_sum_assignment

    _, output_of = linear_sum_assignment(table, maximize=True)
    cycles = []
    left = set(range(len(table)))
    while left:
        members = [min(left)]
        while (after := int(output_of[members[-1]])) != members[0]:
            members.append(after)
        left.difference_update(members)
        if len(members) > 1:
            truth = np.array(members, dtype=np.int64)
            cycles.append(_Cycle(truth, output_of[truth]))
    return cycles


def _judge(table: Ints, cycle: _Cycle) -> _Judgement:
    return _Judgement(
        n=int(table[cycle.truth].sum()),
        as_given=int(table[cycle.truth, cycle.truth].sum()),
        renamed=int(table[cycle.truth, cycle.output].sum()),
    )


def _finding(classes: tuple[str, ...], table: Ints, kept: list[_Cycle]) -> Finding:
    truth = np.concatenate([cycle.truth for cycle in kept])
    output = np.concatenate([cycle.output for cycle in kept])
    judgement = _judge(table, _Cycle(truth, output))
    total = int(table.sum())
    accuracy = float(np.trace(table) / total)
    renamed = accuracy + (judgement.renamed - judgement.as_given) / total
    names = {
        classes[label]: classes[meant]
        for label, meant in sorted(zip(output.tolist(), truth.tolist(), strict=True))
    }
    shown = ", ".join(f"{label!r} means {meant!r}" for label, meant in list(names.items())[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    plain = (
        judgement.renamed >= _PLAIN_RATIO * judgement.as_given
        and judgement.renamed >= _PLAIN_ACCURACY * judgement.n
    )
    return Finding(
        code="permuted-labels",
        severity=Severity.INVALID if plain else Severity.SUSPECT,
        message=(
            f"accuracy is {accuracy:.3f}, but would be {renamed:.3f} if the model's classes were "
            f"in another order: {shown}{more}"
        ),
        evidence={
            "n": total,
            "accuracy": accuracy,
            "accuracy_renamed": renamed,
            "means": names,
            "samples_of_these_classes": judgement.n,
            "right_as_given": judgement.as_given,
            "right_renamed": judgement.renamed,
        },
    )
