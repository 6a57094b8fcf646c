"""Address patterns of a policy: ``*`` and ``?`` are wild, brackets are themselves."""

from __future__ import annotations

from fnmatch import fnmatchcase


def fits(pattern: str, text: str) -> bool:
    """Whether `pattern` fits the whole of `text`.

    ``*`` stands for any characters, slashes included, and ``?`` for one. Brackets are literal,
    since an address has them around its point: ``*:shift/*[severity=3]/top-1``.
    """
    return fnmatchcase(text, literal_brackets(pattern))


def literal_brackets(pattern: str) -> str:
    """Returns the pattern as `fnmatch` reads it, to which brackets are sets of characters."""
    return pattern.replace("[", "[[]")


def is_pattern(text: str) -> bool:
    """Whether `text` may fit more than itself."""
    return "*" in text or "?" in text
