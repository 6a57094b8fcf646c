"""YAML as people mean it: YAML 1.2 booleans and floats, and no key twice.

A value is made of the parser's events one by one, without recursion: depth and number of values
are bounded as they come, and what an alias names counts each time, so that a few lines can't stand
for millions of values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from crucibench.util.untrusted.content import RefusedError, read_text
from crucibench.util.untrusted.json_text import DEPTH_AT_MOST, VALUES_AT_MOST, whole_number

_TAG = "tag:yaml.org,2002:"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$")
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NO_KEY = object()


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """The core schema of YAML 1.2 (10.3.2), and dates: ``no`` is text, ``1e-3`` a number."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)


_Scalars.yaml_implicit_resolvers = {
    first: [
        (tag, regexp)
        for tag, regexp in resolvers
        if not tag.endswith((":bool", ":float", ":merge", ":value"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Scalars.add_implicit_resolver(f"{_TAG}bool", _BOOL, list("tTfF"))
_Scalars.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML reads as something other than text."""


_Dumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))

_KINDS: dict[str, Callable[[_Scalars, yaml.ScalarNode], Any]] = {
    "null": _Scalars.construct_yaml_null,
    "bool": _Scalars.construct_yaml_bool,
    "int": _Scalars.construct_yaml_int,
    "float": _Scalars.construct_yaml_float,
    "timestamp": _Scalars.construct_yaml_timestamp,
    "str": _Scalars.construct_yaml_str,
}


def read_yaml(path: Path) -> Any:
    """Returns what a YAML file holds.

    Raises:
        RefusedError: as `content.read_text` and `parse_yaml` do.
    """
    return parse_yaml(read_text(path, str(path)), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Returns what YAML text holds: mappings, lists, texts, numbers, truth values, dates.

    Args:
        text: of one document.
        name: names it in an error.

    Raises:
        RefusedError: if it is none, is nested deeper or holds more values than `documents` says, a
            key twice or one that is a list, or a number or date that there isn't.
    """
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        lines = text.splitlines() or [""]
        at = error.problem_mark.line if error.problem_mark else 0
        line = min(at, len(lines) - 1)  # libyaml's end of a text is a line further
        raise RefusedError(
            name, f"YAML ({error.problem})", repr(lines[line]), place=f"line {line + 1}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise RefusedError(name, "YAML", str(error)) from error
    return builder.value


def dump_yaml(data: Any) -> str:
    """Returns `data` as YAML in the order it is given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@dataclass
class _Open:
    """A list or mapping that is being filled."""

    value: Any
    anchor: str | None
    before: int
    key: Any = _NO_KEY


class _Builder:
    """Makes a value of a parser's events."""

    def __init__(self, name: str) -> None:
        self.value: Any = None
        self._name = name
        self._scalars = _Scalars()
        self._open: list[_Open] = []
        self._known: dict[str, tuple[Any, int]] = {}
        self._count = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Takes the next event.

        Raises:
            RefusedError: if it leads beyond what is read.
        """
        if isinstance(event, yaml.ScalarEvent):
            self._put(self._scalar(event), event, event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            self._put(done.value, event, done.anchor, self._count - done.before)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._known:
                raise self._refused(event, "an anchor that stands before", f"*{event.anchor}")
            value, count = self._known[event.anchor]
            self._put(value, event, None, count)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refused(event, "one document", "another")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        listed = isinstance(event, yaml.SequenceStartEvent)
        if self._open and not isinstance(self._open[-1].value, list):
            self._require_key(event)
        tag = (event.tag or "!").removeprefix(_TAG)
        if tag not in ("!", "seq" if listed else "map"):
            raise self._refused(event, "plain YAML", f"the tag {tag}")
        if len(self._open) == DEPTH_AT_MOST:
            limit = f"lists and mappings nested at most {DEPTH_AT_MOST} deep"
            raise self._refused(event, limit, "deeper ones")
        self._open.append(_Open([] if listed else {}, event.anchor, self._count))

    def _require_key(self, event: yaml.Event) -> None:
        if self._open[-1].key is _NO_KEY:
            raise self._refused(event, "a key that is text or a number", "a list or a mapping")

    def _put(self, value: Any, event: yaml.Event, anchor: str | None, count: int) -> None:
        self._count += count if isinstance(event, yaml.AliasEvent) else 1
        if self._count > VALUES_AT_MOST:
            raise self._refused(event, f"at most {VALUES_AT_MOST:,} values", "more")
        if anchor is not None:
            self._known[anchor] = (value, count + 1)
        if not self._open:
            self.value = value
            return
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
        elif inside.key is not _NO_KEY:
            inside.value[inside.key] = value
            inside.key = _NO_KEY
        else:
            if not isinstance(value, Hashable):
                self._require_key(event)
            if value in inside.value:
                raise self._refused(event, "each key once", f"{value!r} twice")
            inside.key = value

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text = event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._scalars.resolve(yaml.ScalarNode, text, event.implicit)  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind not in _KINDS:
            raise self._refused(event, "plain YAML", f"the tag {kind}")
        try:
            node = yaml.ScalarNode(tag, text)
            if kind == "int":
                return whole_number(
                    text, lambda _: _Scalars.construct_yaml_int(self._scalars, node)
                )
            return _KINDS[kind](self._scalars, node)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            wanted = "int of at most 64 bits" if kind == "int" else kind
            raise self._refused(event, f"a value of type {wanted}", repr(text)) from error

    def _refused(self, event: yaml.Event, expected: str, got: str) -> RefusedError:
        mark = event.start_mark
        place = f"line {mark.line + 1}" if mark else ""
        return RefusedError(self._name, expected, got, place=place)
