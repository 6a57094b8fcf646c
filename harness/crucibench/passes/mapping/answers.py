"""Explanations that records alone decide: classes in another order, rows of others, other units.

Of classes in no order with a name, the best is the assignment of predicted to true classes that
makes most predictions right (Kuhn 1955, "The Hungarian method for the assignment problem"). Some
order always fits a sample better than it should, so that it is found on one half of the samples,
and each of its cycles is judged on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from crucibench.metrics.table import confusion_table
from crucibench.passes.mapping.explanation import (
    ALPHA,
    GAIN,
    Explanation,
    Floats,
    Ints,
    by_chance,
    of_numbers,
    of_predictions,
)
from crucibench.stats import delong, mcnemar_exact
from crucibench.tasks.classification.view import ClassView
from crucibench.util.ids import Halves

_MOST_CLASSES = 2000
_RATIO = 2.0
"""Another order must make so many times as many predictions of a cycle's classes right."""
_ORDER_RATIO = 1.5
"""The same of an order with a name: it was not picked by how well it fits."""
_SHIFTS = (1, -1, 2, -2, 3, -3)
_FEWEST = 50
SURE = 4.0
"""So many standard errors are no chance."""
_SHORT = 0.2
"""So much must accuracy lie below confidence before rows are taken to be of other samples."""
_ALIKE = 0.1
"""Shares of predicted and true classes differ by no more, in total variation, beyond chance."""
_SHOWN = 5

UNITS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("times 10", lambda x: x * 10.0),
    ("times 100", lambda x: x * 100.0),
    ("times 1000", lambda x: x * 1000.0),
    ("divided by 10", lambda x: x / 10.0),
    ("divided by 100", lambda x: x / 100.0),
    ("divided by 1000", lambda x: x / 1000.0),
    ("from °F to °C", lambda x: (x - 32.0) / 1.8),
    ("from °C to °F", lambda x: x * 1.8 + 32.0),
)
"""Changes of unit, as they are undone."""


class _Cycle(NamedTuple):
    """Classes whose names look exchanged: what is called ``output[i]`` means ``truth[i]``."""

    truth: Ints
    output: Ints


def class_explanations(view: ClassView, halves: Halves) -> tuple[list[Explanation], int]:
    """Returns what explains a classifier's wrong answers, and how many explanations were tried."""
    count = len(view.classes)
    if not 2 <= count <= _MOST_CLASSES or len(np.unique(view.predictions)) < 2:
        return [], 0  # a constant prediction has no order to find
    tried = len(_SHIFTS) + 3
    if count == 2:
        return [one for one in (_swapped(view), *_rows(view, tried)) if one], tried
    orders = list(_orders(view.classes))
    tried += len(orders)
    table = confusion_table(view.targets, view.predictions, count)
    found: list[Explanation | None] = []
    for words, meant in orders:
        if table[meant, np.arange(count)].sum() < _ORDER_RATIO * np.trace(table):
            continue
        one = of_predictions(
            "class order", words, before=view.predictions, after=meant[view.predictions],
            targets=view.targets, classes=count, tried=tried,
        )  # fmt: skip
        found.append(one and _naming(one, view.classes, np.arange(count), meant))
    found += [_permuted(view, table, halves), *_rows(view, tried)]
    return [one for one in found if one], tried


def _orders(classes: Sequence[str]) -> Iterator[tuple[str, Ints]]:
    """Yields orders with a name, and for each class of the model which one it means."""
    every, places = range(len(classes)), np.arange(len(classes))
    sorts = {
        "sorted as text": sorted(every, key=lambda at: classes[at]),
        "sorted as text, capitals alike": sorted(every, key=lambda at: classes[at].casefold()),
    }
    with suppress(ValueError):
        sorts["sorted as numbers"] = sorted(every, key=lambda at: float(classes[at]))
    made = {
        "class codes one lower": (places - 1) % len(classes),
        "class codes one higher": (places + 1) % len(classes),
    }
    for words, order in sorts.items():
        made[f"the model's classes {words}"] = np.array(order)
        made[f"the data's classes {words}"] = np.argsort(order)
    made["classes in reverse order"] = places[::-1]
    seen = {tuple(places)}
    for words, meant in made.items():
        if tuple(meant) not in seen:
            seen.add(tuple(meant))
            yield words, meant


def _swapped(view: ClassView) -> Explanation | None:
    """Returns the explanation that two classes are exchanged, decided by scores where they are."""
    accuracy = float(view.correct.mean())
    area = _area(view)
    below = (0.5 - area[0]) / area[1] if area else below_chance(view)
    if below < SURE:
        return None
    first, second = view.classes
    words = f"classes {first!r} and {second!r} swapped"
    more: dict[str, Any] = {"means": {first: second, second: first}}
    if area:
        more |= {"auroc": area[0], "auroc_undone": 1.0 - area[0]}
        words += f" (AUROC {area[0]:.3f} and {1.0 - area[0]:.3f})"
    return Explanation(
        cause="classes swapped", words=words, as_mapped=accuracy, undone=1.0 - accuracy,
        p=_tail(below), n=len(view), more=more,
    )  # fmt: skip


def below_half(view: ClassView) -> float | None:
    """Returns the AUROC of two classes where it is surely below a half, else None."""
    area = _area(view)
    return area[0] if area and (0.5 - area[0]) / area[1] > SURE else None


def below_chance(view: ClassView) -> float:
    """Returns by how many standard errors accuracy lies below that of the same answers in random
    order.
    """
    chance, error = by_chance(view.predictions, view.targets, len(view.classes))
    return (chance - float(view.correct.mean())) / (error * _widening(view)) if error else 0.0


def _area(view: ClassView) -> tuple[float, float] | None:
    """Returns the AUROC of two classes and its standard error; None where there is none."""
    if "area" not in view.shared:
        view.shared["area"] = _measured_area(view)
    found: tuple[float, float] | None = view.shared["area"]
    return found


def _measured_area(view: ClassView) -> tuple[float, float] | None:
    labels = view.targets == 1
    if len(view.classes) != 2 or view.ranking is None or not 1 <= labels.sum() < len(view):
        return None
    found = delong(view.ranking[:, 1], labels)
    # Where classes hardly overlap DeLong's variance is near 0: a rank test's takes its place.
    least = (len(view) + 1) / (12.0 * found.n_positive * found.n_negative)
    variance = max(found.variance if np.isfinite(found.variance) else 0.0, least)
    return float(found.auc), float(np.sqrt(variance)) * _widening(view)


def _widening(view: ClassView) -> float:
    """Returns by how much a standard error grows at most as clusters are drawn, not samples."""
    if view.clusters is None:
        return 1.0
    sizes = np.bincount(view.clusters).astype(np.float64)
    return float(np.sqrt((sizes**2).sum() / len(view)))


def _tail(errors: float) -> float:
    """Returns a bound of the chance of so many standard errors or more (Chernoff's)."""
    return float(np.exp(-errors * errors / 2.0))


def _permuted(view: ClassView, whole: Ints, halves: Halves) -> Explanation | None:
    """Returns the order that fits best, of those of its cycles that hold on the other half."""
    if not any(_better(whole, cycle) for cycle in _cycles(whole)):
        return None
    count = len(view.classes)
    first = halves.first(view.names, view.clusters)
    found = confusion_table(view.targets[first], view.predictions[first], count)
    judged = whole - found
    cycles = _cycles(found)
    kept = [
        cycle
        for cycle in cycles
        if _better(judged, cycle) and _p(judged, cycle) * len(cycles) < ALPHA / 10
    ]
    if not kept:
        return None
    both = _Cycle(*(np.concatenate(part) for part in zip(*kept, strict=True)))
    as_given, renamed, _ = _counts(whole, both)
    accuracy = float(np.trace(whole) / whole.sum())
    one = Explanation(
        cause="class order", words="classes in another order", as_mapped=accuracy,
        undone=accuracy + (renamed - as_given) / int(whole.sum()), n=int(whole.sum()),
        p=max(_p(judged, cycle) for cycle in kept) * len(cycles),
    )  # fmt: skip
    return _naming(one, view.classes, both.output, both.truth)


def _naming(one: Explanation, classes: Sequence[str], output: Ints, truth: Ints) -> Explanation:
    """Returns an explanation whose words and evidence say which class means which."""
    pairs = sorted(zip(output.tolist(), truth.tolist(), strict=True))
    names = {classes[label]: classes[meant] for label, meant in pairs if label != meant}
    shown = ", ".join(f"{label!r} means {meant!r}" for label, meant in list(names.items())[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return replace(one, words=f"{one.words} ({shown}{more})", more={"means": names})


def _cycles(table: Ints) -> list[_Cycle]:
    """Returns the cycles, of two classes or more, of the best permutation for a table."""
    own = np.diag(table)[:, None]
    if np.count_nonzero(table >= own) == len(table):
        return []  # each class is answered most for its own: no other order fits as well

    from scipy.optimize import linear_sum_assignment  # takes a fifth of a second to import

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


def _counts(table: Ints, cycle: _Cycle) -> tuple[int, int, int]:
    """Returns the right predictions of a cycle's samples as given and renamed, and the samples."""
    as_given = int(table[cycle.truth, cycle.truth].sum())
    return as_given, int(table[cycle.truth, cycle.output].sum()), int(table[cycle.truth].sum())


def _better(table: Ints, cycle: _Cycle) -> bool:
    as_given, renamed, n = _counts(table, cycle)
    return renamed >= _RATIO * as_given and 0 < renamed - as_given >= GAIN * n


def _p(table: Ints, cycle: _Cycle) -> float:
    """Returns the exact p-value of no difference: no sample is right both ways."""
    as_given, renamed, _ = _counts(table, cycle)
    return mcnemar_exact(renamed, as_given)


def _rows(view: ClassView, tried: int) -> Iterator[Explanation]:
    """Yields explanations by rows of other samples, where answers know nothing of the targets."""
    n, count = len(view), len(view.classes)
    accuracy = float(view.correct.mean())
    chance, error = by_chance(view.predictions, view.targets, count)
    if n < _FEWEST or abs(accuracy - chance) > SURE * error:
        return
    for words, after in _moved(view.predictions):
        one = of_predictions(
            "rows", words, before=view.predictions, after=after, targets=view.targets,
            classes=count, tried=tried,
        )  # fmt: skip
        if one:
            yield one


def unrelated_rows(view: ClassView) -> Explanation | None:
    """Returns the explanation that answers are those of other samples, in no order to be found:
    sure answers, as many of each class as there should be, that know nothing of the targets.

    Where all are certain that says nothing: a tree grown to its end is, whatever it has learnt.
    """
    n, count = len(view), len(view.classes)
    if n < _FEWEST or view.confidence is None:
        return None
    accuracy, confidence = float(view.correct.mean()), float(view.confidence.mean())
    chance, error = by_chance(view.predictions, view.targets, count)
    shares = [np.bincount(part, minlength=count) / n for part in (view.targets, view.predictions)]
    apart = 0.5 * float(np.abs(shares[0] - shares[1]).sum())
    short = confidence - accuracy
    if (
        not error
        or view.confidence.min() > 1.0 - 1e-6
        or abs(accuracy - chance) > SURE * error
        or short < max(_SHORT, 2.0 * SURE * error)
        or apart > _ALIKE + 0.5 * np.sqrt(count / n)
    ):
        return None
    return Explanation(
        cause="rows",
        words="each answer joined to its own sample (unless the model is merely overconfident)",
        as_mapped=accuracy, undone=confidence, p=_tail(short / error), n=n,
    )  # fmt: skip


def _moved(predictions: Any) -> Iterator[tuple[str, Any]]:
    for shift in _SHIFTS:
        way = "down" if shift > 0 else "up"
        yield f"answers {abs(shift)} rows further {way}", np.roll(predictions, shift)
    yield "answers in reverse order of rows", predictions[::-1]


def number_explanations(predictions: Floats, targets: Floats) -> tuple[list[Explanation], int]:
    """Returns what explains a model's wrong numbers, and how many explanations were tried."""
    n = len(targets)
    if n < 2 or not predictions.std() or not targets.std():
        return [], 0
    changes = [("unit", f"answers {words}", undo(predictions)) for words, undo in UNITS]
    changes.append(("sign", "the sign of answers turned", -predictions))
    if (predictions > 0).all():
        changes.append(("logarithm", "logarithms of the answers", np.log(predictions)))
    if predictions.max() < 50.0:
        changes.append(("logarithm", "answers as logarithms", np.exp(predictions)))
        changes.append(("logarithm", "answers as log(1 + x)", np.expm1(predictions)))
    association = abs(float(np.corrcoef(predictions, targets)[0, 1])) * np.sqrt(n)
    if n >= _FEWEST and association < SURE:
        changes += [("rows", words, after) for words, after in _moved(predictions)]
    found = [
        of_numbers(
            cause, words, before=predictions, after=after, targets=targets, tried=len(changes)
        )
        for cause, words, after in changes
    ]
    return [one for one in found if one], len(changes)
