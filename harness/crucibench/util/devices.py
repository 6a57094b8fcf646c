"""Devices, threads and the flags that decide what float32 means; torch is imported when used."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import torch

_DEVICE = re.compile(r"cpu|cuda(:(?P<index>\d+))?")
_DEVICES = (
    "/dev/nvidiactl",
    "/dev/nvhost-ctrl-gpu",  # boards with Nvidia's chips
    "/dev/dxg",  # Linux under Windows
    "/dev/kfd",  # AMD's
)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def resolve_device(name: str) -> str:
    """Returns ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is ``cuda`` where there is one.

    Raises:
        InputError: if `name` is none of these, or there is no such device here.
    """
    match = _DEVICE.fullmatch(name)
    if name != "auto" and match is None:
        raise InputError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if name == "cpu":
        return name
    count = cuda_devices()
    if name == "auto":
        return "cuda" if count else "cpu"
    if not count:
        import torch

        raise InputError(f"device {name!r}: torch {torch.__version__} finds no CUDA device here")
    if match is not None and match["index"] and int(match["index"]) >= count:
        known = f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}"
        raise InputError(f"device {name!r}: {known}")
    return name


def thread_count(asked: int | str) -> int:
    """Returns how many threads ``auto`` means: what OMP_NUM_THREADS says, else at most four."""
    if isinstance(asked, int):
        return asked
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() and int(threads) else min(4, os.cpu_count() or 1)


def thread_variables(count: int) -> dict[str, str]:
    """Returns the environment in which a new process uses `count` threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(count))


def cuda_devices() -> int:
    """Returns how many CUDA devices this process sees.

    Torch is imported to count them, which takes seconds, where a driver of such devices is found.
    """
    if "torch" not in sys.modules and not _has_driver():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_driver() -> bool:
    """Whether there are signs of a device that torch calls CUDA: Nvidia's, or AMD's."""
    if sys.platform != "linux":
        return True
    if any(Path(device).exists() for device in _DEVICES):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def set_threads(count: int) -> None:
    """Lets every numerical library of this process use `count` threads, loaded already or later.

    Raises:
        ValueError: if `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"threads: expected at least 1, got {count}")
    os.environ.update(thread_variables(count))
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(count)


def fix_precision() -> None:
    """Makes float32 mean float32: no TensorFloat-32, and the same kernels each time."""
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def torch_numerics(device: str) -> dict[str, str]:
    """Returns what moves torch's floats on `device`: versions, its kind, flags, threads."""
    import torch

    facts = {
        "torch": str(torch.__version__),
        "device": torch.device(device).type,
        "float32_matmul": torch.get_float32_matmul_precision(),
    }
    if torch.device(device).type != "cuda":
        return facts | {
            "threads": str(torch.get_num_threads()),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        }
    cudnn = torch.backends.cudnn
    return facts | {
        "device_name": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(cudnn.version()),
        "tf32": _switch(torch.backends.cuda.matmul.allow_tf32 or cudnn.allow_tf32),
        "cudnn_benchmark": _switch(cudnn.benchmark),
        "cudnn_deterministic": _switch(cudnn.deterministic),
    }


def synchronise(device: str) -> None:
    """Waits until `device` has done what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def _switch(flag: bool) -> str:
    return "on" if flag else "off"


# Measures how long a device itself works, beside the wall clock of the process that waits.

T = TypeVar("T")


class Watch:
    """Watches a CPU, whose work is done when the call returns."""

    def around(self, work: Callable[[torch.Tensor], T], inputs: torch.Tensor) -> T:
        """Returns `work(inputs)` once the device has done it."""
        return work(inputs)

    def seconds(self) -> float | None:
        """Returns what the device took for the latest work, by its own clock; None without one."""
        return None


class CudaWatch(Watch):
    """Watches a CUDA device by events in its stream, before the first kernel and after the last.

    Gaps in which the device waits for the next launch are in the time; a copy to the device that
    ended before is not.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = device
        self._stream = torch.cuda.current_stream
        made: Any = torch.cuda.Event
        self._begun, self._ended = (made(enable_timing=True) for _ in range(2))
        self._used = False

    def around(self, work: Callable[[torch.Tensor], T], inputs: torch.Tensor) -> T:
        stream = self._stream(self._device)
        self._begun.record(stream)
        answer = work(inputs)
        self._ended.record(stream)
        synchronise(self._device)
        self._used = True
        return answer

    def seconds(self) -> float | None:
        return self._begun.elapsed_time(self._ended) * 1e-3 if self._used else None


def watch(device: str) -> Watch:
    """Returns what watches ``cpu``, ``cuda`` or ``cuda:N``."""
    return CudaWatch(device) if device.startswith("cuda") else Watch()
