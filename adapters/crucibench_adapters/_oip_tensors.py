"""Tensors as the Open Inference Protocol writes them, in JSON and in its binary extension."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation, Opening
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality, OutputError
from crucibench.util.errors import InputError
from crucibench_adapters._named_inputs import NamedInput, TableInputs, name_shown, text_arrays
from crucibench_adapters._preprocessing import normalised, stored_form

HEADER = "Inference-Header-Content-Length"
"""Where the JSON of a binary request or answer ends."""

NUMBERS: Mapping[str, str] = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
DATATYPES = frozenset({*NUMBERS, "BF16", "BYTES"})


@dataclass(frozen=True)
class Tensor:
    """A tensor as a model's metadata declares it.

    Attributes:
        name: its name.
        datatype: one of `DATATYPES`.
        shape: -1 where any size goes; empty where the server does not say.
        parameters: what else the server says.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{name_shown(self.name)} ({self.datatype} {list(self.shape)})"


Filled = tuple[Tensor, NDArray[Any]]
"""A tensor and its content, rows first; text as an object array of str."""


def encode(
    inputs: Sequence[Filled], output: str | None, *, binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Returns the body of an inference request and its headers.

    Args:
        inputs: what is asked about.
        output: the output that is wanted, or None for all.
        binary: whether tensors follow the JSON as bytes.

    Raises:
        OutputError: if JSON can't hold a value.
    """
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for tensor, array in inputs:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype}
        entry["shape"] = list(array.shape)
        if binary:
            blobs.append(_to_bytes(tensor.datatype, array))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = _to_list(tensor, array)
        entries.append(entry)
    body: dict[str, Any] = {"inputs": entries}
    if output is not None:
        body["outputs"] = [{"name": output}]
        if binary:
            body["outputs"][0]["parameters"] = {"binary_data": True}
    elif binary:
        body["parameters"] = {"binary_data_output": True}
    head = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head))}
    return head + b"".join(blobs), headers


def _to_list(tensor: Tensor, array: NDArray[Any]) -> list[Any]:
    if tensor.datatype == "BYTES":
        return [str(entry) for entry in array.ravel()]
    if tensor.datatype in FLOATS and not np.isfinite(array).all():
        raise OutputError(
            f"input {name_shown(tensor.name)} holds missing or infinite values, which JSON can't "
            "say: ?binary=true can, if the server takes it"
        )
    narrow = array if tensor.datatype == "BF16" else array.astype(NUMBERS[tensor.datatype])
    flat: list[Any] = narrow.ravel().tolist()
    return flat


def _to_bytes(datatype: str, array: NDArray[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = (str(entry).encode() for entry in array.ravel())
        return b"".join(struct.pack("<I", len(entry)) + entry for entry in encoded)
    if datatype == "BF16":
        return _to_bf16(array.astype("<f4")).tobytes()
    return array.astype(NUMBERS[datatype]).tobytes()


def _to_bf16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounds to the nearest, to even between two: what a cast on an accelerator does."""
    bits = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    short: NDArray[np.uint16] = np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")
    return short


def decode(
    content: bytes, head: str | None, scrub: Callable[[str], str]
) -> dict[str, tuple[str, NDArray[Any]]]:
    """Reads an answer: output name to datatype and content.

    Args:
        content: the body.
        head: the value of `HEADER`, or None where the answer is all JSON.
        scrub: takes secrets out of what the server says.

    Raises:
        OutputError: if it is no answer of the protocol, saying what is wrong with it.
    """
    length = len(content)
    if head is not None:
        if not (head.isascii() and head.isdigit() and int(head) <= len(content)):
            raise OutputError(
                f"the answer's {HEADER} is {name_shown(scrub(head))}, its body has "
                f"{len(content)} bytes"
            )
        length = int(head)
    try:
        document = json.loads(content[:length])
    except (ValueError, RecursionError) as error:
        start = name_shown(scrub(content[:length].decode(errors="replace")))
        raise OutputError(f"the answer is not JSON: {start}") from error
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list):
        raise OutputError("the answer has no list of outputs")
    found: dict[str, tuple[str, NDArray[Any]]] = {}
    rest = memoryview(content)[length:]
    for entry in outputs:
        name, datatype, shape, size = _described(entry, scrub)
        if size is None:
            found[name] = datatype, _from_list(name, datatype, shape, entry.get("data"))
            continue
        if size > len(rest):
            raise OutputError(
                f"output {name_shown(name)}: the answer announces {size} bytes and holds "
                f"{len(rest)}"
            )
        found[name] = datatype, _from_bytes(name, datatype, shape, bytes(rest[:size]))
        rest = rest[size:]
    if len(rest):
        raise OutputError(f"the answer holds {len(rest)} bytes that belong to no output")
    return found


def _described(
    entry: Any, scrub: Callable[[str], str]
) -> tuple[str, str, tuple[int, ...], int | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise OutputError("the answer has an output without a name")
    name, datatype, shape = scrub(entry["name"]), entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise OutputError(
            f"output {name_shown(name)}: expected a datatype of the protocol, got "
            f"{name_shown(scrub(str(datatype)))}"
        )
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise OutputError(
            f"output {name_shown(name)}: expected a shape, got "
            f"{name_shown(scrub(json.dumps(shape)))}"
        )
    parameters = entry.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise OutputError(f"output {name_shown(name)}: its binary_data_size is no number of bytes")
    return name, datatype, tuple(shape), size


def _from_list(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> NDArray[Any]:
    kind = "<f4" if datatype == "BF16" else NUMBERS.get(datatype, "O")
    wrong = OutputError(f"output {name_shown(name)}: its data is no list of {datatype} values")
    if not isinstance(data, list):
        raise wrong
    try:
        array = np.asarray(data, dtype=kind).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong from error
    return _shaped(name, shape, array)


def _from_bytes(name: str, datatype: str, shape: tuple[int, ...], data: bytes) -> NDArray[Any]:
    if datatype == "BYTES":
        return _shaped(name, shape, _texts(name, data))
    width = 2 if datatype == "BF16" else np.dtype(NUMBERS[datatype]).itemsize
    if len(data) != width * prod(shape):
        raise OutputError(
            f"output {name_shown(name)}: {datatype} of shape {shape} takes "
            f"{width * prod(shape)} bytes, the answer has {len(data)}"
        )
    if datatype == "BF16":
        wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(data, NUMBERS[datatype]).reshape(shape)


def _texts(name: str, data: bytes) -> NDArray[Any]:
    found: list[str] = []
    at = 0
    while at < len(data):
        start = at + 4
        size = struct.unpack_from("<I", data, at)[0] if start <= len(data) else len(data)
        if start + size > len(data):
            raise OutputError(f"output {name_shown(name)}: its BYTES end in the middle of a value")
        found.append(data[start : start + size].decode(errors="replace"))
        at = start + size
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def _shaped(name: str, shape: tuple[int, ...], array: NDArray[Any]) -> NDArray[Any]:
    if array.size != prod(shape):
        raise OutputError(
            f"output {name_shown(name)}: shape {shape} has {prod(shape)} values, the answer has "
            f"{array.size}"
        )
    return array.reshape(shape)


# From a batch in canonical form to the tensors that a served model takes.

LAYOUTS = ("nchw", "nhwc", "nhw", "flat")


@dataclass
class RequestInputs:
    """How a model is fed.

    Attributes:
        spec: the canonical form that it needs.
        filled: returns the tensors of a batch's inputs, whole.
        fixed: samples to a request, where the shape allows one number alone.
        notes: what a reader must know, one sentence each.
    """

    spec: InputSpec
    filled: Callable[[Any], list[Filled]]
    fixed: int | None = None
    notes: tuple[str, ...] = ()


def inputs_of(declared: Sequence[Tensor], opening: Opening, layout: str | None) -> RequestInputs:
    """Returns how a model that declares these inputs is fed with the data set's samples.

    Args:
        declared: from the metadata, or what the URI says.
        opening: tells the data, and size and normalisation of the spec.
        layout: one of `LAYOUTS`, or None to tell it by the shape.

    Raises:
        InputError: if model and data don't go together.
    """
    modality = opening.data.task.modality
    if modality is not Modality.IMAGE:
        for name, given in (
            ("layout", layout), ("input.size", opening.size),
            ("input.range, mean and std", opening.normalisation),
        ):  # fmt: skip
            if given is not None:
                raise InputError(f"{name}: it is for images, and the data holds {modality}s")
    found: RequestInputs
    if modality is Modality.IMAGE:
        found = _image_inputs(declared, opening, layout)
    elif modality is Modality.TABLE:
        found = _table_inputs(declared, opening)
    elif modality is Modality.TEXT:
        found = _text_inputs(declared, opening)
    else:
        raise InputError(f"expected images, a table or texts, the data holds {modality}s")
    sizes = {tensor.shape[0] for tensor in declared if tensor.shape} - {-1}
    if sizes - {1}:
        wrong = next(
            tensor for tensor in declared if tensor.shape and tensor.shape[0] not in {-1, 1}
        )
        raise InputError(
            f"the model's input {wrong}: expected -1 or 1 as its first dimension, the samples of a "
            "request"
        )
    found.fixed = 1 if sizes else None
    return found


@dataclass(frozen=True)
class _Images:
    """Images as one tensor."""

    tensor: Tensor
    layout: str
    normalisation: Normalisation | None

    def filled(self, inputs: Any) -> list[Filled]:
        images: NDArray[Any] = inputs.detach().cpu().numpy()
        if self.normalisation is not None:
            images = normalised(images, self.normalisation)
        elif self.tensor.datatype == "UINT8":
            images = images * np.float32(255)
        if self.tensor.datatype == "UINT8":
            images = images.round().clip(0, 255)
        return [(self.tensor, self._arranged(images))]

    def _arranged(self, images: NDArray[Any]) -> NDArray[Any]:
        arranged = {
            "nchw": images,
            "nhwc": images.transpose(0, 2, 3, 1),
            "nhw": images[:, 0],
            "flat": images.reshape(len(images), -1),
        }[self.layout]
        wanted = self.tensor.shape[1:]
        fits = not wanted or (
            len(wanted) == arranged.ndim - 1
            and all(side in {-1, own} for side, own in zip(wanted, arranged.shape[1:], strict=True))
        )
        if not fits:
            raise InputError(
                f"the model's input {self.tensor} does not take images of shape "
                f"{list(images.shape[1:])} as {self.layout}"
            )
        return np.ascontiguousarray(arranged)


def _image_inputs(
    declared: Sequence[Tensor], opening: Opening, layout: str | None
) -> RequestInputs:
    tensor = _only(declared, "images")
    if tensor.datatype not in FLOATS | {"UINT8"}:
        raise InputError(
            f"the model's input {tensor}: expected FP16, BF16, FP32, FP64 or UINT8 for images"
        )
    layout = layout or _layout(tensor)
    sides = tensor.shape[1:]
    channels: int | None = None
    height = width = -1
    if layout == "nchw" and len(sides) == 3:
        channels, height, width = sides
    elif layout == "nhwc" and len(sides) == 3:
        height, width, channels = sides
    elif layout == "nhw":
        channels = 1
        if len(sides) == 2:
            height, width = sides
    channels = None if channels == -1 else channels
    if channels not in {None, 1, 3}:
        raise InputError(
            f"the model's input {tensor}: expected 1 or 3 channels as {layout}, got {channels}; "
            "?layout=nchw or nhwc says where they stand"
        )
    size = (height, width) if min(height, width) > 0 else None
    if size is not None and opening.size is not None and opening.size != size:
        raise InputError(
            f"input.size: the spec says {list(opening.size)}, the model's input {tensor} "
            f"takes {list(size)}"
        )
    spec = InputSpec(modality=Modality.IMAGE, channels=channels, size=size or opening.size)
    found = RequestInputs(spec, _Images(tensor, layout, opening.normalisation).filled)
    if tensor.datatype == "UINT8":
        found.notes = ("images are sent as whole numbers from 0 to 255, rounded",)
    return found


def _layout(tensor: Tensor) -> str:
    sides = tensor.shape[1:]
    if len(sides) == 1:
        return "flat"
    if len(sides) == 2:
        return "nhw"
    if tensor.shape and len(sides) != 3:
        raise InputError(
            f"the model's input {tensor}: expected 2, 3 or 4 dimensions for images, the samples of "
            "a request first"
        )
    return "nhwc" if sides and sides[2] in {1, 3} and sides[0] not in {1, 3} else "nchw"


def _table_inputs(declared: Sequence[Tensor], opening: Opening) -> RequestInputs:
    columns = list(opening.data.features)
    table = TableInputs(list(map(_named, declared)), columns, "")
    found = RequestInputs(
        stored_form(opening.data), lambda frame: _filled(declared, table.arrays(frame))
    )
    if table.stacked:
        shown = ", ".join(columns[:20])
        found.notes = (f"the columns go into one tensor in the data's order: {shown}",)
    return found


def _text_inputs(declared: Sequence[Tensor], opening: Opening) -> RequestInputs:
    spec = stored_form(opening.data)
    for tensor in declared:
        if tensor.datatype != "BYTES" or not _named(tensor).is_column:
            raise InputError(
                f"the model's input {tensor}: expected BYTES of shape [-1] or [-1, 1] for texts; "
                "?input=NAME chooses one of several"
            )
    if len(declared) != spec.columns:
        raise InputError(
            f"the model takes {len(declared)} texts, the data has {spec.columns} text columns; "
            "?input=NAME,NAME chooses some"
        )
    order = list(opening.data.features)
    by_name = {tensor.name: tensor for tensor in declared}
    if set(order) == set(by_name):
        declared = [by_name[name] for name in order]
    named = list(map(_named, declared))
    return RequestInputs(spec, lambda texts: _filled(declared, text_arrays(named, texts)))


def _filled(declared: Sequence[Tensor], arrays: Mapping[str, NDArray[Any]]) -> list[Filled]:
    by_name = {tensor.name: tensor for tensor in declared}
    return [(by_name[name], array) for name, array in arrays.items()]


def _named(tensor: Tensor) -> NamedInput:
    kind = tensor.datatype.lower().replace("fp", "float").replace("bf", "bfloat")
    shape = tuple(None if side == -1 else side for side in tensor.shape)
    dtype = "string" if tensor.datatype == "BYTES" else kind
    return NamedInput(tensor.name, dtype, shape, f"the model's input {tensor}")


def _only(declared: Sequence[Tensor], what: str) -> Tensor:
    if len(declared) != 1:
        raise InputError(
            f"the model has {len(declared)} inputs, and one is needed for {what}: say ?input=NAME "
            f"({', '.join(map(str, declared))})"
        )
    return declared[0]
