"""Linear and convolution layers in int8: weights by output channel, inputs by sample.

Symmetric, 127 levels either side of zero; an input's step is that of its own row (linear) or sample
(convolution), so that an answer does not depend on what else is in the batch. Sums are whole
numbers and exact. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crucibench.util.errors import InputError

_LEVELS = 127
_ZERO = 128
"""oneDNN's convolution takes unsigned inputs: their zero is in the middle."""

_TINY = torch.finfo(torch.float32).tiny
_ROWS = 32
"""cuBLAS multiplies no fewer rows than 17, and sides that are multiples of 8."""


def quantised(
    module: nn.Module, device: str, ask: Callable[[], bool]
) -> tuple[nn.Module, dict[str, float], str]:
    """Puts int8 layers in place of all linear and convolution layers that can be.

    A convolution stays as it is where torch has no int8 kernel for it (other devices than
    processors, other machines than x86). Layers that a subclass or a parent reads the weights of
    (attention, transformer encoder layers) stay as they are too.

    Args:
        module: is changed.
        device: where it answers.
        ask: asks the module as it was before about made-up samples; False if none can be made up.

    Returns:
        The module; ``parameters`` (their number before), ``quantised-parameters`` and, where there
        are samples to count with, ``quantised-multiply-adds`` (shares in [0, 1]); and which kernels
        compute.

    Raises:
        InputError: if there is no layer that can be int8.
    """
    total = sum(parameter.numel() for parameter in module.parameters())
    counts = _multiply_adds(ask)
    layers: dict[nn.Module, nn.Module] = {}
    kinds: set[str] = set()
    weights = operations = 0
    for name, parent in list(module.named_modules()):
        if isinstance(parent, nn.TransformerEncoderLayer):
            continue
        for key, layer in list(parent.named_children()):
            made = layers.get(layer) or _int8(layer, device)
            if made is None:
                continue
            if layer not in layers:
                weights += int(layer.weight.numel())
                kinds.add("convolutions" if isinstance(made, Int8Conv2d) else "products")
            layers[layer] = made
            operations += counts.get(f"{name}.{key}".lstrip("."), 0)
            setattr(parent, key, made)
    if not layers:
        raise InputError(
            "variant 'int8' takes linear or convolution layers, and the model has none that it "
            f"can put into int8 on {device}"
        )
    shares = {"parameters": float(total), "quantised-parameters": weights / total}
    if counts.get("", 0):
        shares["quantised-multiply-adds"] = operations / counts[""]
    return module, shares, " and ".join(sorted(kinds))


class Int8Linear(nn.Module):
    """y = x W' + b with x and W in int8."""

    levels: torch.Tensor
    steps: torch.Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        steps, levels = _levels(layer.weight.detach().float())
        self.register_buffer("levels", levels.t())
        self.register_buffer("steps", steps.flatten())
        self.bias = _detached(layer.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (..., outputs) for (..., inputs)."""
        # The steps alone would give gradients, and wrong ones.
        rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        step, asked = _levels(rows)
        count = len(asked)
        if asked.is_cuda and count < _ROWS:
            asked = torch.cat([asked, asked.new_zeros(_ROWS - count, asked.shape[1])])
        answer = torch._int_mm(asked, self.levels)[:count] * (step * self.steps)
        if self.bias is not None:
            answer = answer + self.bias
        return answer.reshape(*inputs.shape[:-1], -1).to(inputs.dtype)


class Int8Conv2d(nn.Module):
    """A convolution with inputs and weights in int8, by oneDNN."""

    steps: torch.Tensor
    zeros: torch.Tensor

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        steps, levels = _levels(layer.weight.detach().float())
        self.register_buffer("steps", steps.flatten())
        self.register_buffer("zeros", torch.zeros(len(levels), dtype=torch.int32))
        self.packed_bytes = levels.nbytes
        self.form = ([*layer.stride], [*map(int, layer.padding)], [*layer.dilation], layer.groups)
        self.packed = torch.ops.onednn.qconv_prepack(
            levels, self.steps, 1.0, _ZERO, *self.form, None
        )
        self.bias = _detached(layer.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (N, outputs, H', W') for (N, inputs, H, W)."""
        step, asked = _levels(inputs.detach().float(), torch.int16)
        sums: torch.Tensor = torch.ops.onednn.qconv2d_pointwise(
            (asked + _ZERO).to(torch.uint8), 1.0, _ZERO, self.packed, self.steps, self.zeros, None,
            *self.form, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        answer = sums * step
        if self.bias is not None:
            answer = answer + self.bias[:, None, None]
        return answer.to(inputs.dtype)


def _levels(
    values: torch.Tensor, dtype: torch.dtype = torch.int8
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the step of each row or sample, (N, 1, ...), and its whole numbers from -127 on."""
    largest = values.abs().amax(dim=tuple(range(1, values.ndim)), keepdim=True)
    step = (largest / _LEVELS).clamp_min(_TINY)
    return step, (values / step).round().to(dtype)


def _detached(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach()


def _int8(layer: nn.Module, device: str) -> nn.Module | None:
    cuda = device.startswith("cuda")
    # Of these very types: what inherits from them is read in other ways.
    if type(layer) is nn.Linear:
        even = layer.in_features % 8 == 0 and layer.out_features % 8 == 0
        return Int8Linear(layer) if even or not cuda else None
    if type(layer) is not nn.Conv2d or cuda:
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    try:
        made = Int8Conv2d(layer)
        return made if _computes(made, layer) else None
    except (RuntimeError, AttributeError, TypeError):
        return None  # this build of torch has no such kernel


def _computes(made: Int8Conv2d, layer: nn.Conv2d) -> bool:
    """Whether the kernel, which torch does not document, does what it is taken to do."""
    height, width = (
        dilation * (size - 1) + 3
        for dilation, size in zip(layer.dilation, layer.kernel_size, strict=True)
    )
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn((2, layer.in_channels, height, width), generator=generator)
    weight_step, weight = _levels(layer.weight.detach().float())
    step, asked = _levels(inputs)
    expected: Any = torch.nn.functional.conv2d(
        asked.double(), weight.double() * weight_step, None, layer.stride, layer.padding,
        layer.dilation, layer.groups,
    )  # fmt: skip
    expected = expected * step
    if layer.bias is not None:
        expected = expected + layer.bias[:, None, None]
    with torch.no_grad():
        answer = made(inputs)
    return torch.allclose(answer.double(), expected, rtol=1e-4, atol=1e-4)


def _multiply_adds(ask: Callable[[], bool]) -> dict[str, int]:
    """Returns twice the multiply-adds of each part of a module by its name, "" for the whole."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        if not ask():
            return {}
    counted = {name: sum(entry.values()) for name, entry in counter.get_flop_counts().items()}
    found = {name.partition(".")[2]: count for name, count in counted.items() if "." in name}
    return found | {"": counted.get("Global", 0)}
