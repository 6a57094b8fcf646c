"""Numbers of a model that was asked about the same samples several times: means over askings.

A number is made of each asking's answers, as it would be of the only one, and their mean is a
statistic of the same samples. So whatever draws samples draws all answers to a sample with it, and
answers to one sample are never taken for independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import (
    BoundedMean,
    Form,
    Interval,
    Number,
    Ranking,
    RowMetric,
    Share,
    TableMetric,
)
from crucibench.metrics.forms import as_rows, bounded_by, counted
from crucibench.metrics.trainings import influence_of
from crucibench.stats import bounded_mean
from crucibench.stats.weighted import average

Floats = NDArray[np.float64]


def numbers_of_cell(scenario: Scenario, evidence: Evidence) -> Sequence[Number]:
    """Returns a scenario's numbers; those of several askings are means over them.

    Where all askings agree, beyond float noise, they are the first asking's, with its intervals.
    """
    count = scenario.askings(evidence)
    if count == 1 or not any(cell.unsteady.any() for cell in evidence.needs.values()):
        return scenario.numbers(evidence)
    each: list[dict[tuple[str, str, str], Number]] = []
    for asking in range(count):
        needs = {alias: cell.asking(asking) for alias, cell in evidence.needs.items()}
        numbers = scenario.numbers(replace(evidence, needs=needs))
        each.append({(one.metric, one.point, one.group): one for one in numbers})
    own = evidence.own.samples
    return [_over([found[key] for found in each if key in found], count, own) for key in each[0]]


def _over(numbers: Sequence[Number], count: int, own: Samples) -> Number:
    """Returns the mean of one number over its askings."""
    first = numbers[0]
    without = [one.undefined for one in numbers if one.make is None]
    lost = len(without) + count - len(numbers)
    if len(without) == count:
        return first
    if lost:
        reason = without[0] if without else "there is no such number"
        return replace(first, make=None, undefined=f"in {lost} of {count} askings: {reason}")
    forms, samples = [one.form for one in numbers], first.samples or own
    # An extreme of groups is no smooth function of samples, and neither is a mean of such.
    if any(isinstance(form, RowMetric) and form.extreme is not None for form in forms) or any(
        not np.array_equal((one.samples or own).ids, samples.ids) for one in numbers
    ):
        return replace(first, note=_noted(first, f"of the first of {count} askings"))
    trials = [int(counted(form)[1].sum()) for form in forms if isinstance(form, Share)]
    return replace(
        first, make=partial(mean_over_askings, forms, len(samples)),
        n=min(trials, default=None) if first.n is None else first.n,
        note=_noted(first, f"mean over {count} askings"),
    )  # fmt: skip


def _noted(number: Number, note: str) -> str:
    return "; ".join(filter(None, (number.note, note)))


def mean_over_askings(forms: Sequence[Form], n: int) -> RowMetric:
    """Returns the mean of the forms of one number, all over the same n samples."""
    means = [found for form in forms if (found := bounded_by(form)) is not None]
    parts = [form for form in forms if isinstance(form, RowMetric)]
    rare = [few for form in forms if (few := _rare(form)) is not None]
    return RowMetric(
        average([as_rows(form) for form in forms], n), partial(_influence, forms),
        parts[0].bias if parts else "none", sum(form.cost for form in parts) or len(forms),
        parts[0].parts if parts else 1, closed=_closed(forms),
        bounded=_bounded(means) if len(means) == len(forms) else None,
        rare=min(rare, default=None), askings=tuple(forms),
    )  # fmt: skip


def _influence(forms: Sequence[Form]) -> Floats | None:
    each = [found for form in forms if (found := influence_of(form)) is not None]
    return np.mean(each, axis=0) if len(each) == len(forms) else None


def _bounded(means: Sequence[BoundedMean]) -> BoundedMean:
    labelled = [one.by_label for one in means if one.by_label is not None]
    return BoundedMean(
        np.mean([one.values for one in means], axis=0),
        float(np.mean([one.lower for one in means])), float(np.mean([one.upper for one in means])),
        (lambda: np.mean([one() for one in labelled], axis=0)) if len(labelled) == len(means)
        else None,
    )  # fmt: skip


def _closed(forms: Sequence[Form]) -> Callable[[float], Interval] | None:
    """Returns the interval of a mean of shares of the same samples: of each sample's mean."""
    shares = [form for form in forms if isinstance(form, Share) and form.of_share is None]
    if len(shares) < len(forms) or not all(share.same_samples for share in shares):
        return None
    found = [counted(share) for share in shares]
    among = found[0][1]
    if not among.any() or any(not np.array_equal(among, other) for _, other in found):
        return None
    values = np.mean([hits for hits, _ in found], axis=0)[among]
    return lambda level: bounded_mean(values, 0.0, 1.0, level)


def _rare(form: Form) -> int | None:
    """Returns how many samples have the rarer of the outcomes that a form is made of."""
    if isinstance(form, Share):
        hits, among = counted(form)
        return None if form.same_samples else int(min(hits.sum(), among.sum() - hits.sum()))
    if isinstance(form, Ranking):
        return int(min(form.positives.sum(), (~form.positives).sum()))
    if isinstance(form, TableMetric):
        support = np.bincount(form.targets, minlength=form.classes)
        wrong = int((form.predictions != form.targets).sum())
        return min(wrong, int(support[support > 0].min()))
    return form.rare
