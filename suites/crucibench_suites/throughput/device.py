"""Energy by the counter of an NVIDIA device, and why it was throttled. Needs ``[gpu]``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench_suites.throughput.clock import Clock

LEAST_SECONDS = 10.0
"""The counter moves in steps of about 100 ms: a shorter window says little."""

_JOULE = 1e3
"""NVML counts millijoules, and milliwatts."""

# nvmlClocksEventReasons: software power cap, hardware slowdown, software and hardware thermal
# slowdown, hardware power brake. Not idle, and not what a user set.
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


class PowerMeter:
    """Reads one device."""

    def __init__(self, device: str) -> None:
        """Finds a device.

        Args:
            device: ``cuda`` or ``cuda:N``.

        Raises:
            LookupError: in a sentence, if its counter can't be read.
        """
        if not device.startswith("cuda"):
            raise LookupError(f"no hardware counter of {device} is read")
        if importlib.util.find_spec("pynvml") is None:
            raise LookupError('nvidia-ml-py is not installed: pip install "crucibench[gpu]"')
        self._library: Any = importlib.import_module("pynvml")
        try:
            self._library.nvmlInit()
            self._device = self._library.nvmlDeviceGetHandleByUUID(_uuid(device))
            self.joules()
        except self._library.NVMLError as error:
            raise LookupError(f"the energy counter of {device} can't be read: {error}") from error

    def joules(self) -> float:
        """Returns the energy that the device has used since its driver was loaded."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / _JOULE

    def utilisation(self) -> float | None:
        """Returns the share of the last second or so, in [0, 1], in which any process used it."""
        try:
            return float(self._library.nvmlDeviceGetUtilizationRates(self._device).gpu) / 100
        except self._library.NVMLError:
            return None

    def state(self) -> Mapping[str, float]:
        """Returns clock (MHz), temperature (°C), power (W) and whether it is slowed down (0 or 1).

        What the device does not tell is left out.
        """
        library, device, found = self._library, self._device, {}
        for name, ask in (
            ("sm-clock", lambda: library.nvmlDeviceGetClockInfo(device, library.NVML_CLOCK_SM)),
            (
                "temperature",
                lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU),
            ),
            ("power", lambda: library.nvmlDeviceGetPowerUsage(device) / _JOULE),
            (
                "throttled",
                lambda: bool(library.nvmlDeviceGetCurrentClocksEventReasons(device) & _SLOWED),
            ),
        ):
            try:
                found[name] = float(ask())
            except library.NVMLError:
                continue
        return found


def _uuid(device: str) -> str:
    """Returns the device's own name: NVML's order is not torch's."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


UNCOUNTED = "uncounted:"
"""Before the name of an operator that the counter leaves out; the number is that of its calls."""

_SIDE = 512
_WIDEST = 8192
_LONG = 0.01
_COPIED, _COPIED_CUDA = 2**26, 2**30
_FEWEST, _MOST = 3, 8
_ENOUGH = 0.1
"""Seconds after which a product or copy is not tried again, once it was `_FEWEST` times."""

# They move, reshape or choose and compute nothing that anybody counts.
_FREE = frozenset(
    {
        "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "detach", "slice",
        "select", "unsqueeze", "squeeze", "cat", "stack", "clone", "copy_", "_to_copy", "alias",
        "split", "split_with_sizes", "contiguous", "lift_fresh", "empty", "zeros", "ones", "arange",
        "promote_types",
    }
)  # fmt: skip


def count_flops(adapter: Adapter, batch: Batch) -> Mapping[str, float]:
    """Returns ``parameters``, ``flops``, of one sample, and the operators not in it, by name.

    Nothing for a model that torch can't look into. A multiplication and an addition count as two
    (torch.utils.flop_counter); element-wise operators count as nothing and are listed.
    """
    if Capability.GRADIENTS not in adapter.capabilities:
        return {}
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    left_out: dict[str, float] = {}

    class Watch(TorchDispatchMode):  # type: ignore[misc,no-untyped-call,unused-ignore]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            packet = func._overloadpacket
            name = packet.__name__
            if packet not in flop_registry and name not in _FREE:
                left_out[UNCOUNTED + name] = left_out.get(UNCOUNTED + name, 0.0) + 1
            return func(*args, **(kwargs or {}))

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, Watch():  # type: ignore[no-untyped-call,unused-ignore]
        adapter.module()(adapter.encode(batch))
    parameters = sum(part.numel() for part in adapter.module().parameters())
    flops = counter.get_total_flops() / len(batch)
    return {"parameters": float(parameters), "flops": flops, **left_out}


def ceiling(adapter: Adapter, clock: Clock) -> Mapping[str, float]:
    """Returns what the device does a second at best, measured on it here and now.

    ``peak-flops``: operations, of the best of some matrix products in the model's own precision,
    from 512 x 512 on, and twice as wide until one takes 10 ms; ``peak-bandwidth``: bytes read and
    written, of the best of some copies of 64 MiB, on a CUDA device of 1 GiB. On the model's own
    device, with its threads and flags; nothing for a model outside of torch.
    """
    if Capability.GRADIENTS not in adapter.capabilities:
        return {}
    numerics, device = adapter.numerics(), adapter.device
    with as_computed(numerics):
        rates = {
            "peak-flops": _products(device, numerics.get("dtype", ""), clock),
            "peak-bandwidth": _copies(device, clock),
        }
    return {name: rate for name, rate in rates.items() if rate > 0}


@contextmanager
def as_computed(numerics: Mapping[str, str]) -> Iterator[None]:
    """Lets this process multiply as a model does that says so: threads, and TensorFloat-32."""
    import torch

    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(int(numerics.get("threads", threads)))
    torch.set_float32_matmul_precision(numerics.get("float32_matmul", precision))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _products(device: str, dtype: str, clock: Clock) -> float:
    import torch

    kind = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(dtype, torch.float32)
    generator = torch.Generator().manual_seed(0)
    rate, side = 0.0, _SIDE
    while side <= _WIDEST:
        first, second = (
            torch.randn((side, side), generator=generator).to(device, kind) for _ in range(2)
        )
        seconds = _best(partial(torch.mm, first, second), device, clock)
        if seconds <= 0:
            break
        rate = max(rate, 2.0 * side**3 / seconds)
        if seconds >= _LONG:
            break
        side *= 2
    return rate


def _copies(device: str, clock: Clock) -> float:
    import torch

    # Larger than any cache of the device.
    size = _COPIED_CUDA if device.startswith("cuda") else _COPIED
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    seconds = _best(lambda: target.copy_(source), device, clock)
    return 2.0 * size / seconds if seconds > 0 else 0.0


def _best(work: Callable[[], object], device: str, clock: Clock) -> float:
    from crucibench.util.devices import synchronise

    seconds: list[float] = []
    while len(seconds) < _FEWEST or (len(seconds) < _MOST and sum(seconds) < _ENOUGH):
        begun = clock.now()
        work()
        synchronise(device)
        seconds.append((clock.now() - begun) * 1e-9)
    return min(seconds)
