"""What the command line sets on top of a spec, put into the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.util.errors import InputError


def overridden(document: Any, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Returns a spec given as plain data with some keys set; the one given stays what it was.

    Args:
        document: the spec, perhaps of a wrong form.
        defaults: keys of its section ``defaults``.
        settings: ``SUITE.KEY`` to value: in the section ``suites``, and in every track that has
            this key of its own.

    Raises:
        InputError: if a name of `settings` has no dot.
    """
    if not isinstance(document, dict):
        return document
    document = dict(document)
    if defaults:
        document["defaults"] = {**(document.get("defaults") or {}), **defaults}
    for address, value in settings.items():
        suite, dot, key = address.partition(".")
        if not dot:
            raise InputError(f"--set {address}: expected SUITE.KEY=VALUE")
        keys = key.split(".")
        _put(document, ["suites", suite, *keys], value)
        tracks = document.get("tracks")
        if isinstance(tracks, list):
            document["tracks"] = [_track(track, suite, keys, value) for track in tracks]
    return document


def _track(track: Any, suite: str, keys: Sequence[str], value: Any) -> Any:
    below = track
    for key in ("settings", suite, keys[0]):
        if not isinstance(below, dict) or key not in below:
            return track
        below = below[key]
    changed = dict(track)
    _put(changed, ["settings", suite, *keys], value)
    return changed


def _put(mapping: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Sets a key, or one of a mapping below it; mappings below are copied, not changed."""
    first, *rest = keys
    if not rest:
        mapping[first] = value
        return
    below = mapping.get(first)
    mapping[first] = dict(below) if isinstance(below, dict) else {}
    _put(mapping[first], rest, value)
