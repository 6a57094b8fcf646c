"""XML of others: bounded, and without a document type, which is where entities are declared."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from crucibench.util.untrusted.content import RefusedError, read_content

_AT_MOST = 4 << 20
"""Bytes: an image's annotations have a few KiB."""


def read_xml(path: Path, name: str) -> ElementTree.Element:
    """Returns the root element of a file.

    Raises:
        RefusedError: if it is no XML, declares a document type, or is too large.
    """
    content = read_content(path, name, _AT_MOST)
    # In UTF-16 the bytes of the word lie apart.
    if b"<!DOCTYPE" in content.replace(b"\0", b"").upper():
        raise RefusedError(name, "XML without a document type", "one with <!DOCTYPE")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RefusedError(name, "XML", str(error)) from None
