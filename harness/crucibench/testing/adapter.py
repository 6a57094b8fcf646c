"""The conformance kit: whether an adapter keeps the promises that the harness builds on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.task import Modality, Task
from crucibench.util.errors import CrucibenchError

_PROMISED = {
    Capability.LABELS: "labels",
    Capability.SCORES: "scores",
    Capability.VALUES: "values",
    Capability.FEATURES: "features",
}
_FEWEST = 3


def check_adapter(
    open_adapter: Callable[[], Adapter], batch: Batch, *, tolerance: float = 1e-4
) -> None:
    """Checks that an adapter keeps the contract.

    Args:
        open_adapter: opens the same model anew at each call.
        batch: at least three different samples, with rows and keys where the model needs them.
        tolerance: what counts as float noise, relative to 1 + the size of the answer.

    Raises:
        AssertionError: naming the promise that is broken, and how.
        ValueError: if `batch` is too small to tell.
    """
    if len(batch) < _FEWEST:
        raise ValueError(f"batch: expected at least {_FEWEST} samples, got {len(batch)}")
    adapter = open_adapter()
    check = _Check(adapter, batch, tolerance)
    for keeps in (
        check.declaration, check.answers, check.inputs_untouched, check.repeat, check.order,
        check.alone, check.probabilities, check.any_input, check.missing_values, check.gradients,
        check.head, check.facts,
    ):  # fmt: skip
        keeps()
    check.fingerprint(open_adapter)
    check.clock()
    adapter.close()


class _Check:
    def __init__(self, adapter: Adapter, batch: Batch, tolerance: float) -> None:
        self.adapter = adapter
        self.batch = batch
        self.tolerance = tolerance
        self.name = type(adapter).__name__

    def has(self, capability: Capability) -> bool:
        return capability in self.adapter.capabilities

    def require(self, held: bool | np.bool_, promise: str, sentence: str) -> None:
        if not held:
            raise AssertionError(f"{self.name}: {promise}: {sentence}")

    def ask(self, batch: Batch, promise: str) -> dict[str, NDArray[Any]]:
        """Asks for all that is promised; returns it by name."""
        want = frozenset(name for key, name in _PROMISED.items() if self.has(key))
        try:
            outputs: Answer = self.adapter.predict(batch, want)
        except Exception as error:
            raise AssertionError(
                f"{self.name}: {promise}: predict raised {type(error).__name__}: {error}"
            ) from error
        return {name: getattr(outputs, name) for name in sorted(want)}

    def same(
        self,
        promise: str,
        sentence: str,
        answers: Mapping[str, NDArray[Any]],
        expected: Mapping[str, NDArray[Any]],
    ) -> None:
        """Requires equal labels, and floats within the tolerance."""
        for name, wanted in expected.items():
            apart = _apart(answers[name], wanted)
            exact = name == "labels"
            self.require(
                apart <= (0 if exact else self.tolerance),
                promise,
                f"{sentence}: {name} lie {apart:.3g} apart",
            )

    # The promises, in the order in which they are checked.

    def declaration(self) -> None:
        adapter = self.adapter
        for attribute, kind in (
            ("input_spec", InputSpec),
            ("capabilities", frozenset),
            ("task", Task),
        ):
            self.require(
                isinstance(getattr(adapter, attribute, None), kind),
                "declaration",
                f"{attribute} is not a {kind.__name__}",
            )
        self.require(
            all(isinstance(entry, Capability) for entry in adapter.capabilities),
            "declaration",
            "capabilities holds other things than Capability",
        )
        self.require(
            adapter.score_kind in {"logits", "probabilities"},
            "declaration",
            f"score_kind is {adapter.score_kind!r}",
        )
        needed = Capability.VALUES if adapter.task.one_number else Capability.LABELS
        self.require(
            self.has(needed), "declaration", f"{adapter.task.kind} without the capability {needed}"
        )
        implied = {
            Capability.LOGITS: Capability.SCORES,
            Capability.HEAD: Capability.FEATURES,
            Capability.GRADIENTS: Capability.ANY_INPUT,
        }
        for capability, other in implied.items():
            self.require(
                not self.has(capability) or self.has(other),
                "declaration",
                f"the capability {capability} without {other}",
            )
        self.require(
            not self.has(Capability.LOGITS) or adapter.score_kind == "logits",
            "declaration",
            "the capability logits with scores that are probabilities",
        )

    def answers(self) -> None:
        for name, array in self.ask(self.batch, "answers").items():
            wanted = np.integer if name == "labels" else np.floating
            self.require(
                np.issubdtype(array.dtype, wanted),
                "answers",
                f"{name} are {array.dtype}, expected {wanted.__name__}",
            )

    def inputs_untouched(self) -> None:
        before = copy.deepcopy(self.batch.inputs)
        self.ask(self.batch, "inputs")
        self.require(
            _equal(self.batch.inputs, before), "inputs", "predict changes the batch in place"
        )

    def repeat(self) -> None:
        first, second = (self.ask(self.batch, "repeat") for _ in range(2))
        self.same("repeat", "the same batch is answered differently", second, first)

    def order(self) -> None:
        rows = np.random.default_rng(0).permutation(len(self.batch))
        if (rows == np.arange(len(rows))).all():
            rows = rows[::-1]
        straight = self.ask(self.batch, "order")
        moved = self.ask(self.batch.take(rows.tolist()), "order")
        self.same(
            "order",
            "answers depend on the order of the samples",
            moved,
            {name: array[rows] for name, array in straight.items()},
        )

    def alone(self) -> None:
        together = self.ask(self.batch, "batch of one")
        for row in range(min(len(self.batch), 8)):
            self.same(
                "batch of one",
                "answers depend on which samples share a batch",
                self.ask(self.batch.take([row]), "batch of one"),
                {name: array[[row]] for name, array in together.items()},
            )

    def probabilities(self) -> None:
        if not self.has(Capability.SCORES) or self.adapter.score_kind != "probabilities":
            return
        scores = self.ask(self.batch, "probabilities")["scores"]
        self.require(
            scores.min() >= 0 and scores.max() <= 1,
            "probabilities",
            f"they reach from {scores.min():.3g} to {scores.max():.3g}",
        )
        off = float(np.abs(scores.sum(axis=1) - 1).max())
        self.require(off <= 1e-3, "probabilities", f"a row's sum is off 1 by {off:.3g}")

    def any_input(self) -> None:
        if self.has(Capability.ANY_INPUT):
            self.ask(self.batch.with_inputs(_perturbed(self.batch.inputs)), "any-input")

    def missing_values(self) -> None:
        if not self.has(Capability.MISSING_VALUES):
            return
        self.require(
            self.adapter.task.modality is Modality.TABLE, "missing-values", "the data is no table"
        )
        self.ask(self.batch.with_inputs(_with_gaps(self.batch.inputs)), "missing-values")

    def gradients(self) -> None:
        if not self.has(Capability.GRADIENTS):
            return
        import torch

        try:
            module = self.adapter.module()
            inputs = self.adapter.encode(self.batch).detach().clone()
            self.require(inputs.is_floating_point(), "gradients", "the encoding is not floating")
            self._agrees(module(inputs).detach())
            inputs = _off_ties(inputs)
            answer = module(inputs)
            weights = torch.randn(
                answer.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
            ).to(answer)
            (gradient,) = torch.autograd.grad((answer * weights).sum(), inputs, allow_unused=True)
        except (CrucibenchError, RuntimeError) as error:
            raise AssertionError(f"{self.name}: gradients: {error}") from error
        self.require(gradient is not None, "gradients", "module() cuts them off its input")
        self.require(
            bool(torch.isfinite(gradient).all()), "gradients", "the gradient is not finite"
        )
        self.require(bool(gradient.abs().max() > 0), "gradients", "the gradient is zero")
        self._slope(module, inputs.detach(), weights, gradient)

    def head(self) -> None:
        if not self.has(Capability.HEAD):
            return
        answers = self.ask(self.batch, "head")
        try:
            weight, bias = self.adapter.head()
        except CrucibenchError as error:
            raise AssertionError(f"{self.name}: head: {error}") from error
        logits = answers["features"] @ weight.T + bias
        apart = _apart(_log_softmax(logits), _log_softmax(self._logits(answers["scores"])))
        self.require(
            apart <= 10 * self.tolerance,
            "head",
            f"features @ weight.T + bias lie {apart:.3g} from the scores",
        )

    def facts(self) -> None:
        for name in ("numerics", "diagnostics"):
            found = getattr(self.adapter, name)()
            try:
                json.dumps(dict(found), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"{self.name}: {name}: not plain data: {error}") from error
        named = self.adapter.diagnostics().get("training_modules")
        self.require(not named, "eval mode", f"left in train mode: {named}")

    def fingerprint(self, open_adapter: Callable[[], Adapter]) -> None:
        first = self.adapter.fingerprint()
        other = open_adapter()
        second = other.fingerprint()
        other.close()
        if first is None or second is None:
            self.require(first is second, "fingerprint", "one opening has one, another has none")
            self.require(
                bool(self.adapter.unidentified()), "fingerprint", "unidentified() does not say why"
            )
            return
        self.require(
            bool(first) and all(isinstance(part, str) for part in [*first, *first.values()]),
            "fingerprint",
            "expected a mapping from str to str that is not empty",
        )
        differing = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
        self.require(
            not differing, "fingerprint", f"{', '.join(differing)} differ between two openings"
        )

    def clock(self) -> None:
        try:
            self.adapter.timed(self.batch)
        except Exception as error:
            raise AssertionError(
                f"{self.name}: timed raised {type(error).__name__}: {error}"
            ) from error

    # What they need.

    def _logits(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        if self.adapter.score_kind == "logits":
            return scores.astype(np.float64)
        return np.log(np.clip(scores.astype(np.float64), 1e-30, None))

    def _agrees(self, answer: Any) -> None:
        """Requires `module` to say what `predict` says."""
        answers = self.ask(self.batch, "gradients")
        own = answer.cpu().double().numpy()
        if self.adapter.task.one_number:
            apart = _apart(own, answers["values"])
        else:
            # Compared as probabilities: a constant added to all logits of a row means nothing.
            answered, expected = (
                np.exp(_log_softmax(logits)) for logits in (own, self._logits(answers["scores"]))
            )
            apart = _apart(answered, expected)
        self.require(
            apart <= self.tolerance, "gradients", f"module() lies {apart:.3g} from predict"
        )

    def _slope(self, module: Any, inputs: Any, weights: Any, gradient: Any) -> None:
        """Requires the gradient to be the slope of what module() answers, in float64."""
        import torch

        precise = copy.deepcopy(module).double()
        generator = torch.Generator().manual_seed(1)
        direction = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
        direction = direction.to(inputs.device) / direction.norm()
        step = 1e-6 * max(1.0, float(inputs.abs().max()))
        try:
            with torch.no_grad():
                up, down = (
                    float((precise(inputs.double() + sign * step * direction) * weights).sum())
                    for sign in (1, -1)
                )
        except RuntimeError as error:
            raise AssertionError(
                f"{self.name}: gradients: module().double() fails: {error}"
            ) from error
        slope = (up - down) / (2 * step)
        along = float((gradient.double() * direction).sum())
        scale = float(gradient.double().norm()) / np.sqrt(gradient.numel())
        slack = max(0.05, 10 * self.tolerance)
        self.require(
            abs(slope - along) <= slack * max(abs(slope), abs(along), scale),
            "gradients",
            f"the gradient says {along:.4g} along a direction in which the slope is {slope:.4g}",
        )


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Returns the largest difference, relative to 1 + the size of `b`; inf for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((np.abs(a - b) / (1 + np.abs(b))).max(initial=0.0))


def _off_ties(inputs: Any) -> Any:
    """Returns a point nearby: where inputs are equal, e.g. black, a maximum has no slope."""
    import torch

    generator = torch.Generator().manual_seed(2)
    noise = torch.rand(inputs.shape, generator=generator).to(inputs)
    return (inputs + 0.01 * noise * inputs.abs().max()).requires_grad_()


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    normaliser: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted - normaliser


def _equal(a: Any, b: Any) -> bool:
    if hasattr(a, "equals"):
        return bool(a.equals(b))
    if isinstance(a, list):
        return bool(a == b)
    return np.array_equal(a.cpu().numpy(), b.cpu().numpy(), equal_nan=True)


def _perturbed(inputs: Any) -> Any:
    if isinstance(inputs, list):
        return [_emptied(entry) for entry in inputs]
    if hasattr(inputs, "select_dtypes"):
        changed = inputs.copy()
        for name in inputs.select_dtypes("float").columns:
            changed[name] = inputs[name] * 0.9
        return changed
    return inputs * 0.9


def _emptied(entry: Any) -> Any:
    return tuple("" for _ in entry) if isinstance(entry, tuple) else ""


def _with_gaps(frame: Any) -> Any:
    changed = frame.copy()
    for name in frame.select_dtypes("number").columns:
        changed[name] = frame[name].astype("float64")
        changed.loc[changed.index[0], name] = np.nan
    return changed
