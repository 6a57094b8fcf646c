"""What all attacks share: the model they ask, the points they ask about, and what they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Attack, Ball, Norm
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.threat import check_norm

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""From logits (m, K), labels (m,) and targets (m,) to what an attack drives up, (m,)."""


@dataclass(frozen=True, kw_only=True)
class ImagePoints:
    """Samples that the model gets right, and how far each may be moved.

    Attributes:
        x: float32 in [0, 1], shape (m, C, H, W), on the model's device.
        y: true classes, shape (m,).
        eps: the radius of each sample's ball, shape (m,); they may differ.
        ids: sample ids, which key all draws.
        norm: of the ball.
    """

    x: torch.Tensor
    y: torch.Tensor
    eps: torch.Tensor
    ids: tuple[str, ...]
    norm: Norm

    def __post_init__(self) -> None:
        check_norm(self.norm)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: torch.Tensor) -> ImagePoints:
        """Returns the points at `rows`, a tensor of positions."""
        ids = tuple(self.ids[row] for row in rows.tolist())
        return ImagePoints(
            x=self.x[rows], y=self.y[rows], eps=self.eps[rows], ids=ids, norm=self.norm
        )


class Found:
    """What an attack has found so far, and what it cost.

    Attributes:
        adversarial: shape (m, C, H, W); the clean input where nothing was found.
        reached: where the last run of an ascent that found nothing came to, likewise.
        broken: whether there is an example, shape (m,), bool.
        forwards: passes of each sample through the model, shape (m,).
        backwards: gradients of each sample.
        queries: those of the forwards that a score-based attack made use of.
    """

    def __init__(self, points: ImagePoints) -> None:
        self.adversarial = points.x.clone()
        self.reached = points.x.clone()
        self.broken = torch.zeros(len(points), dtype=torch.bool, device=points.x.device)
        self.forwards: NDArray[np.int64] = np.zeros(len(points), dtype=np.int64)
        self.backwards: NDArray[np.int64] = np.zeros(len(points), dtype=np.int64)
        self.queries: NDArray[np.int64] = np.zeros(len(points), dtype=np.int64)

    @property
    def open(self) -> torch.Tensor:
        """The positions of the points without an example."""
        return (~self.broken).nonzero()[:, 0]

    def left(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns which of the points at `rows` have no example."""
        return ~self.broken[rows]

    def cost(self, rows: torch.Tensor, *, forwards: int = 0, backwards: int = 0) -> None:
        """Adds passes to the cost of the points at `rows`, which may name a point repeatedly."""
        times = np.bincount(rows.cpu().numpy(), minlength=len(self.forwards))
        self.forwards += times * forwards
        self.backwards += times * backwards

    def put(self, rows: torch.Tensor, examples: torch.Tensor) -> None:
        """Keeps examples of the points at `rows`: of several of a point, the first."""
        order = torch.arange(len(rows), device=rows.device)
        first = torch.full_like(self.broken, len(rows), dtype=torch.long)
        first.scatter_reduce_(0, rows, order, "amin")
        chosen = first[rows] == order
        self.adversarial[rows[chosen]] = examples[chosen]
        self.broken[rows] = True


def device_of(module: torch.nn.Module) -> torch.device:
    """Returns where a module computes: the processor if it holds nothing."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@contextmanager
def frozen(module: torch.nn.Module) -> Iterator[None]:
    """Makes passes cheap while an attack runs; afterwards the model is what it was.

    No gradient of weights is asked for, which also spares the memory that these would need. On a
    CPU, filters lie channels last: forward passes of the bundled CNN then take half to two thirds
    of the time, gradients about the same or a little less.
    """
    changed = [weight for weight in module.parameters() if weight.requires_grad]
    filters = [(one, one.data) for one in module.parameters() if one.dim() == 4 and one.is_cpu]
    for weight in changed:
        weight.requires_grad_(False)
    for weight, data in filters:
        weight.data = data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for weight, data in filters:
            weight.data = data
        for weight in changed:
            weight.requires_grad_(True)


@dataclass(frozen=True)
class ModuleOracle:
    """A model under attack, with the random numbers that go with it.

    Attributes:
        module: canonical float32 input to logits, differentiable.
        draws: keyed by sample.
        width: how many inputs are worth asking about at once, and fit in memory.
        lowered: whether the model computes in bfloat16, where that is safe (autocast); logits are
            float32 all the same.
    """

    module: torch.nn.Module
    draws: Draws
    width: int = 256
    lowered: bool = False

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits (m, K), without a graph."""
        with torch.no_grad():
            return self._ask(x)

    def _ask(self, x: torch.Tensor) -> torch.Tensor:
        if not self.lowered:
            plain: torch.Tensor = self.module(x)
            return plain
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            answer: torch.Tensor = self.module(x)
        return answer.float()

    def gradient(
        self, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns logits (m, K), losses (m,) and the losses' gradient by `x`.

        A gradient that is missing or not finite is taken as 0: an attack goes on from what is left.
        """
        asked = x.detach().requires_grad_()
        with torch.enable_grad():
            logits, scores = self.scored(asked)
            losses = loss(scores)
            if losses.requires_grad:
                (gradient,) = torch.autograd.grad(losses.sum(), asked, materialize_grads=True)
            else:
                gradient = torch.zeros_like(x)
        if not bool(gradient.sum().isfinite()):  # as it is where all of them are, if not too large
            gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
        return logits.detach(), losses.detach(), gradient

    def scored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns logits (m, K), and what losses are made of: the same."""
        logits = self._ask(x)
        return logits, logits

    def normal(self, points: ImagePoints, step: str) -> torch.Tensor:
        """Returns standard normal numbers of the shape of ``points.x``."""
        drawn = self.draws.normal(points.ids, step, points.x.shape[1:])
        return torch.from_numpy(drawn).to(points.x.device)

    def uniform(self, points: ImagePoints, step: str) -> torch.Tensor:
        """Returns numbers uniform in [-1, 1) of the shape of ``points.x``."""
        drawn = self.draws.uniform(points.ids, step, points.x.shape[1:])
        return torch.from_numpy(drawn).to(points.x.device).mul_(2).sub_(1)


class Counting(torch.nn.Module):
    """A model that counts what it is asked.

    Attributes:
        forwards: samples that passed through.
        backwards: samples that a gradient came back for.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model
        self.forwards = self.backwards = 0
        self.training = model.training  # and leave the modes of its parts as they are

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the model's logits."""
        logits: torch.Tensor = self._model(x)
        self.forwards += len(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: torch.Tensor) -> None:
        self.backwards += len(gradient)

    def take(self, samples: int) -> tuple[int, int]:
        """Returns forwards and backwards a sample since the last call, rounded up."""
        taken = math.ceil(self.forwards / samples), math.ceil(self.backwards / samples)
        self.forwards = self.backwards = 0
        return taken


def attack_ball(attack: Attack, given: Ball) -> Found:
    """Runs an attack within balls, and returns what it found and what it cost.

    An attack that returns images alone is taken to have found each of them: none counts before the
    plain model has seen it. Its passes are counted by the model, and shared among the points.
    """
    oracle: ModuleOracle = given.oracle
    counting = Counting(oracle.module)
    made = attack.run(replace(given, oracle=replace(oracle, module=counting)))
    if isinstance(made, Found):
        return made
    found = Found(given.points)
    everyone = torch.arange(len(given.points), device=given.points.x.device)
    found.put(everyone, made.detach().to(given.points.x))
    forwards, backwards = counting.take(len(given.points))
    found.cost(everyone, forwards=forwards, backwards=backwards)
    if attack.access != "white-box":
        found.queries += forwards
    return found


def runners_up(oracle: ModuleOracle, points: ImagePoints, found: Found) -> torch.Tensor:
    """Returns all other classes of each point, the likeliest first, shape (m, K - 1)."""
    with torch.no_grad():
        ranked = oracle.scored(points.x)[1].argsort(dim=1, descending=True)
    found.cost(torch.arange(len(points)), forwards=1)
    return ranked[ranked != points.y[:, None]].view(len(points), -1)


def pairs(
    rows: torch.Tensor, runs: int, width: int, left: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (rows, numbers) of every row with each of its `runs`, some `width` at a time.

    All runs of a row come together, as long as `width` allows, so that the row can leave with the
    first that breaks it; and rows are not parted by what becomes of others. Rows that by then are
    not `left` are passed over.
    """
    group = min(runs, max(width, 1))
    for first in range(0, runs, group):
        numbers = torch.arange(first, min(first + group, runs), device=rows.device)
        size = max(width // len(numbers), 1)
        for at in range(0, len(rows), size):
            part = rows[at : at + size]
            still = part[left(part)]
            if len(still):
                yield still.repeat(len(numbers)), numbers.repeat_interleave(len(still))


def by_sample(numbers: torch.Tensor) -> torch.Tensor:
    """Returns numbers of samples, (m,), in a shape that meets images: (m, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)


def length(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Returns the norm of each image, shape (m,)."""
    flat = x.flatten(1)
    if norm == "l2":
        size: torch.Tensor = torch.linalg.vector_norm(flat, dim=1)
        return size
    return flat.abs().amax(1) if norm == "linf" else flat.abs().sum(1)


def chosen(mask: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    """Returns what `torch.where` does of finite numbers, in a tenth of the time on a processor."""
    return torch.lerp(no, yes, mask.to(no.dtype))


def unit(x: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Returns each image divided by its norm; zero stays zero."""
    return x / by_sample(length(x, norm) + 1e-12)


def linf_bounds(x: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the least and the greatest pixels within both ball and box, float32.

    Rounded inwards: what lies between them is no further than `eps` from `x` in exact arithmetic.
    """
    exact, radius = x.double(), by_sample(eps.double())
    low, high = (exact - radius).clamp_(0, 1), (exact + radius).clamp_(0, 1)
    low32, high32 = low.float(), high.float()
    one = torch.ones_like(x)
    low32 = torch.where(low32.double() < low, torch.nextafter(low32, 2 * one), low32)
    high32 = torch.where(high32.double() > high, torch.nextafter(high32, -one), high32)
    # Of a radius below the spacing of floats nothing is left but the pixel itself.
    return torch.minimum(low32, x), torch.maximum(high32, x)


_EXACT = 1e-6
"""Relative to the radius."""

_ROUNDS = 60


def onto_l1_ball(x: torch.Tensor, y: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """Returns the nearest move to `y` in the L1 ball of radius `eps`, (m,), and in the box.

    Each pixel goes as far as `y` less one t, no further than it has room (Croce and Hein 2021,
    "Mind the box", proposition 2.1). What they go together falls with t along straight pieces, so
    that Newton's steps find t, halving where a step would leave what is known to hold it.

    Args:
        x: images in [0, 1], shape (m, C, H, W).
        y: moves, likewise.
        eps: radii.
    """
    size, direction = y.flatten(1).abs(), y.flatten(1).sign()
    # 1 - x up, x down
    room = (direction + 1).mul_(0.5).addcmul_(direction, x.flatten(1), value=-1)
    moves = torch.minimum(size, room)
    over = moves.sum(1) - eps
    open_ = (over > _EXACT * eps).nonzero()[:, 0]  # the others end within the ball as they are
    if len(open_):
        step = _shortened(*(one.index_select(0, open_) for one in (size, room, eps, over)))
        moves.index_copy_(0, open_, step)
    return moves.mul_(direction).view_as(y)


def _shortened(
    size: torch.Tensor, room: torch.Tensor, eps: torch.Tensor, over: torch.Tensor
) -> torch.Tensor:
    """Returns sizes less one t each, none below 0 or beyond its room, that sum up to `eps`.

    Args:
        size: shape (m, d).
        room: likewise.
        eps: shape (m,).
        over: by how much the sums are too large at t = 0, (m,).
    """
    t, low, high = torch.zeros_like(eps), torch.zeros_like(eps), size.amax(1)
    step = torch.minimum(size, room)
    for _ in range(_ROUNDS):
        unsolved = (over.abs() > _EXACT * eps) & ((over > 0) | (t > 0))
        if not bool(unsolved.any()):
            break
        low, high = torch.where(over > 0, t, low), torch.where(over > 0, high, t)
        # How many pixels are on their way: as signs, which a processor is quicker at than at masks.
        further = t + over / torch.mul(step, room - step).sign_().sum(1)
        held = (further > low) & (further < high)
        t = torch.where(unsolved, torch.where(held, further, (low + high) / 2), t)
        step = torch.minimum((size - t[:, None]).clamp_(min=0), room)
        over = step.sum(1) - eps
    return step


def ascending(values: torch.Tensor) -> torch.Tensor:
    """Returns values along the last axis, the smallest first."""
    if values.is_cpu:  # numpy's sort takes a tenth of the time
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values


def descending(values: torch.Tensor) -> torch.Tensor:
    """Returns the order of values along the last axis, the largest first."""
    if values.is_cpu:
        return torch.from_numpy(np.argsort(-values.numpy(), axis=-1))
    return values.argsort(dim=-1, descending=True)


def steepest_first(steep: torch.Tensor, amounts: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Returns the share of each amount that is taken, the steepest first, up to `most` together.

    Args:
        steep: in whose order amounts are taken, shape (..., d).
        amounts: none below 0, likewise, or of more axes before.
        most: shape (...).
    """
    order = descending(steep).expand_as(amounts)
    ordered = amounts.gather(-1, order)
    before = ordered.cumsum(-1) - ordered
    share = ((most[..., None] - before) / ordered.clamp(min=1e-30)).clamp_(0, 1)
    return torch.zeros_like(amounts).scatter_(-1, order, share)


def along(x: torch.Tensor, gradient: torch.Tensor, size: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Returns the point to which a step of length `size` (m,) in the norm goes, within the box.

    In L1 the steepest pixels go all the way.
    """
    finite = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
    if norm == "l1":
        flat, origin = finite.flatten(1), x.flatten(1)
        room = torch.where(flat > 0, 1 - origin, origin)
        moves = room * steepest_first(flat.abs(), room, size.to(room)) * flat.sign()
        return x + moves.view_as(x)
    direction = finite.sign() if norm == "linf" else unit(finite, "l2")
    return (x + direction * by_sample(size)).clamp(0, 1)


class Region:
    """Ball and box around the points: where an attack may go."""

    def __init__(self, points: ImagePoints) -> None:
        self.x, self.norm = points.x, points.norm
        if self.norm == "linf":
            self.low, self.high = linf_bounds(points.x, points.eps)
        else:
            self.eps = by_sample(points.eps)

    def inside(self, z: torch.Tensor) -> torch.Tensor:
        """Returns points of ball and box: the nearest; in L2 the ball's, which the box shrinks."""
        if self.norm == "linf":
            return torch.clamp(z, self.low, self.high)
        moved = z - self.x
        if self.norm == "l1":
            return self.x + onto_l1_ball(self.x, moved, self.eps.flatten())
        size = by_sample(length(moved, "l2"))
        return (self.x + moved * (self.eps / (size + 1e-12)).clamp_(max=1.0)).clamp_(0, 1)

    def keep(self, mask: torch.Tensor) -> None:
        """Forgets the points that are not in `mask`."""
        self.x = self.x[mask]
        if self.norm == "linf":
            self.low, self.high = self.low[mask], self.high[mask]
        else:
            self.eps = self.eps[mask]
