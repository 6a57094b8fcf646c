"""Did you mean: the nearest valid spelling of a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Returns the entry of `valid` that `name` most likely meant, or None."""
    names = list(valid)
    lowered = {entry.lower(): entry for entry in names}
    if name.lower() in lowered:
        return lowered[name.lower()]
    matches = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.55)
    return lowered[matches[0]] if matches else None


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """Returns a sentence: `what` `name` is unknown, the nearest spelling, and what there is."""
    names = sorted(valid)
    guess = nearest(name, names)
    hint = f"; did you mean {guess!r}?" if guess else ""
    known = ", ".join(names) if names else "none"
    return f"unknown {what} {name!r}{hint} (known: {known})"
