"""The audits of the clean scenario."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc

from crucibench.contracts.audit import Audit, Find
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings
from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.probabilistic import SMALLEST, log_losses
from crucibench.metrics.scoring import rows_of
from crucibench.stats import auc, auc_interval
from crucibench.stats.ranks import average_ranks
from crucibench.tasks.classification.view import Bools, ClassView, Floats
from crucibench.util.ids import contents

_SHOWN = 5
_DEFAULT = 0.5


def missing_classes(answers: ClassView) -> Findings:
    """Reports classes without a sample: averages over classes leave them out or are undefined."""
    support = np.bincount(answers.targets, minlength=len(answers.classes))
    missing = [name for name, count in zip(answers.classes, support, strict=True) if not count]
    if not missing:
        return []
    shown = ", ".join(repr(name) for name in missing[:_SHOWN])
    more = ", ..." if len(missing) > _SHOWN else ""
    message = (
        f"{len(missing)} of {len(answers.classes)} classes have no test sample ({shown}{more}): "
        "averages over classes leave them out or are undefined"
    )
    evidence = {"missing": missing, "classes": len(answers.classes)}
    return [
        Finding(
            code="classes-without-samples",
            severity=Severity.INFO,
            message=message,
            evidence=evidence,
        )
    ]


def threshold_not_applied(answers: ClassView) -> Findings:
    """Flags a threshold other than 0.5 for a model whose probabilities are not known."""
    if answers.positive is None or answers.at_threshold or answers.threshold == _DEFAULT:
        return []
    message = (
        f"the decision threshold {answers.threshold:g} was not applied, since {answers.why_none}: "
        "the model's own labels are scored"
    )
    evidence = {"threshold": answers.threshold, "positive": answers.classes[answers.positive]}
    return [
        Finding(
            code="threshold-not-applied",
            severity=Severity.SUSPECT,
            message=message,
            evidence=evidence,
        )
    ]


def zero_probabilities(answers: ClassView) -> Findings:
    """Reports samples whose target is given a probability of 0: log loss is infinite there.

    Trees and nearest neighbours do this honestly, so the finding lowers no verdict.
    """
    if answers.probabilities is None:
        return []
    own = np.take_along_axis(answers.probabilities, answers.targets[:, None], axis=1)[:, 0]
    clipped = own < SMALLEST
    count, n = int(clipped.sum()), len(answers)
    if not count:
        return []
    losses = log_losses(answers.probabilities, answers.targets)
    share = float(losses[clipped].sum() / losses.sum())
    message = (
        f"{count} of {n} samples give their target a probability below {SMALLEST:.1e}: log loss "
        f"is infinite there, is cut at {-np.log(SMALLEST):.1f} a sample, and owes "
        f"{100 * share:.2g} % of its value to them"
    )
    evidence = {"n": n, "count": count, "share_of_log_loss": share}
    return [
        Finding(code="zero-probability", severity=Severity.INFO, message=message, evidence=evidence)
    ]


# Does the model give all samples the same answer, though their targets differ?

_SHARE_NEEDED = 0.1
"""Flagged only if other classes are predicted less than a tenth as often as they occur, ..."""

_CHANCE = 1e-4
"""... and less often than a model that predicts at the targets' rates would by this chance."""

_RARE = 0.9
"""Where one class has this share, hardly predicting the others can be the best decision."""

_TRUE = 1e-3
"""The few other predictions count if chance makes as many of them right less often than this."""

_SPREAD = 0.01
"""Near constant: values spread less than this share of the targets' spread, or probabilities of
the rare classes less than this share of their mean."""

_USELESS = 0.6
"""Scores whose AUROC is surely below this do not excuse a constant label."""

_FEWEST = 10
"""With fewer samples anything may be constant by chance."""


def constant_classes(answers: ClassView) -> Findings:
    """Flags predictions that are, nearly, all of one class.

    Where the others are rare, a useful model may predict few or none of them: it is not flagged if
    its rare predictions come true more often than chance, or its scores differ and are not surely
    useless.
    """
    n, classes = len(answers), answers.classes
    predicted = np.bincount(answers.predictions, minlength=len(classes))
    modal = int(predicted.argmax())
    others = int(n - predicted[modal])
    if n < _FEWEST or bool((answers.targets == answers.targets[0]).all()):
        return []
    needed = float((answers.targets != modal).mean())
    if others > _SHARE_NEEDED * needed * n or bdtr(others, n, needed) >= _CHANCE:
        return []
    area = _area(answers, modal)
    evidence = {
        "class": classes[modal],
        "n": n,
        "predicted_share": float(predicted[modal] / n),
        "target_share": 1.0 - needed,
        "auroc": area,
    }
    if 1.0 - needed >= _RARE:
        if others and (area is not None or _comes_true(answers, modal)):
            return []
        if area is not None:
            message = (
                f"all {n} samples are predicted as {classes[modal]!r}, though their scores differ "
                f"(AUROC {area:.3f}): the decision threshold finds none of the others, "
                f"{100 * needed:.3g} % of the samples"
            )
            return [
                Finding(
                    code="nothing-above-threshold",
                    severity=Severity.INFO,
                    message=message,
                    evidence=evidence,
                )
            ]
    all_but = "all" if not others else f"all but {others}"
    code = "near-constant-prediction" if others else "constant-prediction"
    message = (
        f"{all_but} of {n} samples are predicted as {classes[modal]!r}, "
        f"which {100 * (1 - needed):.3g} % of them are"
    )
    return [Finding(code=code, severity=Severity.SUSPECT, message=message, evidence=evidence)]


def constant_values(predictions: Floats, targets: NDArray[np.floating]) -> Findings:
    """Flags predicted values that hardly differ where the targets do."""
    n = len(targets)
    spread, needed = float(np.std(predictions)), float(np.std(targets))
    if n < _FEWEST or needed == 0.0 or spread >= _SPREAD * needed:
        return []
    same = bool((predictions == predictions[0]).all())
    message = (
        f"{'all' if same else 'nearly all'} of {n} samples are predicted as "
        f"{float(np.median(predictions)):.4g}: predictions spread by {spread:.3g}, "
        f"targets by {needed:.3g}"
    )
    evidence = {"n": n, "prediction_spread": spread, "target_spread": needed}
    code = "constant-prediction" if same else "near-constant-prediction"
    return [Finding(code=code, severity=Severity.SUSPECT, message=message, evidence=evidence)]


def _area(answers: ClassView, modal: int) -> float | None:
    """Returns the AUROC of the modal class against the rest, None where scores are of no use.

    They are if they hardly spread, or if the interval shows that they rank no better than badly.
    """
    truth = answers.targets == modal
    if answers.ranking is None or answers.probabilities is None or truth.all() or not truth.any():
        return None
    of_others = 1.0 - answers.probabilities[:, modal]
    if np.std(of_others) <= _SPREAD * np.mean(of_others):
        return None
    column = answers.ranking[:, modal]
    if auc_interval(column, truth).upper < _USELESS:
        return None
    return auc(column[truth], column[~truth])


def _comes_true(answers: ClassView, modal: int) -> bool:
    """Whether the few other predictions are right more often than their classes' shares explain."""
    other = answers.predictions != modal
    shares = np.bincount(answers.targets, minlength=len(answers.classes)) / len(answers)
    expected = float(shares[answers.predictions[other]].mean())
    hits = int(answers.correct[other].sum())
    return hits > 0 and bool(bdtrc(hits - 1, int(other.sum()), expected) < _TRUE)


# Are there enough samples for the precision with which the headline number is shown?

_ACCURACY_WIDTHS = 0.05, 0.15
"""Half-widths of accuracy worth saying, and so wide that they tell no two usual models apart."""

_ERROR_WIDTHS = 0.10, 0.50
"""The same of a mean absolute error, as shares of it."""


_FEWEST_UNITS = 5


def too_few_samples(evidence: Evidence, scenario: Scenario) -> Findings:
    """Flags a headline interval that is wide, and says how many samples a narrower one needs."""
    row = _headline(evidence, scenario)
    units, what = _units(evidence)
    if row.value is None:
        return []
    if row.lower is None or row.upper is None:
        if units >= _FEWEST_UNITS:
            return []  # too regular to be resampled (all right, say): the row says so
        message = f"{units} {what} are too few for an interval at all"
        return [
            Finding(
                code="too-few-samples",
                severity=Severity.SUSPECT,
                message=message,
                evidence={"units": units},
            )
        ]
    name = metrics_named([row.metric])[0].info.name.lower()
    scale, wide, too_wide = (
        (abs(row.value), *_ERROR_WIDTHS) if evidence.task.one_number else (1.0, *_ACCURACY_WIDTHS)
    )
    half = (row.upper - row.lower) / 2
    if half <= wide * scale:
        return []
    # A half-width shrinks with the root of the number of independent units.
    needed = _rounded_up(units * (half / (wide * scale)) ** 2)
    severity = Severity.SUSPECT if half > too_wide * scale else Severity.INFO
    message = (
        f"{name} {row.value:.3g} is known to within {half:.2g} only, from {units} {what}; "
        f"{wide * scale:.2g} would need about {needed}"
    )
    figures = {"units": units, "half_width": half, "units_needed": needed}
    return [Finding(code="too-few-samples", severity=severity, message=message, evidence=figures)]


def _headline(evidence: Evidence, scenario: Scenario) -> Row:
    """Returns the headline row as `score` makes it."""
    kind = evidence.task.definition
    view = kind.view(evidence.needs["test"], evidence.task)
    return rows_of(numbers_of(metrics_named([kind.headline]), view), scenario, evidence)[0]


def _units(evidence: Evidence) -> tuple[int, str]:
    samples = evidence.needs["test"].samples
    if samples.clusters is None:
        return len(samples), "samples"
    return len(set(samples.clusters.tolist())), "clusters"


def _rounded_up(number: float) -> int:
    """Returns a number rounded up to two digits: more would claim to know its spread."""
    step: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step


# Exact duplicates: test samples of equal content, and test samples that are in train too.
#
# Sample ids are hashes of content, with a number appended where a content repeats, so that ids
# alone tell. In a table of few, coarse columns equal rows may be different cases.

_REPEATED = 0.05
"""Share of repeated test samples from which numbers are suspect."""

_LEAKED = 0.01
"""Share of test samples in train from which numbers are suspect."""


def duplicates(evidence: Evidence) -> Findings:
    """Says how many test samples are not new, and what the headline number is without them."""
    cell, train = evidence.needs["test"], evidence.needs.get("train")
    if train is None and not cell.samples.names.numbered:
        return []
    what, scores = _scores(cell, evidence.task)
    names = contents(cell.samples.ids)
    findings: Findings = []
    repeats = _repeats(names, cell.samples.ids)
    table = evidence.task.modality is Modality.TABLE
    if repeats.any():
        conflicts = _conflicts(names, repeats, cell.samples.targets)
        findings.append(
            _of_duplicates(
                "duplicates-within-test",
                "repeat the content of another test sample",
                repeats,
                (what, scores),
                # In a table different people may share all their features.
                limit=_REPEATED if conflicts or not table else math.inf,
                task=evidence.task,
                extra={"contents_with_several_targets": conflicts},
            )
        )
    if train is not None:
        leaked = np.asarray(pd.Index(names).isin(pd.Index(contents(train.samples.ids))))
        if leaked.any():
            findings.append(
                _of_duplicates(
                    "duplicates-between-train-and-test",
                    "are in the train role, too",
                    leaked,
                    (what, scores),
                    limit=_LEAKED,
                    task=evidence.task,
                    extra={"n_train": len(train.samples)},
                )
            )
    return findings


def _scores(cell: CellEvidence, task: Task) -> tuple[str, Floats]:
    """Returns the headline number's name and what it is the mean of."""
    kind = task.definition
    return metrics_named([kind.headline])[0].info.name.lower(), kind.quality(kind.view(cell, task))


def _repeats(names: NDArray[np.object_], ids: NDArray[np.object_]) -> Bools:
    """Says which samples repeat an earlier one; the one without a number is the first."""
    if names is ids:
        return np.zeros(len(names), dtype=np.bool_)
    first_choice = np.argsort(names != ids, kind="stable")
    repeats = np.empty(len(names), dtype=np.bool_)
    repeats[first_choice] = pd.Series(names[first_choice]).duplicated().to_numpy()
    return repeats


def _conflicts(names: NDArray[np.object_], repeats: Bools, targets: NDArray[np.generic]) -> int:
    """Returns how many repeated contents have more than one target."""
    among = np.asarray(pd.Index(names).isin(pd.Index(names[repeats])))
    if isinstance(targets, Lists):
        targets = np.unique(targets.summary(), axis=0, return_inverse=True)[1]
    frame = pd.DataFrame({"name": names[among], "target": targets[among]})
    return int((frame.groupby("name")["target"].nunique() > 1).sum())


def _of_duplicates(
    code: str,
    says: str,
    which: Bools,
    scored: tuple[str, Floats],
    *,
    limit: float,
    task: Task,
    extra: dict[str, int],
) -> Finding:
    what, scores = scored
    count, n = int(which.sum()), len(which)
    with_them = float(scores.mean())
    without = None if count == n else float(scores[~which].mean())
    severity = Severity.SUSPECT if count >= limit * n else Severity.INFO
    left = f"{without:.4g} without them" if without is not None else "nothing is left without them"
    table = task.modality is Modality.TABLE
    return Finding(
        code=code,
        severity=severity,
        message=(
            f"{count} of {n} test samples ({100 * count / n:.2g} %) {says}"
            f"{' (in a table, equal rows may be different cases)' if table else ''}: "
            f"{what} is {with_them:.4g} with them, {left}"
        ),
        evidence={
            "n": n,
            "count": count,
            "share": count / n,
            "metric": what,
            "with": with_them,
            "without": without,
            **extra,
        },
    )


# Do samples belong together that the data doesn't say belong together?
#
# A test of 400 rows from 40 patients holds less than one of 400: a patient's rows are right or
# wrong together. Where the data declares no cluster, every interval and test takes them for
# independent.

_LEVELS = 20
"""Columns of fewer levels are groups, whose error rates may differ, and not clusters."""

_MEMBERS = 1.5
"""Samples a level, on average, below which there is nothing to belong together."""

_SURE = 4.0
"""Standard deviations beyond what samples in random order agree: chance gives one in 30,000."""

_EFFECT = 1.2
"""Variance of a mean, against that of independent samples, from which intervals are too short."""

_NEIGHBOURS = 10
"""Samples that follow each other in the data and are looked at as one level."""

_BINS = 10


def undeclared_dependence(evidence: Evidence, scenario: Scenario) -> Findings:
    """Proposes the column within whose levels errors agree the most, as a cluster.

    Where no column explains it, samples that lie next to each other in the data may agree.
    """
    cell = evidence.needs["test"]
    if cell.samples.clusters is not None or len(cell.samples) < 2 * _LEVELS:
        return []
    unexplained, found = _unexplained(cell, evidence), []
    for column, codes in _columns(cell.samples.groups):
        sureness, effect = _agreement(unexplained, codes)
        if sureness > _SURE and effect > _EFFECT:
            found.append((effect, column, int(codes.max()) + 1))
    if not found:
        return _neighbours(cell, evidence, unexplained)
    effect, column, levels = max(found)
    n = len(unexplained)
    message = (
        f"errors agree within the {levels} levels of {column!r} beyond what confidence explains: "
        f"{n} samples say as much as {round(n / effect)} independent ones, and intervals are "
        f"{np.sqrt(effect):.2g} times too short; declare it: cluster={column}"
    )
    figures = {"column": column, "levels": levels, "design_effect": effect, "n": n}
    return [
        Finding(
            code="undeclared-clusters", severity=Severity.SUSPECT, message=message, evidence=figures
        )
    ]


def _neighbours(cell: CellEvidence, evidence: Evidence, left: Floats) -> Findings:
    """Looks whether samples that follow each other are right and wrong together.

    Data that is sorted by its target or by a column of groups is no dependence: their error rates
    may differ.
    """
    if isinstance(cell.samples.targets, Lists) or cell.samples.targets.ndim != 1:
        return []  # what is sorted by lists of targets can't be told from what belongs together
    unexplained = _among_alike(cell, evidence, left)
    n = len(unexplained)
    sureness, effect = _agreement(unexplained, np.arange(n) // _NEIGHBOURS)
    if not (sureness > _SURE and effect > _EFFECT):
        return []
    message = (
        f"errors agree among {_NEIGHBOURS} samples that follow each other in the data beyond what "
        f"confidence, target and groups explain: {n} samples say as much as {round(n / effect)} "
        "independent ones; were they drawn together (one patient, page or session)? Then name "
        "what they share: cluster=COLUMN"
    )
    figures = {"neighbours": _NEIGHBOURS, "design_effect": effect, "n": n}
    return [
        Finding(code="neighbours-agree", severity=Severity.INFO, message=message, evidence=figures)
    ]


def _columns(groups: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yields the columns of many levels with the codes of their levels."""
    for column in groups.columns:
        codes, names = pd.factorize(groups[column])
        if (codes >= 0).all() and len(names) >= _LEVELS and len(codes) >= _MEMBERS * len(names):
            yield str(column), codes.astype(np.int64)


def _unexplained(cell: CellEvidence, evidence: Evidence) -> Floats:
    """Returns how much better or worse each answer is than others of like confidence, (n,)."""
    kind = evidence.task.definition
    view = kind.view(cell, evidence.task)
    quality = np.asarray(kind.quality(view), dtype=np.float64)
    confidence = getattr(view, "assurance", None)
    bins = np.zeros(len(quality), dtype=np.int64)
    if confidence is not None:
        bins = _tenths(confidence)
    of_like = pd.Series(quality).groupby(bins).transform("mean")
    return quality - np.asarray(of_like, dtype=np.float64)


def _among_alike(cell: CellEvidence, evidence: Evidence, unexplained: Floats) -> Floats:
    """Returns what of it samples of like target, and of the same groups, don't share, (n,)."""
    targets, left = cell.samples.targets, pd.Series(unexplained)
    alike = _tenths(targets) if evidence.task.definition.one_number else targets
    left = left - left.groupby(alike).transform("mean")
    for column in cell.samples.groups:
        left -= left.groupby(cell.samples.groups[column].to_numpy()).transform("mean")
    return np.asarray(left, dtype=np.float64)


def _tenths(values: ArrayLike) -> NDArray[np.int64]:
    """Returns in which tenth of all each value lies, (n,)."""
    ranks = average_ranks(np.asarray(values, dtype=np.float64))
    return np.minimum(_BINS - 1, ((ranks - 0.5) / len(ranks) * _BINS).astype(np.int64))


def _agreement(values: Floats, codes: NDArray[np.int64]) -> tuple[float, float]:
    """Returns how far members of a level agree, in standard deviations, and the design effect.

    Moran's I with a weight of one between members of a level, against its mean and variance over
    all orders of the samples (Cliff and Ord 1981, Spatial Processes, section 2.3).
    """
    n, left = len(values), values - values.mean()
    squares = float(left @ left)
    if squares == 0.0:
        return 0.0, 1.0
    sums, sizes = np.bincount(codes, left), np.bincount(codes).astype(np.float64)
    seen = float(sums @ sums)
    pairs = float(sizes @ (sizes - 1.0))
    s1, s2 = 2.0 * pairs, 4.0 * float(sizes @ (sizes - 1.0) ** 2)
    tails = n * float((left**2) @ (left**2)) / squares**2
    over_orders = (
        n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * pairs**2)
        - tails * ((n**2 - n) * s1 - 2 * n * s2 + 6 * pairs**2)
    ) / ((n - 1.0) * (n - 2) * (n - 3) * pairs**2)  # fmt: skip
    variance = max(over_orders - 1.0 / (n - 1) ** 2, 1e-300)
    moran = n / pairs * (seen - squares) / squares
    # The variance of a sum of clusters over that of as many independent samples.
    return (moran + 1.0 / (n - 1)) / np.sqrt(variance), seen / squares


_KNOWN = "crucibench_suites.accuracy.known_answers:"


def _classes(evidence: Evidence) -> ClassView | None:
    """Returns the view of the test pass, None where answers are no classes."""
    if not evidence.task.one_class:
        return None
    view: ClassView = evidence.task.definition.view(evidence.needs["test"], evidence.task)
    return view


def _constant(evidence: Evidence, scenario: Scenario) -> Findings:
    if evidence.task.one_number:
        view = evidence.task.definition.view(evidence.needs["test"], evidence.task)
        return constant_values(view.predictions, view.targets)
    classes = _classes(evidence)
    return [] if classes is None else constant_classes(classes)


def _of_classes(find: Callable[[ClassView], Findings]) -> Find:
    """Returns an audit's function that finds nothing where answers are no classes."""
    return lambda evidence, scenario: [] if (view := _classes(evidence)) is None else find(view)


CONSTANT = Audit(
    name="constant-prediction",
    description="Do all samples, nearly, get the same answer though their targets differ?",
    function=_constant,
    known_answer=_KNOWN + "CONSTANT",
)

THRESHOLD = Audit(
    name="threshold-not-applied",
    description="Was the decision threshold that the user set applied?",
    function=_of_classes(threshold_not_applied),
    known_answer=_KNOWN + "THRESHOLD",
)

ZERO = Audit(
    name="zero-probability",
    description="How much of the log loss comes from probabilities that are exactly 0?",
    function=_of_classes(zero_probabilities),
    known_answer=_KNOWN + "ZERO",
)

CLASSES = Audit(
    name="classes-without-samples",
    description="Does every class have test samples?",
    function=_of_classes(missing_classes),
    known_answer=_KNOWN + "CLASSES",
)

DUPLICATES = Audit(
    name="duplicates",
    description="Do test samples repeat one another, or samples of the train role?",
    function=lambda evidence, scenario: duplicates(evidence),
    known_answer=_KNOWN + "DUPLICATES",
)

DEPENDENCE = Audit(
    name="undeclared-dependence",
    description="Are samples right and wrong together that no cluster declares to belong together?",
    function=undeclared_dependence,
    known_answer=_KNOWN + "DEPENDENCE",
)

PRECISION = Audit(
    name="too-few-samples",
    description="Are there enough samples for a narrow interval of the headline number?",
    function=too_few_samples,
    known_answer=_KNOWN + "PRECISION",
)
