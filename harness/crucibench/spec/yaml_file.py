"""YAML as people mean it: YAML 1.2 booleans and floats, and no key twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from crucibench.util.errors import InputError
from crucibench.util.text import shorten


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema of YAML 1.2 (10.3.2): ``no`` is text, ``1e-3`` a number."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Constructs a value; one that its tag doesn't fit is an error of the file, with its line.

        A date that there isn't and a number of thousands of digits are refused by Python itself.
        """
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            value = node.value if isinstance(node, yaml.ScalarNode) else "what stands here"
            raise yaml.MarkedYAMLError(
                problem=f"{shorten(str(value), 40)} can't be read as {kind}",
                problem_mark=node.start_mark,
            ) from error


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(
                problem="a key can't be a list or a mapping", problem_mark=key_node.start_mark
            )
        key = loader.construct_object(key_node)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise yaml.MarkedYAMLError(problem=f"line {line}: the key {key!r} stands twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in _Loader.yaml_constructors.items()
    if tag is None or not tag.endswith((":omap", ":pairs", ":set", ":binary"))
}


def load_yaml(text: str, name: str) -> Any:
    """Parses YAML text.

    Raises:
        InputError: if it is no YAML; names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{name}: {where}{error.problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{name}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{name}: lists and mappings are nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file.

    Raises:
        InputError: if it is missing, not UTF-8, or no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"spec file {str(path)!r} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"spec file {str(path)!r} is not UTF-8 text") from error
    return load_yaml(text, str(path))


def dump_yaml(data: Any) -> str:
    """Returns `data` as YAML in the order it is given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
