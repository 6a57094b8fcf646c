"""Headers whose values are secrets, and texts of a server without them."""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible

_REFERENCE = re.compile(r"(?P<before>[!-~]+ )?env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PARTS = re.compile(r"[\s;,=]+")
_HIDDEN = "***"
_SHORTEST_PART = 6
_FRAGMENT, _HEX_FRAGMENT = 7, 10
"""Characters that carry 40 bits: of an alphabet of 64, and of hexadecimal digits."""


class Headers:
    """The headers of the spec."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    @property
    def names(self) -> str:
        """The names, as a list in words."""
        return ", ".join(self._given)

    def read(self) -> dict[str, str]:
        """Returns names and values, those of ``env:NAME`` as the environment has them now.

        Raises:
            InputError: if a variable is not set, or can't be a header.
        """
        found: dict[str, str] = {}
        for header, value in self._given.items():
            reference = _REFERENCE.fullmatch(value)
            if reference is None:
                found[header] = value
                continue
            name = reference["name"]
            secret = os.environ.get(name, "")
            if not secret:
                raise InputError(
                    f"headers.{header}: the environment variable {name} is not set: export {name} "
                    "before the run"
                )
            if not _VALUE.fullmatch(secret) or secret != secret.strip():
                raise InputError(
                    f"headers.{header}: the value of the environment variable {name} can't be a "
                    "header: it begins or ends with blanks, or holds line breaks or letters "
                    "beyond ASCII"
                )
            found[header] = f"{reference['before'] or ''}{secret}"
        return found

    def scrub(self, text: str) -> str:
        """Returns `text` without the values that came from the environment, or parts of them.

        A server may say in its error what it was sent, encoded in another way or cut short.
        """
        for value in self._given.values():
            reference = _REFERENCE.fullmatch(value)
            secret = os.environ.get(reference["name"], "") if reference else ""
            if secret:
                text = _without(text, secret)
        return text

    def shown(self, text: str, limit: int = 200) -> str:
        """Returns what a server says, fit for a message: scrubbed, escaped, shortened."""
        return shorten(visible(" ".join(self.scrub(text).split())), limit)


def _without(text: str, secret: str) -> str:
    """Returns `text` with ``***`` for each place that shows a secret.

    That is the secret, its words, and each fragment of 40 bits or more; in upper or lower case,
    reversed, in base64 (wherever it begins there), hexadecimal digits or URL encoding, and in
    these of its reverse or of another case.
    """
    words = [part for part in _PARTS.split(secret) if len(part) >= _SHORTEST_PART]
    shown = {secret.lower(), *(word.lower() for word in words)}
    for cased in {secret, secret.upper(), secret.lower()}:
        for one in (cased, cased[::-1]):
            for form, size in _encoded(one):
                lower = form.lower()
                shown |= {lower[at : at + size] for at in range(len(lower) - size + 1)}
    for word in words:
        lower = word.lower()
        shown |= {lower[at : at + _FRAGMENT] for at in range(len(lower) - _FRAGMENT + 1)}
    shown |= {form[::-1] for form in shown}
    plain = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    hidden = bytearray(len(text))
    for form in shown:
        at = plain.find(form)
        while at >= 0:
            hidden[at : at + len(form)] = b"\1" * len(form)
            at = plain.find(form, at + 1)
    runs = itertools.groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
    return "".join(
        _HIDDEN if masked else "".join(letter for letter, _ in run) for masked, run in runs
    )


def _encoded(secret: str) -> Iterator[tuple[str, int]]:
    """Yields forms of a secret, and how many characters of each carry 40 bits."""
    data = secret.encode()
    yield quote(secret, safe=""), _FRAGMENT
    yield data.hex(), _HEX_FRAGMENT
    for before in range(3):
        standard = base64.b64encode(b"\0" * before + data).decode()
        inside = standard[(0, 2, 3)[before] :]
        yield inside, _FRAGMENT
        yield inside.replace("+", "-").replace("/", "_"), _FRAGMENT
