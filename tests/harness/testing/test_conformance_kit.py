"""The conformance kit passes a good adapter, and catches each planted defect by its name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.audit import Audit, KnownFindings, audits
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.corruption import (
    Corruption,
    CorruptionContext,
    KnownAnswer,
    Level,
    corruptions,
    each,
)
from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import metrics
from crucibench.contracts.section import PlotBlock, SectionKind, TableBlock, TextBlock
from crucibench.contracts.statistic import RowMetric, Share, Sums
from crucibench.contracts.task import Modality, Task, task_kinds
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.statistic import mean_statistic
from crucibench.report.sections import section_kinds
from crucibench.testing import (
    check_adapter,
    check_audit,
    check_corruption,
    check_metric,
    check_section,
    check_task_kind,
)
from crucibench.util.errors import InputError
from crucibench.util.registry import Registered

CLASSES = ("a", "b", "c")
ALL = frozenset(
    map(
        Capability,
        ("labels", "scores", "logits", "gradients", "features", "head", "any-input", "tree"),
    )
)


def images() -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((6, 1, 4, 4), generator=generator)
    return Batch(tuple("uvwxyz"), inputs, rows=tuple(range(6)))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(16, 5)
        self.fc = nn.Linear(5, 3)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = torch.tanh(self.body(x.flatten(1)))
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(x))
        return logits


class Good(Adapter):
    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = ALL
    task = Task(kind="classification", modality=Modality.IMAGE, classes=CLASSES)
    score_kind = "logits"

    def __init__(self) -> None:
        self.net = Net()

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        return cls()

    def _predict(self, batch: Batch, want: Request) -> Answer:
        with torch.no_grad():
            features = self.net.features(batch.inputs)
            scores = self.net.fc(features).numpy()
        return Answer(scores=scores, labels=scores.argmax(axis=1), features=features.numpy())

    def fingerprint(self) -> Mapping[str, str] | None:
        return {"weights": "1"}

    def module(self) -> nn.Module:
        return self.net

    def encode(self, batch: Batch) -> torch.Tensor:
        encoded: torch.Tensor = batch.inputs
        return encoded

    def head(self) -> tuple[Any, Any]:
        return self.net.fc.weight.detach().numpy(), self.net.fc.bias.detach().numpy()


def scores_of(outputs: Answer) -> Any:
    assert outputs.scores is not None
    return outputs.scores


def variant(name: str, base: type[Good] = Good, **attributes: Any) -> type[Good]:
    """Returns an adapter that declares something else."""
    return type(name, (base,), attributes)


def changed(answer: Answer, **fields: np.ndarray) -> Answer:
    """Returns an answer with some fields replaced."""
    return Answer(**{**{name: answer[name] for name in answer.names}, **fields})


class Raises(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        raise ZeroDivisionError("division by zero")


class FiveColumns(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        return changed(super()._predict(batch, want), scores=np.zeros((len(batch), 5)))


class NotFinite(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        return changed(outputs, scores=scores_of(outputs) / 0 * 0)


class FloatLabels(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        assert outputs.labels is not None
        return changed(outputs, labels=outputs.labels.astype(float))


class ChangesInputs(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        batch.inputs.mul_(0.5)
        return super()._predict(batch, want)


class Noisy(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        noise = np.random.default_rng().normal(size=scores_of(outputs).shape)
        return changed(outputs, scores=scores_of(outputs) + noise)


class FirstRowIsSpecial(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        scores_of(outputs)[0] += 1
        return outputs


class NormalisesOverTheBatch(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        inputs = batch.inputs - batch.inputs.mean(dim=0)
        return super()._predict(batch.with_inputs(inputs), want)


class DoubleSoftmax(Good):
    score_kind = "probabilities"
    capabilities = frozenset({Capability.LABELS, Capability.SCORES, Capability.ANY_INPUT})
    offset, factor = 0.0, 1.01

    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        scores = torch.softmax(torch.from_numpy(scores_of(outputs)), dim=1).numpy()
        return Answer(scores=scores * self.factor + self.offset, labels=outputs.labels)


class OnlyWhatItKnows(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        known = {tuple(row) for row in images().inputs.flatten(1).tolist()}
        if not all(tuple(row) in known for row in batch.inputs.flatten(1).tolist()):
            raise KeyError("never seen")
        return super()._predict(batch, want)


class NoModule(Good):
    def module(self) -> nn.Module:
        raise InputError("Good has no gradients")


class Detached(Good):
    def module(self) -> nn.Module:
        class Cut(Net):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return super().forward(x.detach())

        return Cut()


class OtherModule(Good):
    def module(self) -> nn.Module:
        net = Net()
        with torch.no_grad():
            net.fc.bias[0] += 1
        return net


class Rounds(torch.autograd.Function):
    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * Rounds.factor


class WrongGradient(Good):
    factor = 0.5

    def module(self) -> nn.Module:
        Rounds.factor = self.factor

        class Wrong(Net):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return super().forward(Rounds.apply(x))  # type: ignore[no-untyped-call]

        return Wrong()


class FixedDtype(Good):
    def module(self) -> nn.Module:
        class Fixed(Net):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return super().forward(x.float())

        return Fixed()


class NoHead(Good):
    def head(self) -> tuple[Any, Any]:
        raise InputError("Good has no linear head")


class OtherHead(Good):
    def head(self) -> tuple[Any, Any]:
        weight, bias = super().head()
        return weight * 2, bias


class OddFacts(Good):
    def diagnostics(self) -> Mapping[str, Any]:
        return {"module": self.net}


class TrainMode(Good):
    def diagnostics(self) -> Mapping[str, Any]:
        return {"training_modules": ["drop"]}


class ChangingFingerprint(Good):
    count = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.own = str(next(self.count))

    def fingerprint(self) -> Mapping[str, str] | None:
        return {"weights": self.own, "source": "1"}


class SometimesNone(ChangingFingerprint):
    def fingerprint(self) -> Mapping[str, str] | None:
        return None if int(self.own) % 2 else {"weights": "1"}


class OddFingerprint(Good):
    def fingerprint(self) -> Mapping[str, str] | None:
        return {"weights": 1}  # type: ignore[dict-item]


class BrokenClock(Good):
    def timed(self, batch: Batch) -> object:
        raise RuntimeError("no clock")


def test_a_good_adapter_passes() -> None:
    check_adapter(Good, images())


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            variant("NoSpec", input_spec=None),
            "declaration: input_spec is not a InputSpec",
        ),
        (
            variant("StrayCapability", capabilities=ALL | {"teleport"}),
            "declaration: capabilities holds other things than Capability",
        ),
        (
            variant("NoLabels", capabilities=ALL - {Capability.LABELS}),
            "declaration: classification without the capability labels",
        ),
        (
            variant("LogitsWithoutScores", capabilities=ALL - {Capability.SCORES}),
            "declaration: the capability logits without scores",
        ),
        (
            variant("MisdeclaredLogits", score_kind="probabilities"),
            "declaration: the capability logits with scores that are probabil",
        ),
        (Raises, "answers: predict raised ZeroDivisionError: division by zero"),
        (FiveColumns, "answers: predict raised OutputError: scores: the data has 3 classes, "),
        (NotFinite, "answers: predict raised NonFiniteError: scores: 6 of 6 rows"),
        (FloatLabels, "answers: labels are float64, expected integer"),
        (ChangesInputs, "inputs: predict changes the batch in place"),
        (Noisy, "repeat: the same batch is answered differently: scores lie "),
        (FirstRowIsSpecial, "order: answers depend on the order of the samples: scores lie "),
        (NormalisesOverTheBatch, "batch of one: answers depend on which samples share a batch: "),
        (DoubleSoftmax, "probabilities: a row's sum is off 1 by 0.01"),
        (
            variant("BelowZero", DoubleSoftmax, offset=-0.5, factor=1.0),
            "probabilities: they reach from -0.",
        ),
        (OnlyWhatItKnows, "any-input: predict raised KeyError: 'never seen'"),
        (NoModule, "gradients: Good has no gradients"),
        (Detached, "gradients: module() cuts them off its input"),
        (OtherModule, "gradients: module() lies 0."),
        (WrongGradient, "gradients: the gradient says "),
        (
            variant("ZeroGradient", WrongGradient, factor=0.0),
            "gradients: the gradient is zero",
        ),
        (FixedDtype, "gradients: module().double() fails: "),
        (NoHead, "head: Good has no linear head"),
        (OtherHead, "head: features @ weight.T + bias lie "),
        (OddFacts, "diagnostics: not plain data: "),
        (TrainMode, "eval mode: left in train mode: ['drop']"),
        (ChangingFingerprint, "fingerprint: weights differ between two openings"),
        (SometimesNone, "fingerprint: one opening has one, another has none"),
        (OddFingerprint, "fingerprint: expected a mapping from str to str that is not empty"),
        (BrokenClock, "timed raised RuntimeError: no clock"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_planted_defect_is_caught(bad: type[Good], told: str, refusal: Any) -> None:
    assert refusal(AssertionError, lambda: check_adapter(bad, images())).startswith(
        f"{bad.__name__}: {told}"
    )


class Table(Adapter):
    input_spec = InputSpec(modality=Modality.TABLE)
    capabilities = frozenset({Capability.VALUES, Capability.ANY_INPUT, Capability.MISSING_VALUES})
    task = Task(kind="regression", modality=Modality.TABLE)
    fills = True

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        return cls()

    def _predict(self, batch: Batch, want: Request) -> Answer:
        column = batch.inputs["x"].to_numpy(dtype=float)
        return Answer(values=np.nan_to_num(column) if self.fills else column)


class Gaps(Table):
    fills = False


def test_tables_and_regression(refusal: Any) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1, 2, 3], "z": ["a", "b", None]})
    batch = Batch(("a", "b", "c"), frame)
    check_adapter(Table, batch)
    assert refusal(AssertionError, lambda: check_adapter(Gaps, batch)) == (
        "Gaps: missing-values: predict raised NonFiniteError: values: 1 of 3 rows in a batch are "
        "not finite"
    )


def test_a_batch_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^batch: expected at least 3 samples, got 2$"):
        check_adapter(Good, images().take([0, 1]))


@pytest.mark.parametrize("name", metrics().names())
def test_every_metric_is_its_reference(name: str) -> None:
    check_metric(metrics().get(name))


def test_a_metric_that_is_not_its_reference_is_caught() -> None:
    top_1 = metrics().get("top-1")
    wrong = replace(top_1, form=lambda view: Share(~view.correct))
    with pytest.raises(AssertionError, match="its reference"):
        check_metric(wrong)
    constant = replace(
        top_1,
        form=lambda view: RowMetric(mean_statistic(np.full(len(view), top_1.reference(view)))),
    )
    with pytest.raises(AssertionError, match="counted 0, 1 or 2 times"):
        check_metric(constant)
    shifted = replace(
        top_1,
        form=lambda view: RowMetric(mean_statistic(view.correct), lambda: np.ones(len(view))),
    )
    with pytest.raises(AssertionError, match="has influences that lie 1 from"):
        check_metric(shifted)
    unmoved = replace(
        top_1,
        form=lambda view: RowMetric(
            replace(
                mean_statistic(view.correct),
                sums=lambda: Sums(1, lambda _, groups: np.zeros((groups, 1)), lambda s: s[:, 0]),
            )
        ),
    )
    with pytest.raises(AssertionError, match="as a function of sums"):
        check_metric(unmoved)
    with pytest.raises(AssertionError, match="none of the answers"):
        check_metric(replace(top_1, applies=lambda _: "never"))


def test_every_task_kind_keeps_the_contract() -> None:
    targets = ["no", "yes", "no", "yes"]
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    kinds = task_kinds()
    check_task_kind(kinds.get("classification"), Answer(scores=scores), targets)
    check_task_kind(kinds.get("classification"), Answer(labels=np.array([0, 1, 0, 1])), targets)
    boxes = np.array([[10.0, 20.0, 40.0, 60.0], [0.0, 0.0, 50.0, 50.0]])
    found = Answer(
        boxes=Lists.of([2, 0], boxes), labels=Lists.of([2, 0], np.array([0, 1])),
        scores=Lists.of([2, 0], np.array([0.9, 0.8])),
    )  # fmt: skip
    objects = Lists.of(
        [2, 0], np.array([[10.0, 20.0, 30.0, 40.0, 0.0], [0.0, 0.0, 50.0, 50.0, 1.0]])
    )
    check_task_kind(kinds.get("detection"), found, objects, classes=("cat", "dog"))
    with pytest.raises(AssertionError, match="perfect"):
        other = Lists.of([2, 0], objects.values + np.array([30.0, 0, 0, 0, 0]))
        check_task_kind(kinds.get("detection"), found, other)
    numbers = [0.5, 1.5, -2.0]
    check_task_kind(kinds.get("regression"), Answer(values=np.array(numbers)), numbers)
    with pytest.raises(AssertionError, match="perfect"):
        check_task_kind(kinds.get("regression"), Answer(values=np.zeros(3)), numbers)
    with pytest.raises(AssertionError, match="declares no field 'values'"):
        check_task_kind(task_kinds().get("classification"), Answer(values=np.zeros(2)), ["a", "b"])


class Sparkline(SectionKind):
    """A line a model without axes, and its highest value in a table."""

    name = "sparkline"

    def blocks(self, section: Any, evidence: Any) -> list[Any]:
        blocks: list[Any] = []
        for cell, frame in evidence.tables(section):
            values = frame[section.y].dropna()
            points = " ".join(f"{at},{20 - 20 * value:.1f}" for at, value in enumerate(values))
            svg = f'<svg viewBox="0 0 40 20"><title>{escape(cell.model)}</title>'
            svg += f'<polyline points="{points}"/></svg>'
            alt = f"{cell.model}: {len(values)} values up to {values.max():.2f}"
            blocks.append(PlotBlock(svg=svg, alt=alt, caption=cell.scenario))
            table = TableBlock(caption="Highest", columns=["model", "highest"],
                               rows=[[cell.model, values.max()]], model=cell.model)  # fmt: skip
            blocks.append(table)
        return [TextBlock(text=section.note), *blocks] if blocks else []


@pytest.mark.parametrize("name", section_kinds().names())
def test_every_registered_kind_keeps_its_promises(name: str) -> None:
    check_section(section_kinds().get(name))


def test_a_kind_of_plain_blocks_keeps_its_promises() -> None:
    check_section(Sparkline())


def _made(draw: Callable[[Any, Any], list[Any]]) -> SectionKind:
    methods = {"name": "made", "blocks": lambda self, section, evidence: draw(section, evidence)}
    kind: SectionKind = type("Made", (SectionKind,), methods)()
    return kind


def _first(section: Any, evidence: Any) -> pd.DataFrame:
    return evidence.tables(section)[0][1]


@pytest.mark.parametrize(
    ("draw", "promise"),
    [
        (lambda section, evidence: [], "something to show"),
        (lambda section, evidence: ["text"], "blocks"),
        (lambda section, evidence: [TextBlock(text=str(_first(section, evidence).shape))],
         "nothing to show"),
        (lambda section, evidence: [TextBlock(text=str(id(object()) if evidence.rows else 0))
                                    for _ in range(len(_seen.append(0) or _seen))],  # type: ignore[func-returns-value]
         "repeatable"),
        (lambda section, evidence: [PlotBlock(svg=f"<svg>{section.title}</svg>", alt="a plot")],
         "escaped names"),
        (lambda section, evidence: [PlotBlock(svg="<svg></svg>", alt="")], "text alternative"),
    ],
)  # fmt: skip
def test_a_broken_kind_is_named_with_its_promise(draw: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=f"^made: {re.escape(promise)}:"):
        check_section(_made(draw))


_seen: list[int] = []


@pytest.mark.parametrize("name", corruptions().names())
def test_every_registered_corruption(name: str) -> None:
    check_corruption(corruptions().get(name))


@pytest.mark.parametrize("name", corruptions().names())
def test_a_registered_corruption_that_does_nothing_is_found(name: str) -> None:
    def idle(inputs: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
        yield from (inputs for _ in levels)

    entry = corruptions().get(name)
    with pytest.raises(AssertionError, match=f"{name}: known answer: expected"):
        check_corruption(replace(entry, function=idle))
    nothing = KnownAnswer(inputs=list, measure=lambda before, after: 0, expected=0, severity=1)
    with pytest.raises(AssertionError, match=f"{name}: change: it leaves the samples as they are"):
        check_corruption(replace(entry, function=idle, known_answer=nothing))


def noise(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    drawn = context.tensors(images.device).uniform("noise", images.shape[1:])
    for (share,) in levels:
        yield torch.lerp(images, drawn, share)


GOOD = Corruption(
    name="good", family="test", modality="image", function=noise, random=True,
    levels=each(0.1, 0.2, 0.3), known_answer=KnownAnswer(
        inputs=lambda: torch.zeros(4, 1, 32, 32), tolerance=0.01, expected=0.15, severity=3,
        measure=lambda before, after: float(after.mean()),
    ),
)  # fmt: skip


def with_order(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    places = torch.arange(len(images)).reshape(-1, 1, 1, 1) / 16
    yield from (changed * (1 - places) + places for changed in noise(images, levels, context))


def with_torch(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    drawn = torch.from_numpy(np.random.default_rng().random(images.shape)).to(images)
    yield from (torch.lerp(images, drawn, share) for (share,) in levels)


def in_place(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from (images.copy_(changed) for changed in noise(images.clone(), levels, context))


def one_short(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from noise(images, levels[:1], context)


def too_bright(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from (changed * 1.5 for changed in noise(images, levels, context))


@pytest.mark.parametrize(
    ("defect", "promise"),
    [
        ({"known_answer": None}, "known answer: it has none"),
        ({"levels": each(0.1, 0.2, 0.4)}, "known answer: expected 0.15, got"),
        ({"family": ""}, "declaration: it has no family"),
        ({"levels": each(0.2, 0.1, 0.3)}, "severities: a higher severity lies closer"),
        ({"random": False}, "draws: it is not said to be random"),
        ({"function": with_order}, "draws: at severity 1 a sample depends on the others"),
        ({"function": with_torch}, "draws: "),
        ({"function": in_place}, "inputs: it changes the samples given in place"),
        ({"function": one_short}, "form: 1 results for 3 levels"),
        ({"function": too_bright}, "form: at severity 1 values reach from"),
    ],
)  # fmt: skip
def test_a_planted_defect_is_found(defect: dict[str, Any], promise: str) -> None:
    check_corruption(GOOD)
    broken = replace(GOOD, **defect)
    if "function" in defect:
        answer = KnownAnswer(
            inputs=lambda: torch.zeros(4, 1, 8, 8), measure=lambda *_: 0, expected=0, severity=1
        )
        broken = replace(broken, known_answer=answer)
    with pytest.raises(AssertionError, match=f"good: {promise}"):
        check_corruption(broken)


def test_texts_and_tables_of_another_package_are_measured() -> None:
    def louder(texts: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
        for (share,) in levels:
            yield [
                " ".join(
                    word.upper() if drawn < share else word
                    for word, drawn in zip(
                        text.split(), context.draws.uniform([one], "word", (99,))[0], strict=False
                    )
                )
                for text, one in zip(texts, context.ids, strict=True)
            ]

    entry = Corruption(
        name="louder", family="test", modality="text", function=louder, random=True,
        levels=each(0.3, 1.0), known_answer=KnownAnswer(
            inputs=lambda: ["a b"], measure=lambda before, after: after, expected=["A B"],
            severity=2,
        ),
    )  # fmt: skip
    check_corruption(entry)


@pytest.mark.parametrize("name", audits().names())
def test_every_registered_audit_has_a_known_answer(name: str) -> None:
    check_audit(audits().get(name))


CONSTANT = audits().get("constant-prediction")


def answer() -> KnownFindings:
    found = CONSTANT.answer()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("audit", "promise"),
    [
        (replace(CONSTANT, known_answer=None), "known answer"),
        (replace(CONSTANT, description=""), "declaration"),
        (replace(CONSTANT, function=lambda evidence, scenario: []), "planted defect"),
        (
            replace(
                CONSTANT,
                known_answer=replace(answer(), clean=next(iter(answer().planted.values()))),
            ),
            "clean case",
        ),
        (
            replace(CONSTANT, known_answer=replace(answer(), spared=answer().planted)),
            "spared case",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_audits_are_refused(audit: Audit, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_audit(audit)


def test_an_audit_of_another_package_is_run_on_the_scenarios_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = answer().clean()
    own = case.scenario.findings(case.evidence)
    note = Finding(code="noted", severity=Severity.INFO, message="noted")
    other = Audit(
        name="other", description="x", function=lambda evidence, scenario: [note],
        scenarios=("accuracy/*",),
    )  # fmt: skip

    class Others:
        audit: Audit | InputError = other

        def entries(self) -> list[Registered]:
            return [Registered("other", "x:y", "another", "1")]

        def get(self, name: str) -> Audit:
            if isinstance(self.audit, InputError):
                raise self.audit
            return self.audit if name == "other" else CONSTANT

    monkeypatch.setattr("crucibench.contracts.audit.audits", Others)
    assert case.scenario.findings(case.evidence) == [*own, note]
    Others.audit = replace(other, scenarios=("shift/*", "accuracy"))
    assert case.scenario.findings(case.evidence) == own
    Others.audit = InputError("it can't be loaded")
    (found,) = case.scenario.findings(case.evidence)[len(own) :]
    assert (found.code, found.severity) == ("audit-not-run", Severity.INFO)
