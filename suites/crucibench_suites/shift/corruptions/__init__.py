"""Corruptions of images: pure functions of pixels, level and draws, on the tensor's device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from crucibench_suites.shift.corruptions.catalogue import KERNELS, Kernel

if TYPE_CHECKING:
    import torch

    from crucibench.util.tensor_draws import TensorDraws

__all__ = ["KERNELS", "Kernel", "corrupt"]


def corrupt(
    kernel: Kernel,
    images: torch.Tensor,
    severities: Sequence[int],
    parameters: str,
    draws: TensorDraws,
) -> Iterator[torch.Tensor]:
    """Yields images at each severity; the severities share draws and what else they can.

    Args:
        kernel: which corruption.
        images: float32 in [0, 1], shape (N, C, H, W).
        severities: 1 to 5, in any order.
        parameters: ``imagenet`` or ``cifar``.
        draws: of the batch's samples.

    Returns:
        New tensors like `images`, one a severity, in [0, 1] and on 256 levels. One is done with
        before the next is made.

    Raises:
        ValueError: if the kernel is not defined for the number of channels.
    """
    if images.shape[1] not in kernel.channels:
        expected = " or ".join(str(count) for count in kernel.channels)
        raise ValueError(
            f"{kernel.name}: expected images of {expected} channels, got {images.shape[1]}"
        )
    module, _, name = kernel.function.partition(":")
    function = getattr(import_module(f"{__name__}.{module}"), name)
    levels = [kernel.level(parameters, severity) for severity in severities]
    # Stored channels first, whatever order of memory the images came in: several times as fast.
    yield from function(images.contiguous(), levels, draws)
