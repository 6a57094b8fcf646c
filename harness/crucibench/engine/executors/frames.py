"""Objects through a pipe: a length and a pickle. Both ends are this program."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

_HEAD = struct.Struct("<Q?")


@dataclass(frozen=True)
class Packed:
    """An object that stays pickled: who passes it on need not import what it is made of.

    Attributes:
        content: the pickle.
        final: of a message, whether it ends its task.
        memory: of a setup, the limit it holds.
        makes: of a setup, the data sets that the user's own code makes.
        home: of a task, whose process does it (`tasks.home`).
        keeps: of a task, whether it leaves something in its process (`tasks.keeps`).
    """

    content: bytes
    final: bool = False
    memory: int | None = None
    makes: tuple[str, ...] = ()
    home: str = ""
    keeps: bool | None = None

    def value(self) -> Any:
        """Returns the object."""
        return pickle.loads(self.content)


def pack(value: Any, *, final: bool = False) -> Packed:
    """Pickles an object, unless it is."""
    if isinstance(value, Packed):
        return value
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return Packed(content, final)


def send(stream: BinaryIO, message: Any, *, final: bool = False) -> None:
    """Writes one object.

    Raises:
        OSError: if nobody reads any more.
    """
    packed = pack(message, final=final)
    stream.write(_HEAD.pack(len(packed.content), packed.final) + packed.content)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Reads one object.

    Raises:
        EOFError: if the other end is closed.
    """
    return receive_packed(stream).value()


def receive_packed(stream: BinaryIO) -> Packed:
    """Reads one object, which stays pickled.

    Raises:
        EOFError: if the other end is closed.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    length, final = _HEAD.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return Packed(content, final)
