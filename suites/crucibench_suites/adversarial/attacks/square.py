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
from typing import NamedTuple

import torch

from crucibench_suites.adversarial.attacks.losses import margin
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
    by_sample,
    chosen,
    length,
    onto_l1_ball,
)
from crucibench_suites.adversarial.threat import ORDERS

P_INIT = 0.8
_SCHEDULE = (
    *((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128)),
    *((8000, 256), (sys.maxsize - 1, 512)),
)
_BLOCK = 64
"""Steps whose draws are made at once."""

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
    """Random numbers of some steps: where windows lie, signs, and which way they are turned."""

    places: torch.Tensor  # (m, steps, 4), uniform
    signs: torch.Tensor  # (m, steps, C), -1 or 1
    turned: torch.Tensor  # (m, steps), bool


class _Search:
    """One search; its tensors hold the points that are left."""

    def __init__(self, oracle: ModuleOracle, points: ImagePoints, name: str) -> None:
        self._oracle, self._name, self._norm = oracle, name, points.norm
        self._region = Region(points)
        self._x, self._y, self._eps = points.x, points.y, by_sample(points.eps)
        self._ids, self._power = points.ids, int(min(ORDERS[points.norm], 2))
        self._channels, self._height, self._width = points.x.shape[1:]
        self._forwards = torch.ones_like(points.y)
        self._queries = torch.ones_like(points.y)
        self._success = 0.5
        """The share of steps that improve something; it only decides how many are tried at once."""
        windows = self._height * self._width * (1 << self._channels)
        self._seen: torch.Tensor | None = None
        """By window and signs, whether each point has been asked since it last improved."""
        if self._norm == "linf" and windows <= _LARGEST_TABLE:
            self._seen = torch.zeros(
                (len(points), windows), dtype=torch.bool, device=points.x.device
            )

    def run(self, queries: int, rows: torch.Tensor, found: Found) -> None:
        """Asks; `rows` are the positions of the points in `found`."""
        self._rows, self._found = rows, found
        self._best = self._start()
        self._lead = margin(self._oracle.logits(self._best), self._y)
        self._retire()
        step = 0
        while step < queries and len(self._rows):
            if step % _BLOCK == 0:
                block = self._draw(step // _BLOCK)
            until = min(queries, step - step % _BLOCK + _BLOCK, _share_of_pixels(step)[1])
            if self._seen is not None and self._side(step) != self._side(step - 1):
                self._seen[:] = False
            window = slice(step % _BLOCK, (until - 1) % _BLOCK + 1)
            self._advance(step, _Block(*(part[:, window] for part in block)))
            right = self._retire()
            if right is not None:
                block = _Block(*(part[right] for part in block))
            step = until
        self._account(slice(None))

    def _advance(self, step: int, block: _Block) -> None:
        """Takes the steps of a block, in all of which windows are of one size."""
        side = self._side(step)
        steps = torch.arange(block.turned.shape[1], device=self._rows.device)
        keys = self._keys(side, block)
        flat = [part.flatten(0, 1) for part in block]
        first = torch.zeros_like(self._rows)  # the next step of each sample
        while True:
            fresh = (steps >= first[:, None]) & (self._lead <= 0)[:, None]
            if self._seen is not None:
                fresh &= ~self._seen.gather(1, keys)
            active = max(int(fresh.any(1).sum()), 1)
            most = int(min(self._oracle.width // active, _SPECULATION / self._success))
            row, at = (fresh & (fresh.cumsum(1) <= max(most, 1))).nonzero(as_tuple=True)
            if not len(row):
                return
            asked = row * len(steps) + at
            picked = _Block(*(part.index_select(0, asked) for part in flat))
            best = self._best.index_select(0, row)
            z = (self._linf if self._norm == "linf" else self._moved)(side, picked, row, best)
            if self._norm == "linf":
                moved = length(z - best, "linf") > 0
                lead = self._lead[row]
                if bool(moved.any()):
                    lead[moved] = margin(self._oracle.logits(z[moved]), self._y[row[moved]])
            else:
                moved = torch.ones_like(row, dtype=torch.bool)
                lead = margin(self._oracle.logits(z), self._y[row])
            better = lead > self._lead[row]
            # The first step of each sample that improves it; those after it have not been taken.
            taken = torch.full_like(first, len(steps)).scatter_reduce_(
                0, row[better], at[better], "amin"
            )
            ahead = at > taken[row]
            done, last = row[~ahead], at[~ahead]
            first.scatter_reduce_(0, done, last + 1, "amax")
            chosen = at == taken[row]
            where = row[chosen]
            self._best[where], self._lead[where] = z[chosen], lead[chosen]
            if self._seen is not None:
                self._seen[done, keys[done, last]] = True
                self._seen[where] = False
            self._forwards += torch.bincount(row[moved], minlength=len(first))
            self._queries += torch.bincount(row[moved & ~ahead], minlength=len(first))
            self._success = 0.9 * self._success + 0.1 * max(len(where) / len(row), 1e-3)

    def _retire(self) -> torch.Tensor | None:
        """Lets go of points that are broken; returns who stays, None if all do."""
        right = self._lead <= 0
        if bool(right.all()):
            return None
        gone = ~right
        self._found.put(self._rows[gone], self._best[gone])
        self._account(gone)
        self._ids = tuple(
            one for one, stays in zip(self._ids, right.tolist(), strict=True) if stays
        )
        self._region.keep(right)
        for name in ("_rows", "_x", "_y", "_eps", "_best", "_lead", "_forwards", "_queries"):
            setattr(self, name, getattr(self, name)[right])
        if self._seen is not None:
            self._seen = self._seen[right]
        return right

    def _account(self, which: torch.Tensor | slice) -> None:
        rows = self._rows[which].cpu().numpy()
        self._found.forwards[rows] += self._forwards[which].cpu().numpy()
        self._found.queries[rows] += self._queries[which].cpu().numpy()

    def _draw(self, block: int) -> _Block:
        device = self._x.device
        draws = self._oracle.draws
        shape = (_BLOCK, 5 + self._channels)
        numbers = torch.from_numpy(draws.uniform(self._ids, f"{self._name}/{block}", shape))
        signs = torch.where(numbers[:, :, 5:] < 0.5, -1.0, 1.0)
        return _Block(
            numbers[:, :, :4].to(device), signs.to(device), (numbers[:, :, 4] < 0.5).to(device)
        )

    def _start(self) -> torch.Tensor:
        return self._stripes() if self._norm == "linf" else self._tiles()

    def _side(self, step: int) -> int:
        side = round(math.sqrt(_share_of_pixels(step)[0] * self._height * self._width))
        if self._norm != "linf":
            side = max(side, 3)
            side += 1 - side % 2
        return min(max(side, 1), self._height, self._width)

    def _keys(self, side: int, block: _Block) -> torch.Tensor:
        """Returns numbers that tell the windows of steps apart, and their signs, (m, steps)."""
        top, left = self._corner(side, block.places.flatten(0, 1))
        places = (top * self._width + left).view(block.turned.shape)
        signs = torch.zeros_like(places)
        for channel in range(self._channels):
            signs = 2 * signs + (block.signs[:, :, channel] > 0)
        return places * (1 << self._channels) + signs

    # Linf ------------------------------------------------------------------------------------

    def _stripes(self) -> torch.Tensor:
        shape = (self._channels, 1, self._width)
        drawn = self._oracle.draws.uniform(self._ids, f"{self._name}/start", shape)
        up = torch.from_numpy(drawn).to(self._x.device) < 0.5
        return torch.where(up, self._region.high, self._region.low)

    def _linf(
        self, side: int, block: _Block, row: torch.Tensor, best: torch.Tensor
    ) -> torch.Tensor:
        """Returns what the samples at `row` try next to their `best`."""
        window = self._window(side, block.places)
        up = block.signs[:, :, None, None] > 0
        # A window of +-2 eps, clipped to the ball, is the edge of the ball.
        low, high = (one.index_select(0, row) for one in (self._region.low, self._region.high))
        return chosen(window[:, None], chosen(up, high, low), best)

    def _corner(self, side: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the first row and column of each sample's window, (m,)."""
        top = (places[:, 0] * (self._height - side + 1)).long()
        left = (places[:, 1] * (self._width - side + 1)).long()
        return top, left

    def _window(self, side: int, places: torch.Tensor) -> torch.Tensor:
        """Returns the window of each sample as a mask of 0 and 1, (m, H, W)."""
        top, left = self._corner(side, places)
        device = places.device
        down = torch.arange(self._height, device=device) - top[:, None]
        across = torch.arange(self._width, device=device) - left[:, None]
        rows, columns = ((one >= 0) & (one < side) for one in (down, across))
        return rows[:, :, None].float() * columns[:, None].float()

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

    def _moved(
        self, side: int, block: _Block, row: torch.Tensor, best: torch.Tensor
    ) -> torch.Tensor:
        x, eps = (one.index_select(0, row) for one in (self._x, self._eps.flatten(2)))
        flat = (best - x).flatten(2)
        target, source, apart = self._windows(side, block.places)
        old = flat.gather(2, target)
        # What both windows hold is moved into the first, with what the ball has left.
        held = self._sum(old)
        freed = held + self._sum(flat.gather(2, source) * apart[:, None])
        spare = (eps**self._power - self._sum(flat).sum(1, keepdim=True)).clamp_(min=0)
        upright = _bump(side, self._power).to(x.device)
        turned = torch.where(block.turned[:, None, None], upright, upright.T).flatten(1)
        fresh = turned[:, None] * block.signs[:, :, None]
        fresh += old / (held ** (1 / self._power) + 1e-12)
        if self._norm == "l2":
            budget = (spare / self._channels + freed).sqrt()
        else:  # the nearest point of the ball takes the rest
            budget = spare + freed * self._channels
        fresh *= budget / (self._sum(fresh) ** (1 / self._power) + 1e-12)
        changed = flat.scatter_(2, source, 0.0).scatter_(2, target, fresh).view_as(x)
        return self._edge(x, changed, eps[..., None])

    def _edge(self, x: torch.Tensor, moves: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        if self._norm == "l1":
            return x + onto_l1_ball(x, moves, eps.flatten())
        return torch.addcmul(x, moves, eps / by_sample(length(moves, "l2") + 1e-12)).clamp_(0, 1)

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the sum of sizes, in L2 of their squares, along the last axis, which stays."""
        sizes = values.abs() if self._norm == "l1" else values.square()
        return sizes.sum(2, keepdim=True)

    def _windows(
        self, side: int, places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the places of both windows' pixels in the flat image, (m, C, side * side).

        And which of the second's are not the first's, (m, side * side).
        """
        top, left = self._corner(side, places)
        also_top, also_left = self._corner(side, places[:, 2:])
        span = torch.arange(side, device=places.device)
        cells = (span[:, None] * self._width + span).flatten()
        down = (also_top - top)[:, None] + span
        across = (also_left - left)[:, None] + span
        rows, columns = ((one >= 0) & (one < side) for one in (down, across))
        inside = rows[:, :, None] & columns[:, None]
        first, second = (
            (corner[:, None] + cells)[:, None].expand(-1, self._channels, -1)
            for corner in (top * self._width + left, also_top * self._width + also_left)
        )
        return first, second, ~inside.flatten(1)


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
