"""Settings that take one entry or several."""

from __future__ import annotations


def listed(value: object) -> object:
    """Returns one entry as a list, and ``0.1,8/255`` of a command line as two."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",")]
    return value if isinstance(value, list | tuple) else [value]
