"""The conformance kit passes a good adapter, and catches each planted defect by its name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.task import Modality, Task
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError

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


def changed(answer: Answer, **fields: np.ndarray) -> Answer:
    """Returns an answer with some fields replaced."""
    return Answer(**{**{name: answer[name] for name in answer.names}, **fields})


class NoSpec(Good):
    input_spec = None  # type: ignore[assignment]


class StrayCapability(Good):
    capabilities = frozenset({*ALL, "teleport"})  # type: ignore[arg-type]


class NoLabels(Good):
    capabilities = ALL - {Capability.LABELS}


class LogitsWithoutScores(Good):
    capabilities = ALL - {Capability.SCORES}


class MisdeclaredLogits(Good):
    score_kind = "probabilities"


class Raises(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        raise ZeroDivisionError("division by zero")


class FiveColumns(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        return Answer(
            **{
                **{name: outputs[name] for name in outputs.names},
                "scores": np.zeros((len(batch), 5)),
            }
        )


class NotFinite(Good):
    def _predict(self, batch: Batch, want: Request) -> Answer:
        outputs = super()._predict(batch, want)
        return Answer(
            **{
                **{name: outputs[name] for name in outputs.names},
                "scores": scores_of(outputs) / 0 * 0,
            }
        )


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
        return Answer(
            **{
                **{name: outputs[name] for name in outputs.names},
                "scores": scores_of(outputs) + noise,
            }
        )


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


class BelowZero(DoubleSoftmax):
    offset, factor = -0.5, 1.0


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


class ZeroGradient(WrongGradient):
    factor = 0.0


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
        (NoSpec, "declaration: input_spec is not a InputSpec"),
        (StrayCapability, "declaration: capabilities holds other things than Capability"),
        (NoLabels, "declaration: classification without the capability labels"),
        (LogitsWithoutScores, "declaration: the capability logits without scores"),
        (MisdeclaredLogits, "declaration: the capability logits with scores that are probabil"),
        (Raises, "answers: predict raised ZeroDivisionError: division by zero"),
        (FiveColumns, "answers: predict raised OutputError: scores: the data has 3 classes, "),
        (NotFinite, "answers: predict raised NonFiniteError: scores: 6 of 6 rows"),
        (FloatLabels, "answers: labels are float64, expected integer"),
        (ChangesInputs, "inputs: predict changes the batch in place"),
        (Noisy, "repeat: the same batch is answered differently: scores lie "),
        (FirstRowIsSpecial, "order: answers depend on the order of the samples: scores lie "),
        (NormalisesOverTheBatch, "batch of one: answers depend on which samples share a batch: "),
        (DoubleSoftmax, "probabilities: a row's sum is off 1 by 0.01"),
        (BelowZero, "probabilities: they reach from -0."),
        (OnlyWhatItKnows, "any-input: predict raised KeyError: 'never seen'"),
        (NoModule, "gradients: Good has no gradients"),
        (Detached, "gradients: module() cuts them off its input"),
        (OtherModule, "gradients: module() lies 0."),
        (WrongGradient, "gradients: the gradient says "),
        (ZeroGradient, "gradients: the gradient is zero"),
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
def test_a_planted_defect_is_caught(bad: type[Good], told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_adapter(bad, images())
    assert str(caught.value).startswith(f"{bad.__name__}: {told}")


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


def test_tables_and_regression() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1, 2, 3], "z": ["a", "b", None]})
    batch = Batch(("a", "b", "c"), frame)
    check_adapter(Table, batch)
    with pytest.raises(AssertionError) as caught:
        check_adapter(Gaps, batch)
    assert str(caught.value) == (
        "Gaps: missing-values: predict raised NonFiniteError: values: 1 of 3 rows in a batch are "
        "not finite"
    )


def test_a_batch_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^batch: expected at least 3 samples, got 2$"):
        check_adapter(Good, images().take([0, 1]))
