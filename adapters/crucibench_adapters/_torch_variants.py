"""Other forms of a torch module: precision, compression, layout, compilation. Imports torch."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crucibench.util.errors import InputError, UnavailableError
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line
from crucibench_adapters._torch_canonical import tensor_in

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_KNOWN = (
    *_DTYPES, "tf32", "int8", "compile", "channels-last", "cuda-graph", "prune-50", "threads-1",
)  # fmt: skip
_COUNTED = re.compile(r"(prune|threads)-([1-9]\d{0,2})")

Ask = Callable[[nn.Module], bool]
Setting = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class TorchForm:
    """A form of a module.

    Attributes:
        name: e.g. ``bf16``; "" for the module as it is.
        setting: what holds in this process while the module answers, or None.
        numerics: what moves floats beside the flags that `setting` sets.
        measured: shares in [0, 1] for people and metric rows, such as ``quantised-parameters``, and
            ``parameters``, their number, where the module no longer says it.
        finish: what is done to the module once it is known what it can answer; its inner layers
            can't be watched from then on.
    """

    name: str = ""
    setting: Setting | None = None
    numerics: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    finish: Callable[[nn.Module], None] | None = None


def check_name(name: str) -> None:
    """Raises InputError if there is no variant of that name."""
    counted = _COUNTED.fullmatch(name)
    if name not in _KNOWN and (counted is None or (counted[1] == "prune" and int(counted[2]) > 99)):
        raise InputError(unknown("variant", name, sorted(_KNOWN)))


def in_form(name: str, module: nn.Module, device: str, ask: Ask) -> tuple[nn.Module, TorchForm]:
    """Returns another form of `module`, which stays as it is; the module itself if it is that form.

    Args:
        name: as `check_name` lets pass.
        module: in eval mode, on `device`.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        ask: asks a module about made-up samples; False if none can be made up.

    Raises:
        InputError: if the module has no such form.
        UnavailableError: if it needs a device that the module is not on.
    """
    kind, count = (found[1], found[2]) if (found := _COUNTED.fullmatch(name)) else (name, "0")
    if kind in _DTYPES:
        floating = {entry.dtype for entry in module.parameters() if entry.is_floating_point()}
        same = floating <= {_DTYPES[kind]}
        return (module if same else copy.deepcopy(module).to(_DTYPES[kind])), TorchForm(name)
    if kind in {"int8", "prune", "channels-last"}:
        measured: dict[str, float] = {}
        numerics: dict[str, str] = {}
        other = copy.deepcopy(module)
        if kind == "int8":
            other, measured, numerics["int8"] = quantised(other, device, lambda: ask(module))
        elif kind == "prune":
            other, measured = pruned(other, int(count) / 100)
        else:
            other, numerics["memory"] = _channels_last(other), "channels_last"
        return other, TorchForm(name, measured=measured, numerics=numerics)
    if kind == "compile":
        # One set of kernels for all batch sizes but 1: which ran first must not decide.
        how = {"compiled": "inductor, dynamic shapes"}
        return copy.deepcopy(module), TorchForm(
            name, numerics=how, finish=lambda made: _compile(made, ask)
        )
    _only(name, device, "cpu" if kind == "threads" else "cuda")
    if kind == "cuda-graph":
        return copy.deepcopy(module), TorchForm(name, numerics={"graphs": "on"}, finish=_graphs)
    settings: Mapping[str, Setting] = {
        "tf32": _tensor_float,
        "threads": partial(_threads, int(count)),
    }
    return module, TorchForm(name, setting=settings[kind])


def _only(name: str, device: str, kind: str) -> None:
    if torch.device(device).type != kind:
        needed = "a CUDA device" if kind == "cuda" else "the processor"
        raise UnavailableError(
            f"variant {name!r} is one for {needed}, and the model answers on {device}"
        )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _tensor_float() -> Iterator[None]:
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def _channels_last(module: nn.Module) -> nn.Module:
    if not any(parameter.ndim == 4 for parameter in module.parameters()):
        raise InputError(
            "variant 'channels-last' changes how images lie in memory for convolutions, and the "
            "model has none"
        )

    def arranged(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        first, *rest = args
        if first.ndim == 4:
            first = first.contiguous(memory_format=torch.channels_last)
        return (first, *rest)

    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.register_forward_pre_hook(arranged)
    return module


def _compile(module: nn.Module, ask: Ask) -> None:
    import torch._inductor.config as inductor

    inductor.compile_threads = 1  # workers would go on in the background while others are timed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            module.compile(dynamic=True)
            with torch.inference_mode():
                ask(module)
    except Exception as error:
        raise InputError(f"torch.compile failed: {one_line(error)}") from error


def _graphs(module: nn.Module) -> None:
    module.forward = Graphs(module.forward)


_PRUNED = (nn.Linear, nn.modules.conv._ConvNd)


def pruned(module: nn.Module, share: float) -> tuple[nn.Module, dict[str, float]]:
    """Sets the smallest weights of linear and convolution layers to zero, over all layers together.

    Without training afterwards; of equal weights the first goes first. Zeros are stored and
    multiplied as other numbers are, so this shows the price in accuracy and gains no time
    (Han et al. 2015, "Learning both weights and connections").

    Args:
        module: is changed.
        share: of those weights, in (0, 1).

    Returns:
        The module, and ``zero-parameters``, the share of zeros among all of its parameters.

    Raises:
        InputError: if it has no such layer.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _PRUNED)]
    weights = list({id(layer.weight): layer.weight for layer in layers}.values())
    if not weights:
        raise InputError("pruning takes weights of linear or convolution layers, and there is none")
    with torch.no_grad():
        sizes = torch.cat([weight.detach().abs().flatten().float() for weight in weights])
        smallest = torch.sort(sizes, stable=True).indices[: round(share * len(sizes))]
        kept = torch.ones_like(sizes, dtype=torch.bool)
        kept[smallest] = False
        for weight, mask in zip(
            weights, torch.split(kept, [one.numel() for one in weights]), strict=True
        ):
            weight.mul_(mask.view_as(weight))
    zeros = sum(int((parameter == 0).sum()) for parameter in module.parameters())
    return module, {
        "zero-parameters": zeros / sum(parameter.numel() for parameter in module.parameters())
    }


_WARM_UP = 3
_MOST = 16

Key = tuple[torch.Size, torch.dtype]


class Graphs:
    """Records the kernels of a forward pass once a shape and dtype, and launches them as one.

    A call outside inference mode, with anything but one tensor, or of a seventeenth shape goes to
    the forward pass itself. The answer is a copy: the graph's own memory is written by the next
    call.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self._recorded: dict[Key, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answers as the forward pass does."""
        plain = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        # Only there may its memory, which is made there, be written; and who watches the operators
        # of a forward pass, as a counter of operations does, would see none in a graph.
        if not plain or not torch.is_inference_mode_enabled():
            return self._forward(*args, **kwargs)
        inputs: torch.Tensor = args[0]
        key = (inputs.shape, inputs.dtype)
        if key not in self._recorded:
            if len(self._recorded) >= _MOST:
                return self._forward(inputs)
            self._recorded[key] = self._record(inputs)
        graph, asked, answer = self._recorded[key]
        asked.copy_(inputs)
        graph.replay()
        return answer.clone()

    def _record(
        self, inputs: torch.Tensor
    ) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        # A graph is recorded on the current device, whichever its tensors are on.
        with torch.cuda.device(inputs.device):
            asked = inputs.clone()
            # What libraries allocate on first use may not happen while recording.
            aside = torch.cuda.Stream(asked.device)
            aside.wait_stream(torch.cuda.current_stream(asked.device))
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP):
                    self._forward(asked)
            torch.cuda.current_stream(asked.device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                answer = tensor_in(self._forward(asked))
            return graph, asked, answer


# Linear and convolution layers in int8: weights by output channel, inputs by sample.
#
# Symmetric, 127 levels either side of zero; an input's step is that of its own row (linear) or
# sample (convolution), so that an answer does not depend on what else is in the batch. Sums are
# whole numbers and exact. Imports torch.

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
