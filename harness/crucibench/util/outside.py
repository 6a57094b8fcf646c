"""Watches what user code takes from outside its files: environment variables, processes, sockets.

User code is told from libraries by the frames on the stack: a variable counts where the line that
asks for it is the user's, a process or a connection where one of the user's lines led to it.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import multiprocessing.util
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Self

from crucibench.util import doors
from crucibench.util.source_files import is_library_file

OURS = tuple(
    Path(folder)
    for name in ("crucibench", "crucibench_adapters", "crucibench_suites")
    for folder in getattr(importlib.util.find_spec(name), "submodule_search_locations", None) or ()
)
"""The folders of Crucibench's own packages."""

_REACHES = {
    "os.exec": "starts another program",
    "os.fork": "starts another process, whose reads nobody sees",
    "os.posix_spawn": "starts another program",
    "os.system": "starts another program",
    "socket.connect": "connects to another process",
    "socket.sendto": "connects to another process",
    "subprocess.Popen": "starts another program",
}
# Ask the system's programs for what holds for the machine: its name, and where libraries are.
_HARMLESS = ("platform.py", "ctypes/util.py", "uuid.py", "sysconfig.py")
_OF_MAPPING = frozenset({os.__file__, "<frozen os>", "<frozen _collections_abc>"})
_watching: list[Outside] = []
_hooked: list[bool] = []
_plain_getitem = os._Environ.__getitem__
_plain_spawn = multiprocessing.util.spawnv_passfds


class Outside:
    """Notes what user code reads of the environment and starts, while this is entered.

    Attributes:
        environment: the names of variables that were looked up, whether or not they were set.
        reached: what was started or connected to, in words; sorted by time.
    """

    def __init__(self) -> None:
        self.environment: set[str] = set()
        self.reached: dict[str, None] = {}

    def __enter__(self) -> Self:
        if not _hooked:
            sys.addaudithook(_heard)  # for good: an audit hook can't be removed
            _hooked.append(True)
        if not _watching:
            os._Environ.__getitem__ = _getitem  # type: ignore[method-assign]
            multiprocessing.util.spawnv_passfds = _spawn  # type: ignore[assignment]
        _watching.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watching.remove(self)
        if not _watching:
            os._Environ.__getitem__ = _plain_getitem  # type: ignore[method-assign]
            multiprocessing.util.spawnv_passfds = _plain_spawn


def keyed_digests(names: Iterable[str], values: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Returns digests of variables, which tell nothing without a secret of this user's cache.

    Args:
        names: of the variables.
        values: those that are set.
        folder: of the cache; the secret is made there the first time.
    """
    chosen = sorted(names)
    if not chosen:
        return {}
    secret = _secret(folder / "secret")
    return {
        name: hmac.new(
            secret, repr((name, values.get(name))).encode(errors="surrogateescape"), hashlib.sha256
        ).hexdigest()
        for name in chosen
    }


def _secret(path: Path) -> bytes:
    doors.make_folder(path.parent)
    made = path.with_name(f"{path.name}-{secrets.token_hex(8)}")
    if not path.is_file():
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
        try:
            os.link(made, path)  # whole or not at all, and the first of several processes wins
        except FileExistsError:
            pass
        finally:
            doors.unlink(made)
    return path.read_bytes()


def _getitem(self: Any, key: Any) -> Any:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _OF_MAPPING:
        frame = frame.f_back
    if frame is not None and _is_users(frame.f_code.co_filename):
        for one in _watching:
            one.environment.add(os.fsdecode(key))
    return _plain_getitem(self, key)


def _spawn(*arguments: Any) -> int:
    # `spawn` and `forkserver` start processes without an event. The tracker of shared memory,
    # which both start too, runs no code of the user's.
    caller = sys._getframe(1)
    if not caller.f_code.co_filename.endswith("resource_tracker.py"):
        _note("os.posix_spawn", caller)
    return int(_plain_spawn(*arguments))


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _REACHES:
        _note(event, sys._getframe(1))


def _note(event: str, caller: FrameType) -> None:
    for file in _files(caller):
        if file.startswith("<frozen importlib") or file.endswith(_HARMLESS):
            return  # a library that is being imported, or asks about the machine
        if _is_users(file):
            for one in _watching:
                one.reached[_REACHES[event]] = None
            return


def _files(caller: FrameType) -> Iterator[str]:
    """Yields the files of the frames from one on outwards, as far as Crucibench's own."""
    frame: FrameType | None = caller
    while frame is not None and not _is_ours(frame.f_code.co_filename):
        yield frame.f_code.co_filename
        frame = frame.f_back


def _is_ours(file: str) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in OURS)


def _is_users(file: str) -> bool:
    return not (file.startswith("<") or is_library_file(file) or _is_ours(file))
