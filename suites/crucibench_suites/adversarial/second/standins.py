"""Stand-ins for gradients: of parts whose backward pass is missing or wrong, and of whole models.

Answers stay the model's own. What changes is the way that gradients take back to the input: past
what cuts them off, through differences of what has none, or from scores inside of the model (BPDA,
Athalye, Carlini and Wagner 2018, with the parts found by asking them, not by reading them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, product
from typing import Any, ClassVar

import torch
from torch import nn

from crucibench_suites.adversarial.attacks.model import ModuleOracle
from crucibench_suites.adversarial.probing.choosing import AROUND

_PROBES = 12
_FINE = 1e-2
"""By how much, in units of a sample's own spread, the input of a part is moved to test it."""

_WIDE = (0.5, 1.0)
"""Steps of the differences that stand in for the slope of a part, likewise."""

_UNEXPLAINED = 0.5
"""The share of a part's changes that its gradient leaves open, from which it is taken as wrong."""

_ROUGH_STEP, _ROUGH = 1 / 64, 0.1
"""By how much images are moved, and the share of changes that a gradient leaves open."""

_LOCAL = (0.1, 0.5)
"""The same, where one pixel of a window moves at a time."""

_WINDOW = 5
"""Pixels across, of the kernels that stand in for what is done to images."""

_FITS, _BESIDE = 0.3, 0.01
"""What of the changes a kernel explains at least, and what of it lies beside its middle."""

_VARIES = 0.05
"""What two passes may lie apart, relative to the gradient, for float reasons alone."""

_ALIKE = 0.99
"""The cosine of gradients from which one is no other opinion than the next."""

_RIDGE = 0.01
"""Of the mean square of scores inside, what holds their weights together."""

_AGREES = 0.5
"""The share of inputs that scores inside must name the class of, to stand for the answer's."""


@dataclass
class _Pass:
    """What was seen in a forward pass: tensors in order, and the calls that they came from."""

    x: torch.Tensor
    seen: list[torch.Tensor] = field(default_factory=list)
    calls: list[tuple[str, int, torch.Tensor]] = field(default_factory=list)
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    bridges: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    depth: int = 0


class Rewired:
    """A module whose gradients take another way; its answers are what they are.

    Attributes:
        module: canonical input (m, ...) to logits (m, K).
        bridged: whether parts that take something of the input's size get it from the input itself.
        broken: parts, by name, for whose slope differences stand in.
        ways: kernels that lead back to images over which parts, by name, got what they are given.
        tail: weights of inner scores, by the place of their call, that stand for the answer.
    """

    def __init__(self, module: nn.Module, *, bridged: bool = False) -> None:
        self.module, self.bridged = module, bridged
        self.broken: frozenset[str] = frozenset()
        self.ways: dict[str, torch.Tensor] = {}
        self.tail: dict[int, float] = {}

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the answer, and the logits that losses are to be made of, both (m, K)."""
        answer, now = self.watch(x)
        if not self.tail:
            return answer, answer
        scores = _scores(now, answer)
        return answer, torch.stack([w * scores[at] for at, w in self.tail.items()]).sum(0)

    def watch(self, x: torch.Tensor) -> tuple[torch.Tensor, _Pass]:
        """Returns the answer and what was seen on the way to it."""
        now = _Pass(x, [x])
        handles = []
        for name, part in self.module.named_modules():
            if part is self.module:
                continue
            handles.append(part.register_forward_pre_hook(self._before(now, name)))
            handles.append(part.register_forward_hook(self._after(now, name)))
        try:
            answer: torch.Tensor = self.module(x)
        finally:
            for handle in handles:
                handle.remove()
        return answer, now

    def _before(self, now: _Pass, name: str) -> Callable[..., Any]:
        def hook(part: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            now.depth += 1
            if not args or not _is_batch(args[0], now.x):
                return None
            with torch.enable_grad():
                taken = self._link(now, args[0], name)
            now.inputs.setdefault(name, taken.detach())
            now.seen.append(taken)
            return None if taken is args[0] else (taken, *args[1:])

        return hook

    def _link(self, now: _Pass, given: torch.Tensor, name: str) -> torch.Tensor:
        """Returns what the part `name` is given, with a gradient back to where it came from."""
        for source in reversed(now.seen):
            if source is given:
                return given
            if source.numel() == given.numel() and torch.equal(source.view_as(given), given):
                return source.view_as(given)
        like = [source for source in now.seen if source.numel() == given.numel()]
        if self.bridged and given.numel() == now.x.numel():
            like = [now.x]
        # What was made without a graph may yet say that it requires a gradient: views do.
        elif given.grad_fn is not None or not like:
            return given
        now.bridges[name] = (like[-1].detach(), given.detach())
        return _through(self._way(name, like[-1]), given)

    def _way(self, name: str, images: torch.Tensor) -> torch.Tensor:
        kernel = self.ways.get(name)
        return images if kernel is None else nn.functional.conv2d(images, kernel, padding="same")

    def _after(self, now: _Pass, name: str) -> Callable[..., Any]:
        def hook(part: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            now.depth -= 1
            if not _is_batch(out, now.x):
                return None
            given = args[0] if args and _is_batch(args[0], now.x) else None
            if given is not None and given.requires_grad:
                with torch.enable_grad():
                    if name in self.ways and _is_image(given) and out.shape == given.shape:
                        out = _Local.apply(given, out, part.forward)  # type: ignore[no-untyped-call]
                    elif name in self.broken:
                        out = given_slope(part, given, out)
                    elif out.grad_fn is None:
                        out = part.forward(*args)
            now.seen.append(out)
            now.calls.append((name, now.depth, out))
            return out

        return hook


def _is_batch(value: Any, x: torch.Tensor) -> bool:
    return (
        isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 1
        and len(value) == len(x)
    )  # fmt: skip


def _through(source: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Returns `values` with the gradient of `source`."""
    shaped = source.reshape(values.shape)
    return values.detach() + (shaped - shaped.detach())


def _spread(given: torch.Tensor) -> torch.Tensor:
    """Returns each sample's standard deviation, in a shape that meets `given`."""
    flat = given.detach().flatten(1)
    size = flat.std(1) if flat.shape[1] > 1 else flat.abs().amax(1)
    return size.clamp(min=1e-6).view(-1, *(1 for _ in given.shape[1:]))


def given_slope(part: nn.Module, given: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Returns a part's output with the slope of differences, number by number, over wide steps."""
    if out.numel() != given.numel():
        return out
    with torch.no_grad():
        slopes = []
        for share in _WIDE:
            step = share * _spread(given)
            change = part.forward(given + step) - part.forward(given - step)
            slopes.append(change.reshape(given.shape) / (2 * step))
        slope = torch.stack(slopes).mean(0)
    line = slope * (given - given.detach())
    return out.detach() + line.reshape(out.shape)


class _Local(torch.autograd.Function):
    """What a part makes of images, with the slope of differences, by pixels a window apart."""

    @staticmethod
    def forward(context: Any, given: torch.Tensor, out: torch.Tensor, part: Any) -> torch.Tensor:
        context.save_for_backward(given)
        context.part = part
        return out.clone()

    @staticmethod
    def backward(context: Any, *slopes: torch.Tensor) -> Any:
        (given,), (after,) = context.saved_tensors, slopes
        found = torch.zeros_like(given)
        places = product(range(given.shape[1]), range(_WINDOW), range(_WINDOW))
        for (channel, row, column), share in product(places, _LOCAL):
            step = share * _spread(given)
            moved = torch.zeros_like(given)
            moved[:, channel, row::_WINDOW, column::_WINDOW] = 1
            change = context.part(given + step * moved) - context.part(given - step * moved)
            slope = (change * after).sum(1, keepdim=True) / (2 * step)
            around = nn.functional.avg_pool2d(slope, _WINDOW, 1, _WINDOW // 2, divisor_override=1)
            found += around * moved
        return found, None, None


def _scores(now: _Pass, answer: torch.Tensor) -> list[torch.Tensor]:
    """Returns outputs of parts that look like the answer, in the order of their calls.

    Of parts within parts the outermost.
    """
    like = [(depth, out) for _, depth, out in now.calls if out.shape == answer.shape]
    least = min((depth for depth, _ in like), default=0)
    return [out for depth, out in like if depth == least]


def _broken(rewired: Rewired, now: _Pass, generator: torch.Generator) -> frozenset[str]:
    """Returns the innermost parts whose gradient is not that of what they compute."""
    found = set()
    parts = dict(rewired.module.named_modules())
    for name, given in now.inputs.items():
        part = parts[name]
        if next(part.children(), None) is not None:
            continue
        with suppress(RuntimeError):
            if _is_wrong(part, given, generator):
                found.add(name)
    return frozenset(found)


def _ways(rewired: Rewired, now: _Pass) -> dict[str, torch.Tensor]:
    """Returns kernels for what lies in bridges and in parts whose gradient is wrong."""
    parts = dict(rewired.module.named_modules())
    again = rewired.watch(now.x)[1].bridges  # what is drawn anew leads nowhere
    pairs = {
        name: pair for name, pair in now.bridges.items() if torch.equal(pair[1], again[name][1])
    }
    for name in rewired.broken:
        given = now.inputs[name]
        pairs[name] = (given, parts[name].forward(given))
    found = {name: _kernel(*pair) for name, pair in pairs.items() if _is_image(pair[0])}
    return {name: kernel for name, kernel in found.items() if kernel is not None}


def _is_image(given: torch.Tensor) -> bool:
    return given.dim() == 4 and min(given.shape[2:]) >= _WINDOW


def _kernel(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor | None:
    """Returns the kernel (C, C, w, w) by which `values` follow from images of their shape best.

    None where they are not of one shape, where it explains little, or no more than each pixel does
    of its own.
    """
    if values.numel() != images.numel():
        return None
    seen = nn.functional.unfold(images.double(), _WINDOW, padding=_WINDOW // 2)
    columns = seen.transpose(1, 2).flatten(0, 1)  # (m * H * W, C * w * w)
    wanted = values.double().view(images.shape).permute(0, 2, 3, 1).flatten(0, 2)
    columns, wanted = columns - columns.mean(0), wanted - wanted.mean(0)
    if len(columns) < 2 * columns.shape[1]:
        return None
    weights = torch.linalg.lstsq(columns, wanted, driver="gelsd").solution
    left = float((wanted - columns @ weights).square().sum() / wanted.square().sum())
    channels = images.shape[1]
    kernel: torch.Tensor = weights.T.reshape(channels, channels, _WINDOW, _WINDOW)
    middle = kernel.clone()
    middle[:, :, _WINDOW // 2, _WINDOW // 2] = 0
    beside = float(middle.square().sum() / kernel.square().sum())
    if not left <= 1 - _FITS or not beside > _BESIDE:
        return None
    return kernel.to(images)


def _is_wrong(part: nn.Module, given: torch.Tensor, generator: torch.Generator) -> bool:
    """Whether a part's changes are not those that its gradient tells."""
    asked = given.detach().requires_grad_()
    with torch.enable_grad():
        out = part.forward(asked)
        weights = _normal(out, generator)
        backward = torch.zeros_like(asked)
        if out.requires_grad:
            (backward,) = torch.autograd.grad((out * weights).sum(), asked, materialize_grads=True)
    with torch.no_grad():
        if not torch.equal(part.forward(given), part.forward(given)):
            return False  # it draws: that is not for gradients to tell
        direction, step = _normal(given, generator), _FINE * _spread(given)
        change = part.forward(given + step * direction) - part.forward(given - step * direction)
        seen = (weights * change).flatten(1).sum(1)
        expected = (backward * 2 * step * direction).flatten(1).sum(1)
    size = float(seen.square().sum())
    return size > 0 and not float((seen - expected).square().sum()) <= _UNEXPLAINED * size


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator).to(like)


def _tail(answer: torch.Tensor, scores: Sequence[torch.Tensor]) -> dict[int, float]:
    """Returns weights of inner scores by which they come nearest to the answer; none if far."""
    if not scores or any(one is answer for one in scores):
        return {}
    own = answer.double()
    columns = [one.double() - one.double().mean(1, keepdim=True) for one in scores]
    target = (own - own.mean(1, keepdim=True)).flatten()
    basis = torch.stack([one.flatten() for one in columns], 1).cpu().numpy()
    import numpy as np

    # Scores of nearly the same are told apart by no fit: what it leaves open is shared equally.
    equal = np.full(len(scores), 1 / len(scores))
    mean = basis @ equal
    wanted = target.cpu().numpy()
    equal *= (mean @ wanted) / max(mean @ mean, 1e-300)
    gram = basis.T @ basis
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = equal + np.linalg.solve(gram, basis.T @ (wanted - basis @ equal))
    for chosen in (weights, equal):
        summed = torch.stack([w * one for w, one in zip(chosen, columns, strict=True)]).sum(0)
        if float((summed.argmax(1) == own.argmax(1)).double().mean()) >= _AGREES:
            return {at: float(w) for at, w in enumerate(chosen)}
    return {}


@dataclass(frozen=True)
class StandIn(ModuleOracle):
    """Answers of a model, and other gradients.

    Attributes:
        varies: whether they differ from one pass to the next.
        extra: forwards and backwards that a gradient takes, beside one of each.
    """

    varies: bool = False
    extra: ClassVar[tuple[int, int]] = (0, 0)


@dataclass(frozen=True)
class RewiredOracle(StandIn):
    """Answers of a model, and gradients of the same module rewired.

    Attributes:
        rewired: the stand-in.
        rough: whether the answer changes otherwise than they say: in steps, say.
    """

    rewired: Rewired | None = None
    rough: bool = False

    def scored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the model's logits, and the stand-in's."""
        assert self.rewired is not None
        return self.rewired(x)


@dataclass(frozen=True)
class DifferencesOracle(StandIn):
    """Answers of a model, and gradients of differences between them, in some wide directions."""

    directions: ClassVar[int] = AROUND // 2
    step: ClassVar[float] = 1 / 32
    extra: ClassVar[tuple[int, int]] = (AROUND, -1)

    def gradient(
        self, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns logits, losses and the slope that differences tell, in their directions."""
        logits = self.logits(x)
        total = torch.zeros_like(x)
        for pattern in self.patterns(x):
            ahead, behind = (x + self.step * pattern).clamp(0, 1), (x - self.step * pattern)
            change = loss(self.logits(ahead)) - loss(self.logits(behind.clamp(0, 1)))
            total += change.to(x).view(-1, *(1 for _ in x.shape[1:])) * pattern
        return logits, loss(logits), torch.nan_to_num(total, 0.0, 0.0, 0.0)

    def patterns(self, x: torch.Tensor) -> torch.Tensor:
        """Returns signs in blocks, at most 8 x 8 of them, the same for all images."""
        generator = torch.Generator().manual_seed(0)
        channels, height, width = x.shape[1:]
        shape = (self.directions, channels, min(height, 8), min(width, 8))
        signs = torch.where(torch.rand(shape, generator=generator) < 0.5, -1.0, 1.0)
        return nn.functional.interpolate(signs, size=(height, width)).to(x)


@dataclass(frozen=True)
class SmoothedOracle(StandIn):
    """Answers of a model, and gradients from beside each point: in each step another way off.

    Attributes:
        inner: whose gradients.
        size: standard deviation of each pixel.
        numbers: of steps, which key the draws: one oracle is for one run of all samples at once.
    """

    inner: StandIn | None = None
    size: float = 0.0
    numbers: Iterator[int] = field(default_factory=count)
    extra: ClassVar[tuple[int, int]] = (1, 0)

    def gradient(
        self, x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns logits and losses as they are, and the gradient from a point beside."""
        assert self.inner is not None
        drawn = self.draws.normal(("beside",), f"second-opinion/{next(self.numbers)}", x.shape[1:])
        beside = x + self.size * torch.from_numpy(drawn).to(x)
        gradient = self.inner.gradient(beside, loss)[2]
        with torch.no_grad():
            logits, scores = self.inner.scored(x)
        return logits, loss(scores), gradient


def stand_ins(oracle: ModuleOracle, shape: Sequence[int]) -> list[RewiredOracle]:
    """Returns oracles whose gradients differ, the model's own first.

    Which parts are wrong is found on images of noise, the same for every batch. They and the
    questions about parts are not counted as passes of samples.

    Args:
        oracle: the model.
        shape: of an image, (C, H, W).
    """
    module = oracle.module
    device = next((one.device for one in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((_PROBES, *shape), generator=generator).to(device)
    found: list[RewiredOracle] = []
    slopes: list[torch.Tensor] = []
    for rewired in (_Plain(module), Rewired(module), Rewired(module, bridged=True)):
        with suppress(RuntimeError):
            if found:
                with torch.no_grad():
                    answer, now = rewired.watch(x)
                    rewired.broken = _broken(rewired, now, generator)
                    rewired.ways = _ways(rewired, now)
                    rewired.tail = _tail(answer, _scores(now, answer))
            one = RewiredOracle(module, oracle.draws, oracle.width, rewired=rewired)
            # By the same draws what is random is no other gradient.
            with torch.random.fork_rng():
                torch.manual_seed(0)
                slope = one.gradient(x, _lead)[2].double().flatten(1)
                again = one.gradient(x, _lead)[2].double().flatten(1)
            apart = (again - slope).norm(dim=1) > _VARIES * slope.norm(dim=1)
            news = all(_cosine(slope, other) < _ALIKE for other in slopes)
            # A gradient that is turned for some inputs alone may be right for all of these.
            if news or (rewired.tail and not rewired.bridged):
                rough = _is_rough(one, x, slope, generator)
                found.append(replace(one, varies=bool(apart.any()), rough=rough))
                slopes.append(slope)
    return found


def _is_rough(
    oracle: RewiredOracle, x: torch.Tensor, slope: torch.Tensor, generator: torch.Generator
) -> bool:
    """Whether the lead beside images `x` is not what its slope (m, d) says."""
    move = _ROUGH_STEP * _normal(x, generator)
    leads = []
    for beside in (x + move, x - move):
        with torch.no_grad():
            leads.append(oracle.scored(beside)[1].double())
    first = oracle.scored(x)[1].detach().topk(2, dim=1).indices
    seen = [one.gather(1, first) for one in leads]
    change = (seen[0][:, 0] - seen[0][:, 1]) - (seen[1][:, 0] - seen[1][:, 1])
    expected = 2 * (slope * move.double().flatten(1)).sum(1)
    return not float((change - expected).square().sum()) <= _ROUGH * float(change.square().sum())


class _Plain(Rewired):
    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer: torch.Tensor = self.module(x)
        return answer, answer


def _lead(logits: torch.Tensor) -> torch.Tensor:
    best = logits.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    """Returns how alike gradients (m, d) are, in the median."""
    return float(torch.nn.functional.cosine_similarity(one, other, dim=1).median())
