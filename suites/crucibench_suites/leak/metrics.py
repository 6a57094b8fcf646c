"""The suite's metrics: what each is called and means, its form, and its reference."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.statistic import (
    Floats,
    Form,
    Interval,
    Ranking,
    RowMetric,
    Share,
    Statistic,
)
from crucibench.metrics.forms import as_rows
from crucibench.metrics.statistic import SharedParts
from crucibench.stats import clopper_pearson

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Flagged:
    """Which samples have a property, shape (n,)."""

    flags: Bools

    def __len__(self) -> int:
        return len(self.flags)


@dataclass(frozen=True)
class Membership:
    """How likely each sample was trained on, as its loss says, and whether it was.

    Attributes:
        scores: shape (n,): minus the loss, the higher the likelier a member.
        members: shape (n,): whether it is of the train role.
    """

    scores: Floats
    members: Bools

    def __len__(self) -> int:
        return len(self.scores)


def _share(id_: str, name: str, definition: str, direction: str = "lower") -> Metric:
    info = MetricInfo(id=id_, name=name, direction=direction, definition=definition, lower=0,
                      upper=1)  # fmt: skip
    return Metric(
        info=info, kinds=("flagged samples",), form=lambda view: Share(view.flags),
        reference=lambda view: sum(map(bool, view.flags)) / len(view) if len(view) else np.nan,
        examples=lambda: [Flagged(np.arange(60) % 7 == 0), Flagged(np.zeros(60, dtype=np.bool_))],
    )  # fmt: skip


NEAR = _share(
    "near-duplicate-share",
    "near-duplicates",
    "The share of test samples that have a near-duplicate: at the point train in the train role, "
    "at the point test among the test samples before it.",
)
DOUBTFUL = _share(
    "doubtful-label-share",
    "doubtful labels",
    "The share of test samples whose label is doubtful by confident learning: the likeliest class "
    "of those with a probability of at least the mean that samples labelled so have is another.",
    direction="none",
)
TOP_1_LOWEST = _share(
    "top-1-lowest",
    "accuracy, doubtful labels against it",
    "The share of right predictions, if each doubtful label were the one of the given and the "
    "suggested class that makes the prediction wrong.",
    direction="higher",
)
TOP_1_HIGHEST = _share(
    "top-1-highest",
    "accuracy, doubtful labels in its favour",
    "The share of right predictions, if each doubtful label were the one of the given and the "
    "suggested class that makes the prediction right, where one does.",
    direction="higher",
)

EFFECT = MetricInfo(
    id="near-duplicate-effect",
    name="effect of near-duplicates",
    direction="none",
    definition="The metric that the point names, of all test samples, minus the same without those "
    "that have a near-duplicate in the train role or among the test samples before them.",
)
RANK = MetricInfo(
    id="top-1-rank",
    name="rank by accuracy",
    direction="lower",
    definition="1 plus the number of models of the run on this data that are more often right. The "
    "interval holds every rank that sampling and any relabelling of doubtful labels leave open.",
    lower=1,
)


def effect(form: Form, of_fresh: SharedParts[tuple[Bools, Floats]]) -> RowMetric:
    """Returns a metric of all samples minus the same of those that are fresh.

    Args:
        form: the metric's.
        of_fresh: gives what `fresh_weights` does, shared by metrics of the same samples.
    """
    whole = as_rows(form)

    def compute(weights: Floats) -> Floats:
        mixed, only = of_fresh(weights)
        values = whole(weights)
        less = values.copy()
        less[mixed] = whole(only)
        return values - less

    return RowMetric(compute, cost=2)


def fresh_weights(fresh: Bools) -> SharedParts[tuple[Bools, Floats]]:
    """Returns in which rows of weights (b, n) any sample is not fresh (n,), and their weights.

    These are 0 for samples that are not fresh, shape (rows, n), read-only.
    """

    def compute(weights: Floats) -> tuple[Bools, Floats]:
        mixed: Bools = np.any(weights[:, ~fresh], axis=1)
        only = weights[mixed] * fresh
        only.flags.writeable = False  # so that metrics share what they make of them
        return mixed, only

    return SharedParts(compute)


def _tpr(view: Membership, fpr: float) -> RowMetric:
    order = np.argsort(-view.scores, kind="stable")
    last = np.append(np.diff(view.scores[order]) != 0, True)
    members = view.members[order]

    def compute(weights: Floats) -> Floats:
        ordered = weights[:, order]
        false = np.cumsum(ordered * ~members, axis=1)
        true = np.cumsum(ordered * members, axis=1)
        # A threshold lies between different scores; the lowest that flags few enough flags most.
        allowed = last & (false <= fpr * false[:, -1:] + 1e-9)
        return np.asarray(np.where(allowed, true, 0.0).max(axis=1) / true[:, -1])

    return RowMetric(
        Statistic(n=len(view), compute=compute), closed=partial(tpr_interval, view, fpr)
    )


def tpr_interval(view: Membership, fpr: float, level: float) -> Interval:
    """Returns an interval that never covers less than the level.

    The threshold of the population lies between two others' scores, by the binomial number of them
    above it; the share of members above each of these has Clopper and Pearson's bounds.
    """
    others, own = np.sort(view.scores[~view.members])[::-1], view.scores[view.members]
    part = (1 - level) / 4
    fewest, most = (int(binom.ppf(p, len(others), fpr)) for p in (part, 1 - part))
    above = int((own > others[fewest - 1]).sum()) if fewest else 0
    at_least = int((own >= others[most]).sum()) if most < len(others) else len(own)
    bounds = [clopper_pearson(k, len(own), 1 - 2 * part) for k in (above, at_least)]
    return Interval(bounds[0].lower, bounds[1].upper, level, "order-statistics-clopper-pearson")


def _tpr_reference(view: Membership, fpr: float) -> float:
    from sklearn.metrics import roc_curve

    if view.members.all() or not view.members.any():
        return float("nan")
    false, true, _ = roc_curve(view.members, view.scores, drop_intermediate=False)
    return float(true[false <= fpr + 1e-12].max())


def _lacking(view: Membership, least: int) -> str:
    others = int((~view.members).sum())
    if not view.members.any() or not others:
        return "it needs samples of both roles"
    if others < least:
        return f"it needs at least {least:,} test samples: one of {others} is more than that share"
    return ""


def _membership(seed: int, others: int, members: int) -> Membership:
    rng = np.random.default_rng(seed)
    known = np.repeat([False, True], [others, members])
    return Membership(np.round(rng.normal(size=len(known)) + known, 2), known)


def _tpr_metric(fpr: float, name: str, percent: str) -> Metric:
    least = round(1 / fpr)
    info = MetricInfo(
        id=f"membership-tpr-at-fpr-{name}",
        name=f"membership TPR at {percent} % FPR",
        direction="lower",
        definition="The largest share of train samples whose loss lies below a threshold below "
        f"which at most {percent} % of the test samples' losses lie. {fpr:g} is chance.",
        source="Carlini et al., Membership inference attacks from first principles, S&P 2022; the "
        "score is the loss: Yeom et al., CSF 2018",
        lower=0,
        upper=1,
    )
    return Metric(
        info=info, kinds=("membership",), form=partial(_tpr, fpr=fpr),
        reference=partial(_tpr_reference, fpr=fpr), applies=lambda view: _lacking(view, least),
        examples=lambda: [_membership(seed, 2 * least, 300) for seed in (0, 1)],
    )  # fmt: skip


def _auroc_reference(view: Membership) -> float:
    own, others = view.scores[view.members], view.scores[~view.members]
    if not len(own) or not len(others):
        return float("nan")
    apart = own[:, None] - others
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


AUROC = Metric(
    info=MetricInfo(
        id="membership-auroc", name="membership AUROC", direction="lower", lower=0, upper=1,
        definition="The probability that a train sample's loss lies below a test sample's, ties "
        "counting half; 0.5 is chance.",
        source="Yeom et al., CSF 2018",
    ),
    kinds=("membership",),
    form=lambda view: Ranking(view.scores, view.members),
    reference=_auroc_reference,
    applies=lambda view: _lacking(view, 1),
    examples=lambda: [_membership(0, 30, 40), _membership(1, 50, 20)],
)  # fmt: skip
TPR_1 = _tpr_metric(0.01, "1e-2", "1")
TPR_01 = _tpr_metric(0.001, "1e-3", "0.1")

OF_MEMBERSHIP = (AUROC, TPR_1, TPR_01)
OF_LABELS = (DOUBTFUL, TOP_1_LOWEST, TOP_1_HIGHEST)
