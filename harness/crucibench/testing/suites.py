"""Whether what suites are made of keeps its promises: attacks, audits, corruptions, detectors."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.attack import Attack, known_answers
from crucibench.contracts.audit import Audit, AuditCase
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import INPUT, KnownColumns, facts_of
from crucibench.contracts.corruption import Changed, Corruption, CorruptionContext
from crucibench.contracts.detector import Detector, DetectorExample
from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.passes.inputs import input_columns, others
from crucibench.util.draws import Draws

_LEVEL = 1.5 / 255
_SHARE = 0.002
"""Of an image's values, those that float noise may move, and by how much: one of 256 levels."""


def check_corruption(corruption: Corruption, inputs: Any = None) -> None:
    """Checks that a corruption keeps the contract, and what it makes of its known answer.

    Args:
        corruption: what a registered name stands for.
        inputs: samples as `Batch.inputs`, at least four; None for the kit's own images, texts or
            table. A modality that the kit has no samples of uses those of the known answer.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    check = _Check(corruption, inputs)
    check.declaration()
    check.known_answer()
    check.form()
    check.change()
    check.company()
    check.draws()


class _Check:
    """One corruption, and samples to try it on."""

    def __init__(self, corruption: Corruption, inputs: Any) -> None:
        self.corruption = corruption
        answer = corruption.answer()
        self.require(answer is not None, "known answer", "it has none: nothing shows what it does")
        assert answer is not None
        self.answer = answer
        if inputs is None:
            inputs = _SAMPLES.get(corruption.modality, answer.inputs)()
        self.inputs = inputs

    def require(self, held: bool | np.bool_, promise: str, sentence: str) -> None:
        if not held:
            raise AssertionError(f"{self.corruption.name}: {promise}: {sentence}")

    def made(
        self, inputs: Any, severities: Sequence[int], rows: Sequence[int] | None = None,
        parameters: str = "", seed: int = 0,
    ) -> list[Changed]:  # fmt: skip
        """Returns some of the samples at severities, as a cell makes them."""
        at = list(range(len(inputs))) if rows is None else list(rows)
        ids = tuple(str(row) for row in at)
        columns, load = _known_of(inputs, at)
        if rows is not None:
            inputs = Batch(tuple(map(str, range(len(inputs)))), inputs).take(at).inputs
        context = CorruptionContext(ids, Draws(seed, self.corruption.stream), columns, load)
        found = self.corruption.apply(inputs, severities, context, parameters)
        return [Changed.of(inputs, one) for one in found]

    # The promises, in the order in which they are checked.

    def declaration(self) -> None:
        one = self.corruption
        for field in ("name", "family", "modality"):
            self.require(bool(getattr(one, field)), "declaration", f"it has no {field}")
        self.require(bool(one.severities), "declaration", "it has no level")
        points = [one.point(severity) for severity in one.severities]
        self.require(len(set(points)) == len(points), "declaration", "two levels share a point")

    def known_answer(self) -> None:
        answer, before = self.answer, self.answer.inputs()
        (after,) = self.made(before, [answer.severity], parameters=answer.parameters)
        found = answer.measure(before, after.inputs)
        if answer.tolerance:
            apart = np.abs(np.asarray(found, dtype=float) - np.asarray(answer.expected))
            held = bool((apart <= answer.tolerance).all())
        else:
            held = bool(np.all(found == answer.expected))
        self.require(held, "known answer", f"expected {answer.expected}, got {found}")

    def form(self) -> None:
        before = copy.deepcopy(self.inputs)
        changes = self.made(self.inputs, self.corruption.severities)
        self.require(_equal(self.inputs, before), "inputs", "it changes the samples given in place")
        wanted = len(self.corruption.severities)
        self.require(len(changes) == wanted, "form", f"{len(changes)} results for {wanted} levels")
        for severity, change in zip(self.corruption.severities, changes, strict=True):
            fault = _fault(before, change.inputs)
            self.require(not fault, "form", f"at severity {severity} {fault}")
            lengths = {name: len(column) for name, column in change.columns.items()}
            self.require("distance" in lengths, "form", "its columns have no distance")
            self.require(set(lengths.values()) == {len(before)}, "form", f"columns of {lengths}")

    def change(self) -> None:
        changes = self.made(self.inputs, self.corruption.severities)
        far = [float(np.mean(change.columns["distance"], dtype=float)) for change in changes]
        touched = [not _equal(self.inputs, change.inputs) for change in changes]
        self.require(touched[-1] and max(far) > 0, "change", "it leaves the samples as they are")
        falls = [(a, b) for a, b in pairwise(far) if b < a - 1e-6]
        self.require(
            not (self.corruption.ordered and falls), "severities",
            f"a higher severity lies closer to the clean samples: mean distances are {far}",
        )  # fmt: skip

    def company(self) -> None:
        severities = self.corruption.severities
        some = sorted({severities[0], severities[-1]})
        whole = self.made(self.inputs, severities)
        for rows in ([2, 0], [1]):
            for severity, part in zip(some, self.made(self.inputs, some, rows), strict=True):
                of_whole = Batch(
                    tuple(map(str, range(len(self.inputs)))),
                    whole[severities.index(severity)].inputs,
                ).take(rows)
                self.require(
                    _equal(of_whole.inputs, part.inputs, noise=True), "draws",
                    f"at severity {severity} a sample depends on the others of its batch, on their "
                    "order, or on which severities are asked for",
                )  # fmt: skip

    def draws(self) -> None:
        first, again, other = (
            [
                change.inputs
                for change in self.made(self.inputs, self.corruption.severities, seed=seed)
            ]
            for seed in (0, 0, 1)
        )
        same, repeated = (all(map(_equal, first, then)) for then in (other, again))
        self.require(repeated, "draws", "the same draws make other samples")
        self.require(
            same is not self.corruption.random, "draws",
            "it is said to be random, and another seed makes the same" if same else
            "it is not said to be random, and another seed makes other samples",
        )  # fmt: skip


def _known_of(inputs: Any, rows: Sequence[int]) -> tuple[KnownColumns | None, Any]:
    """Returns what is known of a table's columns, of some rows, and what loads rows."""
    if not hasattr(inputs, "iloc"):
        return None, None
    seen = {name.removeprefix(INPUT): values for name, values in input_columns(inputs).items()}
    names = tuple(sorted(seen))
    codes = {name: seen[name] for name in names if seen[name].dtype.kind == "i"}
    found = {name: others(values)[list(rows)] for name, values in codes.items()}
    known = KnownColumns(
        names, facts_of([seen[name] for name in names]),
        others={name: rows for name, rows in found.items() if rows.shape[1]},
    )  # fmt: skip
    return known, lambda wanted: inputs.iloc[list(wanted)].reset_index(drop=True)


def _fault(before: Any, after: Any) -> str:
    """Returns what is wrong with the form or the range of corrupted samples, or nothing."""
    if len(after) != len(before):
        return f"{len(after)} samples come out of {len(before)}"
    if hasattr(before, "iloc"):
        return "" if list(after.columns) == list(before.columns) else "columns are missing or new"
    if isinstance(before, list):
        alike = all(type(old) is type(new) for old, new in zip(before, after, strict=True))
        return "" if alike else "a sample is of another type"
    if after.shape != before.shape or after.dtype != before.dtype:
        return f"the shape is {tuple(after.shape)} of {after.dtype}"
    low, high = float(after.min()), float(after.max())
    return "" if low >= 0 and high <= 1 else f"values reach from {low:.3g} to {high:.3g}"


def _equal(first: Any, second: Any, *, noise: bool = False) -> bool:
    """Whether samples are the same; with `noise`, but for a level of a few values of images."""
    if hasattr(first, "iloc"):
        return bool(
            first.reset_index(drop=True).equals(second.reset_index(drop=True))
            and list(first.dtypes) == list(second.dtypes)
        )
    if isinstance(first, list):
        return bool(first == second)
    gap = np.abs(first.cpu().numpy().astype(float) - second.cpu().numpy().astype(float))
    if not noise:
        return not gap.any()
    return bool(gap.max(initial=0.0) < _LEVEL and (gap > 1e-6).mean() < _SHARE)


def _images() -> Any:
    """Returns eight images of 48 pixels: smooth colours, edges and fine detail."""
    import torch

    rng = np.random.default_rng(0)
    down, across = np.mgrid[0:48, 0:48] / 48.0
    waves = rng.uniform(1, 9, (8, 3, 2))
    waved = [[np.sin(6 * (a * down + b * across)) for a, b in channels] for channels in waves]
    blocks = np.kron(rng.random((8, 3, 6, 6)), np.ones((8, 8)))
    pixels = 0.5 + 0.2 * np.array(waved) + 0.5 * (blocks - 0.5)
    return torch.from_numpy(np.rint(255 * pixels.clip(0, 1)) / 255).to(torch.float32)


def _texts() -> list[str]:
    return [
        "I don't think it is a good film, but we are happy with the acting, and so are they.",
        "The modern barn was clearly curled; they will not do it again, or so we hope. It is late.",
        "You can not have everything: the first room was cold, the second one had no window.",
        "What is done is done. There is a margin of error in every number that is printed here.",
    ]


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    return pd.DataFrame(
        {
            "income": rng.lognormal(3, 1, n),
            "age": rng.integers(18, 90, n),
            "score": pd.array(rng.integers(1, 6, n), dtype="Int16"),
            "flag": rng.integers(0, 2, n),
            "city": pd.Series(rng.choice(["Ulm", "Bonn", "Kiel"], n), dtype=object),
            "size": pd.Categorical(rng.choice(["s", "m", "l"], n)),
        }
    )


_SAMPLES: Mapping[str, Callable[[], Any]] = {"image": _images, "text": _texts, "table": _table}


def check_attack(attack: Attack) -> None:
    """Runs the self-tests of an attack of any space, in each of its norms.

    Each runs the very `run` that a cell runs. The same attack with a body that does nothing must
    fail: a self-test that it passes tests nothing.

    Raises:
        AssertionError: naming the broken promise.
    """
    kind = type(attack)
    assert attack.name, f"{kind.__name__}: expected a name"
    assert attack.norms, f"{attack.name}: expected a norm at least"
    assert attack.space in known_answers().names(), (
        f"{attack.name}: no answer is known in space {attack.space!r}"
    )
    known = known_answers().get(attack.space)
    idle = type(f"Idle{kind.__name__}", (kind,), {"run": _nothing})()
    for norm in attack.norms:
        result = known.self_test(attack, norm)
        assert result.passed, result.reason
        found = known.self_test(idle, norm)
        assert not found.passed and found.found == 0, (
            f"{attack.name}: its self-test in {norm} passes an attack that does nothing"
        )


def _nothing(self: Attack, given: Any) -> Any:
    """Stands in for `Attack.run`: returns images as they are, and asks nothing."""
    return given.points.x if hasattr(given, "points") else _no_questions()


def _no_questions() -> Iterator[Any]:
    yield from ()


def check_audit(audit: Audit) -> None:
    """Checks that an audit finds its planted defects and leaves its clean case alone.

    Args:
        audit: as it is registered.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    answer = audit.answer()
    if answer is None or not answer.planted:
        raise _broken(audit, "known answer", "it has none: nothing shows what it finds")
    if not audit.description:
        raise _broken(audit, "declaration", "it has no description")
    for code, make in answer.planted.items():
        found = _found(audit, make())
        codes = [finding.code for finding in found]
        if code not in codes:
            raise _broken(audit, "planted defect", f"expected {code!r}, got {codes}")
        for finding in found:
            _require_sound(audit, finding)
    for code, make in answer.spared.items():
        if code in [finding.code for finding in _found(audit, make())]:
            raise _broken(audit, "spared case", f"it finds {code!r} where there is none")
    for finding in _found(audit, answer.clean()):
        if finding.code in answer.planted or finding.severity is not Severity.INFO:
            message = f"{finding.code}: {finding.message}"
            raise _broken(audit, "clean case", f"it finds something: {message}")


def _found(audit: Audit, case: AuditCase) -> Findings:
    """Returns what it finds, the same when it is asked again."""
    first, again = (audit.find(case.evidence, case.scenario) for _ in range(2))
    if first != again:
        raise _broken(audit, "repeatable", "the same evidence leads to other findings")
    return first


def _require_sound(audit: Audit, finding: Finding) -> None:
    if not finding.code or finding.message != finding.message.strip() or not finding.message:
        raise _broken(audit, "finding", f"code {finding.code!r}, message {finding.message!r}")
    try:
        json.dumps(dict(finding.evidence), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _broken(audit, "finding", f"its evidence is not plain data: {error}") from error


def _broken(audit: Audit, promise: str, sentence: str) -> AssertionError:
    return AssertionError(f"{audit.name}: {promise}: {sentence}")


def check_detector(detector: Detector) -> None:
    """Checks that a detector keeps the contract, on the example of all known answers.

    It is fitted and asked as in a cell of the suite.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    name = f"detector {detector.name!r}"
    assert detector.title and detector.source, f"{name}: expected a title and a source"
    assert detector.definition.endswith("."), f"{name}: expected a definition, a sentence or two"
    assert Capability.SCORES in detector.requires, f"{name}: `requires` must list SCORES"
    declared = bool(detector.values) == bool(detector.setting)
    assert declared, f"{name}: expected a setting and its values, or neither"
    assert not detector.values or detector.default in detector.values, (
        f"{name}: the default {detector.default} is none of its values {detector.values}"
    )
    assert ("head" in detector.uses) <= (Capability.HEAD in detector.requires), (
        f"{name}: it uses the head, so `requires` must list HEAD"
    )
    assert detector.asks <= (Capability.ANY_INPUT in detector.requires), (
        f"{name}: it asks the model itself, so `requires` must list ANY_INPUT"
    )
    wrong = detector.self_test()
    assert not wrong, f"{name} misses its known answer: {wrong}"
    _check_scores(detector, name)


def _check_scores(detector: Detector, name: str) -> None:
    example, values = DetectorExample.make(), detector.values or (detector.default,)
    answers = detector.example_answers(example, example.asked, values)
    material = example.material(detector.uses)
    score = detector.fitted(material)
    found = score(answers, values)
    assert np.array_equal(found, score(answers, values)), f"{name}: asked again it scores otherwise"
    again = detector.fitted(example.material(detector.uses, block=7))(answers, values)
    assert np.allclose(found, again, atol=1e-6), f"{name}: scores depend on how train is read"
    order = np.arange(len(found))[::-1]
    for rows in (order, order[:1]):
        some = score(answers.take(rows), values)
        assert np.allclose(some, found[rows], atol=1e-6), (
            f"{name}: a sample's score depends on the other samples of its block"
        )
    for place, value in enumerate(values):
        alone = score(answers, (value,))[:, 0]
        assert np.allclose(alone, found[:, place], atol=1e-6), (
            f"{name}: the scores at {detector.setting} {value} depend on the values beside it"
        )
