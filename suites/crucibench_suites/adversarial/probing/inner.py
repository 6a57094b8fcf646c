"""Whether a model computes gradients while it answers: defences that optimise at test time do."""

from __future__ import annotations

import torch


def computes_gradients(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Returns logits (m, K) without a graph, and whether a gradient was computed on the way.

    What a backward pass reads was saved in the forward pass, and torch tells when it is unpacked;
    so any way to a gradient is seen, but for a forward pass without anything saved. Transforms
    (`torch.func.grad`) refuse to run while they are watched, which tells as much.
    """
    unpacked = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal unpacked
        unpacked += 1
        return tensor

    with torch.no_grad():
        try:
            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                logits: torch.Tensor = module(x)
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            return module(x), True
    return logits, unpacked > 0
