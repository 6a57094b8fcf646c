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

from crucibench.contracts.task import OutputError
from crucibench.util.text import shorten, visible

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


def name_shown(name: object) -> str:
    """Returns a name that a server made up, fit for a message."""
    return f"'{shorten(visible(str(name)), 80)}'"


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
