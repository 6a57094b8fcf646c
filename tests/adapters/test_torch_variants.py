"""Variants of a torch model: what each changes, and what it must not change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError, UnavailableError
from crucibench_adapters._torch_variants import Graphs, Int8Conv2d, Int8Linear, pruned
from crucibench_adapters.torch_module import TorchAdapter

SCORES = frozenset({"scores"})
Open = Callable[[nn.Module], TorchAdapter]


@pytest.fixture
def open_live(opening: Any, digits_card: DataCard) -> Open:
    def opened(module: nn.Module) -> TorchAdapter:
        adapter = TorchAdapter.open(opening("torch:live", digits_card, live=module))
        assert isinstance(adapter, TorchAdapter)
        return adapter

    return opened


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )


def scores(adapter: Adapter, batch: Batch) -> np.ndarray:
    found = adapter.predict(batch, SCORES).scores
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["bf16", "fp16", "int8", "channels-last", "prune-30", "threads-1"])
def test_a_variant_keeps_the_contract_and_leaves_the_model_as_it_was(
    open_live: Open, digits: Batch, name: str
) -> None:
    plain = open_live(network())
    before = scores(plain, digits)
    check_adapter(lambda: open_live(network()).with_variant(name), digits, tolerance=0.1)
    variant = plain.with_variant(name)
    # Another order of the same answers, or a batch by itself, is no other answer.
    alone = np.concatenate([scores(variant, digits.take([row])) for row in range(8)])
    np.testing.assert_allclose(alone, scores(variant, digits)[:8], atol=0.05)
    assert np.array_equal(scores(plain, digits), before)
    assert plain.fingerprint() is not None
    assert variant.fingerprint() == {**(plain.fingerprint() or {}), "variant": name}


def test_each_variant_says_what_moves_its_floats(open_live: Open) -> None:
    plain = open_live(network())
    facts = {name: plain.with_variant(name).numerics() for name in (
        "fp32", "bf16", "fp16", "channels-last", "threads-3", "int8",
    )}  # fmt: skip
    assert facts["fp32"] == plain.numerics()
    assert [facts[name]["dtype"] for name in ("fp32", "bf16", "fp16")] == [
        "float32", "bfloat16", "float16",
    ]  # fmt: skip
    assert facts["threads-3"] == {**plain.numerics(), "threads": "3"}
    assert facts["channels-last"]["memory"] == "channels_last"
    assert "products" in facts["int8"]["int8"]


def test_threads_hold_while_the_model_answers_and_no_longer(open_live: Open, digits: Batch) -> None:
    seen: list[int] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return self.inner(x)

    before = torch.get_num_threads()
    variant = open_live(Watched()).with_variant("threads-3")
    seen.clear()
    variant.timed(digits)
    scores(variant, digits)
    variant.module()(variant.encode(digits))
    assert seen == [3, 3, 3]
    assert torch.get_num_threads() == before


def test_int8_products_are_those_of_whole_numbers() -> None:
    torch.manual_seed(1)
    layer, inputs = nn.Linear(24, 7).requires_grad_(False), torch.randn(5, 3, 24)
    found = Int8Linear(layer)(inputs)
    rows = inputs.reshape(-1, 24).double()
    step = rows.abs().max(dim=1, keepdim=True).values / 127
    weights = layer.weight.double()
    weight_step = weights.abs().max(dim=1, keepdim=True).values / 127
    sums = torch.round(rows / step) @ torch.round(weights / weight_step).T
    expected = sums * step * weight_step.T + layer.bias.double()
    torch.testing.assert_close(found.double(), expected.reshape(5, 3, 7), rtol=1e-5, atol=1e-5)
    # Half a step of each factor is as far as rounding goes.
    bound = 24 * (float(step.max()) * float(weights.abs().max()) +
                  float(weight_step.max()) * float(rows.abs().max()))  # fmt: skip
    assert float((found - layer(inputs)).abs().max()) < bound


@pytest.mark.parametrize("groups", [1, 4])
def test_int8_convolutions_take_each_sample_by_itself(groups: int) -> None:
    torch.manual_seed(1)
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups).requires_grad_(False)
    try:
        made = Int8Conv2d(layer)
    except (RuntimeError, AttributeError):
        pytest.skip("this build of torch has no int8 convolution")
    inputs = torch.randn(3, 4, 9, 9)
    inputs[1] *= 1000  # would leave its neighbours no levels, if they shared a step
    answer, exact = made(inputs), layer(inputs)
    for row in range(3):
        torch.testing.assert_close(answer[row : row + 1], made(inputs[row : row + 1]))
        error = (answer[row] - exact[row]).abs().max() / exact[row].abs().max()
        assert 0 < float(error) < 0.03


def test_int8_states_its_shares_and_has_no_gradients(open_live: Open, digits: Batch) -> None:
    plain = open_live(network())
    small = plain.with_variant("int8")
    told = small.diagnostics()
    assert told["parameters"] == plain.diagnostics()["parameters"] == 80 + 1290
    convolves = any(isinstance(part, Int8Conv2d) for part in small._module.modules())
    weights = 1280 + 72 * convolves
    assert told["quantised-parameters"] == pytest.approx(weights / 1370)
    operations = 1280 + 64 * 72 * convolves
    assert told["quantised-multiply-adds"] == pytest.approx(operations / (1280 + 64 * 72))
    assert Capability.GRADIENTS not in small.capabilities
    assert 0 < np.abs(scores(small, digits) - scores(plain, digits)).max() < 0.05


def test_pruning_takes_the_smallest_weights_of_all_layers() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0]]))
        second.weight.copy_(torch.tensor([[0.5, -5.0], [2.5, 6.0]]))
        second.bias.fill_(0.01)
    module, told = pruned(nn.Sequential(first, second), 0.5)
    assert [entry.tolist() for entry in module.parameters()] == [
        [[0, 0], [3, -4]], [[0, -5], [0, 6]], [pytest.approx(0.01)] * 2,
    ]  # fmt: skip
    assert told == {"zero-parameters": pytest.approx(0.4)}
    with pytest.raises(InputError, match="there is none"):
        pruned(nn.Sequential(nn.ReLU()), 0.5)


def test_channels_last_arranges_weights_and_inputs(open_live: Open, digits: Batch) -> None:
    seen: list[torch.Tensor] = []
    module = network()
    variant = open_live(module).with_variant("channels-last")
    two = next(part for part in variant._module.modules() if isinstance(part, nn.Conv2d))
    two.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    scores(variant, digits)
    assert two.weight.is_contiguous(memory_format=torch.channels_last)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(InputError, match="convolutions, and the model has none"):
        open_live(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).with_variant("channels-last")


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
def test_a_compiled_model_answers_as_the_model_does(open_live: Open, digits: Batch) -> None:
    plain = open_live(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Tanh()))
    compiled = plain.with_variant("compile")
    np.testing.assert_allclose(scores(compiled, digits), scores(plain, digits), atol=1e-5)
    assert compiled.numerics()["compiled"] == "inductor, dynamic shapes"
    assert not {Capability.FEATURES, Capability.HEAD} & compiled.capabilities
    assert compiled._module._compiled_call_impl is not None


def test_a_machine_that_cannot_compile_is_told_in_a_sentence(
    open_live: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: nn.Module, **settings: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand a page of hints")

    monkeypatch.setattr(nn.Module, "compile", fails)
    with pytest.raises(InputError) as caught:
        open_live(network()).with_variant("compile")
    said = "torch.compile failed: RuntimeError: No working C++ compiler found"
    assert str(caught.value) == said


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
@pytest.mark.parametrize("name", ["tf32", "cuda-graph"])
def test_forms_for_cuda_are_unavailable_elsewhere(open_live: Open, name: str, refusal: Any) -> None:
    assert refusal(UnavailableError, lambda: open_live(network()).with_variant(name)) == (
        f"the live module: variant '{name}' is one for a CUDA device, and the model answers on cpu"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("int4", "unknown variant 'int4'; did you mean 'int8'?"),
        ("prune-100", "unknown variant 'prune-100'"),
        ("threads-0", "unknown variant 'threads-0'"),
    ],
)
def test_a_variant_that_there_is_not(open_live: Open, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_live(network()).with_variant(name)


def test_int8_of_a_model_without_such_layers_is_refused(open_live: Open) -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10]

    with pytest.raises(InputError, match="takes linear or convolution layers"):
        open_live(Plain()).with_variant("int8")


def test_graphs_leave_calls_that_they_cannot_record_alone() -> None:
    graphs = Graphs(lambda *args, **kwargs: (args, kwargs))
    asked = torch.zeros(2)
    assert graphs(asked, factor=2) == ((asked,), {"factor": 2})  # and no CUDA was needed
    assert graphs(asked) == ((asked,), {})
    with torch.no_grad():  # as who counts operations asks: a graph would show none
        assert graphs(asked) == ((asked,), {})
