"""Functions, classes and modules: what they do, not how they were written."""

from __future__ import annotations

import dis
import functools
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crucibench.util.content.shallow import (
    Children,
    OpaqueError,
    Shallow,
    attributes,
    is_library,
    is_library_module,
    leaf,
    module_of,
    resolves,
    shown_name,
)
from crucibench.util.hashing import canonical_json, file_digest
from crucibench.util.private_packages import PREFIX

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FOLLOWS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_WHOLE = frozenset({"globals", "eval", "exec"})
"""Builtins that reach names which the code does not show."""
_SELF_DESCRIPTION = frozenset({
    "__doc__", "__module__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__",
    "__static_attributes__", "__annotate_func__", "__annotations_cache__", "_abc_impl",
    "_autograd_function_id", "__builtins__", "__cached__", "__file__", "__loader__", "__name__",
    "__package__", "__path__", "__spec__",
})  # fmt: skip
"""What a class or module says of itself: types, places, counters. Documentation counts apart."""
_NUMBERS = frozenset({bool, int, float, complex})
_SLOTS = (
    types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.ClassMethodDescriptorType,
)  # fmt: skip
_TYPING = (
    types.GenericAlias, types.UnionType, typing.TypeVar, typing.ForwardRef,
    type(typing.Optional[int]), type(typing.Any), type(typing.List[int]),  # noqa: UP006, UP045
)  # fmt: skip


def describe(value: Any) -> Shallow | None:
    """Describes what can be called, and what it is made of; None for other values."""
    return _code_itself(value) or _around_code(value)


def _code_itself(value: Any) -> Shallow | None:  # noqa: PLR0911 - one line for each kind
    match value:
        case _ if isinstance(value, _TYPING):
            return leaf("typing", repr(value))
        case type():
            return _class(value)
        case types.FunctionType():
            return _function(value)
        case types.CodeType():
            return _code(value)
        case types.ModuleType():
            return _module(value)
        case types.BuiltinFunctionType():  # and types.BuiltinMethodType, which is the same
            return _builtin(value)
        case _ if isinstance(value, _SLOTS):
            return Shallow("slot", value.__name__, [("", value.__objclass__)])
    return None


def _around_code(value: Any) -> Shallow | None:  # noqa: PLR0911 - one line for each kind
    match value:
        case types.MethodType():
            parts = [("", value.__self__), (f" (method {value.__name__})", value.__func__)]
            return Shallow("method", children=parts)
        case types.MethodWrapperType():
            return Shallow("wrapper", value.__name__, [("", value.__self__)])
        case types.CellType():
            try:
                return Shallow("cell", children=[("", value.cell_contents)])
            except ValueError:
                return Shallow("empty cell")
        case staticmethod() | classmethod():
            parts = [("", value.__func__), *attributes(_own(value))]
            return Shallow(type(value).__name__, children=parts)
        case property():
            accessors = [(f".{name}", getattr(value, name)) for name in ("fget", "fset", "fdel")]
            return Shallow("property", children=[("", type(value)), *accessors])
        case functools.partial():
            parts = [("", type(value)), (" (function)", value.func), (" (arguments)", value.args)]
            return Shallow("partial", children=[
                *parts, *[(f" (argument {key})", value.keywords[key]) for key in value.keywords],
                *attributes(_own(value)),
            ])  # fmt: skip
        case functools._lru_cache_wrapper():
            # Its cache holds only what the function would return again.
            parts = [("", value.__wrapped__), ("", value.cache_parameters())]
            return Shallow("cached function", children=parts)
    return None


def _own(value: Any) -> dict[str, Any]:
    """Returns what was added to a wrapper, without what repeats its function."""
    repeated = {"__name__", "__qualname__", "__wrapped__", "__isabstractmethod__"}
    found: dict[str, Any] = getattr(value, "__dict__", {})
    return {key: entry for key, entry in found.items() if key not in _SELF_DESCRIPTION | repeated}


def _class(kind: type) -> Shallow:
    name = shown_name(kind)
    library = is_library(kind.__module__)
    if library and resolves(kind, kind.__module__, kind.__qualname__):
        return Shallow("class", name, _patches(kind), library=kind.__module__, path=name)
    children: list[tuple[str, Any]] = [] if type(kind) is type else [(" (metaclass)", type(kind))]
    children += [(" (base)", base) for base in kind.__mro__[1:]]
    children += attributes(dict(vars(kind)), skip=_SELF_DESCRIPTION)
    documentation = vars(kind).get("__doc__")
    if isinstance(documentation, str) and " at 0x" not in documentation:
        children += [(" (documentation)", documentation)]
    return Shallow("own class", name, children, path=kind.__qualname__)


def _patches(kind: type) -> Children:
    """Returns the members of a library's class that are not the library's: replaced methods."""
    return [
        (f".{name}", value)
        for base in kind.__mro__
        if is_library(base.__module__)
        for name, value in sorted(vars(base).items())
        if _foreign(value)
    ]


def _foreign(value: Any) -> bool:  # noqa: PLR0911 - one line for each kind
    """Whether a value in a library's class or module is the user's."""
    match value:
        case types.FunctionType():
            return not is_library(value.__globals__.get("__name__"))
        case types.MethodType() | staticmethod() | classmethod():
            return _foreign(value.__func__)
        case functools.partial() | functools.partialmethod():
            return _foreign(value.func)
        case property():
            return _foreign(value.fget)
        case type():
            return not is_library(value.__module__)
        case types.ModuleType():
            return False
    return not is_library(type(value).__module__)


def _function(value: types.FunctionType) -> Shallow:
    home = value.__globals__.get("__name__", "")
    library = is_library(home)
    if library and resolves(value, home, value.__qualname__):
        return leaf("function", f"{home}.{value.__qualname__}", home)
    code = value.__code__
    children: list[tuple[str, Any]] = [("", code), (" (defaults)", value.__defaults__)]
    named = value.__kwdefaults__ or {}
    children += [(f" (default {key})", named[key]) for key in sorted(named)]
    cells = zip(code.co_freevars, value.__closure__ or (), strict=True)
    children += [(f" (closure {name})", cell) for name, cell in cells]
    children += attributes(vars(value), skip=_SELF_DESCRIPTION)
    if not library:
        children += _read_by(code, value.__globals__)
    path = "" if "<" in value.__qualname__ else value.__qualname__
    name = f"{module_of(value)}.{value.__qualname__}"
    return Shallow("own function", name, children, path=path)


def _code(code: types.CodeType) -> Shallow:
    facts = {
        "flags": code.co_flags,
        "arguments": [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount],
        "names": [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars],
        "code": code.co_code.hex(),
        "exceptions": code.co_exceptiontable.hex(),
    }
    children = [("", constant) for constant in code.co_consts]
    return Shallow("code", canonical_json(facts), children, shared=False)


def _builtin(value: Any) -> Shallow:
    owner = value.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        kept = sys.modules.get("random")
        if kept is not None and owner is getattr(kept, "_inst", None):
            return leaf("function", f"random.{value.__name__}")
        return Shallow("bound function", value.__qualname__, [("", owner)])
    name = shown_name(value)
    module = sys.modules.get(value.__module__ or "")
    if module is None or is_library_module(module):
        return leaf("function", name, value.__module__ or "")
    return Shallow("compiled function", name, [(" (module)", module)])


def _module(module: types.ModuleType) -> Shallow:
    head, _, tail = module.__name__.partition(".")
    name = tail if head.startswith(PREFIX) else module.__name__
    if is_library_module(module):
        return leaf("module", name, module.__name__)
    file = vars(module).get("__file__")
    if isinstance(file, str) and not file.endswith(".py") and Path(file).is_file():
        return Shallow("compiled module", f"{name} {file_digest(Path(file))}")
    return Shallow("module", name, attributes(vars(module), skip=_SELF_DESCRIPTION), path=name)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _read_by(code: types.CodeType, namespace: dict[str, Any]) -> Children:
    """Returns the globals that a function of the user's reads, and what it reads of modules."""
    found: dict[str, Any] = {}
    for part in _codes(code):
        steps = list(dis.get_instructions(part))
        for at, step in enumerate(steps):
            if step.opname in _LOADS:
                _loaded(str(step.argval), steps[at + 1 :], namespace, found)
            elif step.opname == "IMPORT_NAME":
                _imported(str(step.argval), part, namespace, found)
    return [(f" (global {name})", found[name]) for name in sorted(found)]


def _loaded(
    name: str, following: list[dis.Instruction], namespace: dict[str, Any], found: dict[str, Any]
) -> None:
    if name not in namespace:
        if name in _WHOLE:
            own = {key: value for key, value in namespace.items() if key not in _SELF_DESCRIPTION}
            found.update({key: own[key] for key in own if key not in found})
        return
    value = namespace[name]
    if not isinstance(value, types.ModuleType):
        found[name] = value
        return
    for step in following:
        if step.opname not in _FOLLOWS or str(step.argval) not in vars(value):
            break
        library = is_library_module(value)
        name = f"{name}.{step.argval}"
        entry = vars(value)[str(step.argval)]
        if isinstance(entry, types.ModuleType):
            value = entry
            continue
        if library and not _foreign(entry) and type(entry) not in _NUMBERS:
            found[name] = _Named(f"{value.__name__}.{step.argval}")
        else:
            found[name] = entry
        return
    found[name] = value


def _imported(
    name: str, code: types.CodeType, namespace: dict[str, Any], found: dict[str, Any]
) -> None:
    """Takes what a function imports when it runs: the names it uses of the user's own modules."""
    packages = str(namespace.get("__name__", "")).split(".")
    places = [".".join([*packages[:end], name]) for end in range(len(packages))]
    names = {entry for part in _codes(code) for entry in part.co_names}
    for place in places:
        module = sys.modules.get(place.rstrip("."))
        if module is not None and not is_library_module(module):
            for entry in sorted(names & set(vars(module)) - _SELF_DESCRIPTION):
                found[f"{name}.{entry}"] = vars(module)[entry]


class _Named:
    """A value of a library's, which its name stands for."""

    def __init__(self, name: str) -> None:
        self.name = name


def describe_named(value: Any) -> Shallow | None:
    """Describes what a library's module holds under a name."""
    if isinstance(value, _Named):
        return leaf("of a library", value.name, value.name)
    return None


def refuse_running(value: Any) -> None:
    """Raises OpaqueError for running code: generators, frames and the like."""
    for kind, what in (
        (types.GeneratorType, "a generator"),
        (types.CoroutineType, "a coroutine"),
        (types.AsyncGeneratorType, "a generator"),
        (types.FrameType, "a frame"),
        (types.TracebackType, "a traceback"),
    ):
        if isinstance(value, kind):
            raise OpaqueError(what)
