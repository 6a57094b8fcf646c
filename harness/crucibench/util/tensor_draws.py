"""The draws of `crucibench.util.draws` as torch tensors, made on the device that uses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from crucibench.util.draws import _MASK, _MULTIPLIERS, _ROUNDS, _WEYL, Draws
from crucibench.util.names import sample_words

_CPU_COUNTERS = 1 << 16
"""Counters that are worked on at a time: what a core's own cache holds."""

_DEVICE_COUNTERS = 1 << 23


@dataclass(frozen=True)
class TensorDraws:
    """Draws for the samples of a batch; a sample's are the same alone and in any batch.

    Attributes:
        host: the stream. What is drawn from it directly, on the host, is exact on every device,
            floats too.
        ids: the samples, in the batch's order.
        device: where the tensors are made.
    """

    host: Draws
    ids: tuple[str, ...]
    device: torch.device

    def words(self, step: str, shape: Sequence[int]) -> torch.Tensor:
        """Returns the 32-bit words of `Draws.words`, int64, shape (N, *shape)."""
        count = math.prod(shape)
        blocks = -(-count // 4)
        key = self.host._key(step)
        sample = torch.from_numpy(sample_words(self.ids)).to(self.device)
        out = torch.empty((len(self.ids), blocks, 4), dtype=torch.int64, device=self.device)
        most = _CPU_COUNTERS if self.device.type == "cpu" else _DEVICE_COUNTERS
        rows = max(1, most // max(blocks, 1))
        for start in range(0, len(self.ids), rows):
            part = slice(start, start + rows)
            _philox_into(out[part], sample[part], key)
        return out.reshape(len(self.ids), blocks * 4)[:, :count].reshape(len(self.ids), *shape)

    def uniform(self, step: str, shape: Sequence[int]) -> torch.Tensor:
        """Returns float32 in [0, 1), shape (N, *shape), on a grid of 2**-24: `Draws.uniform`."""
        return (self.words(step, shape) >> 8).to(torch.float32).mul_(2.0**-24)

    def normal(self, step: str, shape: Sequence[int]) -> torch.Tensor:
        """Returns standard normal float32, shape (N, *shape), by Box and Muller (1958).

        Both numbers of each pair are used, unlike in `Draws.normal`: half as many words are drawn.
        """
        count = math.prod(shape)
        pairs = -(-count // 2)
        words = (self.words(step, (2, pairs)) >> 8).to(torch.float32)
        # (w + 0.5) / 2**24 is never 0, so the logarithm is finite.
        radius = words[:, 0].add_(0.5).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
        angle = words[:, 1].mul_(2.0 * math.pi * 2.0**-24)
        both = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        return both.reshape(len(self.ids), 2 * pairs)[:, :count].reshape(len(self.ids), *shape)


def _philox_into(out: torch.Tensor, sample: torch.Tensor, key: tuple[int, int]) -> None:
    """Writes Philox4x32-10 of (block, 0, sample) as `draws.philox` does, without new memory.

    Args:
        out: int64, shape (rows, blocks, 4).
        sample: the samples' two words, int64, shape (rows, 2).
        key: two 32-bit words.
    """
    shape = out.shape[:2]
    c0 = torch.arange(shape[1], dtype=torch.int64, device=out.device).expand(shape).contiguous()
    c1 = torch.zeros_like(c0)
    c2 = sample[:, :1].expand(shape).contiguous()
    c3 = sample[:, 1:].expand(shape).contiguous()
    p0, p1 = torch.empty_like(c0), torch.empty_like(c0)
    k0, k1 = key
    for _ in range(_ROUNDS):
        torch.mul(c0, _MULTIPLIERS[0], out=p0)
        torch.mul(c2, _MULTIPLIERS[1], out=p1)
        torch.bitwise_right_shift(p1, 32, out=c0)
        c0.bitwise_and_(_MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        torch.bitwise_right_shift(p0, 32, out=c2)
        c2.bitwise_and_(_MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        torch.bitwise_and(p1, _MASK, out=c1)
        torch.bitwise_and(p0, _MASK, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    for place, word in enumerate((c0, c1, c2, c3)):
        out[:, :, place] = word
