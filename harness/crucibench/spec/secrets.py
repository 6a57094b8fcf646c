"""Secrets stand in the environment, never in a spec: a spec is copied into every run."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HARMLESS = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "host",
     "pragma", "user-agent"}
)  # fmt: skip
"""Headers that may stand in a spec with their values: no server takes a secret from one."""
_REFERENCE = re.compile(r"(?:[!-~]+ )?env:[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN = frozenset(
    {"content-type", "content-length", "transfer-encoding", "inference-header-content-length"}
)
_USER = re.compile(r"://[^/?#]*@")
_SECRET = re.compile(
    r"://[^?]*[?](?:.*?[&;])?"
    r"(?P<name>[^=&;?]*(?:key|token|secret|passw|credential|signature|auth|session)[^=&;]*|sig)=",
    re.IGNORECASE,
)
"""A part of a remote address's query whose name says that its value is a secret."""


def header_mistake(headers: Mapping[str, str]) -> str | None:
    """Returns what is wrong with headers, without any of their values, or None."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            return f"the name {name!r} can't be that of a header"
        if name.lower() in _OWN:
            return f"header {name} is set by each request for itself"
        if not _VALUE.fullmatch(value) or value != value.strip():
            return (
                f"header {name}: a value can't begin or end with blanks, or hold line breaks or "
                "letters beyond ASCII"
            )
        if _REFERENCE.fullmatch(value):
            continue
        if value.startswith("env:"):
            return f"header {name}: expected env:NAME with the name of an environment variable"
        if name.lower() not in _HARMLESS:
            variable = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
            return (
                f"header {name} may hold a secret, and the spec is copied into every run: write "
                f"{name}: env:{variable} and export the value as {variable}"
            )
    return None


def address_mistake(uri: str) -> str | None:
    """Returns a sentence if an address holds a user name, password or another secret, or None."""
    if (found := _SECRET.search(uri)) is not None:
        return (
            f"the address holds a secret, as {found['name']} says, and addresses are copied into "
            "every run: say headers: {Authorization: env:NAME} instead, or use a copy of the file"
        )
    if _USER.search(uri) is None:
        return None
    return (
        "the address holds a user name or a password, and addresses are copied into every run: "
        "say headers: {Authorization: env:NAME} instead"
    )
