"""What an ONNX file says about itself, read without running it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.errors import InputError, UnavailableError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.optional import need
from crucibench.util.suggest import unknown
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.user_errors import one_line

_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_PASSING = ("Identity", "Cast")


@dataclass(frozen=True)
class OnnxFile:
    """A parsed model.

    Attributes:
        path: of the file.
        external: files next to it that hold its tensors.
        facts: opset, producer and the like, as plain data.
        classes: names in the order of its scores, from its metadata or its classifier, or None.
        labelled: whether they are those that its classifier answers.
        declared: ``crucibench_input`` from its metadata.
        makers: for each output, the operator that makes it.
        parameters: how many numbers it has learnt.
    """

    path: Path
    external: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    labelled: bool = False
    declared: Mapping[str, Any] = field(default_factory=dict)
    makers: Mapping[str, str] = field(default_factory=dict)
    parameters: int = 0

    def digest(self) -> str:
        """Returns a digest of the file and of those that hold its tensors."""
        parts = [[file.name, file_digest(file)] for file in self.external]
        return data_digest([file_digest(self.path), *parts])


def read_onnx(path: Path) -> OnnxFile:
    """Reads the graph at `path`; its external tensors are found, not read.

    Raises:
        InputError: if it is no ONNX model, or names tensors outside its own folder.
    """
    onnx = need("onnx", "onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise InputError(f"{path.name} can't be read as an ONNX model: {one_line(error)}") from None
    if not model.ir_version or not model.graph.output:
        raise InputError(f"{path.name} can't be read as an ONNX model: it has no graph")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    listed = "classes" in metadata
    return OnnxFile(
        path=path,
        external=_external(model, path),
        facts={
            "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "ir_version": model.ir_version,
        },
        classes=_listed(metadata["classes"], path) if listed else _labels(model),
        labelled=not listed,
        declared=_declared(metadata, path),
        makers={entry.name: _maker(model.graph, entry.name) for entry in model.graph.output},
        parameters=sum(
            _count(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in _FLOATS
        ),
    )


_FLOATS = (1, 10, 11, 16)
"""TensorProto's float, float16, double and bfloat16."""


def _external(model: Any, path: Path) -> tuple[Path, ...]:
    """Returns the files of external tensors.

    Raises:
        InputError: if one lies outside the model's folder, or is not there: a model from elsewhere
            must not read the files of whoever runs it.
    """
    folder = path.parent.resolve()
    found: set[Path] = set()
    for tensor in _tensors(model):
        for location in (entry.value for entry in tensor.external_data if entry.key == "location"):
            parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
            rooted = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
            file = folder / location
            if rooted or ".." in parts or not file.resolve().is_relative_to(folder):
                raise InputError(
                    f"{path.name}: its external data {location!r} lies outside its own folder: "
                    "such a model is not read"
                )
            if not file.is_file():
                raise InputError(f"{path.name}: its external data {location!r} does not exist")
            found.add(file)
    return tuple(sorted(found))


def _tensors(model: Any) -> Iterator[Any]:
    """Yields every stored tensor, also of subgraphs, functions and attributes."""
    graphs = [
        model.graph,
        *(graph for one in model.training_info for graph in (one.initialization, one.algorithm)),
    ]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            yield from _sparse(graph.sparse_initializer)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from _sparse((attribute.sparse_tensor, *attribute.sparse_tensors))
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs


def _sparse(tensors: Any) -> Iterator[Any]:
    for tensor in tensors:
        yield from (tensor.values, tensor.indices)


def _labels(model: Any) -> tuple[str, ...] | None:
    lists = {
        tuple(entry.decode() if isinstance(entry, bytes) else str(entry) for entry in values)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name in _LABELS
        for values in (attribute.strings, attribute.ints)
        if len(values)
    }
    return lists.pop() if len(lists) == 1 else None


def _listed(text: str, path: Path) -> tuple[str, ...]:
    """Reads ``["cat", "dog"]``, ``{"0": "cat", "1": "dog"}`` or ``cat,dog``."""
    if not text.lstrip().startswith(("[", "{")):
        return tuple(name.strip() for name in text.split(","))
    try:
        listed = parse_json(text, path.name)
        if isinstance(listed, dict):
            listed = [listed[str(at)] for at in range(len(listed))]
    except (RefusedError, KeyError) as error:
        raise InputError(
            f"{path.name}: metadata classes: expected a JSON list or names with commas between, "
            f"got {text[:60]!r}"
        ) from error
    return tuple(map(str, listed))


def _declared(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    text = metadata.get("crucibench_input", "{}")
    try:
        declared = parse_json(text, path.name)
    except RefusedError:
        declared = None
    if not isinstance(declared, dict):
        raise InputError(
            f"{path.name}: metadata crucibench_input: expected a JSON object, got {text[:60]!r}"
        )
    return declared


def _maker(graph: Any, name: str) -> str:
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in _PASSING and node.input[0] in makers:
        node = makers[node.input[0]]
    return "" if node is None else str(node.op_type)


def _count(dims: Any) -> int:
    count = 1
    for size in dims:
        count *= size
    return count


# A session of ONNX Runtime that computes the same each time, and takes any number of samples.

_SUFFIX = "ExecutionProvider"
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3

Feeds = Mapping[str, NDArray[Any]]


class OnnxSession:
    """Runs a model.

    Attributes:
        inputs: the model's, with ``name``, ``type`` and ``shape``.
        outputs: the same.
        device: ``cpu`` or ``cuda``.
        notes: what to know of it.
    """

    def __init__(
        self, file: Path, device: str, providers: Sequence[str], *, auto: bool = False,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        """Opens a session.

        Args:
            file: the model.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            providers: what the user named, in order; empty for those of `device`.
            auto: whether nobody named `device`: without CUDA the model then runs on the cpu.
            threads: that answer; as many as this process was given unless told.

        Raises:
            InputError: if the model can't be loaded, or a provider is not there.
        """
        runtime = need("onnxruntime", "onnx")
        self._version = str(runtime.__version__)
        self._threads = threads or _threads()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        available = runtime.get_available_providers()
        self.notes: list[str] = []
        auto = auto and not providers and device.startswith("cuda")
        if auto and _CUDA not in available:
            self.notes.append(f"on the cpu, for this onnxruntime has no {_CUDA} (onnxruntime-gpu)")
            device = "cpu"
        chosen = _providers(device, providers, available)
        try:
            session = runtime.InferenceSession(str(file), sess_options=options, providers=chosen)
        except Exception as error:
            raise InputError(f"{file.name} can't be loaded: {one_line(error)}") from None
        # What was asked for and could not be started is left out in silence.
        started = session.get_providers()
        lost = [name for name, _ in chosen if name not in started]
        if lost and not auto:
            raise InputError(f"{file.name}: onnxruntime could not start {', '.join(lost)}")
        self.notes += [f"on the cpu, for onnxruntime could not start {name}" for name in lost]
        self._session = session
        self.inputs = session.get_inputs()
        self.outputs = session.get_outputs()
        self.device = "cuda" if _CUDA in started else "cpu"

    def run(self, names: Sequence[str], feeds: Feeds, batch: int | None) -> list[Any]:
        """Returns the outputs `names` for any number of samples.

        Args:
            names: of outputs.
            feeds: by input, one row a sample.
            batch: how many samples the model takes, or None for any number: more are asked for in
                parts, and the last part is filled up with copies of its last sample.
        """
        count = len(next(iter(feeds.values())))
        if batch is None or batch == count:
            return list(self._session.run(list(names), dict(feeds)))
        parts = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            kept = min(batch, count - start)
            some = {name: np.ascontiguousarray(array[rows]) for name, array in feeds.items()}
            parts.append([output[:kept] for output in self._session.run(list(names), some)])
        return [_joined(outputs) for outputs in zip(*parts, strict=True)]

    def numerics(self) -> dict[str, str]:
        """Returns what moves floats."""
        return {
            "onnxruntime": self._version,
            "providers": ",".join(self._session.get_providers()),
            "threads": str(self._threads),
            "device": self.device,
            "machine": platform.machine(),
            "optimisation": "all",
            "deterministic": "on",
        }


def _joined(outputs: Sequence[Any]) -> Any:
    if isinstance(outputs[0], list):
        return [row for output in outputs for row in output]
    return np.concatenate(outputs)


def _threads() -> int:
    """Returns how many threads this process was given, see `crucibench.util.devices`."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    return os.cpu_count() or 1


def _providers(
    device: str, wanted: Sequence[str], available: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    kind, _, index = device.partition(":")
    if not wanted:
        if kind == "cuda" and _CUDA not in available:
            raise InputError(
                f"device {device!r}: this onnxruntime has no {_CUDA} (it has: "
                f"{', '.join(available)}): install onnxruntime-gpu, or say device: cpu"
            )
        wanted = (_CUDA, _CPU) if kind == "cuda" else (_CPU,)
    known = {name.removesuffix(_SUFFIX).lower(): name for name in available}
    chosen: list[tuple[str, dict[str, str]]] = []
    for text in wanted:
        name = known.get(text.removesuffix(_SUFFIX).lower())
        if name is None:
            raise InputError(unknown("provider of onnxruntime", text, available))
        # TensorFloat-32 is off, and a search for the fastest kernel would choose by chance.
        options = {"device_id": index or "0", "use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
        chosen.append((name, options if name == _CUDA else {}))
    return chosen


# Other forms of an ONNX model: dynamic int8 and float16 by ONNX Runtime's own converters.

_KNOWN = ("fp32", "fp16", "int8", "threads-1")
_THREADS = re.compile(r"threads-([1-9]\d{0,2})")
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_INT8 = ("ConvInteger", "MatMulInteger")
_WHOLE = (2, 3)
"""TensorProto's uint8 and int8."""


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
