"""Other forms of a torch module: precision, compression, layout, compilation. Imports torch."""

from __future__ import annotations

import contextlib
import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from crucibench.util.errors import InputError, UnavailableError
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line
from crucibench_adapters._torch_graphs import Graphs
from crucibench_adapters._torch_int8 import quantised
from crucibench_adapters._torch_pruning import pruned

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
        told: shares in [0, 1] for people and metric rows, such as ``quantised-parameters``, and
            ``parameters``, their number, where the module no longer says it.
        finish: what is done to the module once it is known what it can answer; its inner layers
            can't be watched from then on.
    """

    name: str = ""
    setting: Setting | None = None
    numerics: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, float] = field(default_factory=dict)
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
        return (module if same else _copy(module).to(_DTYPES[kind])), TorchForm(name)
    if kind in {"int8", "prune", "channels-last"}:
        told: dict[str, float] = {}
        numerics: dict[str, str] = {}
        other = _copy(module)
        if kind == "int8":
            other, told, numerics["int8"] = quantised(other, device, lambda: ask(module))
        elif kind == "prune":
            other, told = pruned(other, int(count) / 100)
        else:
            other, numerics["memory"] = _channels_last(other), "channels_last"
        return other, TorchForm(name, told=told, numerics=numerics)
    if kind == "compile":
        # One set of kernels for all batch sizes but 1: which ran first must not decide.
        how = {"compiled": "inductor, dynamic shapes"}
        return _copy(module), TorchForm(name, numerics=how, finish=lambda made: _compile(made, ask))
    _only(name, device, "cpu" if kind == "threads" else "cuda")
    if kind == "cuda-graph":
        return _copy(module), TorchForm(name, numerics={"graphs": "on"}, finish=_graphs)
    settings: Mapping[str, Setting] = {
        "tf32": _tensor_float,
        "threads": partial(_threads, int(count)),
    }
    return module, TorchForm(name, setting=settings[kind])


def _copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module)


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
