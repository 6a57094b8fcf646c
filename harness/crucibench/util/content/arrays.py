"""Arrays, frames, tensors, random states and torch modules.

Imports no library: what is not loaded can't occur.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from crucibench.util.content.shallow import OpaqueError, Shallow, attributes, leaf, shown_name

_MODES = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called",
          "_forward_pre_hooks_with_kwargs")  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_SAVING = frozenset({
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks", "_non_persistent_buffers_set",
})  # fmt: skip
"""How a module is saved and loaded, which changes no answer."""
_PARTS = frozenset({"_parameters", "_buffers", "_modules"})
_GRAPH = frozenset({
    "_graph", "_tracer_cls", "_tracer_extras", "_lineno_map", "_prologue_start", "meta",
    "shape_env", "_replace_hooks", "_create_node_hooks", "_erase_node_hooks", "_deepcopy_hooks",
})  # fmt: skip
"""What a traced module's code, which is digested, was made from."""


def describe(value: Any) -> Shallow | None:
    """Describes a value of numpy, pandas or torch; None for other values."""
    for library, describe in (("numpy", _numpy), ("pandas", _pandas), ("torch", _torch)):
        module = sys.modules.get(library)
        if module is not None:
            found = describe(value, module)
            if found is not None:
                return found
    return None


def tensor_bytes(tensor: Any) -> memoryview:
    """Returns the bytes of a tensor, whatever its dtype and device."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(cast("Any", flat.view(torch.uint8).numpy()))


def _numpy(value: Any, np: Any) -> Shallow | None:  # noqa: PLR0911 - one line for each kind
    random = getattr(np, "random", None)
    if isinstance(value, np.ndarray):
        return _array(value, np)
    if isinstance(value, np.generic):
        return leaf("number", f"{value.dtype.str} {value.tobytes().hex()}")
    if isinstance(value, np.dtype):
        return leaf("dtype", value.str if value.names is None else repr(value))
    if isinstance(value, np.ufunc):
        return leaf("ufunc", value.__name__)
    if random is None:
        return None
    if value is getattr(random.mtrand, "_rand", None):
        return leaf("random state", "numpy's own")
    if isinstance(value, random.RandomState):
        return Shallow("random state", children=[("", value.get_state(legacy=False))])
    if isinstance(value, random.Generator):
        return Shallow("generator", children=[("", value.bit_generator)])
    if isinstance(value, random.BitGenerator):
        return Shallow("bit generator", children=[("", value.state)])
    return None


def _array(value: Any, np: Any) -> Shallow:
    plain = type(value) in {np.ndarray, np.memmap}
    own = [] if plain else [("", type(value)), ("", dict(vars(value)))]
    if isinstance(value, np.ma.MaskedArray):
        own = [("", type(value)), (" (mask)", np.ma.getmaskarray(value)),
               (" (filling)", value.fill_value)]  # fmt: skip
    plain_value = np.asarray(value)
    form = f"{plain_value.dtype.str} {plain_value.shape}"
    if plain_value.dtype.names is not None:
        # Field by field: the bytes between fields are arbitrary.
        fields = [(f"[{name!r}]", plain_value[name]) for name in plain_value.dtype.names]
        return Shallow("array", form, [*own, *fields])
    if plain_value.dtype.hasobject:
        return Shallow("array", form, [*own, ("", plain_value.ravel().tolist())])
    raw = np.ascontiguousarray(plain_value).reshape(-1).view(np.uint8)
    return Shallow("array", form, own, data=raw.data)


def _pandas(value: Any, pd: Any) -> Shallow | None:
    if isinstance(value, pd.DataFrame):
        columns = [("", value.columns), ("", value.index), ("", dict(value.attrs))]
        entries = [(f"[{at}]", value.iloc[:, at]) for at in range(value.shape[1])]
        return Shallow("frame", children=[("", type(value)), *columns, *entries])
    if isinstance(value, pd.Series | pd.Index):
        indexed = isinstance(value, pd.Series)
        own = [("", type(value)), ("", value.index if indexed else list(value.names))]
        own += [("", value.name)]
        if isinstance(value.dtype, pd.CategoricalDtype):
            own += [("", value.dtype.ordered), ("", value.dtype.categories.to_numpy())]
        return Shallow("series", str(value.dtype), [*own, ("", value.to_numpy())])
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return Shallow("column", children=[("", pd.Series(value))])
    if value is pd.NA or value is pd.NaT:
        return leaf("missing", repr(value))
    return None


def _torch(value: Any, torch: Any) -> Shallow | None:
    if isinstance(value, torch.Tensor):
        return _tensor(value, torch)
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format | torch.device):
        return leaf("of torch", repr(value))
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return Shallow("generator", str(value.device.type), [("", state)])
    if isinstance(value, torch.jit.ScriptFunction | torch.jit.ScriptModule | torch.ScriptObject):
        raise OpaqueError("of TorchScript, whose content can't be read from here")
    ops = getattr(torch, "_ops", None)
    if ops is not None and isinstance(value, ops.OpOverload | ops.OpOverloadPacket):
        return leaf("operator", str(value))
    return None


def _tensor(value: Any, torch: Any) -> Shallow:
    own: list[tuple[str, Any]] = []
    if isinstance(value, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer):
        raise OpaqueError("a tensor that is not made yet")
    if type(value) not in {torch.Tensor, torch.nn.Parameter, torch.nn.Buffer}:
        own = [("", type(value))]
        if hasattr(value, "__tensor_flatten__"):
            names, context = value.__tensor_flatten__()
            own += [("", context), *((f".{name}", getattr(value, name)) for name in names)]
            return Shallow("tensor", str(tuple(value.shape)), own)
    with torch._C.DisableTorchFunctionSubclass():
        own += [(f".{name}", entry) for name, entry in sorted(vars(value).items())]
        return _plain_tensor(value.detach(), own, torch)


def _plain_tensor(value: Any, own: list[tuple[str, Any]], torch: Any) -> Shallow:
    if value.is_meta:
        raise OpaqueError("a tensor without data")
    form = f"{value.dtype} {tuple(value.shape)}"
    if value.layout is not torch.strided:
        names = ("indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices")
        sparse = value.coalesce() if value.layout is torch.sparse_coo else value
        parts = [
            (f".{name}", part) for name in names if (part := _component(sparse, name)) is not None
        ]
        return Shallow("tensor", f"{form} {value.layout}", [*own, *parts])
    if value.is_quantized:
        scheme = value.qscheme()
        each = scheme in {torch.per_channel_affine, torch.per_channel_symmetric,
                          torch.per_channel_affine_float_qparams}  # fmt: skip
        scale = (
            [value.q_per_channel_scales(), value.q_per_channel_zero_points(),
             value.q_per_channel_axis()]
            if each else [value.q_scale(), value.q_zero_point()]
        )  # fmt: skip
        return Shallow("tensor", f"{form} {scheme}", [*own, ("", value.int_repr()), ("", scale)])
    if type(value) is not torch.Tensor and value.numel() and not value.data_ptr():
        raise OpaqueError(f"a tensor of the kind {shown_name(type(value))}")
    whole = value.resolve_conj().resolve_neg()
    return Shallow("tensor", form, own, data=tensor_bytes(whole))


def _component(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)()
    except RuntimeError:
        return None


def describe_module(value: Any) -> Shallow | None:
    """Describes a module of torch; None for other values."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return None
    if isinstance(value, torch.jit.ScriptModule):
        raise OpaqueError("of TorchScript, whose content can't be read from here")
    found: dict[str, Any] = vars(value)
    kind = type(value)
    if kind.__module__ == "torch._dynamo.eval_frame" and "_orig_mod" in found["_modules"]:
        hooks = [hook for place in _HOOKS for hook in _hooks(found, place)]
        return Shallow("compiled module", children=[("", found["_modules"]["_orig_mod"]), *hooks])
    skip = {*_MODES, *_HOOKS, *_SAVING, *_PARTS}
    fx = getattr(torch, "fx", None)
    if fx is not None and isinstance(value, fx.GraphModule):
        skip |= _GRAPH
    children: list[tuple[str, Any]] = [(" (class)", kind)]
    for place in ("_parameters", "_buffers", "_modules"):
        children += [(f".{name}", entry) for name, entry in found[place].items()]
    for place in _HOOKS:
        children += _hooks(found, place)
    children += attributes(found, skip=frozenset(skip))
    return Shallow("module", children=children)


def _hooks(found: dict[str, Any], place: str) -> list[tuple[str, Any]]:
    """Returns the hooks of one kind in their order, each with how it is called."""
    label = f" ({place.strip('_').removesuffix('s').replace('_', ' ')})"
    return [
        (label, (hook, [key in found.get(mode, ()) for mode in _MODES]))
        for key, hook in (found.get(place) or {}).items()
        if not _is_ours(hook)
    ]


def _is_ours(hook: Any) -> bool:
    """Whether a hook is an object that the harness put there itself to watch."""
    return type(hook).__module__.partition(".")[0] == "crucibench_adapters"
