"""`torch:`: conformance on every form of module, capabilities, digests, and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from crucibench.contracts.adapter import Adapter, Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.torch_module import TorchAdapter

Write = Callable[[str, str], Path]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> TorchAdapter:
    adapter = TorchAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, TorchAdapter)
    return adapter


# Every form keeps the contract.


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("factory", ["cnn", "normalised", "in_place"])
def test_images(opening: Any, digits_card: DataCard, digits: Batch, factory: str) -> None:
    def open_adapter() -> Adapter:
        return opened(opening, f"torch:models.py:{factory}", digits_card)

    check_adapter(open_adapter, digits)
    assert open_adapter().capabilities == {
        Capability.LABELS,
        Capability.SCORES,
        Capability.LOGITS,
        Capability.GRADIENTS,
        Capability.FEATURES,
        Capability.HEAD,
        Capability.ANY_INPUT,
    }


@pytest.mark.usefixtures("models")
def test_probabilities(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    def open_adapter() -> Adapter:
        return opened(opening, "torch:models.py:softmax?output=probabilities", digits_card)

    check_adapter(open_adapter, digits)
    adapter = open_adapter()
    assert adapter.score_kind == "probabilities"
    assert not {Capability.LOGITS, Capability.HEAD, Capability.FEATURES} & adapter.capabilities


BINARY = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, out, tail, squeeze):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, out), tail)
            self.squeeze = squeeze

        def forward(self, x):
            x = self.body(x / 100)
            return x.squeeze(1) if self.squeeze else x

    class Encoding(Net):
        def encode(self, frame):
            numbers = frame.to_numpy(dtype="float32", na_value=0.0)
            numbers[numbers != numbers] = 0.0
            return torch.from_numpy(numbers)

    def column(): return Net(1, nn.Identity(), False)
    def flat(): return Net(1, nn.Identity(), True)
    def sigmoid(): return Net(1, nn.Sigmoid(), False)
    def two(): return Net(2, nn.Identity(), False)
    def encoding(): return Encoding(2, nn.Identity(), False)
"""


@pytest.mark.parametrize(
    ("factory", "query"),
    [
        ("column", ""),
        ("flat", ""),
        ("sigmoid", "?output=probabilities"),
        ("two", ""),
        ("encoding", ""),
    ],
)
def test_tables(
    opening: Any,
    write: Write,
    diabetes_card: DataCard,
    diabetes: Batch,
    factory: str,
    query: str,
) -> None:
    write("models.py", BINARY)

    def open_adapter() -> TorchAdapter:
        return opened(opening, f"torch:models.py:{factory}{query}", diabetes_card)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    assert (Capability.MISSING_VALUES in adapter.capabilities) == (factory == "encoding")
    assert (Capability.HEAD in adapter.capabilities) == (factory != "sigmoid")
    single = factory in {"column", "flat", "sigmoid"}
    kind = "probability" if query else "logit"
    assert adapter.diagnostics()["notes"] == (
        [f"the model's one column is taken as the {kind} of class 'high'"] if single else []
    )


@pytest.mark.parametrize("factory", ["column", "flat"])
def test_regression(
    opening: Any, write: Write, diabetes_regression_card: DataCard, diabetes: Batch, factory: str
) -> None:
    write("models.py", BINARY)

    def open_adapter() -> TorchAdapter:
        return opened(opening, f"torch:models.py:{factory}", diabetes_regression_card)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    values = adapter.predict(diabetes, frozenset({"values"})).values
    assert values is not None
    assert values.shape == (50,)
    assert adapter.capabilities == {
        Capability.VALUES,
        Capability.GRADIENTS,
        Capability.ANY_INPUT,
    }


def test_text(opening: Any, write: Write) -> None:
    write(
        "models.py",
        """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.EmbeddingBag(64, 8)
                self.fc = nn.Linear(8, 2)

            def encode(self, texts):
                return torch.tensor([[ord(c) % 64 for c in text[:4].ljust(4)] for text in texts])

            def forward(self, x):
                return self.fc(self.embed(x))

        def without(): return nn.Linear(2, 2)
        """,
    )
    task = Task(kind="classification", modality=Modality.TEXT, classes=("bad", "good"))
    card = DataCard(name="t", uri="csv:t.csv", task=task)
    batch = Batch(("a", "b", "c"), ["some", "other", "text"])
    check_adapter(lambda: opened(opening, "torch:models.py:Net", card), batch)
    with pytest.raises(InputError) as caught:
        opened(opening, "torch:models.py:without", card)
    assert str(caught.value) == (
        "models.py:without: a torch model for text declares encode(texts) -> Tensor"
    )


def test_a_factory_may_return_an_adapter(
    opening: Any, write: Write, digits_card: DataCard, digits: Batch
) -> None:
    write(
        "models.py",
        """
        import numpy as np
        from crucibench.contracts.adapter import Adapter, Answer
        from crucibench.contracts.capability import Capability, InputSpec

        class Constant(Adapter):
            input_spec = InputSpec()
            capabilities = frozenset({Capability.LABELS, Capability.ANY_INPUT})

            @classmethod
            def open(cls, opening): ...

            def _predict(self, batch, want):
                return Answer(labels=np.zeros(len(batch), dtype=int))

        def made(): return Constant()
        """,
    )

    def open_adapter() -> Adapter:
        return TorchAdapter.open(opening("torch:models.py:made", digits_card))

    check_adapter(open_adapter, digits)
    with pytest.raises(InputError, match=r"^models.py:made returns an adapter, which takes no opt"):
        TorchAdapter.open(opening("torch:models.py:made?output=logits", digits_card))


# What is claimed, and what is said.


@pytest.mark.usefixtures("models")
def test_gradients_are_claimed_only_where_there_are_some(
    opening: Any, digits_card: DataCard
) -> None:
    adapter = opened(opening, "torch:models.py:rounded", digits_card)
    assert Capability.GRADIENTS not in adapter.capabilities
    with pytest.raises(InputError, match=r"^models.py:rounded has no gradients$"):
        adapter.module()


@pytest.mark.usefixtures("models")
def test_a_part_left_in_train_mode_is_told(
    opening: Any, digits_card: DataCard, digits: Batch
) -> None:
    def open_adapter() -> Adapter:
        return opened(opening, "torch:models.py:stubborn", digits_card)

    assert open_adapter().diagnostics()["training_modules"] == ["drop"]
    with pytest.raises(AssertionError, match="repeat: the same batch is answered differently"):
        check_adapter(open_adapter, digits)


@pytest.mark.usefixtures("models")
def test_module_normalises_inside(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    plain = opened(opening, "torch:models.py:cnn", digits_card)
    normalised = opened(opening, "torch:models.py:normalised", digits_card)
    assert normalised.normalisation == Normalisation(mean=(0.3,), std=(0.4,))
    assert (normalised.input_spec.channels, normalised.input_spec.size) == (1, (8, 8))
    by_hand = plain.module()((digits.inputs - 0.3) / 0.4)
    assert torch.allclose(normalised.module()(digits.inputs), by_hand, atol=1e-5)


@pytest.mark.usefixtures("models")
def test_the_spec_normalises_as_the_factory_does(
    opening: Any, digits_card: DataCard, digits: Batch
) -> None:
    plain = opened(opening, "torch:models.py:cnn", digits_card)
    spec = Normalisation(scale=255.0, mean=(76.5,), std=(102.0,))
    of_spec = opened(opening, "torch:models.py:cnn", digits_card, normalisation=spec)
    of_factory = opened(opening, "torch:models.py:normalised", digits_card)
    both = opened(opening, "torch:models.py:normalised", digits_card, normalisation=spec)
    answers = [
        adapter.predict(digits, frozenset({"scores"})).scores
        for adapter in (of_spec, of_factory, both, plain)
    ]
    assert np.allclose(answers[0], answers[1], atol=1e-4)
    assert np.allclose(answers[0], answers[2], atol=1e-4)
    assert not np.allclose(answers[0], answers[3], atol=1e-2)


def test_the_low_end_of_a_range_counts(opening: Any, write: Write, digits_card: DataCard) -> None:
    write(
        "models.py",
        """
        from torch import nn
        def net():
            net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
            net.crucibench_input = {"range": [-1, 1]}
            return net
        """,
    )
    adapter = opened(opening, "torch:models.py:net", digits_card)
    assert adapter.normalisation == Normalisation(scale=2.0, mean=(1.0,), std=(1.0,))


@pytest.mark.usefixtures("models")
def test_variants(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    adapter = opened(opening, "torch:models.py:normalised", digits_card)
    half = adapter.with_variant("bf16")
    assert adapter.with_variant("fp32") is adapter
    scores, rough = (
        model.predict(digits, frozenset({"scores", "features"})).scores for model in (adapter, half)
    )
    assert rough is not None
    assert rough.dtype == np.float32
    assert np.allclose(scores, rough, atol=0.05)
    assert not np.array_equal(scores, rough)
    assert half.numerics()["dtype"] == "bfloat16"
    assert adapter.numerics()["dtype"] == "float32"
    assert half.fingerprint() == {**(adapter.fingerprint() or {}), "variant": "bf16"}
    check_adapter(
        lambda: opened(opening, "torch:models.py:cnn", digits_card).with_variant("bf16"),
        digits,
        tolerance=0.05,
    )
    with pytest.raises(InputError) as caught:
        adapter.with_variant("bf61")
    assert str(caught.value).startswith("unknown variant 'bf61'; did you mean 'bf16'? (known: ")


@pytest.mark.usefixtures("models")
def test_fp32_is_fp32(opening: Any, digits_card: DataCard) -> None:
    torch.set_float32_matmul_precision("medium")
    adapter = opened(opening, "torch:models.py:cnn", digits_card)
    assert adapter.numerics()["float32_matmul"] == "highest"
    assert adapter.numerics()["torch"] == torch.__version__


def test_the_fingerprint_names_what_differs(
    opening: Any, write: Write, models: Path, digits_card: DataCard, tmp_path: Path
) -> None:
    models.write_text("import utils\n" + models.read_text())
    write("utils.py", "X = 1")

    def differing(uri: str, **options: Any) -> set[str]:
        other = opened(opening, uri, digits_card, **options).fingerprint()
        assert other is not None
        return {key for key in {*first, *other} if first.get(key) != other.get(key)}

    uri = "torch:models.py:cnn"
    found = opened(opening, uri, digits_card).fingerprint()
    assert found is not None
    first = dict(found)
    assert differing(uri) == set()
    assert differing("torch:models.py:normalised") == {"source", "preprocessing", "configuration"}
    assert differing(f"{uri}?output=probabilities") == {"output"}
    assert differing(uri, normalisation=Normalisation(mean=(0.5,))) == {"preprocessing"}
    state = torch.nn.Module.state_dict(opened(opening, uri, digits_card)._module)
    save_file({key: tensor + 1 for key, tensor in state.items()}, tmp_path / "w.safetensors")
    assert differing(f"{uri}?weights=w.safetensors") == {"weights"}
    save_file(state, tmp_path / "w.safetensors")
    assert differing(f"{uri}?weights=w.safetensors") == set()
    write("utils.py", "X = 2")
    assert differing(uri) == {"source"}


def test_a_table_with_words_needs_encode(
    opening: Any, write: Write, diabetes_card: DataCard
) -> None:
    write("models.py", BINARY)
    task = Task(kind="classification", modality=Modality.TABLE, classes=("low", "high"))
    card = DataCard(name="t", uri="csv:t.csv", task=task, features={"a": "string", "b": "int64"})
    adapter = opened(opening, "torch:models.py:two", card)
    batch = Batch(("1",), pd.DataFrame({"a": ["x"], "b": [1]}))
    with pytest.raises(InputError) as caught:
        adapter.predict(batch, frozenset({"scores"}))
    assert str(caught.value) == (
        "columns 'a' are not numbers: the module must declare encode(frame) -> Tensor"
    )


def test_images_alone_are_normalised(opening: Any, write: Write, diabetes_card: DataCard) -> None:
    write("models.py", BINARY)
    with pytest.raises(InputError) as caught:
        opened(opening, "torch:models.py:two", diabetes_card, normalisation=Normalisation(scale=2))
    assert str(caught.value) == (
        "models.py:two: normalisation and size are for images; a model for tables declares encode"
    )
