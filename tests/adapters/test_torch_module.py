"""`torch:`: conformance on every form of module, capabilities, digests, and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from crucibench.contracts.adapter import Adapter, Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters._torch_files import (
    fit_weights,
    map_weights,
    placement,
    read_weights,
    weights_digest,
)
from crucibench_adapters.torch_module import TorchAdapter

Write = Callable[[str, str], Path]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> Any:
    return TorchAdapter.open(opening(uri, card, **options))


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
@pytest.mark.parametrize("factory", ["cnn", "normalised", "in_place"])
def test_a_timed_query_is_the_model_s_own_call_and_answers_the_same(
    opening: Any, digits_card: DataCard, digits: Batch, factory: str, monkeypatch: Any
) -> None:
    adapter = opened(opening, f"torch:models.py:{factory}", digits_card)
    before = digits.inputs.clone()
    answer = adapter.read_timed(adapter.timed(digits))
    assert (answer.scores == adapter.predict(digits, frozenset({"scores"})).scores).all()
    assert torch.equal(digits.inputs, before)
    looked_up: list[str] = []
    for name in ("parameters", "modules", "named_modules"):
        monkeypatch.setattr(nn.Module, name, lambda *_, name=name: looked_up.append(name))
    if factory != "in_place":  # which must have its inputs copied for it
        assert torch.equal(adapter.timed(digits), adapter.timed_encoded(digits.inputs))
        assert looked_up == []


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


def test_text(opening: Any, write: Write, refusal: Any) -> None:
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
    assert refusal(InputError, lambda: opened(opening, "torch:models.py:without", card)) == (
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
def test_variants(opening: Any, digits_card: DataCard, digits: Batch, refusal: Any) -> None:
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
    assert refusal(InputError, lambda: adapter.with_variant("bf61")).startswith(
        "unknown variant 'bf61'; did you mean 'bf16'? (known: "
    )


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
    opening: Any, write: Write, diabetes_card: DataCard, refusal: Any
) -> None:
    write("models.py", BINARY)
    task = Task(kind="classification", modality=Modality.TABLE, classes=("low", "high"))
    card = DataCard(name="t", uri="csv:t.csv", task=task, features={"a": "string", "b": "int64"})
    adapter = opened(opening, "torch:models.py:two", card)
    batch = Batch(("1",), pd.DataFrame({"a": ["x"], "b": [1]}))
    assert refusal(InputError, lambda: adapter.predict(batch, frozenset({"scores"}))) == (
        "columns 'a' are not numbers: the module must declare encode(frame) -> Tensor"
    )


def test_images_alone_are_normalised(
    opening: Any, write: Write, diabetes_card: DataCard, refusal: Any
) -> None:
    write("models.py", BINARY)
    assert refusal(
        InputError,
        lambda: opened(
            opening, "torch:models.py:two", diabetes_card, normalisation=Normalisation(scale=2)
        ),
    ) == (
        "models.py:two: normalisation and size are for images; a model for tables declares encode"
    )


SEEN: dict[tuple[int, ...], int] = {}


class Live(nn.Module):
    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(x.flatten(1)) / self.temperature
        return logits


def live(temperature: float = 1.0) -> Live:
    torch.manual_seed(0)
    return Live(temperature)


def test_live_modules(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    assert TorchAdapter.accepts(live())
    assert not TorchAdapter.accepts(print)
    check_adapter(lambda: opened(opening, "live:m", digits_card, live=live()), digits)


def test_a_live_module_is_given_back_as_it_was(opening: Any, digits_card: DataCard) -> None:
    module = live()
    module.fc.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    adapter = opened(opening, "live:m", digits_card, live=module)
    assert not module.training
    adapter.close()
    assert module.training
    assert not module.fc.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_fingerprint_of_a_live_module_follows_all_that_changes_its_answers(
    opening: Any, digits_card: DataCard
) -> None:
    def fingerprint(module: nn.Module) -> dict[str, str] | None:
        found = opened(opening, "live:m", digits_card, live=module).fingerprint()
        return None if found is None else dict(found)

    first = fingerprint(live())
    assert first is not None
    assert set(first) == {"weights", "configuration", "preprocessing", "output"}
    assert fingerprint(live()) == first

    other = fingerprint(live(temperature=2.0))
    assert other is not None
    assert {key for key in first if first[key] != other[key]} == {"configuration"}

    retrained = live()
    with torch.no_grad():
        retrained.fc.bias[0] += 1
    other = fingerprint(retrained)
    assert other is not None
    assert {key for key in first if first[key] != other[key]} == {"weights"}

    hooked = live()
    hooked.register_forward_hook(lambda *_: None)
    negated = live()
    negated.register_forward_hook(lambda module, inputs, output: -output)
    assert len({str(fingerprint(module)) for module in (live(), hooked, negated)}) == 3

    scaled = [live(), live()]
    scaled[0].scale = lambda x: x  # type: ignore[assignment]
    scaled[1].scale = lambda x: 2 * x  # type: ignore[assignment]
    assert fingerprint(scaled[0]) != fingerprint(scaled[1])

    made: dict[str, Any] = {"nn": nn, "__name__": "nowhere"}
    prints = []
    for text in ("1", "2"):
        forward = f"def forward(self, x): return {text} * super().forward(x)"
        exec(f"class Sourceless(nn.Flatten):\n    {forward}", made)
        prints.append(fingerprint(nn.Sequential(made["Sourceless"](), nn.Linear(64, 10))))
    assert None not in prints
    assert prints[0] != prints[1]


def test_a_module_that_nobody_can_tell_says_what_of_it(opening: Any, digits_card: DataCard) -> None:
    def why(module: nn.Module) -> str:
        adapter = opened(opening, "live:m", digits_card, live=module)
        assert (adapter.fingerprint() is None) == bool(adapter.unidentified())
        return adapter.unidentified()

    assert why(live()) == ""
    module = nn.Sequential(live())
    module[0].table = iter([])
    assert why(module) == "attribute 0.table is an iterator"
    module[0].table = {"a": [object(), (x for x in ())]}
    assert why(module) == "attribute 0.table['a'][1] is a generator"

    class Counting(Live):
        asked = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.asked += 1
            return super().forward(x)

    assert why(Counting()) == "attribute asked is another after each question"

    class Remembering(Live):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            SEEN[tuple(x.shape)] = 1
            return super().forward(x)

    told = "Remembering.forward (global SEEN) is another after each question"
    assert told in why(Remembering())


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("torch:models.py:cmn", "unknown function of models.py 'cmn'; did you mean 'cnn'?"),
        ("torch:model.py:cnn", "file 'model.py' does not exist in"),
        ("torch:models.py:cnn?weight=w.pt", "unknown option of torch: 'weight'; did you mean 'we"),
        ("torch:models.py:cnn?weights=w.bin", "weights 'w.bin': expected .safetensors, .pt or .p"),
        ("torch:models.py:cnn?weights=w.pt", "weights 'w.pt' does not exist"),
        ("torch:models.py:cnn?output=logit", "unknown output of torch: 'logit'; did you mean 'l"),
    ],
)
@pytest.mark.usefixtures("models")
def test_mistakes_show_before_anything_is_loaded(
    tmp_path: Path, uri: str, told: str, refusal: Any
) -> None:
    assert refusal(InputError, lambda: TorchAdapter.sources(parse_uri(uri), tmp_path)).startswith(
        told
    )


def test_every_file_that_matters_is_named(write: Write, tmp_path: Path) -> None:
    write("models.py", "import utils\ndef cnn(): ...")
    write("utils.py", "")
    write("w.pt", "")
    sources = TorchAdapter.sources(parse_uri("torch:models.py:cnn?weights=w.pt"), tmp_path)
    assert [file.name for file in sources.files] == ["models.py", "utils.py", "w.pt"]


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("raises", "models.py:raises raised FileNotFoundError: no weights here"),
        (
            "nothing",
            "models.py:nothing: expected the factory to return a torch.nn.Module or an Adapter, "
            "got NoneType",
        ),
        (
            "five",
            "models.py:five: the data has 10 classes, the model answers 4 samples with shape "
            "(4, 5)",
        ),
        (
            "fails",
            "models.py:fails raised RuntimeError: Given groups=1, weight of size [4, 3, 3, 3], "
            "expected input[4, 1, 8, 8] to have 3 channels, but got 1 channels instead on "
            "made-up samples of shape (4, 1, 8, 8)",
        ),
    ],
)
@pytest.mark.usefixtures("models")
def test_factories_that_give_no_usable_model(
    opening: Any, digits_card: DataCard, factory: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        opened(opening, f"torch:models.py:{factory}", digits_card)
    assert str(caught.value) == told
    if factory == "raises":
        assert 'raise FileNotFoundError("no weights here")' in (caught.value.detail or "")
    if factory == "fails":
        assert "crucibench" not in (caught.value.detail or "crucibench")


@pytest.mark.usefixtures("models")
def test_spec_and_factory_must_not_contradict_each_other(
    opening: Any, digits_card: DataCard, refusal: Any
) -> None:
    assert refusal(
        InputError,
        lambda: opened(
            opening,
            "torch:models.py:normalised",
            digits_card,
            normalisation=Normalisation(mean=(0.5,)),
        ),
    ) == (
        "normalisation: the spec says Normalisation(scale=1.0, mean=(0.5,), std=(1.0,)), "
        "models.py:normalised declares Normalisation(scale=1.0, mean=(0.3,), std=(0.4,)); "
        "keep one of them"
    )
    assert refusal(
        InputError,
        lambda: opened(opening, "torch:models.py:normalised", digits_card, size=(16, 16)),
    ) == ("size: the spec says (16, 16), models.py:normalised declares (8, 8); keep one of them")


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"means": [0.5]}, "unknown key of crucibench_input 'means'; did you mean 'mean'?"),
        ({"mean": 0.5}, "crucibench_input: expected range: [low, high] and lists of numbers as"),
        ({"std": [0.0]}, "crucibench_input: expected std above 0 and range from low to high"),
        ({"size": 8}, "crucibench_input: size: expected [height, width], got 8"),
        ({"channels": 2}, "channels: expected 1 or 3, got 2"),
        ({"mean": [0.1, 0.2]}, "mean and std: expected one number, or one for each of 3 channels"),
        ({"resize": "linear"}, "unknown resize 'linear'; did you mean 'bilinear'?"),
        ([0.5], "crucibench_input: expected a dict, got list"),
    ],
)
def test_declarations_that_can_not_be_read(
    opening: Any, digits_card: DataCard, declared: Any, told: str, refusal: Any
) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.crucibench_input = declared
    assert refusal(
        InputError, lambda: opened(opening, "live:m", digits_card, live=module)
    ).startswith(f"the live module: {told}")


@pytest.fixture
def state(models: Path, opening: Any, digits_card: DataCard) -> dict[str, torch.Tensor]:
    module = opened(opening, "torch:models.py:cnn", digits_card)._module
    return {key: value + 0.5 for key, value in module.state_dict().items()}


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pt_weights(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    wrap: str | None,
    suffix: str,
) -> None:
    stored = {wrap: state, "epoch": 3} if wrap else state
    torch.save(stored, tmp_path / f"w{suffix}")
    adapter = opened(opening, f"torch:models.py:cnn?weights=w{suffix}", digits_card)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])
    assert adapter.diagnostics()["notes"] == []


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_wrapper_s_prefix_is_taken_off_and_said_so(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    prefix: str,
) -> None:
    wrapped = {f"{prefix}{key}": value for key, value in state.items()}
    save_file(wrapped, tmp_path / "w.safetensors")
    adapter = opened(opening, "torch:models.py:cnn?weights=w.safetensors", digits_card)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])
    assert adapter.diagnostics()["notes"] == [
        f"the prefix {prefix!r} was taken off all names in w.safetensors"
    ]


def test_tied_weights_may_be_stored_once(
    opening: Any, write: Write, digits_card: DataCard, tmp_path: Path
) -> None:
    write(
        "models.py",
        """
        from torch import nn
        def tied():
            layers = [nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)]
            net = nn.Sequential(nn.Flatten(), *layers)
            net[2].weight = net[1].weight
            return net
        """,
    )
    module = opened(opening, "torch:models.py:tied", digits_card)._module
    state = {key: value + 1 for key, value in module.state_dict().items() if key != "2.weight"}
    save_file(state, tmp_path / "w.safetensors")
    adapter = opened(opening, "torch:models.py:tied?weights=w.safetensors", digits_card)
    assert torch.equal(adapter._module.state_dict()["2.weight"], state["1.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda state: [state.pop(key) for key in ("conv.weight", "conv.bias")],
            "2 missing (conv.weight, conv.bias)",
        ),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected (extra)"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(10, 64)}),
            "1 of another shape (fc.weight: (10, 64) in the file, (10, 128) in the model)",
        ),
        (
            lambda state: [state.update({f"net.{key}": state.pop(key)}) for key in sorted(state)],
            "8 missing (conv.weight, conv.bias, norm.weight, ...), "
            "9 unexpected (net.conv.bias, net.conv.weight, net.fc.bias, ...)",
        ),
    ],
)
def test_weights_that_do_not_fit(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    change: Callable[[dict[str, torch.Tensor]], Any],
    told: str,
    refusal: Any,
) -> None:
    change(state)
    torch.save(state, tmp_path / "w.pt")
    assert (
        refusal(
            InputError, lambda: opened(opening, "torch:models.py:cnn?weights=w.pt", digits_card)
        )
        == f"weights w.pt don't fit models.py:cnn: {told}"
    )


class Pickled:
    pass


def test_pickled_weights_need_the_flag(
    opening: Any, digits_card: DataCard, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({"state_dict": state, "config": Pickled()}, tmp_path / "w.pt")
    uri = "torch:models.py:cnn?weights=w.pt"
    with pytest.raises(InputError) as caught:
        opened(opening, uri, digits_card)
    assert str(caught.value) == (
        f"weights w.pt hold more than tensors ({Pickled.__module__}.Pickled), or are damaged: save "
        "the state dict alone, best as .safetensors, or pass --allow-pickle, which lets the file "
        "run code"
    )
    assert caught.value.detail is None
    adapter = opened(opening, uri, digits_card, allow_pickle=True)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ([torch.zeros(1)], "weights w.pt: expected a state dict, got list"),
        (
            {"epoch": 3, "net": {}},
            "weights w.pt: expected a state dict (perhaps under state_dict, model, "
            "model_state_dict), and it has other entries: epoch, net",
        ),
        (
            {},
            "weights w.pt: expected a state dict (perhaps under state_dict, model, "
            "model_state_dict), and it is empty",
        ),
    ],
)
@pytest.mark.usefixtures("models")
def test_what_is_no_state_dict(
    opening: Any, digits_card: DataCard, tmp_path: Path, stored: Any, told: str, refusal: Any
) -> None:
    torch.save(stored, tmp_path / "w.pt")
    assert (
        refusal(
            InputError, lambda: opened(opening, "torch:models.py:cnn?weights=w.pt", digits_card)
        )
        == told
    )


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.usefixtures("models")
def test_damaged_weights(opening: Any, digits_card: DataCard, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(InputError, match=rf"^weights {name} (can't be read|hold more than)"):
        opened(opening, f"torch:models.py:cnn?weights={name}", digits_card)


SIDE = 512
"""A float32 matrix of this side is one mebibyte: the least that is mapped."""


class Net(nn.Module):
    """One layer that is worth mapping, one that is not, and a large buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE)
        self.norm = nn.BatchNorm1d(SIDE)
        self.register_buffer("table", torch.zeros(SIDE, SIDE))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.norm(self.large(inputs)) @ self.table


class Tied(nn.Module):
    """Two names for one matrix, of which a file holds one; and a list that refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIDE, SIDE, bias=False)
        self.second = nn.Linear(SIDE, SIDE, bias=False)
        self.second.weight = self.first.weight
        self.listed = [self.first.weight]


class Aliased(nn.Module):
    """Keeps a view of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE, bias=False)
        self.turned = self.large.weight.detach().T


class Hooked(nn.Module):
    """Loads in its own way: what is stored is twice what is used."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE, bias=False)
        self.register_load_state_dict_pre_hook(self._halved)

    @staticmethod
    def _halved(module: nn.Module, state: dict[str, torch.Tensor], *rest: Any) -> None:
        for key in list(state):
            state[key] = state[key] / 2


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[dict[str, torch.Tensor]], Path]:
    def store(state: dict[str, torch.Tensor]) -> Path:
        save_file(
            {key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors"
        )
        return tmp_path / "w.safetensors"

    return store


def fit(module: nn.Module, file: Path) -> None:
    fit_weights(module, read_weights(file, allow_pickle=False), file, "the module")


def random_state(module: nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        key: torch.rand_like(value) if value.is_floating_point() else value.clone()
        for key, value in module.state_dict().items()
    }


def test_mapped_weights_are_the_files_and_all_else_stays(stored: Any) -> None:
    net, copied = Net(), Net()
    net.large.weight.requires_grad_(False)
    own = {name: id(value) for name, value in (*net.named_parameters(), *net.named_buffers())}
    state = random_state(net)
    fit(net, stored(state))
    copied.load_state_dict(state)
    assert placement(net).startswith("mapped, +") and placement(copied) == ""
    assert own == {name: id(part) for name, part in (*net.named_parameters(), *net.named_buffers())}
    assert not net.large.weight.requires_grad and net.large.bias.requires_grad
    assert weights_digest(net) == weights_digest(copied)
    inputs = torch.randn(4, SIDE)
    assert torch.allclose(net.eval()(inputs), copied.eval()(inputs), rtol=1e-4, atol=1e-4)


def test_what_is_tied_stays_tied_also_where_it_is_only_listed(stored: Any) -> None:
    net = Tied()
    file = stored({"first.weight": torch.randn(SIDE, SIDE)})
    fit(net, file)
    assert placement(net)
    assert net.first.weight is net.second.weight is net.listed[0]
    assert torch.equal(net.second.weight, read_weights(file, allow_pickle=False)["first.weight"])


def test_a_view_of_the_weights_goes_on_to_show_them(stored: Any) -> None:
    net = Aliased()
    fit(net, stored(random_state(net)))
    assert placement(net) == ""
    assert torch.equal(net.turned, net.large.weight.T)


def test_a_module_that_loads_in_its_own_way_does_so(stored: Any) -> None:
    net = Hooked()
    state = random_state(net)
    fit(net, stored(state))
    assert placement(net) == ""
    assert torch.equal(net.large.weight, state["large.weight"] / 2)


@pytest.mark.parametrize(
    "changed",
    [
        lambda net: net.half(),
        lambda net: net.double(),
        lambda net: setattr(net.large, "weight", nn.Parameter(torch.zeros(SIDE, SIDE).T)),
        lambda net: setattr(net.large, "weight", nn.Parameter(torch.zeros(2, SIDE, SIDE)[1])),
    ],
    ids=["half", "double", "strides", "slice"],
)
def test_what_does_not_fit_is_copied(stored: Any, changed: Callable[[nn.Module], Any]) -> None:
    net = Aliased()
    del net.turned
    state = random_state(net)
    changed(net)
    before = net.large.weight.dtype, net.large.weight.stride(), net.large.weight.data_ptr()
    fit(net, stored(state))
    after = net.large.weight.dtype, net.large.weight.stride(), net.large.weight.data_ptr()
    assert before == after and placement(net) == ""
    assert torch.equal(net.large.weight, state["large.weight"].to(before[0]))


def test_small_weights_are_copied(stored: Any) -> None:
    net = nn.Linear(8, 8)
    state = random_state(net)
    assert map_weights(net, state, stored(state)) == set()


def test_training_on_leaves_the_file_as_it_is(stored: Any) -> None:
    net = Net()
    file = stored(random_state(net))
    content = file.read_bytes()
    fit(net, file)
    torch.optim.SGD(net.parameters(), lr=1.0).zero_grad()
    net(torch.randn(4, SIDE)).sum().backward()
    assert net.large.weight.grad is not None
    with torch.no_grad():
        net.large.weight += net.large.weight.grad
    assert file.read_bytes() == content
    assert not torch.equal(net.large.weight, read_weights(file, allow_pickle=False)["large.weight"])


def test_a_file_that_changes_under_the_model_ends_its_answers(stored: Any, tmp_path: Path) -> None:
    net = Net().eval()
    file = stored(random_state(net))
    fit(net, file)
    net(torch.zeros(1, SIDE))
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes())
    other.replace(file)
    with pytest.raises(OutputError, match=r"weights w\.safetensors were changed while the model"):
        net(torch.zeros(1, SIDE))


_CHILD = """
import json, sys
from pathlib import Path
import torch
from crucibench_adapters._torch_files import fit_weights, read_weights, weights_digest

def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":") for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {key: int(value.split()[0]) >> 10 for key, value in found.items()}

file = Path(sys.argv[1])
with torch.inference_mode():
    torch.nn.Linear(8, 8)(torch.zeros(1, 8))
before = memory()
net = torch.nn.Sequential(*(torch.nn.Linear(2048, 2048) for _ in range(12)))
made = memory()
fit_weights(net, read_weights(file, allow_pickle=False), file, "net")
with torch.inference_mode():
    net(torch.zeros(1, 2048))
weights_digest(net)
print(json.dumps([before, made, memory()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_two_hundred_megabytes_of_weights_cost_little_memory_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    net = nn.Sequential(*(nn.Linear(2048, 2048, device="meta") for _ in range(12)))
    save_file({key: torch.ones(part.shape) for key, part in net.state_dict().items()}, file)
    assert file.stat().st_size > 200 * 10**6
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(file)], capture_output=True, text=True, check=True
    )
    before, made, after = json.loads(done.stdout)
    assert made["RssAnon"] - before["RssAnon"] > 180, "the factory's own weights"
    assert after["RssAnon"] - before["RssAnon"] < 20
    assert after["RssFile"] - before["RssFile"] > 180, "all of it was read"
