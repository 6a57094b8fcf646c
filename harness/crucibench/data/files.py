"""The files that an address names: one, a folder's, a pattern's, or some behind a network.

The latter are copied into the cache once for each version, and nothing else is asked for. Files
behind http and https are asked for by `util.http`; all others, and patterns, are reached through
fsspec, which `datasets` brings: what a protocol needs beside it comes with the extra ``[remote]``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import existing_file
from crucibench.data.cache import cached_folder
from crucibench.util import doors
from crucibench.util.doors import StorageError, storing
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.hashing import data_digest
from crucibench.util.http.client import Client, RemoteError
from crucibench.util.http.limits import Remote, RequestBudget
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line

_PATTERN = "*["
"""What makes an address a pattern; a question mark begins the options."""

PROTOCOLS = ("https", "http", "s3", "gs", "az")
"""What an address may begin with, ``://`` behind it."""

_ADDRESS = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://.+", re.DOTALL)
_VERSION = (
    *("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "mtime"),
    *("Content-MD5", "md5Hash", "Digest", "size"),
)
_HTTP_VERSION = ("etag", "last-modified", "content-md5", "digest")
_PIECE = 1 << 20
_MOST_BYTES = 1 << 40
_ASKING, _FETCHING = 60.0, 3600.0
"""Seconds that facts of a file, and the file, may take to arrive."""


def is_pattern(rest: str) -> bool:
    """Whether an address is a pattern of ``*``, ``**`` and ``[...]``, not one name."""
    return any(character in rest for character in _PATTERN)


def matching_files(rest: str, base: Path, inside: str = "") -> tuple[Path, ...]:
    """Returns the files that `rest` names, in the order of their names.

    Args:
        rest: a file, a pattern, or a folder where `inside` is given.
        base: what it is relative to.
        inside: which files below a folder are meant, e.g. ``*.parquet``.

    Raises:
        InputError: if there is none.
    """
    folder = (base / Path(rest).expanduser()).resolve()
    if inside and folder.is_dir():
        files = sorted(folder.rglob(inside))
    elif not is_pattern(rest):
        return (existing_file(base, rest, "data file"),)
    else:
        files = sorted(path.resolve() for path in matches(rest, base) if path.is_file())
    if not files:
        raise InputError(f"no file is called {rest!r} (looked in {str(base.resolve())!r})")
    return tuple(files)


def matches(rest: str, base: Path) -> list[Path]:
    """Returns the files and folders that a pattern names, sorted."""
    pattern = Path(rest).expanduser()
    root = Path(pattern.anchor) if pattern.is_absolute() else base
    inner = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
    return sorted(root.glob(str(inner)))


def named_sources(rest: str, base: Path, inside: str = "") -> Sources:
    """Returns the files that `rest` names, or the versions of remote ones.

    Raises:
        InputError: if there is none, or it can't be reached.
    """
    if is_remote(rest):
        return Sources((), remote_versions(rest))
    return Sources(matching_files(rest, base, inside))


def named_files(opening: DataOpening, inside: str = "") -> Sequence[Path]:
    """Returns the files that an address names, copied into the cache where they are remote.

    Raises:
        InputError: if there is none, or it can't be reached.
    """
    rest = opening.uri.rest
    if is_remote(rest):
        return fetched_files(rest, opening.scratch)
    return matching_files(rest, opening.base, inside)


def is_remote(rest: str) -> bool:
    """Whether an address names something behind a network.

    Raises:
        InputError: if its protocol is unknown.
    """
    match = _ADDRESS.fullmatch(rest)
    if match is None:
        return False
    if match["protocol"] not in PROTOCOLS:
        raise InputError(unknown("protocol", match["protocol"], PROTOCOLS))
    return True


def remote_versions(address: str) -> Mapping[str, str]:
    """Returns a text by address of a file that changes with its version.

    Raises:
        InputError: if it can't be reached.
    """
    return {name: version for name, (_, version) in _found(address)[1].items()}


def fetched_files(address: str, scratch: Path) -> Sequence[Path]:
    """Returns copies of the files that an address names, in the order of their names.

    Raises:
        InputError: if one can't be reached.
    """
    system, found = _found(address)
    copies = []
    for name, (path, version) in found.items():
        file = f"copy-{path.rstrip('/').rpartition('/')[2].partition('?')[0]}"

        def fill(folder: Path, path: str = path, file: str = file, name: str = name) -> None:
            try:
                with storing(folder / file):
                    target = doors.open_file(folder / file, "wb")
                with target:
                    if system is None:
                        _fetch(path, target)
                    else:
                        with system.open(path, "rb") as source:
                            shutil.copyfileobj(source, target, _PIECE)
            except StorageError:
                raise
            except Exception as error:  # whatever the protocol's library raises
                raise _unreachable(name, error) from None
            # Like what is converted, so that the cache is pruned of it as of that.
            note = json.dumps({"roles": [], "facts": {"fetched": name}})
            doors.write_bytes(folder / "content.json", note.encode())

        key = data_digest(["fetched", name, version]) if version else ""
        copies.append(cached_folder(scratch / "arrow", key, fill) / file)
    return copies


def _found(address: str) -> tuple[Any, dict[str, tuple[str, str]]]:
    """Returns a file system and, by full address, the path and the version of each file."""
    protocol = address.partition(":")[0]
    if protocol in {"http", "https"} and not is_pattern(address):
        return None, {address: (address, _version_over_http(address))}
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        system, path = url_to_fs(address)
        paths = sorted(system.glob(path)) if is_pattern(address) else [path]
        facts = {one: system.info(one) for one in paths}
    except ImportError as error:
        raise InputError(
            f'{address!r}: {one_line(error)}: pip install "crucibench[remote]"'
        ) from None
    except Exception as error:  # whatever the protocol's library raises
        raise _unreachable(address, error) from None
    if not facts:
        raise InputError(f"no file is called {address!r}")
    found = {}
    for one, known in facts.items():
        name = one if "://" in one else f"{protocol}://{one}"
        version = ", ".join(f"{key} {known[key]}" for key in _VERSION if known.get(key))
        # Two versions may have the same size.
        found[name] = (one, version if version != f"size {known.get('size')}" else "")
    return system, found


def _client(address: str, timeout: float) -> Client:
    remote = Remote(timeout=timeout)
    return Client(address, remote, RequestBudget(remote), elsewhere=True)


def _fetch(address: str, target: BinaryIO) -> None:
    def write(piece: bytes) -> None:
        with storing(Path(target.name)):
            target.write(piece)

    client = _client(address, _FETCHING)
    try:
        client.fetch(address, write, _MOST_BYTES)
    finally:
        client.close()


def _version_over_http(address: str) -> str:
    """Returns what tells versions of a file apart; "" where the server says nothing that does."""
    client = _client(address, _ASKING)
    try:
        headers = client.head(address).headers
    except CrucibenchError as error:
        if isinstance(error, RemoteError) and error.status in {403, 405, 501}:
            return ""  # what may be read but not asked about, as some signed addresses
        raise _unreachable(address, error) from None
    finally:
        client.close()
    return ", ".join(f"{key} {headers[key]}" for key in _HTTP_VERSION if headers.get(key))


def _unreachable(address: str, error: Exception) -> InputError:
    return InputError(f"{address!r} can't be reached: {one_line(error)}")
