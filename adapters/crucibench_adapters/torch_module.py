"""``torch:``: any `torch.nn.Module`, from a factory in a file or a module, or live.

A module may say how it wants its inputs:

- ``module.crucibench_input = {"range": [0, 1], "mean": [...], "std": [...], "size": [H, W],
  "channels": 1, "resize": "bilinear", "crop": 1.0}``: what it does to pixels, each key optional;
- ``module.encode(frame) -> Tensor``: what it makes of a table, or of a list of texts. A table
  without it must be all numbers; its columns are stacked as float32 in their order.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import (
    Adapter,
    Opening,
    OutputError,
    Outputs,
    Request,
    Sources,
)
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.devices import fix_precision, synchronise, torch_numerics
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory, load_factory, parse_factory
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line, user_traceback
from crucibench_adapters._form import made_up
from crucibench_adapters._preprocessing import preprocessing, preprocessing_digest

if TYPE_CHECKING:
    import torch

    from crucibench_adapters._torch_canonical import Canonical, Head

_OPTIONS = ("weights", "output")
_VARIANTS = ("fp32", "bf16")


@dataclass(frozen=True)
class _Origin:
    """Where a module came from.

    Attributes:
        what: how messages call it.
        source: the digest of its source files, or None for a live module.
        notes: what was done to load it, one sentence each.
    """

    what: str
    source: str | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Loaded:
    """What the variants of one model share."""

    origin: _Origin
    device: str
    modes: Mapping[str, bool] = field(default_factory=dict)


class TorchAdapter(Adapter):
    """A `torch.nn.Module` in eval mode.

    Options: ``weights=FILE`` (.safetensors, or a .pt or .pth state dict), ``output=probabilities``
    (default: logits). A binary model may have one column, which speaks for the second class.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        _score_kind(uri)
        weights = _weights_file(uri, base)
        ref = parse_factory(uri.rest, base)
        return Sources((*ref.files, *([weights] if weights else [])), ref.facts)

    @classmethod
    def accepts(cls, model: object) -> bool:
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(model, torch.nn.Module)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        import torch

        fix_precision()
        opening.uri.only(*_OPTIONS)
        if opening.live is not None:
            module, origin = opening.live, _Origin("the live module")
            placed = {parameter.device for parameter in module.parameters()}
            if placed - {torch.device(opening.device)}:
                module = copy.deepcopy(module)  # the caller's own module stays where it is
        else:
            module, origin = _from_factory(opening)
            if isinstance(module, Adapter):
                if not hasattr(module, "task"):
                    module.task = opening.data.task
                return module
        module = module.to(opening.device)
        modes = {name: part.training for name, part in module.named_modules()}
        module.eval()
        adapter = cls(module, _Loaded(origin, opening.device, modes), opening)
        adapter._look()
        return adapter

    def __init__(
        self, module: torch.nn.Module, loaded: _Loaded, opening: Opening, variant: str = ""
    ) -> None:
        from crucibench_adapters._torch_canonical import Canonical

        self.task = opening.data.task
        self.score_kind = _score_kind(opening.uri)
        self.input_spec, self.normalisation = preprocessing(module, opening, loaded.origin.what)
        self._module = module
        self._loaded = loaded
        self._opening = opening
        self._variant = variant
        self._canonical: Canonical = Canonical(
            module, self.normalisation, self.score_kind, self.task
        ).to(loaded.device)
        self._canonical.eval()
        self._head: Head | None = None
        self._single = False
        self._fingerprint: Mapping[str, str] | None = None
        self.capabilities = _claimed(self.task, self.score_kind)

    def _predict(self, batch: Batch, want: Request) -> Outputs:
        import torch

        with torch.inference_mode():
            inputs = self.encode(batch)
            with self._watching(want) as features:
                answer = self._canonical.answer(inputs)
        if self.task.kind == "regression":
            return Outputs(values=_array(answer))
        scores = _array(answer)
        return Outputs(
            scores=scores,
            labels=scores.argmax(axis=1) if "labels" in want and scores.ndim == 2 else None,
            features=_array(features[0].float()) if features else None,
        )

    def timed(self, batch: Batch) -> object:
        import torch

        with torch.inference_mode():
            answer = self._canonical.answer(self.encode(batch))
        synchronise(self._loaded.device)
        return answer

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns a batch as the tensor that `module` takes, on the model's device."""
        import torch

        inputs = batch.inputs
        own = getattr(self._module, "encode", None)
        if self.task.modality is Modality.IMAGE:
            encoded = inputs
        elif own is None:
            encoded = _stacked(inputs)
        else:
            with torch.no_grad():
                encoded = own(inputs)
        if not isinstance(encoded, torch.Tensor):
            raise OutputError(
                f"encode: expected a tensor, got {type(encoded).__name__} from "
                f"{self._loaded.origin.what}"
            )
        return encoded.to(self._loaded.device)

    def module(self) -> torch.nn.Module:
        if Capability.GRADIENTS not in self.capabilities:
            raise InputError(f"{self._loaded.origin.what} has no gradients")
        return self._canonical

    def head(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        if self._head is None:
            raise InputError(f"{self._loaded.origin.what} has no linear head")
        weight, bias = self._head.weights()
        return _array(weight), _array(bias)

    def fingerprint(self) -> Mapping[str, str] | None:
        if self._fingerprint is None:
            self._fingerprint = self._digests()
        return self._fingerprint or None

    def with_variant(self, name: str) -> Adapter:
        import torch

        if name not in _VARIANTS:
            raise InputError(unknown("variant", name, _VARIANTS))
        dtype = torch.float32 if name == "fp32" else torch.bfloat16
        floating = {p.dtype for p in self._module.parameters() if p.is_floating_point()}
        if floating <= {dtype}:
            return self
        shared = _Loaded(self._loaded.origin, self._loaded.device)
        cast_copy = copy.deepcopy(self._module).to(dtype)
        variant = TorchAdapter(cast_copy, shared, self._opening, name)
        variant._fingerprint = {**(self.fingerprint() or {}), "variant": name}
        if self.fingerprint() is None:
            variant._fingerprint = {}
        variant._look()
        return variant

    def diagnostics(self) -> Mapping[str, Any]:
        notes = list(self._loaded.origin.notes)
        if self._single:
            column = "logit" if self.score_kind == "logits" else "probability"
            notes.append(
                f"the model's one column is taken as the {column} of class {self.task.classes[1]!r}"
            )
        return {
            "training_modules": [
                name or type(part).__name__
                for name, part in self._module.named_modules()
                if part.training
            ],
            "parameters": sum(parameter.numel() for parameter in self._module.parameters()),
            "notes": notes,
        }

    def numerics(self) -> Mapping[str, str]:
        dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in self._parameters()}
        return torch_numerics(self._loaded.device) | {"dtype": ",".join(sorted(dtypes))}

    def close(self) -> None:
        for name, part in self._module.named_modules():
            part.training = self._loaded.modes.get(name, part.training)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (entry for entry in self._module.parameters() if entry.is_floating_point())

    @contextlib.contextmanager
    def _watching(self, want: Request) -> Iterator[list[torch.Tensor]]:
        if "features" in want and self._head is not None:
            with self._head.watched() as seen:
                yield seen
        else:
            yield []

    def _look(self) -> None:
        """Asks the model about made-up samples: what it answers decides what is claimed.

        Raises:
            InputError: if the model raises, or has another number of classes than the data.
        """
        if self.task.modality is Modality.TEXT and not hasattr(self._module, "encode"):
            raise InputError(
                f"{self._loaded.origin.what}: a torch model for text declares "
                "encode(texts) -> Tensor"
            )
        batch = made_up(self._opening.data, self.input_spec)
        if batch is None:
            return
        try:
            inputs = self.encode(batch)
        except InputError:
            raise
        except Exception:
            return  # what its own encode knows, e.g. which categories, can't be made up
        answer = self._asked(inputs)
        if self.task.kind == "classification":
            self._check_columns(answer)
        self.capabilities = self._seen(inputs, batch)

    def _asked(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch

        what = self._loaded.origin.what
        raw: list[torch.Tensor] = []

        def keep(module: Any, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                raw.append(output)

        hook = self._module.register_forward_hook(keep)
        self._canonical.guards = False
        before = inputs._version
        try:
            with torch.no_grad():
                answer = self._canonical.answer(inputs)
        except OutputError as error:
            raise InputError(f"{what}: {error}") from error
        except Exception as error:
            raise InputError(
                f"{what} raised {one_line(error)} on made-up samples of shape "
                f"{tuple(inputs.shape)}",
                detail=user_traceback(error),
            ) from error
        finally:
            hook.remove()
        self._canonical.guards = inputs._version != before
        self._single = bool(raw) and self._canonical.single(raw[-1])
        return answer

    def _check_columns(self, answer: torch.Tensor) -> None:
        shape, classes = tuple(answer.shape), len(self.task.classes)
        if len(shape) != 2 or shape[1] != classes:
            raise InputError(
                f"{self._loaded.origin.what}: the data has {classes} classes, the model answers "
                f"{shape[0]} samples with shape {shape}"
            )

    def _seen(self, inputs: torch.Tensor, batch: Batch) -> frozenset[Capability]:
        from crucibench_adapters._torch_canonical import Head

        seen = set(self.capabilities)
        self._head = Head.find(self._canonical, inputs)
        if self._head is not None:
            seen |= {Capability.FEATURES, Capability.HEAD}
        if not self._differentiable(inputs):
            seen -= {Capability.GRADIENTS}
        if self.task.modality is Modality.TABLE and self._takes_missing(batch):
            seen |= {Capability.MISSING_VALUES}
        return frozenset(seen)

    def _differentiable(self, inputs: torch.Tensor) -> bool:
        import torch

        if not inputs.is_floating_point():
            return False
        asked = inputs.detach().clone().requires_grad_()
        try:
            logits = self._canonical(asked)
            (gradient,) = torch.autograd.grad(logits.sum(), asked, allow_unused=True)
        except RuntimeError:
            return False
        return gradient is not None

    def _takes_missing(self, batch: Batch) -> bool:
        import torch

        frame = batch.inputs.astype("float64")
        frame.iloc[:, :] = np.nan
        try:
            with torch.inference_mode():
                answer = self._canonical.answer(self.encode(batch.with_inputs(frame)))
        except Exception:
            return False  # it says so itself
        return bool(torch.isfinite(answer).all())

    def _digests(self) -> dict[str, str]:
        """Returns the fingerprint, empty if there is none."""
        from crucibench_adapters._torch_facts import class_sources, configuration
        from crucibench_adapters._torch_weights import weights_digest

        live = self._loaded.origin.source is None
        digests = {
            "weights": weights_digest(self._module, buffers=live),
            "source": class_sources(self._module) if live else self._loaded.origin.source,
            "configuration": configuration(self._module, strict=live),
        }
        known = {key: digest for key, digest in digests.items() if digest is not None}
        if len(known) < len(digests):
            return {}
        return known | {
            "preprocessing": preprocessing_digest(self.input_spec, self.normalisation),
            "output": self.score_kind,
        }


def _claimed(task: Task, kind: ScoreKind) -> frozenset[Capability]:
    """Returns what any module is taken to answer until it was asked."""
    if task.kind == "regression":
        return frozenset({Capability.VALUES, Capability.GRADIENTS, Capability.ANY_INPUT})
    claimed = {Capability.LABELS, Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    return frozenset(claimed | {Capability.LOGITS} if kind == "logits" else claimed)


def _from_factory(opening: Opening) -> tuple[Any, _Origin]:
    import torch

    from crucibench_adapters._torch_weights import fit_weights, read_weights

    ref = parse_factory(opening.uri.rest, opening.base)
    weights = _weights_file(opening.uri, opening.base)
    made = call_factory(load_factory(ref), str(ref))
    if isinstance(made, Adapter):
        if opening.uri.query:
            raise InputError(f"{ref} returns an adapter, which takes no options")
        return made, _Origin(str(ref))
    if not isinstance(made, torch.nn.Module):
        raise InputError(
            f"{ref}: expected the factory to return a torch.nn.Module or an Adapter, "
            f"got {type(made).__name__}"
        )
    notes: list[str] = []
    if weights is not None:
        state = read_weights(weights, allow_pickle=opening.allow_pickle)
        notes = fit_weights(made, state, weights, str(ref))
    return made.requires_grad_(False), _Origin(str(ref), ref.digest(), tuple(notes))


def _weights_file(uri: URI, base: Path) -> Path | None:
    if "weights" not in uri.query:
        return None
    name = uri.query["weights"]
    suffixes = (".safetensors", ".pt", ".pth")
    if Path(name).suffix not in suffixes:
        raise InputError(f"weights {name!r}: expected {', '.join(suffixes[:-1])} or {suffixes[-1]}")
    return existing_file(base, name, "weights")


def _score_kind(uri: URI) -> ScoreKind:
    known = ("logits", "probabilities")
    kind = uri.query.get("output", "logits")
    if kind not in known:
        raise InputError(unknown("output of torch:", kind, known))
    return cast("ScoreKind", kind)


def _stacked(frame: Any) -> Any:
    import torch

    try:
        columns = frame.to_numpy(dtype=np.float32, copy=True, na_value=np.nan)
    except (TypeError, ValueError) as error:
        odd = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
        raise InputError(
            f"columns {', '.join(map(repr, odd))} are not numbers: the module must declare "
            "encode(frame) -> Tensor"
        ) from error
    return torch.from_numpy(np.ascontiguousarray(columns))


def _array(tensor: torch.Tensor) -> NDArray[np.floating[Any]]:
    return cast("NDArray[np.floating[Any]]", tensor.cpu().numpy())
