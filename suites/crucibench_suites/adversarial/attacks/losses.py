"""Losses of logits: cross-entropy, and the difference of logits ratio (DLR).

Croce and Hein (2020), "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", equations 6 and 7. With logits z sorted as z1 >= z2 >= ...:

- Cross-entropy is log(1 + exp(L)) of the log-odds L = log(sum over k != y of exp z_k) - z_y.
  `log_odds` is L: it grows with cross-entropy, and its gradient has the same direction, so that
  APGD takes the same steps; but where a model is sure, L is still exact, when float32 has rounded
  cross-entropy and its gradient to 0 (or to denormal numbers, which a CPU is slow at).
- DLR is -(z_y - max of the others) / (z1 - z3), targeted DLR -(z_y - z_t) / (z1 - (z3 + z4) / 2):
  neither changes when logits are shifted or scaled.
- Of three classes there is no z4: the targeted one is divided by z1 - z3.
- Of two classes there is no z3, and z1 - z2 would make every loss 1 or -1: both are the plain
  margin, other - z_y. APGD takes only the direction of its gradient, so that scale does no harm.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn.functional import cross_entropy

_TINY = 1e-12


def log_odds(
    logits: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns the log-odds against the true class, shape (m,): see the module."""
    # In float64: of logits of 1e-6 float32 would resolve nothing beside the others' log K.
    exact = logits.double()
    own = exact.gather(1, y[:, None]).squeeze(1)
    return exact.scatter(1, y[:, None], -torch.inf).logsumexp(1) - own


def ce(logits: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the cross-entropy of each sample, shape (m,)."""
    return cross_entropy(logits, y, reduction="none")


def margin(
    logits: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns how far the best other class, or the target, leads over the true one, (m,)."""
    if target is not None:
        return _summed(logits.gather(1, torch.stack((target, y), dim=1)), (1.0, -1.0))
    own = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).max(1).values - own


def dlr(logits: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the difference of logits ratio of each sample, shape (m,)."""
    classes = logits.shape[1]
    if classes == 2:
        return margin(logits, y, target)
    few = target is None or classes == 3
    best = logits.topk(3 if few else 4, dim=1).values
    scale = _summed(best, (1.0, 0.0, -1.0) if few else (1.0, 0.0, -0.5, -0.5))
    return margin(logits, y, target) / (scale + _TINY)


def _summed(columns: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    """Returns weighted sums, (m,): one product has a shorter way back than columns one by one."""
    return columns @ _vector(weights, columns.dtype, columns.device)


@cache
def _vector(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(numbers, dtype=dtype, device=device)
