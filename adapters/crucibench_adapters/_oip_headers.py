"""Headers whose values stand in the environment: read for each request, shown to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible

_REFERENCE = re.compile(r"(?P<before>[!-~]+ )?env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PARTS = re.compile(r"[\s;,=]+")
_HIDDEN = "***"
_SHORTEST_PART = 6


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

        A server may say in its error what it was sent.
        """
        for value in self._given.values():
            reference = _REFERENCE.fullmatch(value)
            secret = os.environ.get(reference["name"], "") if reference else ""
            if not secret:
                continue
            parts = [part for part in _PARTS.split(secret) if len(part) >= _SHORTEST_PART]
            for part in sorted({secret, *parts}, key=len, reverse=True):
                text = text.replace(part, _HIDDEN)
        return text

    def shown(self, text: str, limit: int = 200) -> str:
        """Returns what a server says, fit for a message: scrubbed, escaped, shortened."""
        return shorten(visible(" ".join(self.scrub(text).split())), limit)
