"""What an ONNX file says about itself, read without running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.optional import need
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.untrusted.refusal import RefusedError
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
