"""The map from the canonical sample to a torch model's answer, and what it shows of the model.

Imports torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.task import OutputError, Task
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line, user_traceback
from crucibench_adapters._classes import ClassMap


class Canonical(nn.Module):
    """Normalises, casts, asks the model, and brings its answer into one form.

    Classification: (N, K), where a single column of a binary model becomes two: the logit z becomes
    [0, z], the probability p becomes [1 - p, p], so that the column speaks for the second class,
    and the columns are those of the data's classes. Regression: (N,).

    Attributes:
        classes: how the model's columns become the data's; None leaves them as they are.
        setting: what holds in this process while the model answers; None for nothing of its own.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, model: nn.Module, normalisation: Normalisation | None, kind: ScoreKind, task: Task
    ) -> None:
        super().__init__()
        self.model = model
        self.kind = kind
        self.task = task
        self.scale = normalisation.scale if normalisation else 1.0
        self.normalises = normalisation is not None
        self.guards = True
        self.classes: ClassMap | None = None
        self.setting: Callable[[], contextlib.AbstractContextManager[None]] | None = None
        normalisation = normalisation or Normalisation()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(normalisation, name), dtype=torch.float32)
            self.register_buffer(name, values.reshape(1, -1, 1, 1), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns logits, or values; of probabilities, their logarithms."""
        answer = self.answer(inputs)
        if self.task.one_number or self.kind == "logits":
            return answer
        return answer.clamp_min(torch.finfo(answer.dtype).tiny).log()

    def answer(self, inputs: Any) -> torch.Tensor:
        """Returns scores of the declared kind, or values, in float32 or better."""
        with (self.setting or contextlib.nullcontext)():
            return self._answer(inputs)

    def lists(self, inputs: Any) -> Any:
        """Returns what the model says, where that is lists of any length."""
        with (self.setting or contextlib.nullcontext)():
            return self.raw(inputs)

    def raw(self, inputs: Any) -> Any:
        """Returns what the model itself answers."""
        return self.model(self.prepared(inputs))

    def prepared(self, inputs: Any) -> Any:
        """Returns what the model itself is given; of a list of images (C, H, W), a list."""
        if isinstance(inputs, list):
            return [self.prepared(image[None])[0] for image in inputs]
        if self.guards and not self.normalises:
            inputs = inputs.clone()  # from a model that changes its input in place
        if self.normalises:
            inputs = (inputs * self.scale - self.mean) / self.std
        return inputs.to(self._dtype()) if inputs.is_floating_point() else inputs

    def direct(self) -> Callable[[Any], torch.Tensor]:
        """Returns a function that answers as `answer` does, bit for bit, without gradients.

        What does not change from call to call is looked up here, once: of a network of half a
        millisecond the lookups of `answer` are a tenth. It holds as long as the model's dtype does.
        """
        if self.setting is not None or self.guards:
            return self.answer
        model, finished, dtype = self.model, self._finished, self._dtype()
        mean, std, scale, normalises = self.mean, self.std, self.scale, self.normalises
        classes = len(self.task.classes)
        as_is = not self.task.one_number and (self.classes is None or self.classes.identity)

        def answer(inputs: Any) -> torch.Tensor:
            if type(inputs) is list:
                return self.answer(inputs)
            if normalises:
                inputs = (inputs if scale == 1.0 else inputs * scale) - mean
                inputs /= std
            if inputs.dtype is not dtype and inputs.is_floating_point():
                inputs = inputs.to(dtype)
            found = model(inputs)
            if (
                as_is
                and type(found) is torch.Tensor
                and found.dtype is torch.float32
                and found.shape[1:] == (classes,)
            ):
                return found
            return finished(found)

        return answer

    def _answer(self, inputs: Any) -> torch.Tensor:
        return self._finished(self.raw(inputs))

    def _finished(self, found: Any) -> torch.Tensor:
        """Returns what the model returned in its one form."""
        answer = tensor_in(found)
        answer = answer.to(torch.promote_types(answer.dtype, torch.float32))
        if self.task.one_number:
            return answer.squeeze(1) if answer.ndim == 2 and answer.shape[1] == 1 else answer
        return self.columns(answer)

    def columns(self, answer: torch.Tensor) -> torch.Tensor:
        """Returns the data's columns, (N, K), from what the model returned."""
        if self.single(answer):
            column = answer.reshape(len(answer))
            other = torch.zeros_like(column) if self.kind == "logits" else 1 - column
            answer = torch.stack([other, column], dim=1)
        return answer if self.classes is None else self.classes.apply_tensor(answer, self.kind)

    def single(self, answer: torch.Tensor) -> bool:
        """Whether `answer` is the one column of a binary model."""
        return self.task.binary and (
            answer.ndim == 1 or (answer.ndim == 2 and answer.shape[1] == 1)
        )

    def fits(self, answer: torch.Tensor) -> bool:
        """Whether `answer` has as many columns as the model has classes."""
        if self.classes is None or self.single(answer):
            return True
        return answer.ndim == 2 and answer.shape[1] == self.classes.width

    def _dtype(self) -> torch.dtype:
        # Looked up at each call, so that a cast copy of the module casts its inputs too.
        for parameter in self.model.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return torch.float32


class AnswerHead:
    """The last linear layer of a model, if there is one whose output is the model's answer."""

    def __init__(self, canonical: Canonical, layer: nn.Linear) -> None:
        self._canonical = canonical
        self._layer = layer

    @classmethod
    def find(cls, canonical: Canonical, inputs: torch.Tensor) -> AnswerHead | None:
        """Looks for it by asking the model once; None if no linear layer gives the logits."""
        if canonical.kind != "logits" or canonical.task.one_number:
            return None
        if canonical.classes is not None and canonical.classes.merging:
            return None  # the logit of two classes in one is not linear in the features
        last: list[tuple[nn.Linear, torch.Tensor]] = []
        hooks = [
            layer.register_forward_hook(lambda layer, _, output: last.append((layer, output)))
            for layer in canonical.model.modules()
            if isinstance(layer, nn.Linear)
        ]
        try:
            with torch.no_grad():
                answer = canonical.answer(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        for layer, output in reversed(last):
            if not canonical.fits(output):
                continue
            seen = canonical.columns(output.to(answer.dtype))
            if seen.shape == answer.shape and torch.equal(seen, answer):
                head = cls(canonical, layer)
                return head if head._holds(inputs, answer) else None
        return None

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[torch.Tensor]]:
        """Collects the input of the layer, shape (N, D), while the model is asked."""
        seen: list[torch.Tensor] = []

        def keep(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen[:] = [args[0]]

        hook = self._layer.register_forward_hook(keep)
        try:
            yield seen
        finally:
            hook.remove()

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns weight (K, D) and bias (K,) in float32; two rows where the model has one."""
        weight = self._layer.weight.detach().float()
        bias: torch.Tensor | None = self._layer.bias
        offset = weight.new_zeros(len(weight)) if bias is None else bias.detach().float()
        if len(weight) == 1 and self._canonical.task.binary:
            weight = torch.cat([torch.zeros_like(weight), weight])
            offset = torch.cat([torch.zeros_like(offset), offset])
        classes = self._canonical.classes
        if classes is None or classes.identity:
            return weight, offset
        rows = [of_class[0] for of_class in classes.columns]
        return weight[rows], offset[rows]

    def _holds(self, inputs: torch.Tensor, answer: torch.Tensor) -> bool:
        with torch.no_grad(), self.watched() as seen:
            self._canonical.answer(inputs)
        features = seen[0]
        if features.ndim != 2 or len(features) != len(inputs):
            return False
        weight, bias = self.weights()
        slack = 1e-4 if self._layer.weight.dtype == torch.float32 else 5e-2
        return torch.allclose(features.float() @ weight.T + bias, answer, rtol=slack, atol=slack)


def tensor_in(answer: Any) -> torch.Tensor:
    """Returns the tensor in a model's answer: itself, or what it calls logits."""
    if isinstance(answer, torch.Tensor):
        return answer
    logits = answer.get("logits") if isinstance(answer, dict) else getattr(answer, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    raise OutputError(
        f"expected the model to return a tensor or an object with logits, "
        f"got {type(answer).__name__}"
    )


def ask(
    module: nn.Module, canonical: Canonical, inputs: torch.Tensor, what: str
) -> tuple[torch.Tensor, bool]:
    """Returns the answer to `inputs`, and whether it is the one column of a binary model.

    Finds out on the way whether the module changes its inputs in place.

    Raises:
        InputError: if the model raises, with its own traceback.
    """
    raw: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            raw.append(output)

    hook = module.register_forward_hook(keep)
    canonical.guards = False
    before = inputs._version
    try:
        with torch.no_grad():
            answer = canonical.answer(inputs)
    except OutputError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        raise InputError(
            f"{what} raised {one_line(error)} on made-up samples of shape {tuple(inputs.shape)}",
            detail=user_traceback(error),
        ) from error
    finally:
        hook.remove()
    canonical.guards = inputs._version != before
    return answer, bool(raw) and canonical.single(raw[-1])


def differentiable(canonical: Canonical, inputs: torch.Tensor) -> bool:
    """Whether a gradient of the logits comes back to `inputs`."""
    if not inputs.is_floating_point():
        return False
    asked = inputs.detach().clone().requires_grad_()
    try:
        logits = canonical(asked)
        (gradient,) = torch.autograd.grad(logits.sum(), asked, allow_unused=True)
    except RuntimeError:
        return False
    return gradient is not None


def answers_finitely(canonical: Canonical, encoded: Callable[[], torch.Tensor]) -> bool:
    """Whether the model answers `encoded()` with finite numbers."""
    try:
        with torch.inference_mode():
            answer = canonical.answer(encoded())
    except Exception:
        return False  # it says so itself
    return bool(torch.isfinite(answer).all())


def stacked(frame: Any) -> Any:
    """Returns the columns of a table of numbers as float32, (N, columns).

    Raises:
        InputError: if a column is not numbers.
    """
    try:
        columns = frame.to_numpy(dtype=np.float32, copy=True, na_value=np.nan)
    except (TypeError, ValueError) as error:
        odd = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
        raise InputError(
            f"columns {', '.join(map(repr, odd))} are not numbers: the module must declare "
            "encode(frame) -> Tensor"
        ) from error
    return torch.from_numpy(np.ascontiguousarray(columns))


def stored_bytes(module: nn.Module) -> int:
    """Returns the bytes of a module's parameters and buffers, packed ones too."""
    tensors = [*module.parameters(), *module.buffers()]
    packed = (int(getattr(part, "packed_bytes", 0)) for part in module.modules())
    return sum(tensor.nbytes for tensor in tensors) + sum(packed)
