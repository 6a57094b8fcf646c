"""Magnitude pruning of a torch module. Imports torch."""

from __future__ import annotations

import torch
from torch import nn

from crucibench.util.errors import InputError

_PRUNED = (nn.Linear, nn.modules.conv._ConvNd)


def pruned(module: nn.Module, share: float) -> tuple[nn.Module, dict[str, float]]:
    """Sets the smallest weights of linear and convolution layers to zero, over all layers together.

    Without training afterwards; of equal weights the first goes first. Zeros are stored and
    multiplied as other numbers are, so this shows the price in accuracy and gains no time
    (Han et al. 2015, "Learning both weights and connections").

    Args:
        module: is changed.
        share: of those weights, in (0, 1).

    Returns:
        The module, and ``zero-parameters``, the share of zeros among all of its parameters.

    Raises:
        InputError: if it has no such layer.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _PRUNED)]
    weights = list({id(layer.weight): layer.weight for layer in layers}.values())
    if not weights:
        raise InputError("pruning takes weights of linear or convolution layers, and there is none")
    with torch.no_grad():
        sizes = torch.cat([weight.detach().abs().flatten().float() for weight in weights])
        smallest = torch.sort(sizes, stable=True).indices[: round(share * len(sizes))]
        kept = torch.ones_like(sizes, dtype=torch.bool)
        kept[smallest] = False
        for weight, mask in zip(
            weights, torch.split(kept, [one.numel() for one in weights]), strict=True
        ):
            weight.mul_(mask.view_as(weight))
    zeros = sum(int((parameter == 0).sum()) for parameter in module.parameters())
    return module, {
        "zero-parameters": zeros / sum(parameter.numel() for parameter in module.parameters())
    }
