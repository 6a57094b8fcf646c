"""What is computed of sketches and passes: near-duplicates, doubtful labels, membership."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, Scored
from crucibench.contracts.metric import MetricInfo, metrics_named
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Floats, Form, Number, RowMetric, Units
from crucibench.contracts.task import TaskKind
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.statistic import SharedParts
from crucibench.stats import newcombe_paired
from crucibench.tasks.classification.view import Bools, ClassView, Ints
from crucibench_suites.leak import metrics
from crucibench_suites.leak.embeddings import embedded
from crucibench_suites.leak.metrics import Flagged, Membership
from crucibench_suites.leak.sketches import features_of, partners

WITHOUT = "without near-duplicates"
"""The point of numbers of those samples alone that are new."""

CROSS_VALIDATED = "cross-validated"
"""The setting by which a forest judges labels, trained on the other folds of the test role."""

_FOLDS, _TREES = 5, 200


@dataclass(frozen=True, kw_only=True)
class NearDuplicates(Derived):
    """Which test samples are not new, and what each number is without them."""

    suite: str = "leak"
    name: str = "near-duplicates"
    metrics: tuple[MetricInfo, ...] = ()  # type: ignore[misc]

    version: ClassVar[int] = 2
    perturbs: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = ("near-duplicates",)

    @classmethod
    def of(cls, kind: TaskKind, *, train: bool, embedding: str | None = None) -> NearDuplicates:
        """Returns the scenario of a kind of task, and of a model whose features are looked at."""
        roles = ("train", "test") if train else ("test",)
        sketches = [Need(alias=role, cell=f"leak/sketches/{role}") for role in roles]
        if embedding is not None:
            outputs = frozenset({"features"})
            sketches += [
                Need(alias=f"features/{role}", cell=f"pass/{role}", model=embedding,
                     outputs=outputs)
                for role in roles
            ]  # fmt: skip
        judged = metrics_named(kind.metrics)
        names = [one.name for one in judged if not one.by_class]
        return cls(
            needs=(Need(alias="pass", cell="pass/test"), *sketches),
            points=(*roles, *names, WITHOUT),
            parameters={} if embedding is None else {"embedding": embedding},
            metrics=(metrics.NEAR.info, metrics.EFFECT, *(one.info for one in judged)),
        )

    def derive(self, evidence: Evidence) -> Columns:
        """Returns for each test sample which one it repeats: ids, empty for none."""
        needs = evidence.needs
        test = needs["test"]
        columns: dict[str, object] = {"id": list(test.samples.ids)}
        for role in (one for one in ("test", "train") if one in needs):
            other = None if role == "test" else needs[role]
            found = partners(test, other, evidence.task.modality)
            if "embedding" in self.parameters:
                pairs = [(needs[name], needs[f"features/{name}"]) for name in ("test", role)]
                more = embedded(pairs[0], None if other is None else pairs[1], found < 0)
                found = np.maximum(found, more)
            ids = needs[role].samples.ids
            columns[role] = [ids[row] if row >= 0 else "" for row in found]
        return columns

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the shares, the effect on each number, and the numbers without them."""
        kind, cell, repeats = evidence.task.definition, evidence.needs["pass"], repeated(evidence)
        found = [
            number
            for role, flags in repeats.items()
            for number in numbers_of([metrics.NEAR], Flagged(flags), point=role)
        ]
        fresh = ~np.any(list(repeats.values()), axis=0)
        if fresh.all():
            return found
        judged = [one for one in metrics_named(kind.metrics) if not one.by_class]
        of_fresh = metrics.fresh_weights(fresh)
        for number in numbers_of(judged, kind.view(cell, evidence.task)):
            make = number.make and partial(_effect, number.make, of_fresh)
            found.append(replace(number, metric=metrics.EFFECT.id, point=number.metric, make=make))
        samples = cell.samples.take(np.flatnonzero(fresh))
        if len(samples):
            view = kind.view(cell, evidence.task, samples.ids)
            found += numbers_of(judged, view, point=WITHOUT, units=Units(samples, WITHOUT))
        return found


def _effect(make: Callable[[], Form], of_fresh: SharedParts[tuple[Bools, Floats]]) -> RowMetric:
    return metrics.effect(make(), of_fresh)


def repeated(evidence: Evidence) -> dict[str, Bools]:
    """Returns by role which test samples have a near-duplicate there, (n,) each."""
    records = evidence.own.records.aligned(evidence.needs["pass"].samples.ids)
    return {
        role: np.asarray(records.array(role) != "") for role in ("train", "test") if role in records
    }


@dataclass(frozen=True, kw_only=True)
class Labels(Derived):
    """Which labels of the test role are doubtful, and what that leaves open of the accuracy.

    Attributes:
        others: the other models of the run, which the model is ranked among.
    """

    suite: str = "leak"
    name: str = "labels"
    others: tuple[str, ...] = ()

    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        *(metric.info for metric in metrics.OF_LABELS),
        metrics.RANK,
    )
    audits: ClassVar[tuple[str, ...]] = ("doubtful-labels",)

    @classmethod
    def of(cls, judge: str, own: str, models: Sequence[str]) -> Labels:
        """Returns the scenario.

        Args:
            judge: `CROSS_VALIDATED`, or the model whose probabilities judge.
            own: the model.
            models: those of the run, the model among them.
        """
        others = [name for name in models if name != own]
        judges = Need(alias="judge", cell="leak/sketches/test")
        if judge != CROSS_VALIDATED:
            scores = frozenset({"scores"})
            judges = Need(alias="judge", cell="pass/test", model=judge, outputs=scores)
        return cls(
            others=tuple(others), parameters={"judge": judge, "models": sorted(models)},
            needs=(
                Need(alias="pass", cell="pass/test"), judges,
                *(Need(alias=f"other/{name}", cell="pass/test", model=name, optional=True)
                  for name in others),
            ),
        )  # fmt: skip

    def derive(self, evidence: Evidence) -> Columns:
        """Returns each test sample's probabilities by the judge: those of a model of the run, or
        of forests that were not trained on it, nor on a sample of its cluster.
        """
        judge, samples = evidence.needs["judge"], evidence.needs["pass"].samples
        if self.parameters["judge"] != CROSS_VALIDATED:
            kind = evidence.task.definition
            found = kind.view(judge, evidence.task, samples.ids).probabilities
        else:
            found = _cross_validated(features_of(judge), samples, evidence)
        if found is None:
            raise ValueError(f"model {self.parameters['judge']!r} gives no probabilities")
        return {"id": list(samples.ids), "probability": found}

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the share of doubtful labels and the bounds of the accuracy."""
        view, doubtful = doubts(evidence)
        given, suggested = (view.predictions == labels for labels in (view.targets, doubtful.guess))
        flags = doubtful.flags
        return [
            number
            for metric, hits in zip(
                metrics.OF_LABELS,
                (flags, given & ~flags, given | (flags & suggested)),
                strict=True,
            )
            for number in numbers_of([metric], Flagged(hits))
        ]

    def score(self, evidence: Evidence) -> Scored:
        """Computes the rank among the run's models, and lists the most doubtful labels."""
        view, doubtful = doubts(evidence)
        known = [evidence.needs.get(f"other/{name}") for name in self.others]
        others = [_view(cell, evidence) for cell in known if cell is not None]
        classes = np.array(evidence.task.classes, dtype=object)
        rows = doubtful.order[:20]
        table = pd.DataFrame(
            {
                "id": view.ids[rows],
                "given": classes[view.targets[rows]],
                "suggested": classes[doubtful.guess[rows]],
                "probability of given": doubtful.given[rows],
            }
        )
        if not others:
            row = Row(metric=metrics.RANK.id, value=None, n=len(view),
                      reason="there is no other model to rank it among")  # fmt: skip
        else:
            row = _rank(view, others, doubtful, evidence.options.level)
        return Scored([row], {"doubtful": table})


@dataclass(frozen=True)
class Doubts:
    """Labels that confident learning doubts.

    Attributes:
        flags: which, shape (n,).
        guess: the class that it suggests; the given one where there is no doubt, (n,).
        given: the probability of the given label, (n,).
        order: rows of the doubtful, least probable first.
    """

    flags: Bools
    guess: Ints
    given: Floats
    order: Ints


def confident_learning(probabilities: Floats, labels: Ints) -> Doubts:
    """Returns which labels are doubtful.

    A sample counts for the class of which it has at least the mean probability that samples
    labelled so have (the likeliest of several); one that counts for another class than its label,
    which is not its likeliest class either, is doubtful.

    Args:
        probabilities: out-of-sample, shape (n, K).
        labels: class indices, shape (n,).

    Source:
        Northcutt, Jiang and Chuang, Confident learning, JAIR 70 (2021); the off-diagonal entries of
        the confident joint, as cleanlab's ``find_label_issues(filter_by="confident_learning")``.
    """
    n, classes = probabilities.shape
    given = probabilities[np.arange(n), labels]
    counts = np.bincount(labels, minlength=classes)
    means = np.bincount(labels, weights=given, minlength=classes) / np.maximum(counts, 1)
    means[counts == 0] = np.inf
    confident = probabilities >= means - 1e-6
    guess = np.where(confident, probabilities, -1.0).argmax(axis=1)
    guess[~confident.any(axis=1)] = labels[~confident.any(axis=1)]
    flags = (guess != labels) & (given < probabilities.max(axis=1))
    guess = np.where(flags, guess, labels)
    rows = np.flatnonzero(flags)
    return Doubts(flags, guess, given, rows[np.argsort(given[rows], kind="stable")])


def doubts(evidence: Evidence) -> tuple[ClassView, Doubts]:
    """Returns the model's answers and the doubtful labels."""
    view = _view(evidence.needs["pass"], evidence)
    probabilities = evidence.own.records.aligned(view.ids).array("probability")
    return view, evidence.once("doubts", lambda: confident_learning(probabilities, view.targets))


def _view(cell: CellEvidence, evidence: Evidence) -> ClassView:
    ids = evidence.needs["pass"].samples.ids
    view: ClassView = evidence.task.definition.view(cell, evidence.task, ids)
    return view


def _cross_validated(features: Floats, samples: Samples, evidence: Evidence) -> Floats:
    """Returns probabilities by forests, of samples that each was not trained on, (n, K)."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    seed, targets = evidence.options.seed, samples.targets.astype(np.int64)
    folds = StratifiedKFold if samples.clusters is None else StratifiedGroupKFold
    found = np.zeros((len(samples), len(evidence.task.classes)))
    parts = folds(_FOLDS, shuffle=True, random_state=seed)
    for fit, judged in parts.split(features, targets, samples.clusters):
        forest = RandomForestClassifier(_TREES, random_state=seed, n_jobs=1)
        forest.fit(features[fit], targets[fit])
        found[np.ix_(judged, forest.classes_)] = forest.predict_proba(features[judged])
    return found


def _rank(own: ClassView, others: Sequence[ClassView], doubtful: Doubts, level: float) -> Row:
    labels = (own.targets, doubtful.guess)
    behind = ahead = above = 0
    n = len(doubtful.flags)
    for other in others:
        # Of the given and the suggested label, whichever is worse for this model, or better.
        leads = [
            (own.predictions == one).astype(int) - (other.predictions == one) for one in labels
        ]
        part = 1 - (1 - level) / len(others)
        intervals = [_paired(lead, part) for lead in (np.minimum(*leads), np.maximum(*leads))]
        ahead += intervals[0][0] > 0
        behind += intervals[1][1] < 0
        above += leads[0].sum() < 0
    return Row(
        metric=metrics.RANK.id, value=1 + int(above), lower=1 + behind,
        upper=len(others) + 1 - ahead, level=level, n=n, estimand="model/population",
        method=f"newcombe-paired, {len(others)} pairs, any relabelling of doubtful labels",
    )  # fmt: skip


def _paired(lead: NDArray[np.int_], level: float) -> tuple[float, float]:
    more, less = int((lead > 0).sum()), int((lead < 0).sum())
    lower, upper, _, _ = newcombe_paired(0, more, less, len(lead) - more - less, level)
    return lower, upper


@dataclass(frozen=True, kw_only=True)
class TrainedOn(Derived):
    """Whether membership in the train role can be inferred from the loss."""

    suite: str = "leak"
    name: str = "membership"
    needs: tuple[Need, ...] = tuple(
        Need(alias=role, cell=f"pass/{role}", outputs=frozenset({"scores"}))
        for role in ("train", "test")
    )

    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(one.info for one in metrics.OF_MEMBERSHIP)
    audits: ClassVar[tuple[str, ...]] = ("membership",)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns how well it can."""
        view, units = membership(evidence)
        found = numbers_of(metrics.OF_MEMBERSHIP, view, units=units)
        return [
            one if one.make else Number(metric=one.metric, undefined=one.undefined, n=len(view))
            for one in found
        ]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns the ROC curve, at no more than 200 places."""
        view, _ = membership(evidence)
        order = np.argsort(-view.scores, kind="stable")
        members = view.members[order]
        rates = [np.cumsum(one) / max(1, one.sum()) for one in (~members, members)]
        at = np.unique(np.linspace(0, len(order) - 1, 200).astype(int))
        return {
            "roc": pd.DataFrame(
                {"false_positive_rate": rates[0][at], "true_positive_rate": rates[1][at]}
            )
        }


def membership(evidence: Evidence) -> tuple[Membership, Units]:
    """Returns losses of both roles, train first, and what they are drawn over: role by role."""
    kind = evidence.task.definition
    cells = [evidence.needs[role] for role in ("train", "test")]
    losses = [kind.view(cell, evidence.task).loss for cell in cells]
    members = np.repeat([True, False], [len(loss) for loss in losses])
    clusters = [cell.samples.clusters for cell in cells]
    joined = None
    if all(one is not None for one in clusters):
        joined = _named(clusters)
    samples = Samples(
        _named([cell.samples.ids for cell in cells]),
        np.concatenate([cell.samples.targets for cell in cells]),
        pd.DataFrame(index=range(len(members))), joined,
    )  # fmt: skip
    units = evidence.once("units", lambda: Units(samples, "membership", (~members).astype(int)))
    return Membership(-np.concatenate(losses), members), units


def _named(parts: Sequence[NDArray[np.object_] | None]) -> NDArray[np.object_]:
    return np.array(
        [
            f"{place} {name}"
            for place, part in enumerate(parts)
            if part is not None
            for name in part
        ],
        dtype=object,
    )
