"""Other forms of an ONNX model: dynamic int8 and float16 by ONNX Runtime's own converters."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from crucibench.util.errors import InputError, UnavailableError
from crucibench.util.optional import need
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line

_KNOWN = ("fp32", "fp16", "int8", "threads-1")
_THREADS = re.compile(r"threads-([1-9]\d{0,2})")
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_INT8 = ("ConvInteger", "MatMulInteger")
_WHOLE = (2, 3)
"""TensorProto's uint8 and int8."""

_FLOATS = (1, 10, 11, 16)
"""TensorProto's float, float16, double and bfloat16."""

_INT8_NOTE = (
    "int8: the step of inputs is that of their whole batch (onnxruntime's dynamic quantisation): "
    "an answer depends a little on what else is in it"
)


@dataclass(frozen=True)
class OnnxForm:
    """A form of a model.

    Attributes:
        name: e.g. ``int8``.
        path: of the converted model; None for the file as it is.
        threads: that answer; None for those that the process was given.
        measured: shares in [0, 1], such as ``quantised-parameters``.
        notes: what to know of it.
    """

    name: str
    path: Path | None = None
    threads: int | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def in_form(
    name: str, file: Path, folder: Path, shapes: Mapping[str, Sequence[int]] | None, device: str
) -> OnnxForm:
    """Returns another form of the model in `file`.

    Args:
        name: of the variant.
        file: the model.
        folder: where a converted model is written.
        shapes: of the inputs of one sample, to count multiply-adds; None if nobody knows.
        device: where the model answers.

    Raises:
        InputError: if there is no such form of it.
        UnavailableError: if it is one for the processor, and the model answers elsewhere.
    """
    threads = _THREADS.fullmatch(name)
    if name not in _KNOWN and threads is None:
        raise InputError(
            f"{unknown('variant', name, _KNOWN)}: what else an ONNX file is to be, it is converted "
            "to, and the new file is added as a model of its own"
        )
    if threads is not None:
        if device != "cpu":
            raise UnavailableError(
                f"variant {name!r} is one for the processor, and the model answers on {device}"
            )
        return OnnxForm(name, threads=int(threads[1]))
    path = folder / f"{file.stem}.{name}.onnx"
    try:
        makers: Mapping[str, Callable[[Path, Path], OnnxForm]] = {
            "int8": partial(_int8, shapes=shapes),
            "fp16": _half,
        }
        return makers[name](file, path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"onnxruntime can't make variant {name!r}: {one_line(error)}") from None


def _int8(file: Path, path: Path, shapes: Mapping[str, Sequence[int]] | None) -> OnnxForm:
    onnx = need("onnx", "onnx")
    quantization = need("onnxruntime.quantization", "onnx")
    with _silent():
        # Its convolution takes unsigned weights alone.
        quantization.quantize_dynamic(file, path, weight_type=quantization.QuantType.QUInt8)
    before, after = onnx.load(file), onnx.load(path)
    if not any(node.op_type in _INT8 for node in after.graph.node):
        raise InputError(
            "variant 'int8' takes convolutions or products with stored weights, and the model has "
            "none that onnxruntime quantises"
        )
    total = _stored(before, _FLOATS)
    measured = {"quantised-parameters": min(1.0, _stored(after, _WHOLE) / total)}
    whole = _multiply_adds(onnx, before, shapes)
    left = _multiply_adds(onnx, after, shapes)
    if whole and left is not None:
        measured["quantised-multiply-adds"] = 1 - left / whole
    return OnnxForm("int8", path, measured=measured, notes=(_INT8_NOTE,))


def _half(file: Path, path: Path) -> OnnxForm:
    onnx = need("onnx", "onnx")
    float16 = need("onnxruntime.transformers.float16", "onnx")
    with _silent():
        made = float16.convert_float_to_float16(onnx.load(file), keep_io_types=True)
    onnx.save(made, path)
    return OnnxForm("fp16", path)


def _stored(model: Any, types: Sequence[int]) -> int:
    """Returns how many numbers of these types are stored, zero points and steps left out."""
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in types and not tensor.name.endswith(("_zero_point", "_scale"))
    )


def _multiply_adds(onnx: Any, model: Any, shapes: Mapping[str, Sequence[int]] | None) -> int | None:
    """Returns those of one sample in floating point with stored weights; None if nobody can tell.

    Of a convolution each weight counts once for each place of its output, of a product once for
    each row of its input.
    """
    if shapes is None:
        return None
    for entry in model.graph.input:
        for side, size in zip(
            entry.type.tensor_type.shape.dim, shapes.get(entry.name, ()), strict=False
        ):
            side.dim_value = size
    for entry in model.graph.output:
        entry.type.tensor_type.ClearField("shape")
    model.graph.ClearField("value_info")
    graph = onnx.shape_inference.infer_shapes(model).graph
    sides = {
        entry.name: [side.dim_value for side in entry.type.tensor_type.shape.dim]
        for entry in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type not in _PRODUCTS or node.input[1] not in weights:
            continue
        shape = sides.get(node.output[0], [])
        places = shape[2:] if node.op_type == "Conv" else shape[:-1]
        if not shape or 0 in places:
            return None
        total += math.prod(weights[node.input[1]]) * math.prod(places)
    return total


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the converters' advice in the root log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
