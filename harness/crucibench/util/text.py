"""Makes names and texts of users safe for a terminal, Markdown, XML and table cells."""

from __future__ import annotations

import unicodedata

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNSEEN = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})
_SPECIAL = str.maketrans(
    {char: f"\\{char}" for char in "\\`*_{}[]#|~$!()"}
    | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;", '"': "&quot;", "'": "&#39;"}
)


def visible(text: str, keep: str = "") -> str:
    """Returns `text` with characters that could hide or reorder others written as escapes.

    These are control characters (but those in `keep`), bidirectional controls, line and paragraph
    separators, lone surrogates, and what is no character at all.
    """
    if text.isascii() and text.isprintable():
        return text
    hidden = {
        ord(char): f"\\u{ord(char):04x}"
        for char in set(text) - set(keep)
        if char in _BIDI or unicodedata.category(char) in _UNSEEN
    }
    return text.translate(hidden) if hidden else text


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


def shorten(text: str, limit: int = 60) -> str:
    """Returns `text`, or its start and end with ``…`` between them; at most `limit` characters."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail - 1]}…{text[-tail:]}"


def both_ends(content: bytes, limit: int) -> bytes:
    """Returns `content`, or its start and end with a note between them; at most `limit` bytes."""
    if len(content) <= limit:
        return content
    half = limit // 2 - 100
    return content[:half] + b"\n... left out ...\n" + content[-half:]


def markdown_text(text: str, limit: int = 200) -> str:
    """Escapes text for Markdown: no markup, no HTML, no mentions, no links of bare addresses."""
    escaped = shorten(visible(text), limit).translate(_SPECIAL)
    return escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
