"""What a model computes: operations by torch's counter, and the device's measured ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench_suites.throughput.clock import Clock

UNCOUNTED = "uncounted:"
"""Before the name of an operator that the counter leaves out; the number is that of its calls."""

_SIDE = 512
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


def ceiling(adapter: Adapter, clock: Clock) -> Mapping[str, float]:
    """Returns ``peak-flops``: operations a second of the best of some float32 matrix products.

    On the model's own device, with this process's threads; nothing for a model outside of torch.
    """
    if Capability.GRADIENTS not in adapter.capabilities:
        return {}
    import torch

    from crucibench.util.devices import synchronise

    parameter = next(adapter.module().parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn((_SIDE, _SIDE), generator=generator).to(device) for _ in range(2))
    best = float("inf")
    for _ in range(_TRIES):
        begun = clock.now()
        torch.mm(first, second)
        synchronise(str(device))
        best = min(best, (clock.now() - begun) * 1e-9)
    return {"peak-flops": 2.0 * _SIDE**3 / best} if best > 0 else {}
