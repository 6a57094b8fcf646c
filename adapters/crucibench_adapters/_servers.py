"""The addresses of servers."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible


def server_address(scheme: str, rest: str, form: str, root: str) -> SplitResult:
    """Reads the address of a server.

    Args:
        scheme: of the model's address.
        rest: what follows it.
        form: what is expected, in a sentence.
        root: the part of the path that follows the server.

    Raises:
        InputError: if it is none, or holds a user name or password.
    """
    if "@" in rest.partition(root)[0]:
        # Not shown: it may be a password.
        raise InputError(
            f"{scheme}: the address holds a user name or a password, which would end up in files: "
            "say headers: {Authorization: env:NAME} in the spec instead"
        )
    if re.search(r"[\s\x00-\x1f\x7f#\\]", rest) or not rest.isascii():
        raise InputError(f"{scheme}: expected {form}, got {shown_address(rest)}")
    try:
        parts = urlsplit(rest)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(
            f"{scheme}: expected {form}, got {shown_address(rest)}: {error}"
        ) from error
    if parts.scheme not in {"http", "https"} or not host:
        raise InputError(f"{scheme}: expected {form}, got {shown_address(rest)}")
    return parts


def shown_address(rest: str) -> str:
    """Returns an address, fit for a message."""
    return repr(shorten(visible(rest), 120))
