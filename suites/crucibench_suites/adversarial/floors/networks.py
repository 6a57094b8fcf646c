"""Floors of ReLU networks: linear bounds from the answer to the input (CROWN, Zhang et al. 2018).

What a network computes is read from its exported graph, in which nothing is hidden: a branch on
data, or an operation that is not known here, is named and there is no floor. Bounds are computed in
float64; what float32 may round on the way, in whatever order it adds, is bounded beside them
(Higham 2002, section 3.1) and taken off the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crucibench.contracts.attack import Norm
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line
from crucibench_suites.adversarial.attacks.model import steepest_first

_UNIT = 2.0**-24
_SLACK = 1.25
"""Of the roundings of float32, for those of the bounds themselves."""

_MOST = 50_000
"""Numbers between two operations, beyond which there is no floor."""

_TIGHT = 600
"""Inputs of a ReLU, up to which each is bounded from the input of the network, not step by step."""

_ROWS = 1 << 24
"""Coefficients that are held at once."""

_UNPADDED = 4
"""Arguments of max_pool2d, beyond which windows have gaps or reach over the edge."""

_RELUS = ("relu", "relu_")
_CASTS = ("to", "_to_copy")
_HALVES = (torch.float16, torch.bfloat16)
_PLAIN = (
    *("clone", "contiguous", "alias", "view", "reshape", "flatten", "permute", "transpose"),
    *("squeeze", "unsqueeze", "avg_pool2d", "adaptive_avg_pool2d", "mean", "dropout"),
)
_WEIGHTED = ("linear", "matmul", "conv1d", "conv2d", "mul", "div", "add", "sub", "batch_norm")

Affine = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class _Step:
    """An operation on the numbers of one sample.

    Attributes:
        inputs: the places of what it takes: one, of a sum two, of the network's input none.
        shape: of what it makes.
        affine: the operation, where it is affine.
        sizes: the same with the sizes of its constants, as bounds of absolute values need it.
    """

    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    affine: Affine | None = None
    sizes: Affine | None = None

    @property
    def is_relu(self) -> bool:
        """Whether it is a ReLU."""
        return len(self.inputs) == 1 and self.affine is None


class Network:
    """A network as steps over one sample: the first is its input, the last its answer."""

    def __init__(self, module: nn.Module, x: torch.Tensor) -> None:
        """Reads a module.

        Args:
            module: images (n, C, H, W) to logits (n, K), float32.
            x: an image, (1, C, H, W).

        Raises:
            InputError: if there is something in it that has no floor; it is named.
        """
        try:
            held = torch.export.export(module, (x,)).module()
        except Exception as error:
            raise InputError(f"its graph can't be exported: {one_line(error)}") from error
        self.steps = [_Step((), tuple(x.shape[1:]))]
        values: dict[Any, Any] = {}
        places: dict[Any, int] = {}
        for node in held.graph.nodes:
            if node.op == "placeholder":
                values[node], places[node] = torch.zeros_like(x, dtype=torch.float64), 0
            elif node.op == "get_attr":
                value: Any = held
                for part in str(node.target).split("."):
                    value = getattr(value, part)
                values[node] = value.double() if value.is_floating_point() else value
            elif node.op == "call_function":
                self._read(node, values, places)
            elif node.op == "output":
                answers = [places.get(one) for one in node.all_input_nodes]
                if answers != [len(self.steps) - 1]:
                    raise InputError("its answer is not what it computes last")

    def _read(self, node: Any, values: dict[Any, Any], places: dict[Any, int]) -> None:
        """Adds the step of an operation that depends on the input, else its value."""
        schema = getattr(node.target, "_schema", None)
        name = str(schema.name if schema else node.target).rpartition("::")[2]
        if name == "_assert_tensor_metadata":
            return
        args = [values[one] if isinstance(one, torch.fx.Node) else one for one in node.args]
        moving = [at for at, one in enumerate(node.args) if one in places]
        inputs = tuple(places[node.args[at]] for at in moving)

        def call(of: Sequence[Any]) -> torch.Tensor:
            done: torch.Tensor = node.target(*of, **node.kwargs)
            return done

        if not moving:
            values[node] = call(args)
            return
        values[node] = args[0] if name in _CASTS else call(args)
        places[node] = len(self.steps)
        shape = tuple(values[node].shape[1:])
        if values[node].numel() > _MOST:
            raise InputError(f"{name} makes {values[node].numel():,} numbers, more than {_MOST:,}")
        if name in _RELUS or (name == "add" and len(moving) == 2 and not node.kwargs):
            self.steps.append(_Step(inputs, shape))
            return
        # Kernel, stride, padding, dilation, whether sizes are rounded up.
        if name == "max_pool2d" and not any(map(any, args[3:4])) and len(args) <= _UNPADDED:
            self._pool(inputs[0], shape, args[1], args[2] if args[2:] else args[1])
            places[node] = len(self.steps) - 1
            return
        arguments = [*node.args, *node.kwargs.values()]
        if (
            name not in (*_CASTS, *_PLAIN, *_WEIGHTED)
            or len(moving) != 1
            or (moving[0] and name not in {"mul", "add"})
            or (
                name in _CASTS
                and any(one in _HALVES for one in arguments if isinstance(one, torch.dtype))
            )
            or (name == "dropout" and args[2])
            or (name == "batch_norm" and args[5])
        ):
            raise InputError(f"it has {name}, for which there are no bounds here")
        at = moving[0]

        def affine(x: torch.Tensor) -> torch.Tensor:
            return x if name in _CASTS else call([*args[:at], x, *args[at + 1 :]])

        def sizes(x: torch.Tensor) -> torch.Tensor:
            if name not in _WEIGHTED:
                return affine(x)
            given = [_size(one) for one in args]
            given[at] = x
            if name == "batch_norm":
                given[3] = -given[3]  # a mean that is taken off adds to the size
            if name == "sub":
                return x + torch.as_tensor(given[1])
            if name == "batch_norm":
                return call([*given[:5], *args[5:]])
            return call(_options(given, args))

        self.steps.append(_Step(inputs, shape, affine, sizes))

    def _pool(
        self, at: int, shape: tuple[int, ...], kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        """Adds the steps of a maximum over windows: the larger of a and b is a + relu(b - a)."""
        for number, corner in enumerate(product(*map(range, kernel))):
            spans = [
                slice(first, first + (count - 1) * step + 1, step)
                for first, count, step in zip(corner, shape[1:], stride, strict=True)
            ]

            def picked(x: torch.Tensor, spans: Sequence[slice] = tuple(spans)) -> torch.Tensor:
                return x[..., spans[0], spans[1]]

            most, here = len(self.steps) - 1, len(self.steps)
            self.steps.append(_Step((at,), shape, picked, picked))
            if number:
                self.steps += [
                    _Step((most,), shape, torch.neg, torch.abs),
                    _Step((here, here + 1), shape),
                    _Step((here + 2,), shape),
                    _Step((most, here + 3), shape),
                ]


def _size(value: Any) -> Any:
    return value.abs() if isinstance(value, torch.Tensor) else value


def _options(given: list[Any], args: list[Any]) -> list[Any]:
    """Returns arguments with the sizes of operands; strides and such are as they are."""
    if len(args) == 2 and isinstance(args[1], int | float):
        return [given[0], abs(args[1])]
    return given


@dataclass(frozen=True)
class Ball:
    """Where inputs may lie: within `eps` of `x`, (m, C, H, W) in float64, and within [0, 1]."""

    x: torch.Tensor
    eps: float
    norm: Norm

    @property
    def box(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and greatest pixels."""
        return (self.x - self.eps).clamp(0, 1), (self.x + self.eps).clamp(0, 1)

    def least(self, a: torch.Tensor) -> torch.Tensor:
        """Returns lower bounds of a.x, (q, m), for coefficients (q, m, C, H, W)."""
        low, high = self.box
        centre, radius = (low + high) / 2, (high - low) / 2
        found = (a * centre - a.abs() * radius).flatten(2).sum(2)
        if self.norm == "l2":
            flat = a.flatten(2)
            straight = (a * self.x).flatten(2).sum(2) - self.eps * flat.norm(dim=2)
            found = torch.maximum(found, straight)
        if self.norm == "l1":
            flat, x = a.flatten(2), self.x.flatten(1)
            room = torch.where(flat > 0, x, 1 - x)
            most = torch.full(flat.shape[:2], self.eps, dtype=flat.dtype)
            share = steepest_first(flat.abs(), room, most)
            found = (flat * x).sum(2) - (flat.abs() * room * share).sum(2)
        return found


class Bounded:
    """A network over balls around m images: bounds of all steps, and of float32's roundings."""

    def __init__(self, network: Network, ball: Ball) -> None:
        self._steps, self._ball = network.steps, ball
        self.low: list[torch.Tensor] = []
        self.high: list[torch.Tensor] = []
        self.error: list[torch.Tensor] = []
        for at, step in enumerate(self._steps):
            self._bound(at, step)

    def _bound(self, at: int, step: _Step) -> None:
        ins = step.inputs
        if not ins:
            low, high = self._ball.box
            error = torch.zeros_like(low)
        elif step.is_relu:
            self._tighten(ins[0])
            low, high = (one[ins[0]].clamp(min=0) for one in (self.low, self.high))
            error = self.error[ins[0]]
        elif step.affine is None:
            low, high = (one[ins[0]] + one[ins[1]] for one in (self.low, self.high))
            error = self.error[ins[0]] + self.error[ins[1]]
            error = error + _rounding(2) * (torch.maximum(low.abs(), high.abs()) + error)
        else:
            low, high, error = self._through(step)
        self.low.append(low)
        self.high.append(high)
        self.error.append(error)

    def _through(self, step: _Step) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        assert step.affine is not None and step.sizes is not None
        low, high, before = (one[step.inputs[0]] for one in (self.low, self.high, self.error))
        size = torch.maximum(low.abs(), high.abs()) + before
        nothing = _each(step.sizes, torch.zeros_like(low[:1]))
        centre = _each(step.affine, (low + high) / 2)
        radius = _each(step.sizes, (high - low) / 2) - nothing
        fan = int(np.prod(low.shape[1:])) + 2
        error = _each(step.sizes, before) - nothing + _rounding(fan) * _each(step.sizes, size)
        return centre - radius, centre + radius, error

    def _tighten(self, at: int) -> None:
        """Bounds what goes into a ReLU from the network's input."""
        count = int(np.prod(self._steps[at].shape))
        m = len(self._ball.x)
        # Before the first ReLU steps lose nothing, but of L2 and L1 balls they know the box alone.
        exact = self._ball.norm == "linf" and not any(one.is_relu for one in self._steps[:at])
        if count > _TIGHT or exact:
            return
        ones = torch.eye(count, dtype=torch.float64).view(count, 1, *self._steps[at].shape)
        ones = ones.expand(count, m, *self._steps[at].shape)
        low = torch.cat([self.least(at, part) for part in self._parts(ones)]).T
        high = -torch.cat([self.least(at, -part) for part in self._parts(ones)]).T
        shape = self.low[at].shape
        self.low[at] = torch.maximum(self.low[at], low.reshape(shape))
        self.high[at] = torch.minimum(self.high[at], high.reshape(shape))

    def _parts(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        most = max(int(np.prod(step.shape)) for step in self._steps)
        return torch.split(rows, max(1, _ROWS // (most * rows.shape[1])))

    def least(self, at: int, a: torch.Tensor) -> torch.Tensor:
        """Returns lower bounds of a.z, (q, m), of what a step makes; a is (q, m, *shape)."""
        held = {at: a}
        total = torch.zeros(a.shape[:2], dtype=torch.float64)
        for here in range(at, 0, -1):
            if here not in held:
                continue
            a, step = held.pop(here), self._steps[here]
            parts: list[torch.Tensor]
            if step.is_relu:
                a, more = self._back_through_relu(step.inputs[0], a)
                parts = [a]
                total = total + more
            elif step.affine is None:
                parts = [a, a]
            else:
                shape = self._steps[step.inputs[0]].shape
                zero = torch.zeros((1, *shape), dtype=torch.float64)
                made, pull, *_ = torch.func.vjp(step.affine, zero)
                total = total + (a * made).flatten(2).sum(2)
                flat = a.reshape(-1, 1, *a.shape[2:])
                (back,) = torch.vmap(pull)(flat)
                parts = [back.view(*a.shape[:2], *shape)]
            for source, part in zip(step.inputs, parts, strict=True):
                held[source] = held[source] + part if source in held else part
        return total + self._ball.least(held[0]) if 0 in held else total

    def _back_through_relu(self, at: int, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns coefficients of a ReLU's input, and what is added, below a times its output."""
        low, high = self.low[at], self.high[at]
        crossing = (low < 0) & (high > 0)
        on = (low >= 0).double()
        steep = torch.where(crossing, high / (high - low).clamp(min=1e-300), on)
        flat = torch.where(crossing, (high > -low).double(), on)
        offset = torch.where(crossing, -steep * low, 0.0)
        above, below = a.clamp(min=0), a.clamp(max=0)
        return above * flat + below * steep, (below * offset).flatten(2).sum(2)


def _each(affine: Affine, x: torch.Tensor) -> torch.Tensor:
    """Returns what an operation on one sample makes of each of m, (m, ...)."""
    found: torch.Tensor = torch.vmap(lambda one: affine(one[None])[0])(x)
    return found


def _rounding(count: int) -> float:
    """Returns how far float32 may be off, relative to the sum of sizes of so many numbers."""
    return _SLACK * count * _UNIT / (1 - count * _UNIT)


def certified(
    network: Network, x: torch.Tensor, y: NDArray[np.int64], eps: float, norm: Norm
) -> NDArray[np.bool_]:
    """Returns whether no input within `eps` of each image, and in [0, 1], changes its class, (m,).

    Args:
        network: what computes.
        x: images in [0, 1], (m, C, H, W).
        y: the classes, (m,).
        eps: the radius.
        norm: of the ball.
    """
    with torch.no_grad():
        bounded = Bounded(network, Ball(x.double(), eps, norm))
        last, m = len(network.steps) - 1, len(x)
        (classes,) = network.steps[last].shape
        own = torch.nn.functional.one_hot(torch.from_numpy(y), classes).double()
        others = torch.eye(classes, dtype=torch.float64)[:, None].expand(classes, m, classes)
        margin = bounded.least(last, own[None] - others)
        error = bounded.error[last]
        needed = error.T + (error * own).sum(1)
        safe = (margin > needed) | (own.T > 0)
        return np.asarray(safe.all(0).numpy())
