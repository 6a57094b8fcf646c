"""Exported programs (``torch.export.save``, FILE.pt2) as modules. Imports torch.

`torch.export.load` is not safe on a stranger's file, in torch 2.13 as before: constants and tensors
may be pickled, what does not load with ``weights_only`` is loaded without it, shapes are parsed
with ``sympify``, which evaluates, and compiled libraries in the archive are loaded. So it needs the
flag that pickles need.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crucibench.util.errors import InputError
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.user_errors import one_line, user_traceback
from crucibench_adapters._torch_canonical import tensor_in

_DECLARATIONS = ("crucibench_input", "crucibench_classes")
_TRAINED = {"aten.dropout.default": 2, "aten.batch_norm.default": 5}
"""Operators that act otherwise in training, and which argument says that they do."""


class Exported(nn.Module):
    """An exported program that takes any number of samples.

    A program of a fixed batch is asked in batches of that size, the last one filled up with copies
    of its last sample, whose answers are thrown away.

    Attributes:
        crucibench_input: what the program's input and the archive say of it.
        crucibench_classes: the names in the archive, or None.
        input_dtype: of the program's input.
        training_nodes: operators that were exported in train mode.
        notes: what a reader must know, one sentence each.
    """

    of_dtype: torch.Tensor

    def __init__(self, program: Any, extra: dict[str, Any], what: str) -> None:
        super().__init__()
        value = _only_input(program, what)
        shape = tuple(value.shape)
        self.least, self.most = _batch_range(program, shape[0])
        self.input_dtype = str(value.dtype).removeprefix("torch.")
        self.register_buffer("of_dtype", torch.empty(0, dtype=value.dtype), persistent=False)
        declared = dict(extra.get("crucibench_input") or {})
        self.crucibench_input = _of_shape(shape, self.integers) | declared
        self.crucibench_classes = extra.get("crucibench_classes")
        self.training_nodes = tuple(_training_nodes(program))
        self.program = program.module()
        for part in self.program.modules():
            part.training = False  # its eval() raises; what was exported does not look at it
        self.requires_grad_(False)
        self.notes: list[str] = []
        if self.least == self.most:
            self.notes.append(f"the program takes {self.most} samples at a time, filled up by us")

    @property
    def integers(self) -> bool:
        """Whether the program wants whole numbers."""
        return self.input_dtype == "uint8"

    def train(self, mode: bool = True) -> Exported:
        """Does nothing below: an exported program has one mode, the one it was exported in."""
        self.training = mode
        return self

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the program's answer to any number of samples."""
        if self.integers:
            inputs = inputs.round().clamp(0, 255)
        inputs = inputs.to(self.of_dtype.dtype)
        count = len(inputs)
        if count >= self.least and (self.most is None or count <= self.most):
            return tensor_in(self.program(inputs))
        size = self.least if self.most is None or count < self.least else self.most
        return torch.cat([self._filled(part) for part in torch.split(inputs, size)])

    def _filled(self, part: torch.Tensor) -> torch.Tensor:
        count = len(part)
        if count < self.least:
            filling = part[-1:].expand(self.least - count, *part.shape[1:])
            part = torch.cat([part, filling])
        return tensor_in(self.program(part))[:count]


def load_exported(file: Path, device: str, *, allow_pickle: bool) -> Exported:
    """Returns the program in `file`, on `device`.

    Raises:
        InputError: without `allow_pickle`, or if the file holds no program that takes one tensor.
    """
    if not allow_pickle:
        raise InputError(
            f"{file.name}: torch loads an exported program in ways that can run any code in the "
            "file: pass --allow-pickle if you trust it, or export the model to ONNX"
        )
    if not zipfile.is_zipfile(file):
        raise InputError(f"{file.name} can't be read: it is no file of torch.export.save")
    extra = dict.fromkeys(_DECLARATIONS, "")
    try:
        program = torch.export.load(file, extra_files=extra)
        if torch.device(device).type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        declared = {key: parse_json(text, file.name) for key, text in extra.items() if text}
    except Exception as error:
        raise InputError(
            f"{file.name} can't be read: {one_line(error)}", detail=user_traceback(error)
        ) from error
    return Exported(program, declared, file.name)


def _only_input(program: Any, what: str) -> torch.Tensor:
    names = list(program.graph_signature.user_inputs)
    values = {
        node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"
    }
    value = values.get(names[0]) if len(names) == 1 else None
    if not isinstance(value, torch.Tensor) or not value.ndim:
        raise InputError(
            f"{what}: expected a program of one tensor, got the inputs {', '.join(map(str, names))}"
        )
    if not value.is_floating_point() and value.dtype != torch.uint8:
        raise InputError(f"{what}: expected an input of floats or uint8, got {value.dtype}")
    return value


def _batch_range(program: Any, size: Any) -> tuple[int, int | None]:
    """Returns the fewest and the most samples that the program takes at once."""
    if isinstance(size, int):
        return size, size
    allowed = program.range_constraints.get(size.node.expr)
    if allowed is None:
        return 1, None
    most = int(allowed.upper) if allowed.upper.is_Integer else None
    return max(1, int(allowed.lower)), most


def _of_shape(shape: tuple[Any, ...], integers: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"range": [0, 255]} if integers else {}
    if len(shape) == 4 and shape[1] in (1, 3):
        found["channels"] = int(shape[1])
    if len(shape) == 4 and all(isinstance(side, int) for side in shape[2:]):
        found["size"] = list(shape[2:])
    return found


def _training_nodes(program: Any) -> Iterator[str]:
    for node in program.graph.nodes:
        place = _TRAINED.get(str(node.target))
        if place is not None and len(node.args) > place and node.args[place] is True:
            yield node.name
