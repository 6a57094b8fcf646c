"""Where a server is, and where a model is asked by the Open Inference Protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible

_PATH = re.compile(
    r"(?P<prefix>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/?", re.DOTALL
)
_FORM = "oip:http://HOST:PORT/v2/models/NAME[/versions/V] or oip:https://..."


@dataclass(frozen=True)
class ServerAddress:
    """Where a model is asked.

    Attributes:
        server: scheme, host, port and what stands before ``/v2``.
        model: its name, as the address spells it.
        version: "" for the one that the server chooses.
    """

    server: str
    model: str
    version: str = ""

    @property
    def url(self) -> str:
        """The model's own address."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"{self.server}/v2/models/{self.model}{version}"


def parse_address(rest: str) -> ServerAddress:
    """Reads what follows ``oip:``.

    Raises:
        InputError: if it is no address of a model, or holds a user name or password.
    """
    parts = server_address("oip", rest, _FORM)
    found = _PATH.fullmatch(parts.path)
    if found is None:
        raise InputError(f"oip: expected {_FORM}, got {_shown(rest)}")
    server = f"{parts.scheme}://{parts.netloc}{found['prefix']}"
    return ServerAddress(server, found["model"], found["version"] or "")


def server_address(scheme: str, rest: str, form: str) -> SplitResult:
    """Reads the address of a server.

    Args:
        scheme: of the model's address.
        rest: what follows it.
        form: what is expected, in a sentence.

    Raises:
        InputError: if it is none, or holds a user name or password.
    """
    if "@" in rest.partition("/v")[0]:
        # Not shown: it may be a password.
        raise InputError(
            f"{scheme}: the address holds a user name or a password, which would end up in files: "
            "say headers: {Authorization: env:NAME} in the spec instead"
        )
    if re.search(r"[\s\x00-\x1f\x7f#\\]", rest) or not rest.isascii():
        raise InputError(f"{scheme}: expected {form}, got {_shown(rest)}")
    try:
        parts = urlsplit(rest)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{scheme}: expected {form}, got {_shown(rest)}: {error}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise InputError(f"{scheme}: expected {form}, got {_shown(rest)}")
    return parts


def _shown(rest: str) -> str:
    return repr(shorten(visible(rest), 120))
