"""The doors through which this program changes the disk, starts processes and reaches servers.

Each is one function of the system, so that a test can replace it here and let any single call fail
as a full disk, a lack of memory or a loss of power would. What libraries write (Arrow, Parquet,
NumPy) goes through `open_file`, too.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast


class StorageError(OSError):
    """The disk is full, read-only or broken: not the fault of the code that writes."""

    def __str__(self) -> str:
        parts = (self.strerror or (self.args[0] if self.args else ""), self.filename)
        return ": ".join(str(part) for part in parts if part)


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns an OSError raised while `path` is written into a StorageError that names it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        # Arrow and NumPy put the system's words into sentences of their own, or leave them out.
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise StorageError(error.errno, reason, str(path)) from error


class _File(io.FileIO):
    def write(self, data: Any) -> int:
        with storing(Path(self.name)):  # whoever else has a hand in it: Arrow, a source that reads
            return write(self.fileno(), data)


def open_file(path: Path, mode: str) -> io.BufferedRandom:
    """Opens a file to be written, in a binary mode, buffered; its writes go through `write`."""
    raw = _File(path, mode)
    if "+" not in mode:
        return cast(io.BufferedRandom, io.BufferedWriter(raw))  # who does not read it
    return io.BufferedRandom(raw)


def write(descriptor: int, data: Any) -> int:
    """Writes at most `data`; returns how many bytes were written."""
    return os.write(descriptor, data)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, which a process that is killed meanwhile leaves half written."""
    with storing(path), open_file(path, "wb") as stream:
        stream.write(content)


def fsync(descriptor: int) -> None:
    """Lets an open file or folder reach the disk."""
    os.fsync(descriptor)


def replace(old: Path, new: Path) -> None:
    """Renames a file; another one of that name is gone then."""
    old.replace(new)


def rename(old: Path, new: Path) -> None:
    """Renames a folder; there must be none of that name."""
    old.rename(new)


def unlink(path: Path, *, missing_ok: bool = False) -> None:
    """Removes a file."""
    path.unlink(missing_ok=missing_ok)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there."""
    path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path, *, ignore_errors: bool = False) -> None:
    """Removes a folder and all below."""
    shutil.rmtree(path, ignore_errors=ignore_errors)


def fork() -> int:
    """Makes a second process of this one; returns its id, and 0 in it."""
    return os.fork()


def pipe() -> tuple[int, int]:
    """Returns the reading and the writing end of a pipe."""
    return os.pipe()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Returns two sockets that are connected and keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_descriptors(link: socket.socket, message: bytes, descriptors: Sequence[int]) -> int:
    """Sends a message and open files to another process."""
    return socket.send_fds(link, [message], list(descriptors))


Place = tuple[int, int, int, Any]
"""Family, kind, protocol and address of a server's socket."""


def look_up(host: str, port: int) -> list[Place]:
    """Returns where a host can be reached; takes as long as the system's resolver takes."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, at) for family, kind, protocol, _, at in found]


def connect(place: Place, seconds: float) -> socket.socket:
    """Returns a socket that is connected to a server within some seconds."""
    *kind, at = place
    made = socket.socket(*kind)
    try:
        made.settimeout(seconds)
        made.connect(at)
    except BaseException:
        made.close()
        raise
    return made
