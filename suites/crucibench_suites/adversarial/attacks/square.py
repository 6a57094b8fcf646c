"""Square attack (Andriushchenko et al. 2020, algorithms 1 to 4), for Linf, L2
and L1, on the margin.

A random search over square windows; it sees scores, no gradients. As published in AutoAttack:
p_init 0.8, a fixed schedule of window sizes, one restart, the margin loss. Differences: each sample
draws its own windows, keyed by its id, where the authors' code draws one for the whole batch; and
windows reach every pixel, as in the paper, where the authors' code leaves out the last position.

What a step does depends on those before only if they improved something, which most don't. So the
next few steps of a sample are asked about at once, as if none of them succeeded; the first that
does is taken, and what was asked beyond it is asked again. And what a sample has asked since it
last improved is not asked twice: small images have few windows. Neither changes what is found in a
model that answers the same question in the same way.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.attacks.losses import margin
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
    by_sample,
    length,
    onto_l1_ball,
)
from crucibench_suites.adversarial.threat import ORDERS

Ints = NDArray[np.int64]

P_INIT = 0.8
_SCHEDULE = (
    *((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128)),
    *((8000, 256), (sys.maxsize - 1, 512)),
)
_BLOCK, _BLOCKS = 64, 4
"""Steps whose draws have one key, and how many such blocks are drawn, and tried, at once."""

_SPECULATION = 0.25
"""How many steps that improve something are expected, at most, among those tried at once."""

_LARGEST_TABLE = 2**14
"""Windows, times signs, of which it is kept in mind which were asked."""


def square(
    oracle: ModuleOracle,
    points: ImagePoints,
    *,
    queries: int,
    restarts: int = 1,
    name: str = "square",
) -> Found:
    """Searches with `queries` steps after the first question, in each restart."""
    found = Found(points)
    for restart in range(restarts):
        rows = found.open
        if not len(rows):
            break
        _Search(oracle, points.take(rows), f"{name}/{restart}").run(queries, rows, found)
    return found


def _share_of_pixels(step: int) -> tuple[float, int]:
    """Returns the share of the image that a window covers in a step, and until which step, both
    from 0.
    """
    until, divisor = next(one for one in _SCHEDULE if step <= one[0])
    return P_INIT / divisor, until + 1


class _Block(NamedTuple):
    """Random numbers of some steps, on the host: where windows lie, signs, which way they turn."""

    places: NDArray[np.float32]  # (m, steps, windows, 2), uniform
    signs: NDArray[np.float32]  # (m, steps, C), -1 or 1
    turned: Ints  # (m, steps), 0 or 1

    def part(self, which: Any) -> _Block:
        """Returns what NumPy picks by an index of samples, or of samples and steps."""
        return _Block(self.places[which], self.signs[which], self.turned[which])


class _Search:
    """One search; its arrays hold the points that are left.

    Images lie where the model computes. What is kept of them in numbers lies on the host, where
    few numbers are handled faster, and from where a device is asked to wait only for answers.
    """

    def __init__(self, oracle: ModuleOracle, points: ImagePoints, name: str) -> None:
        self._oracle, self._name, self._norm = oracle, name, points.norm
        self._region = Region(points)
        self._x, self._y, self._eps = points.x, points.y, by_sample(points.eps)
        self._ids, self._power = points.ids, int(min(ORDERS[points.norm], 2))
        self._channels, self._height, self._width = points.x.shape[1:]
        self._forwards = np.ones(len(points), dtype=np.int64)
        self._queries = np.ones(len(points), dtype=np.int64)
        self._success = 0.5
        """The share of steps that improve something; it only decides how many are tried at once."""
        windows = self._height * self._width * (1 << self._channels)
        self._seen: NDArray[np.bool_] | None = None
        """By window and signs, whether each point has been asked since it last improved."""
        if self._norm == "linf" and windows <= _LARGEST_TABLE:
            self._seen = np.zeros((len(points), windows), dtype=np.bool_)

    def run(self, queries: int, rows: torch.Tensor, found: Found) -> None:
        """Asks; `rows` are the positions of the points in `found`."""
        self._rows, self._found = rows, found
        self._best = self._start()
        self._lead = self._ask(self._best, self._y)
        self._moves, self._spare = self._measured(self._x, self._best, self._eps)
        self._retire()
        step = drawn = 0
        while step < queries and len(self._rows):
            if step == drawn:
                begin, drawn = step, min(step + _BLOCKS * _BLOCK, queries)
                block = self._draw(begin // _BLOCK, -(-drawn // _BLOCK))
            until = min(drawn, _share_of_pixels(step)[1])
            if self._seen is not None and self._side(step) != self._side(step - 1):
                self._seen[:] = False
            window = slice(step - begin, until - begin)
            self._advance(step, block.part((slice(None), window)))
            right = self._retire()
            if right is not None:
                block = block.part(right)
            step = until
        self._account(slice(None))

    def _ask(self, z: torch.Tensor, y: torch.Tensor) -> NDArray[np.float32]:
        return margin(self._oracle.logits(z), y).cpu().numpy()

    def _here(self, numbers: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self._x.device)

    def _advance(self, step: int, block: _Block) -> None:
        """Takes the steps of a block, in all of which windows are of one size."""
        side = self._side(step)
        samples, steps = block.turned.shape
        corners = self._corners(side, block.places).reshape(-1, samples * steps)
        keys = self._keys(corners[0], block.signs)
        signs, turned = block.signs.reshape(samples * steps, -1, 1), block.turned.reshape(-1)
        first = np.zeros(samples, dtype=np.int64)  # the next step of each sample
        while True:
            asked = self._next(first, steps, keys)
            if not len(asked):
                return
            row, at = asked // steps, asked % steps
            where = self._here(row)
            moved = np.ones(len(row), dtype=np.bool_)
            given = side, corners[:, asked], self._here(signs[asked]), where
            if self._norm == "linf":
                best = self._best.index_select(0, where)
                z = self._linf(*given, best)
                moved = (length(z - best, "linf") > 0).cpu().numpy()
            else:
                z = self._moved(*given, self._here(turned[asked]))
            lead = self._lead[row]
            if moved.all():
                lead = self._ask(z, self._y.index_select(0, where))
            elif moved.any():
                some = self._here(np.flatnonzero(moved))
                lead[moved] = self._ask(
                    z.index_select(0, some), self._y.index_select(0, where.index_select(0, some))
                )
            better = np.flatnonzero(lead > self._lead[row])
            # The first step of each sample that improves it; those after it have not been taken.
            improved, places = np.unique(row[better], return_index=True)
            chosen = better[places]
            taken = np.full(samples, steps)
            taken[improved] = at[chosen]
            done = at <= taken[row]
            counts = np.bincount(row, minlength=samples)
            last = np.minimum(taken, at[counts.cumsum() - 1])
            first = np.where(counts > 0, last + 1, first)
            if self._seen is not None:
                self._seen.reshape(-1)[keys[asked[done]]] = True
                self._seen[improved] = False
            if len(chosen):
                self._improve(improved, z.index_select(0, self._here(chosen)), lead[chosen])
            self._forwards += np.bincount(row[moved], minlength=samples)
            self._queries += np.bincount(row[moved & done], minlength=samples)
            self._success = 0.9 * self._success + 0.1 * max(len(chosen) / len(row), 1e-3)

    def _next(self, first: Ints, steps: int, keys: Ints) -> Ints:
        """Returns which steps to ask about at once, as positions in (m, steps), ascending."""
        open_ = self._lead <= 0
        if self._seen is None:
            left = np.where(open_, steps - first, 0)
            counts = np.minimum(left, self._most(int((left > 0).sum())))
            starts = np.arange(len(first)) * steps + first - (counts.cumsum() - counts)
            asked: Ints = np.arange(counts.sum()) + np.repeat(starts, counts)
            return asked
        since = int(first.min())
        fresh = (np.arange(since, steps) >= first[:, None]) & open_[:, None]
        fresh &= ~self._seen.reshape(-1)[keys.reshape(-1, steps)[:, since:]]
        most = self._most(int(fresh.any(1).sum()))
        if most < steps - since:
            fresh &= fresh.cumsum(1) <= most
        row, at = np.divmod(np.flatnonzero(fresh), max(steps - since, 1))
        return row * steps + at + since

    def _most(self, active: int) -> int:
        """Returns how many steps of each of the `active` samples are asked about at once."""
        most = min(self._oracle.width // max(active, 1), _SPECULATION / self._success)
        return max(int(most), 1)

    def _improve(self, rows: Ints, z: torch.Tensor, lead: NDArray[np.float32]) -> None:
        where = self._here(rows)
        self._best.index_copy_(0, where, z)
        self._lead[rows] = lead
        if self._norm != "linf":
            x, eps = self._x.index_select(0, where), self._eps.index_select(0, where)
            moves, spare = self._measured(x, z, eps)
            self._moves.index_copy_(0, where, moves)
            self._spare.index_copy_(0, where, spare)

    def _retire(self) -> NDArray[np.bool_] | None:
        """Lets go of points that are broken; returns who stays, None if all do."""
        right = self._lead <= 0
        if right.all():
            return None
        self._account(~right)
        self._ids = tuple(one for one, stays in zip(self._ids, right, strict=True) if stays)
        here = self._here(right)
        self._found.put(self._rows[~here], self._best[~here])
        self._region.keep(here)
        for name in ("_rows", "_x", "_y", "_eps", "_best", "_moves", "_spare"):
            setattr(self, name, getattr(self, name)[here])
        for name in ("_lead", "_forwards", "_queries"):
            setattr(self, name, getattr(self, name)[right])
        if self._seen is not None:
            self._seen = self._seen[right]
        return right

    def _account(self, which: NDArray[np.bool_] | slice) -> None:
        rows = self._rows.cpu().numpy()[which]
        self._found.forwards[rows] += self._forwards[which]
        self._found.queries[rows] += self._queries[which]

    def _draw(self, first: int, end: int) -> _Block:
        """Returns the numbers of the blocks from `first` to before `end`."""
        shape, draws = (_BLOCK, 5 + self._channels), self._oracle.draws
        numbers = np.concatenate(
            [draws.uniform(self._ids, f"{self._name}/{at}", shape) for at in range(first, end)], 1
        )
        windows = 1 if self._norm == "linf" else 2
        return _Block(
            numbers[:, :, : 2 * windows].reshape(*numbers.shape[:2], windows, 2),
            np.where(numbers[:, :, 5:] < 0.5, np.float32(-1), np.float32(1)),
            (numbers[:, :, 4] < 0.5).astype(np.int64),
        )

    def _start(self) -> torch.Tensor:
        return self._stripes() if self._norm == "linf" else self._tiles()

    def _side(self, step: int) -> int:
        side = round(math.sqrt(_share_of_pixels(step)[0] * self._height * self._width))
        if self._norm != "linf":
            side = max(side, 3)
            side += 1 - side % 2
        return min(max(side, 1), self._height, self._width)

    def _corners(self, side: int, places: NDArray[np.float32]) -> Ints:
        """Returns the first pixel of windows in the flat image, (windows, m, steps)."""
        top = (places[..., 0] * (self._height - side + 1)).astype(np.int64)
        left = (places[..., 1] * (self._width - side + 1)).astype(np.int64)
        return np.moveaxis(top * self._width + left, 2, 0)

    def _keys(self, corners: Ints, signs: NDArray[np.float32]) -> Ints:
        """Returns where the table of the seen holds each step, (m * steps,)."""
        up = (signs > 0) @ (1 << np.arange(self._channels)[::-1])
        samples = np.arange(len(signs))[:, None] * (self._height * self._width)
        return ((samples + corners.reshape(up.shape)) * (1 << self._channels) + up).reshape(-1)

    # Linf ------------------------------------------------------------------------------------

    def _stripes(self) -> torch.Tensor:
        shape = (self._channels, 1, self._width)
        drawn = self._oracle.draws.uniform(self._ids, f"{self._name}/start", shape)
        return torch.where(self._here(drawn) < 0.5, self._region.high, self._region.low)

    def _linf(
        self, side: int, corners: Ints, signs: torch.Tensor, where: torch.Tensor, best: torch.Tensor
    ) -> torch.Tensor:
        """Returns what the samples at `where` try next to their `best`."""
        top, left = map(self._here, np.divmod(corners[0], self._width))
        down = _bands(self._height, side).to(best.device).index_select(0, top)
        across = _bands(self._width, side).to(best.device).index_select(0, left)
        window = down[:, None, :, None] * across[:, None, None]
        # A window of +-2 eps, clipped to the ball, is the edge of the ball.
        low, high = (one.index_select(0, where) for one in (self._region.low, self._region.high))
        edge = torch.lerp(low, high, (signs[..., None] + 1) / 2)
        return torch.lerp(best, edge, window)

    # L2 and L1 -------------------------------------------------------------------------------

    def _tiles(self) -> torch.Tensor:
        side = max(min(self._height, self._width) // 5, 1)
        rows, columns = self._height // side, self._width // side
        shape = (self._channels, rows, columns)
        draws, device = self._oracle.draws, self._x.device
        drawn = torch.from_numpy(draws.uniform(self._ids, f"{self._name}/start", shape)).to(device)
        turned = torch.from_numpy(draws.uniform(self._ids, f"{self._name}/turn", (rows, columns)))
        upright = _bump(side, self._power).to(device)
        signs = torch.where(drawn < 0.5, -1.0, 1.0)[..., None, None]
        turn = (turned.to(device) < 0.5)[:, None, :, :, None, None]
        tiles = torch.where(turn, upright, upright.T) * signs
        delta = torch.zeros_like(self._x)
        laid = tiles.permute(0, 1, 2, 4, 3, 5).reshape(
            len(delta), self._channels, rows * side, columns * side
        )
        delta[:, :, : rows * side, : columns * side] = laid
        return self._edge(self._x, delta, self._eps)

    def _measured(
        self, x: torch.Tensor, z: torch.Tensor, eps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns how far pixels have gone, (m, C, H * W), and what is left of balls, (m, 1, 1)."""
        moves = (z - x).flatten(2)
        gone = self._sum(moves).sum(1, keepdim=True)
        return moves, (eps.flatten(2) ** self._power - gone).clamp_(min=0)

    def _moved(
        self, side: int, corners: Ints, signs: torch.Tensor, where: torch.Tensor,
        turned: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Returns what the samples at `where` try next."""
        x, eps, moves, spare = (
            one.index_select(0, where) for one in (self._x, self._eps, self._moves, self._spare)
        )
        cells = self._here(np.add.outer(np.arange(side) * self._width, np.arange(side)).reshape(-1))
        target, source = (self._here(corners)[..., None] + cells)[:, :, None].expand(
            -1, -1, self._channels, -1
        )
        # What both windows hold is moved into the first, with what the ball has left.
        old = moves.gather(2, target)
        held = self._sum(old)
        nothing = torch.zeros_like(old)
        freed = held + self._sum(moves.scatter_(2, target, nothing).gather(2, source))
        ways = _both_ways(side, self._power).to(x.device)
        fresh = ways.index_select(0, turned)[:, None] * signs
        fresh += old / (held ** (1 / self._power) + 1e-12)
        if self._norm == "l2":
            budget = (spare / self._channels + freed).sqrt()
        else:  # the nearest point of the ball takes the rest
            budget = spare + freed * self._channels
        fresh *= budget / (self._sum(fresh) ** (1 / self._power) + 1e-12)
        changed = moves.scatter_(2, source, nothing).scatter_(2, target, fresh).view_as(x)
        return self._edge(x, changed, eps)

    def _edge(self, x: torch.Tensor, moves: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        if self._norm == "l1":
            return x + onto_l1_ball(x, moves, eps.flatten())
        return torch.addcmul(x, moves, eps / by_sample(length(moves, "l2") + 1e-12)).clamp_(0, 1)

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the sum of sizes, in L2 of their squares, along the last axis, which stays."""
        sizes = values.abs() if self._norm == "l1" else values.square()
        return sizes.sum(2, keepdim=True)


@cache
def _bands(length: int, side: int) -> torch.Tensor:
    """Returns `side` ones in a row, from each place that leaves room, (places, length)."""
    places = torch.arange(length - side + 1)[:, None]
    along = torch.arange(length)
    return ((along >= places) & (along < places + side)).float()


@cache
def _both_ways(side: int, power: int) -> torch.Tensor:
    """Returns the pattern of a window, lying and upright, (2, side * side)."""
    upright = _bump(side, power)
    return torch.stack((upright.T, upright)).flatten(1)


@cache
def _bump(side: int, power: int) -> torch.Tensor:
    """Returns the paper's eta: two pyramids side by side, one up and one down, of norm 1."""
    half = side // 2
    made = torch.zeros(side, side)
    if half:
        made[:half] = _pyramid(half, side, power)
    made[half:] = -_pyramid(side - half, side, power)
    return made.div_(torch.linalg.vector_norm(made, ord=power))


def _pyramid(height: int, width: int, power: int) -> torch.Tensor:
    made = torch.zeros(height, width)
    middle, across = height // 2, width // 2
    for ring in range(max(height // 2 + 1, width // 2 + 1)):
        rows = slice(max(middle - ring, 0), min(middle + ring + 1, height))
        columns = slice(max(across - ring, 0), min(across + ring + 1, width))
        made[rows, columns] += 1.0 / (ring + 1) ** (4 // power)
    return made.div_(torch.linalg.vector_norm(made, ord=power))
