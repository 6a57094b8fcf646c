"""Weights, read safely and fitted to a module; digests of what tells modules apart."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
import weakref
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crucibench.contracts.task import OutputError
from crucibench.util.content import Content, content_of, steady_content
from crucibench.util.content.arrays import tensor_bytes
from crucibench.util.errors import InputError
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.user_errors import one_line, user_traceback
from crucibench_adapters._torch_canonical import tensor_in

_WRAPPED = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 3
_GLOBAL = re.compile(r"(?:GLOBAL|class) ([\w.]+)")
"""What torch names of a file that its safe reader refuses."""

State = dict[str, torch.Tensor]


def load_weights(module: nn.Module, file: Path, what: str, *, allow_pickle: bool) -> list[str]:
    """Loads the weights in `file` into `module`; returns what had to be done to their names.

    Raises:
        InputError: as `read_weights` and `fit_weights` do.
    """
    return fit_weights(module, read_weights(file, allow_pickle=allow_pickle), file, what)


def read_weights(file: Path, *, allow_pickle: bool) -> State:
    """Returns the state dict in `file`, on the CPU.

    Raises:
        InputError: if the file holds no state dict, or more than tensors without `allow_pickle`.
    """
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file, device="cpu"))
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"weights {file.name} can't be read: {one_line(error)}") from error
    try:
        with warnings.catch_warnings():
            # torch asks people to report to it what it can't read.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            stored = torch.load(file, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        held = f" ({named[1]})" if named else ""
        raise InputError(
            f"weights {file.name} hold more than tensors{held}, or are damaged: save the state "
            "dict alone, best as .safetensors, or pass --allow-pickle, which lets the file run code"
        ) from error
    except Exception as error:
        reason = one_line(error).partition(". ")[0]  # what follows is torch's advice
        raise InputError(f"weights {file.name} can't be read: {reason}") from error
    return _state_dict(stored, file)


def fit_weights(module: nn.Module, state: State, file: Path, what: str) -> list[str]:
    """Loads `state` into `module`; returns what had to be done to the names, in sentences.

    Raises:
        InputError: naming the keys that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    notes: list[str] = []
    for prefix in _PREFIXES:
        stripped = all(key.startswith(prefix) for key in state) and state
        if stripped and not any(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
            notes.append(f"the prefix {prefix!r} was taken off all names in {file.name}")
    missing = [key for key in own if key not in state and not _may_lack(key, own, state)]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and _shape(own[key]) != _shape(state[key])
    ]
    parts = [
        f"{len(names)} {kind} ({_first(names)})"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if parts:
        raise InputError(f"weights {file.name} don't fit {what}: {', '.join(parts)}")
    del own  # other names for the same memory
    if file.suffix == ".safetensors":
        mapped = map_weights(module, state, file)
        state = {key: tensor for key, tensor in state.items() if key not in mapped}
    if state:
        module.load_state_dict(state, strict=False)
    return notes


def known_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns all parameters and buffers by name that have plain contents, tied ones by each name.

    Buffers count whether or not a state dict holds them.
    """
    found = _tensors(module)
    return {name: tensor for name, tensor in found.items() if _is_plain(tensor)}


def special_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the other parameters and buffers: sparse, quantized, of a class of their own."""
    found = _tensors(module)
    return {name: tensor for name, tensor in found.items() if not _is_plain(tensor)}


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return dict(sorted((found | dict(module.named_buffers(remove_duplicate=False))).items()))


def _is_plain(tensor: torch.Tensor) -> bool:
    strided = type(tensor) in _PLAIN and tensor.layout is torch.strided
    return strided and not (tensor.is_quantized or tensor.is_meta)


def weights_digest(module: nn.Module) -> str:
    """Returns the SHA-256 over names, dtypes, shapes and bytes of `known_tensors`."""
    digest = hashlib.sha256()
    first: dict[int, str] = {}
    for name, tensor in known_tensors(module).items():
        digest.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        if id(tensor) in first:
            digest.update(f"as {first[id(tensor)]}".encode())
        else:
            digest.update(tensor_bytes(tensor))
        first.setdefault(id(tensor), name)
    return digest.hexdigest()


def module_content(module: nn.Module, folders: Iterable[Path]) -> Content:
    """Returns all that a module is beside its weights: structure, code, attributes, hooks.

    Args:
        module: whose parameters and buffers are told by their names.
        folders: what may lie elsewhere in another run.

    Raises:
        OpaqueError: naming the first attribute whose content can't be told.
    """
    names = {id(tensor): name for name, tensor in reversed(known_tensors(module).items())}
    return content_of(module, folders=folders, known=names)


def module_digests(
    module: nn.Module, folders: Iterable[Path], ask: Callable[[int], object]
) -> tuple[dict[str, str], frozenset[str]]:
    """Returns digests of a module by field, and the libraries that it comes from.

    Args:
        module: the module.
        folders: as for `module_content`.
        ask: has the module answer something: what changes by that does not tell one module from
            another.

    Raises:
        OpaqueError: naming the first attribute whose content can't be told.
    """
    folders = tuple(folders)
    content = steady_content(lambda: module_content(module, folders), ask)
    digests = {"weights": weights_digest(module), "configuration": content.digest}
    return digests, content.libraries


_PLAIN = frozenset({torch.Tensor, nn.Parameter, nn.Buffer})
_UNREADABLE = (nn.UninitializedParameter, nn.UninitializedBuffer)


def _state_dict(stored: Any, file: Path) -> State:
    if isinstance(stored, nn.Module):
        return dict(stored.state_dict())
    for key in _WRAPPED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    if not isinstance(stored, Mapping):
        raise InputError(f"weights {file.name}: expected a state dict, got {type(stored).__name__}")
    odd = [str(key) for key, value in stored.items() if not isinstance(value, torch.Tensor)]
    if odd or not stored:
        held = f"has other entries: {_first(odd)}" if odd else "is empty"
        raise InputError(
            f"weights {file.name}: expected a state dict (perhaps under "
            f"{', '.join(_WRAPPED)}), and it {held}"
        )
    return dict(stored)


def _may_lack(key: str, own: Mapping[str, Any], state: State) -> bool:
    """Whether a file may leave `key` out: tied to one that is there, or a counter of training."""
    if key.endswith("num_batches_tracked"):
        return True
    place = own[key].data_ptr()
    return bool(place) and any(
        own[other].data_ptr() == place and own[other].shape == own[key].shape
        for other in state
        if other in own
    )


def _shape(tensor: torch.Tensor) -> tuple[int, ...] | None:
    return None if isinstance(tensor, _UNREADABLE) else tuple(tensor.shape)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


# Weights that stay in their file: all processes that map it share its pages. Imports torch.
#
# A tensor's content is exchanged, not the tensor: whoever refers to it, by another name or from a
# list, sees the new one. The file must stay as it is while the model is in use, so that is looked
# at after each answer.

_WORTH_IT = 1 << 20
_ALIGNED = 64

_OFFSETS: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def map_weights(module: nn.Module, state: dict[str, torch.Tensor], file: Path) -> set[str]:
    """Lets large tensors of `module` have the memory of those in `state`, where that is the same.

    Args:
        module: as its factory made it.
        state: mapped from `file`, by the module's own names.
        file: which must not change from now on.

    Returns:
        The names of which nothing more is to be loaded.
    """
    if not _loads_plainly(module):
        return set()
    own: dict[str, Any] = dict(module.state_dict(keep_vars=True))
    names = Counter(id(own[key]) for key in state if key in own)
    fitting = [
        key
        for key, tensor in state.items()
        if key in own and names[id(own[key])] == 1 and _fits(own[key], tensor)
    ]
    for key in fitting:
        own[key].data = state[key]
    if fitting:
        offsets = sorted({state[key].data_ptr() % _ALIGNED for key in fitting})
        _OFFSETS[module] = "mapped, " + ", ".join(f"+{offset}" for offset in offsets)
        module.register_forward_hook(_Watch(file))
    return set(fitting)


def placement(module: nn.Module) -> str:
    """Returns how the weights of `module` lie in memory, which moves floats; "" if as usual."""
    found = _OFFSETS.get(module, "")
    return found if all(part.device.type == "cpu" for part in module.parameters()) else ""


class _Watch:
    """A hook: a file that changes under a model makes its answers another model's."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = _stat(file)

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if _stat(self._file) != self._seen:
            raise OutputError(
                f"weights {self._file.name} were changed while the model was in use; run the same "
                "command again"
            )


def _stat(file: Path) -> tuple[int, ...]:
    try:
        stat = os.stat(file)  # noqa: PTH116 - once a batch
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _fits(own: Any, new: torch.Tensor) -> bool:
    """Whether a tensor can have another's memory: all else is equal, and no view holds its own."""
    if type(own) not in {torch.Tensor, nn.Parameter} or new.nbytes < _WORTH_IT:
        return False
    form = (own.dtype, own.device, own.shape, own.layout)
    if form != (new.dtype, new.device, new.shape, new.layout) or own.stride() != new.stride():
        return False
    whole = own.untyped_storage().nbytes() == own.nbytes
    return whole and _holders(own) == _holders(torch.empty(1))


def _holders(tensor: torch.Tensor) -> int:
    """Returns how many tensors have the memory of `tensor`, as far as torch tells."""
    storage = tensor.untyped_storage()
    count = getattr(torch._C, "_storage_Use_Count", None)
    return 0 if count is None else int(count(storage._cdata))


def _loads_plainly(module: nn.Module) -> bool:
    """Whether loading a state dict is copying it, in all parts of `module`."""
    plain = {
        nn.Module._load_from_state_dict,
        nn.modules.batchnorm._NormBase._load_from_state_dict,
    }
    return type(module).load_state_dict is nn.Module.load_state_dict and all(
        type(part)._load_from_state_dict in plain
        and not getattr(part, "_load_state_dict_pre_hooks", None)
        and not getattr(part, "_load_state_dict_post_hooks", None)
        for part in module.modules()
    )


# Exported programs (``torch.export.save``, FILE.pt2) as modules. Imports torch.
#
# `torch.export.load` is not safe on a stranger's file, in torch 2.13 as before: constants and
# tensors may be pickled, what does not load with ``weights_only`` is loaded without it, shapes are
# parsed with ``sympify``, which evaluates, and compiled libraries in the archive are loaded. So it
# needs the flag that pickles need.

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
