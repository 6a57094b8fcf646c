"""Modules of torch: class, structure, attributes, hooks and tensors."""

from __future__ import annotations

import sys
from typing import Any

from crucibench.util.content.shallow import OpaqueError, Shallow, attributes

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
"""What a traced module's code, which is told, was made from."""


def tell(value: Any) -> Shallow | None:
    """Describes a module of torch; None for other values."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return None
    if isinstance(value, torch.jit.ScriptModule):
        raise OpaqueError("of TorchScript, whose content can't be told from here")
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
