"""Memory: what a process uses, its peak since it was last asked, limits, and running out of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import sys
from functools import cache
from pathlib import Path

import pyarrow as pa

_OUT_OF_MEMORY = (
    "defaultcpuallocator",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "failed to allocate memory",
    "std::bad_alloc",
)


# Of mallopt(3), <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 256 << 20
# Of madvise(2), <sys/mman.h>.
_MADV_DONTNEED = 4


@cache
def keep_freed_memory() -> None:
    """Lets this process keep up to 256 MiB that it frees, where glibc hands memory out.

    Else an array of a few MiB is the system's again when it is freed, and the next one is filled
    with zeros page by page: resampling, which makes thousands of them, takes twice as long, and so
    do small convolutions. Threads share what was freed: else each keeps its own. For processes of
    the harness alone: those of a notebook, or of a test, are their owner's.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        library.mallopt(_M_ARENA_MAX, 1)
        # So that what Arrow frees is used again by arrays, and the other way round.
        pa.set_memory_pool(pa.system_memory_pool())


def give_back(folder: Path) -> None:
    """Gives freed memory back, and what this process has read of the files that it maps from a
    folder, where the system is Linux: they stay mapped, and are read again where asked for.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        addresses, access, _, _, _, *path = line.split(maxsplit=5)
        # What may be written may hold what no file does.
        if path and access.startswith("r--") and Path(path[0]).is_relative_to(folder):
            start, end = (int(address, 16) for address in addresses.split("-"))
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def reset_peak() -> None:
    """Resets the peak of this process, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int | None:
    """Returns the highest resident memory of this process since `reset_peak`, in bytes."""
    return _status("self", "VmHWM")


def resident_memory(pid: int) -> int | None:
    """Returns the resident memory of a process, in bytes; None where it is unknown."""
    return _status(str(pid), "VmRSS")


def own_memory(pid: int) -> int | None:
    """Returns the resident memory of a process less the files that it maps, in bytes.

    Libraries and weights that are mapped are the system's: it shares them, and takes them back.
    """
    parts = [_status(str(pid), name) for name in ("RssAnon", "RssShmem")]
    return None if None in parts else sum(part or 0 for part in parts)


def available_memory() -> int | None:
    """Returns the bytes that this process can still have without swapping.

    The limit of the container and the process's own are heeded. None where it is unknown.
    """
    known = [size for size in (_free(), _within_limit()) if size is not None]
    return min(known) if known else None


def _free() -> int | None:
    free = _field(Path("/proc/meminfo"), "MemAvailable")
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    if limit == "max":
        return free
    left = max(0, int(limit) - used)
    return left if free is None else min(free, left)


def _within_limit() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    import resource

    limit, used = resource.getrlimit(resource.RLIMIT_DATA)[0], _status("self", "VmData")
    return None if limit == resource.RLIM_INFINITY or used is None else max(0, limit - used)


def limit_memory(size: int) -> bool:
    """Lets this process have `size` bytes of data and no more; returns whether the system does so.

    Beyond it allocating fails, as it does when memory is used up. Addresses that are reserved now
    and not used do not count: Arrow reserves a gibibyte of them with its first table.
    """
    if not sys.platform.startswith("linux"):
        return False
    import resource

    # Limits data, not address space: libraries reserve far more addresses than they use.
    reserved = (_status("self", "VmData") or 0) - (_status("self", "RssAnon") or 0)
    most = size + max(0, reserved)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return True


def die_first() -> None:
    """Asks the system to end this process before others where memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine or of an accelerator."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Gives back what is no longer used, of the machine and of an accelerator."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _status(process: str, name: str) -> int | None:
    return _field(Path("/proc") / process / "status", name)


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None
