"""Templates of prompts: text with ``{field}`` places, which the fields of an item fill.

``{{`` and ``}}`` stand for braces. Nothing else of `str.format` is understood, so that a template
from a file can read nothing but the item's fields.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def fields_of(template: str) -> tuple[str, ...]:
    """Returns the names of the places of a template, each once, in their order.

    Raises:
        InputError: if a brace stands alone or a place has no name.
    """
    found: dict[str, None] = {}
    for match in _PLACE.finditer(template):
        if match[0] in {"{{", "}}"}:
            continue
        if not match[1]:
            raise InputError(
                f"template: {match[0]!r} at character {match.start()}: expected {{FIELD}}, or "
                "{{ and }} for braces"
            )
        found[match[1]] = None
    return tuple(found)


def require_fields(template: str, known: Collection[str]) -> None:
    """Raises InputError if a template has a place that no field fills; names the nearest."""
    for name in fields_of(template):
        if name not in known:
            raise InputError(f"template: {unknown('field', name, known)}")


def render(template: str, item: Mapping[str, Any]) -> str:
    """Returns a template with its places filled.

    Raises:
        InputError: if the item lacks a field.
    """

    def fill(match: re.Match[str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        if match[1] not in item:
            raise InputError(f"template: {unknown('field', str(match[1]), item)}")
        return str(item[match[1]])

    return _PLACE.sub(fill, template)
