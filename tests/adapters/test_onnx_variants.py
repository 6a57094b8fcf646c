"""Forms of an ONNX model: int8, float16, threads; what they answer, and what they say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError, UnavailableError
from crucibench_adapters._onnx_file import in_form
from crucibench_adapters.onnx_model import OnnxAdapter

SCORES = frozenset({"scores"})


@pytest.fixture(scope="module")
def cnn(
    tmp_path_factory: pytest.TempPathFactory, trained_cnn: nn.Module, export_onnx: Any,
    digits: Batch,
) -> Path:  # fmt: skip
    path = tmp_path_factory.mktemp("onnx") / "cnn.onnx"
    export_onnx(trained_cnn, digits.inputs[:4], path)
    return path


@pytest.fixture
def adapter(cnn: Path, opening: Any, digits_card: DataCard) -> OnnxAdapter:
    found = OnnxAdapter.open(opening(f"onnx:{cnn}", digits_card))
    assert isinstance(found, OnnxAdapter)
    return found


@pytest.mark.parametrize(("name", "tolerance"), [("int8", 0.05), ("fp16", 0.005)])
def test_a_converted_model_answers_nearly_alike_and_not_the_same(
    adapter: OnnxAdapter, digits: Batch, name: str, tolerance: float
) -> None:
    variant = adapter.with_variant(name)
    plain, other = (one.predict(digits, SCORES).scores for one in (adapter, variant))
    assert plain is not None and other is not None
    assert 0 < np.abs(plain - other).max() < tolerance * np.abs(plain).max()
    assert other.dtype == plain.dtype  # float16 stays inside
    kept, changed = adapter.fingerprint(), variant.fingerprint()
    assert kept is not None and changed == {**kept, "variant": name}
    if name == "fp16":  # in int8 an answer depends a little on the batch, and a note says so
        check_adapter(lambda: variant, digits)


def test_the_quantised_share_is_that_of_the_formulas(
    tmp_path: Path, opening: Any, digits_card: DataCard, export_onnx: Any, digits: Batch
) -> None:
    """Convolution and last layer are int8: all but the biases; a product of inputs is not there."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10))
    export_onnx(net, digits.inputs[:4], tmp_path / "net.onnx")
    variant = OnnxAdapter.open(opening("onnx:net.onnx", digits_card)).with_variant("int8")
    told = variant.diagnostics()
    weights, biases = 6 * 9 + 2160, 6 + 10
    assert told["parameters"] == weights + biases
    assert told["quantised-parameters"] == pytest.approx(weights / (weights + biases))
    assert told["quantised-multiply-adds"] == 1
    assert any("whole batch" in note for note in told["notes"])


def test_multiply_adds_that_stay_in_floating_point_are_left_out(tmp_path: Path) -> None:
    """A product whose weight is bent by another operator first is not quantised."""
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("Gemm", ["h", "second"], ["y"], alpha=0.5),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(array, name)
         for name, array in (("first", first), ("second", second))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    form = in_form("int8", tmp_path / "m.onnx", tmp_path, {"x": (1, 4)}, "cpu")
    assert form.measured == {"quantised-parameters": 0.5, "quantised-multiply-adds": 0.5}
    unknown = in_form("int8", tmp_path / "m.onnx", tmp_path, None, "cpu")
    assert "quantised-multiply-adds" not in unknown.measured


def test_threads_change_no_answer_and_are_recorded(adapter: OnnxAdapter, digits: Batch) -> None:
    variant = adapter.with_variant("threads-2")
    assert variant.numerics()["threads"] == "2"
    plain, other = (one.predict(digits, SCORES).scores for one in (adapter, variant))
    np.testing.assert_allclose(plain, other, atol=1e-4)


def test_what_cannot_be_is_told_in_a_sentence(adapter: OnnxAdapter, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cnn.onnx: unknown variant 'int4'; did you mean 'int8'"):
        adapter.with_variant("int4")
    with pytest.raises(UnavailableError, match="for the processor, and the model answers on cuda"):
        in_form("threads-2", tmp_path / "m.onnx", tmp_path, None, "cuda")


def test_a_model_without_weights_is_not_quantised(tmp_path: Path) -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="has none that onnxruntime quantises"):
        in_form("int8", tmp_path / "m.onnx", tmp_path, None, "cpu")
