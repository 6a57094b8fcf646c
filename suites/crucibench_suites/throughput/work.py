"""What a model computes: operations by torch's counter, and the device's measured ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench_suites.throughput.clock import Clock

UNCOUNTED = "uncounted:"
"""Before the name of an operator that the counter leaves out; the number is that of its calls."""

_SIDE = 512
_COPIED = 2**26
_TRIES = 8

# They move, reshape or choose and compute nothing that anybody counts.
_FREE = frozenset(
    {
        "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "detach", "slice",
        "select", "unsqueeze", "squeeze", "cat", "stack", "clone", "copy_", "_to_copy", "alias",
        "split", "split_with_sizes", "contiguous", "lift_fresh", "empty", "zeros", "ones", "arange",
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


def device_of(adapter: Adapter) -> str:
    """Returns where a model of torch answers; ``cpu`` for all that torch can't look into."""
    if Capability.GRADIENTS not in adapter.capabilities:
        return "cpu"
    parameter = next(adapter.module().parameters(), None)
    return "cpu" if parameter is None else str(parameter.device)


def ceiling(adapter: Adapter, clock: Clock) -> Mapping[str, float]:
    """Returns what the device does a second at best, measured on it here and now.

    ``peak-flops``: operations, of the best of some float32 matrix products; ``peak-bandwidth``:
    bytes read and written, of the best of some copies of 64 MiB. On the model's own device, with
    this process's threads; nothing for a model outside of torch.
    """
    if Capability.GRADIENTS not in adapter.capabilities:
        return {}
    import torch

    from crucibench.util.devices import synchronise

    device = device_of(adapter)
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn((_SIDE, _SIDE), generator=generator).to(device) for _ in range(2))
    source = torch.rand(_COPIED // 4, generator=generator).to(device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(_TRIES):
            begun = clock.now()
            work()
            synchronise(device)
            seconds.append((clock.now() - begun) * 1e-9)
        return min(seconds)

    product, copy = best(lambda: torch.mm(first, second)), best(lambda: target.copy_(source))
    rates = {"peak-flops": (2.0 * _SIDE**3, product), "peak-bandwidth": (2.0 * _COPIED, copy)}
    return {name: amount / seconds for name, (amount, seconds) in rates.items() if seconds > 0}
