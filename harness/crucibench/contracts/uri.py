"""URIs of models and data: ``[NAME=]SCHEME:REST[?key=value&...]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal
from urllib.parse import unquote

from crucibench.util.errors import InputError
from crucibench.util.suggest import hint, unknown

_NAMED = re.compile(r"(?P<name>[^:=?]+)=(?P<uri>.*)", re.DOTALL)
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
FITTING = {
    "data": {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".npz": "npz"},
    "model": {
        ".skops": "sklearn", ".pkl": "sklearn", ".joblib": "sklearn", ".onnx": "onnx",
        ".pt2": "torch", ".csv": "predictions", ".parquet": "predictions",
    },
}  # fmt: skip
"""Of files whose name alone says what reads them."""


@dataclass(frozen=True)
class URI:
    """One parsed address.

    Attributes:
        scheme: names the adapter or data source.
        rest: what stands between the scheme and the query.
        query: the options, decoded.
    """

    scheme: str
    rest: str
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "&".join(f"{key}={value}" for key, value in self.query.items())
        return f"{self.scheme}:{self.rest}" + (f"?{options}" if options else "")

    def flag(self, key: str) -> bool:
        """Whether option `key` is set to a true value.

        Raises:
            InputError: if its value is neither true nor false.
        """
        value = self.query.get(key, "false").lower()
        if value not in {"true", "false", "1", "0", "yes", "no", ""}:
            raise InputError(f"{self.scheme}: option {key}: expected true or false, got {value!r}")
        return value in {"true", "1", "yes", ""}

    def names(self, key: str) -> tuple[str, ...]:
        """Returns option `key` split at commas."""
        return tuple(part for part in self.query.get(key, "").split(",") if part)

    def only(self, *known: str) -> None:
        """Raises InputError if there is an option that is not among `known`."""
        for key in self.query:
            if key not in known:
                raise InputError(unknown(f"option of {self.scheme}:", key, known))


def split_name(text: str) -> tuple[str | None, str]:
    """Splits ``NAME=URI``; the name is None where there is none."""
    match = _NAMED.fullmatch(text)
    return (match["name"].strip(), match["uri"]) if match else (None, text)


def with_scheme(text: str, what: Literal["data", "model"]) -> str:
    """Returns an address; a bare file, ``people.csv``, gets the scheme that its suffix says."""
    address = text.partition("?")[0]
    scheme = None if ":" in address else FITTING[what].get(PurePath(address).suffix.lower())
    return f"{scheme}:{text}" if scheme else text


def parse_uri(text: str) -> URI:
    """Parses ``SCHEME:REST[?key=value&...]``; values may be percent-encoded.

    Raises:
        InputError: if there is no scheme, or an option has no ``=``.
    """
    address, _, options = text.partition("?")
    match = _SCHEME.fullmatch(address)
    if match is None:
        raise InputError(
            f"{text!r}: expected SCHEME:REST, e.g. torch:models.py:cnn or csv:people.csv"
        )
    if match["scheme"].endswith(".py"):
        raise InputError(
            f"{text!r}: expected what the function builds before it: torch:{text}, sklearn:{text} "
            f"or python:{text}"
        )
    query: dict[str, str] = {}
    for option in options.split("&") if options else []:
        key, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"{text!r}: option {key!r}: expected {key}=VALUE")
        query[unquote(key)] = unquote(value)
    return URI(match["scheme"], match["rest"], query)


def existing_file(base: Path, name: str, what: str) -> Path:
    """Returns the file `name`, taken relative to `base`.

    Raises:
        InputError: if there is none; a file of a like name is offered.
    """
    path = (base / Path(name).expanduser()).resolve()
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"{what}: expected a file, got the folder {name!r}")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{what} {name!r}: there is no folder {str(folder)!r}")
    siblings = [entry.name for entry in folder.iterdir() if entry.is_file()]
    raise InputError(f"{what} {name!r} does not exist{hint(path.name, siblings)}")
