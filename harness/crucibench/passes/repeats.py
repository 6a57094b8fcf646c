"""The same questions again: how noisy a model without a fingerprint is, and if it is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.rows import Row
from crucibench.metrics.catalogue import metric_info
from crucibench.passes.probes import answer_labels

SAME_MODEL = "same-model"
"""The probe that a model without a fingerprint answers several times when a cell begins."""
SAMPLES = 16
"""How many samples it holds."""
REPEATS = 8
"""How often they are asked about."""
FLIP_RATE = metric_info("repeat-flip-rate")
SCORE_NOISE = metric_info("repeat-score-noise")

_FALSE_ALARMS = 1e-6
_ROUNDS = (1, 4, 12)
"""After so many further askings those that look like the first ones are believed."""

Numbers = NDArray[np.float64]
Ask = Callable[[], Numbers]


def repeated(batch: Batch, ask: Ask) -> Columns:
    """Returns the records of the first askings: a row per sample and draw."""
    answers = [ask() for _ in range(REPEATS)]
    return {
        "id": list(batch.ids) * REPEATS,
        "draw": np.repeat(np.arange(REPEATS, dtype=np.int32), len(batch)),
        "answer": np.concatenate(answers),
    }


def still_the_same(first: Records, ask: Ask, *, labels: bool, noise: float, times: int) -> bool:
    """Asks again, as often as it takes, whether it is still the model of the first askings.

    Args:
        first: the records of `repeated`.
        ask: asks the same batch once more.
        labels: whether answers are labels, else numbers.
        noise: how far float noise alone may move an answer, relative to the larger of it and 1.
        times: how often a cell may come to this question: the chance that an honest model, however
            noisy, fails any of them is one in a million.
    """
    # SciPy: not for a run that is finished already.
    from crucibench.stats.repeats import differ_beyond_noise, looks_other, repeats_needed

    before = _draws(first)
    needed = repeats_needed(len(before), _FALSE_ALARMS, times)
    again: list[Numbers] = []
    for asked in (*_ROUNDS, needed):
        again += [ask() for _ in range(asked - len(again))]
        if any(one.shape != before.shape[1:] for one in again):
            return False
        old, new = _questions(before, np.stack(again), labels)
        if 2 * int(looks_other(old, new, noise).sum()) < len(again):
            return True
    return not differ_beyond_noise(old, new, noise)


def noise_rows(evidence: Evidence) -> list[Row]:
    """Returns how far a model without a fingerprint lies from itself."""
    probe = evidence.own.probes.get(SAME_MODEL)
    if evidence.own.model.fingerprint is not None or probe is None:
        return []
    draws, level = _draws(probe), evidence.options.level
    columns = evidence.own.records
    regression = evidence.task.one_number
    return [
        _flip_rate(draws, level, regression=regression),
        _score_noise(draws, level, labels=not regression and "scores" not in columns),
    ]


def _flip_rate(draws: Numbers, level: float, *, regression: bool) -> Row:
    from crucibench.stats.delong import hoeffding_interval

    samples = draws.shape[1]
    if regression:
        return Row(metric=FLIP_RATE.id, value=None, n=samples, reason="a number has no label")
    labels = np.stack([answer_labels(draw) for draw in draws])
    pairs = np.triu_indices(len(labels), 1)
    share = float((labels[pairs[0]] != labels[pairs[1]]).mean())
    lower, upper, *_ = hoeffding_interval(share, samples, level)
    return Row(
        metric=FLIP_RATE.id, value=share, lower=lower, upper=upper, level=level, n=samples,
        method=f"hoeffding-kl over samples, each asked {len(labels)} times",
    )  # fmt: skip


def _score_noise(draws: Numbers, level: float, *, labels: bool) -> Row:
    from crucibench.stats import student_t

    samples = draws.shape[1]
    if labels:
        reason = "the model gives labels alone"
        return Row(metric=SCORE_NOISE.id, value=None, n=samples, reason=reason)
    # About the first draw: equal answers have no variance then, not even that of rounding.
    variances = (draws - draws[0]).var(axis=0, ddof=1).mean(axis=1)
    value = float(np.sqrt(variances.mean()))
    if samples < 2 or not value:
        reason = "all repeats agree" if not value else "one sample gives no interval"
        return Row(metric=SCORE_NOISE.id, value=value, n=samples, reason=reason)
    lower, upper, *_ = student_t(variances, level)
    return Row(
        metric=SCORE_NOISE.id, value=value, lower=float(np.sqrt(max(0.0, lower))),
        upper=float(np.sqrt(upper)), level=level, n=samples,
        method=f"student-t of variances over samples, each asked {len(draws)} times",
    )  # fmt: skip


def _draws(records: Records) -> Numbers:
    """Returns the first askings' answers, shape (draws, samples, columns)."""
    answers = records.array("answer").astype(np.float64)
    count = int(records.array("draw").max()) + 1
    found: Numbers = answers.reshape(count, len(answers) // count, -1)
    return found


def _questions(first: Numbers, again: Numbers, labels: bool) -> tuple[Any, Any]:
    """Returns answers as columns of numbers; of labels, a column per sample and label."""
    if labels:
        known = np.unique(np.concatenate([first.ravel(), again.ravel()]))
        first, again = ((part == known).astype(np.float64) for part in (first, again))
    return first.reshape(len(first), -1), again.reshape(len(again), -1)
