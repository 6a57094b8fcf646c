"""``torch:``: any `torch.nn.Module`, from a factory, an exported program (``.pt2``), or live.

A module may say how it wants its inputs, and what its classes are:

- ``module.crucibench_input = {"range": [0, 1], "mean": [...], "std": [...], "size": [H, W],
  "channels": 1, "resize": "bilinear", "crop": 1.0, "fit": "crop"}``: what it does to pixels, each
  key optional; ``"fit": "stretch"`` gives images the proportions of ``size``; ``"sizes": "own"``
  gives it a list of images (C, H, W) in their own sizes, or each stretched to ``size``;
- ``module.encode(frame) -> Tensor``: what it makes of a table, or of a list of texts. A table
  without it must be all numbers; its columns are stacked as float32 in their order;
- ``module.crucibench_classes = ["cat", "dog"]``: the names of its classes in the order of its
  scores, which are matched to the data's by name.

Where an answer holds lists (boxes, labels), a module returns one dict a sample, from the field's
name to a tensor (m,) or (m, k); boxes are in pixels of the image that it was given.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.contracts.task import Modality, OutputError
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.devices import fix_precision, torch_numerics, watch
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest
from crucibench.util.libraries import library_versions
from crucibench.util.loading import call_factory, load_factory, parse_factory
from crucibench.util.suggest import unknown
from crucibench_adapters._classes import ClassMap
from crucibench_adapters._outputs import (
    capabilities_of,
    label_places,
    list_answer,
    list_capabilities,
    list_fields,
    scales_of,
)
from crucibench_adapters._preprocessing import (
    described_preprocessing,
    made_up,
    own_resize,
    preprocessing,
    preprocessing_digest,
)

if TYPE_CHECKING:
    import torch

    from crucibench_adapters._torch_canonical import AnswerHead, Canonical
    from crucibench_adapters._torch_variants import TorchForm


class TorchAdapter(Adapter):
    """A `torch.nn.Module` in eval mode.

    Options: ``weights=FILE`` (.safetensors, or a .pt or .pth state dict), ``output=probabilities``
    (default: logits). A binary model may have one column, which speaks for the second class.
    """

    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        return torch_sources(uri, base)

    @classmethod
    def accepts(cls, model: object) -> bool:
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(model, torch.nn.Module)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        import torch

        fix_precision()
        opening.uri.only(*OPTIONS)
        if opening.live is not None:
            module, origin = opening.live, Origin("the live module")
            placed = {parameter.device for parameter in module.parameters()}
            if placed - {torch.device(opening.device)}:
                module = copy.deepcopy(module)  # the caller's own module stays where it is
        else:
            module, origin = from_address(opening)
            if isinstance(module, Adapter):
                if not hasattr(module, "task"):
                    module.task = opening.data.task
                return module
        module = module.to(opening.device)
        modes = {name: part.training for name, part in module.named_modules()}
        module.eval()
        adapter = cls(module, Loaded(origin, opening.device, modes), opening)
        adapter._look()
        return adapter

    def __init__(
        self,
        module: torch.nn.Module,
        loaded: Loaded,
        opening: Opening,
        form: TorchForm | None = None,
    ) -> None:
        from crucibench_adapters._torch_canonical import Canonical

        self.task = opening.data.task
        self.score_kind = score_kind(opening.uri)
        self.input_spec, self.normalisation = preprocessing(module, opening, loaded.origin.what)
        self._module = module
        self._loaded = loaded
        self.device = loaded.device
        self._watch = watch(loaded.device)
        self._opening = opening
        self._form = form
        self._canonical: Canonical = Canonical(
            module, self.normalisation, self.score_kind, self.task
        ).to(loaded.device)
        self._canonical.eval()
        self._canonical.setting = None if form is None else form.setting
        self._classes = ClassMap.by_position(0)
        self._head: AnswerHead | None = None
        self._single = False
        self._fingerprint: Mapping[str, str] | None = None
        self._unidentified = ""
        self._libraries: frozenset[str] = frozenset()
        kind = "values" if self.task.one_number else self.score_kind
        self._lists = bool(list_fields(self.task))
        self._own_sizes = self.input_spec.own_sizes
        self._resize = own_resize(module, opening, loaded.origin.what) if self._own_sizes else None
        self.capabilities = capabilities_of(kind) | {Capability.GRADIENTS}
        if self._own_sizes:
            self.capabilities -= {Capability.GRADIENTS}
        if self._lists:
            self.capabilities = list_capabilities(self.task)
            names, declared = getattr(module, "crucibench_classes", None), opening.classes
            if isinstance(declared, Mapping):
                names = None if names is None else [declared.get(name, name) for name in names]
            elif declared is not None:
                names = declared
            self._places = label_places(names, self.task, loaded.origin.what)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        import torch

        with torch.inference_mode():
            inputs = self._encoded(batch)
            if self._lists:
                return self._read_lists(self._canonical.lists(inputs), batch)
            with self._watching(want) as features:
                answer = self._canonical.answer(inputs)
        if self.task.one_number:
            return Answer(values=_array(answer))
        scores = _array(answer)
        return Answer(
            scores=scores,
            labels=scores.argmax(axis=1) if "labels" in want and scores.ndim == 2 else None,
            features=_array(features[0].float()) if features else None,
        )

    def timed(self, batch: Batch) -> object:
        return self._direct(self._given(batch))

    def timed_encoded(self, inputs: torch.Tensor) -> object:
        return self._direct(inputs)

    def timed_raw(self, batch: Batch) -> object:
        import torch

        raw = getattr(self._module, "raw", None)
        if not (self._lists and callable(raw)):
            return super().timed_raw(batch)
        with torch.inference_mode():
            return self._watch.around(
                lambda given: raw(self._canonical.prepared(given)), self._encoded(batch)
            )

    @cached_property
    def _given(self) -> Callable[[Batch], Any]:
        here = self._loaded.device == "cpu" and not self._own_sizes
        if here and self.task.modality is Modality.IMAGE:
            return attrgetter("inputs")
        return self._encoded

    @cached_property
    def _direct(self) -> Callable[[Any], object]:
        """What a timed query asks: nothing is in its time that need not be."""
        import torch

        around, quietly = self._watch.around, torch.inference_mode
        direct = self._canonical.lists if self._lists else self._canonical.direct()

        def ask(inputs: Any) -> object:
            with quietly():
                return around(direct, inputs)

        return ask

    def device_seconds(self) -> float | None:
        return self._watch.seconds()

    def read_timed(self, answer: object) -> Answer | None:
        import torch

        as_is = self._resize is None and self.input_spec.size is None
        if self._lists and as_is and isinstance(answer, list):
            return list_answer(answer, self.task, None, len(answer), self._places)
        if not isinstance(answer, torch.Tensor):
            return None
        array = _array(answer)
        return Answer(values=array) if self.task.one_number else Answer(scores=array)

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns a batch as the tensor that `module` takes, on the model's device."""
        import torch

        from crucibench_adapters._torch_canonical import stacked

        inputs = batch.inputs
        own = getattr(self._module, "encode", None)
        if self.task.modality is Modality.IMAGE:
            encoded = inputs
        elif own is None:
            encoded = stacked(inputs)
        else:
            with torch.no_grad():
                encoded = own(inputs)
        if not isinstance(encoded, torch.Tensor):
            raise OutputError(
                f"encode: expected a tensor, got {type(encoded).__name__} from "
                f"{self._loaded.origin.what}"
            )
        return encoded.to(self._loaded.device)

    def _encoded(self, batch: Batch) -> Any:
        """Returns a batch as the model takes it: images of their own sizes as a list."""
        if not self._own_sizes:
            return self.encode(batch)
        images = [image.to(self._loaded.device) for image in batch.inputs]
        return images if self._resize is None else [self._stretched(image) for image in images]

    def _stretched(self, image: torch.Tensor) -> torch.Tensor:
        import torch

        mode = self.input_spec.resize
        return torch.nn.functional.interpolate(
            image[None], self._resize, mode=mode, antialias=mode != "nearest"
        )[0]

    def _read_lists(self, found: Any, batch: Batch) -> Answer:
        scales = scales_of(batch, self.input_spec)
        if self._resize is not None:
            height, width = self._resize
            scales = [(width / one.shape[2], height / one.shape[1]) for one in batch.inputs]
        return list_answer(found, self.task, scales, len(batch), self._places)

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
            from crucibench.util.content import OpaqueError

            try:
                self._fingerprint = self._digests()
            except OpaqueError as error:
                self._fingerprint, self._unidentified = {}, error.sentence
        return self._fingerprint or None

    def unidentified(self) -> str:
        return "" if self.fingerprint() else self._unidentified

    def with_variant(self, name: str) -> Adapter:
        from crucibench_adapters._torch_variants import check_name, in_form

        check_name(name)
        what = self._loaded.origin.what
        if self._loaded.origin.program:
            if name == "fp32":
                return self
            raise InputError(
                f"{what}: an exported program has no variant {name!r}: it computes as it was "
                "exported"
            )
        _, inputs = self._made_up()

        def ask(module: torch.nn.Module) -> bool:
            if inputs is not None:
                module(self._canonical.prepared(inputs))
            return inputs is not None

        try:
            module, form = in_form(name, self._module, self._loaded.device, ask)
        except InputError as error:
            raise type(error)(f"{what}: {error}", detail=error.detail) from error
        if module is self._module and form.setting is None:
            return self
        loaded = Loaded(self._loaded.origin, self._loaded.device)
        variant = type(self)(module, loaded, self._opening, form)
        known = self.fingerprint()
        variant._fingerprint = {} if known is None else {**known, "variant": name}
        variant._unidentified, variant._libraries = self._unidentified, self._libraries
        variant._look()
        if form.finish is not None:
            form.finish(module)
            variant._head = None
            variant.capabilities -= {Capability.FEATURES, Capability.HEAD}
        return variant

    def diagnostics(self) -> Mapping[str, Any]:
        from crucibench_adapters._torch_canonical import stored_bytes

        notes = list(self._loaded.origin.notes)
        if self._single:
            column = "logit" if self.score_kind == "logits" else "probability"
            notes.append(
                f"the model's one column is taken as the {column} of class {self._second()!r}"
            )
        return {
            "training_modules": [
                *(
                    name or type(part).__name__
                    for name, part in self._module.named_modules()
                    if part.training
                ),
                *getattr(self._module, "training_nodes", ()),
            ],
            "preprocessing": self._preprocessing(),
            **self._classes.diagnostics(),
            "parameters": sum(parameter.numel() for parameter in self._module.parameters()),
            "weight_bytes": stored_bytes(self._module),
            **({} if self._form is None else self._form.measured),
            "notes": notes,
        }

    def numerics(self) -> Mapping[str, str]:
        from crucibench_adapters._torch_files import placement

        dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in self._parameters()}
        setting = self._canonical.setting or contextlib.nullcontext
        with setting():
            facts = torch_numerics(self._loaded.device)
        facts |= {"dtype": ",".join(sorted(dtypes))}
        facts |= {} if self._form is None else self._form.numerics
        self.fingerprint()  # finds out which libraries there are
        facts |= library_versions(self._libraries)
        placed = placement(self._module)
        return facts | {"weights": placed} if placed else facts

    def close(self) -> None:
        for name, part in self._module.named_modules():
            part.training = self._loaded.modes.get(name, part.training)

    def _second(self) -> str:
        """Returns the class of the data that the second of two columns speaks for."""
        pairs = zip(self.task.classes, self._classes.columns, strict=True)
        return next((name for name, columns in pairs if 1 in columns), self.task.classes[1])

    def _preprocessing(self) -> dict[str, str]:
        dtypes = sorted({str(entry.dtype).removeprefix("torch.") for entry in self._parameters()})
        dtype = getattr(self._module, "input_dtype", None) or (dtypes[0] if dtypes else "float32")
        if self.task.modality is Modality.IMAGE:
            return described_preprocessing(self.input_spec, self.normalisation, dtype)
        own = hasattr(self._module, "encode")
        how = "the module's own encode" if own else "columns stacked in their order as float32"
        return {"encoding": how, "dtype": dtype}

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
        from crucibench_adapters._torch_canonical import ask

        what = self._loaded.origin.what
        if self.task.modality is Modality.TEXT and not hasattr(self._module, "encode"):
            raise InputError(f"{what}: a torch model for text declares encode(texts) -> Tensor")
        batch, inputs = self._made_up()
        answer = None
        if inputs is not None:
            answer, self._single = ask(self._module, self._canonical, inputs, what)
        if self.task.classes and not self._lists:
            self._match_classes(answer)
        if inputs is not None and batch is not None:
            self.capabilities = self._seen(inputs, batch)

    def _made_up(self) -> tuple[Batch | None, torch.Tensor | None]:
        """Returns made-up samples and their encoding, each None where there can be none."""
        batch = made_up(self._opening.data, self.input_spec)
        if batch is None or self._own_sizes or self._lists:
            return None, None
        try:
            return batch, self.encode(batch)
        except InputError:
            raise
        except Exception:
            return batch, None  # what its own encode knows, e.g. which categories, can't be made up

    def _match_classes(self, answer: torch.Tensor | None) -> None:
        """Matches the model's columns to the data's, by what names it gives them.

        Raises:
            InputError: if they don't match.
        """
        what, names = self._loaded.origin.what, getattr(self._module, "crucibench_classes", None)
        if names is not None and (isinstance(names, str) or not isinstance(names, Sequence)):
            raise InputError(
                f"{what}: crucibench_classes: expected a list of names, got {type(names).__name__}"
            )
        width, declared = None, self._opening.classes
        if answer is not None:
            shape, classes = tuple(answer.shape), len(self.task.classes)
            if len(shape) != 2 or (names is None and not declared and shape[1] != classes):
                raise InputError(
                    f"{what}: the data has {classes} classes, the model answers {shape[0]} samples "
                    f"with shape {shape}"
                )
            width = shape[1]
        self._classes = ClassMap.match(names, self.task, what, declared=declared, width=width)
        self._canonical.classes = self._classes

    def _seen(self, inputs: torch.Tensor, batch: Batch) -> frozenset[Capability]:
        from crucibench_adapters._torch_canonical import (
            AnswerHead,
            answers_finitely,
            differentiable,
        )

        seen = set(self.capabilities)
        self._head = AnswerHead.find(self._canonical, inputs)
        if self._head is not None:
            seen |= {Capability.FEATURES, Capability.HEAD}
        if not differentiable(self._canonical, inputs):
            seen -= {Capability.GRADIENTS}
        if self.task.modality is Modality.TABLE:
            frame = batch.inputs.astype("float64")
            frame.iloc[:, :] = np.nan
            gaps = batch.with_inputs(frame)
            if answers_finitely(self._canonical, lambda: self.encode(gaps)):
                seen |= {Capability.MISSING_VALUES}
        return frozenset(seen)

    def _digests(self) -> dict[str, str]:
        """Returns the fingerprint.

        Raises:
            OpaqueError: if there is none, naming what of the model can't be told.
        """
        return self._of_module() | {
            "preprocessing": preprocessing_digest(
                self.input_spec, self.normalisation, self._resize
            ),
            "output": self.score_kind,
            **self._classes.fingerprint(),
        }

    def _of_module(self) -> dict[str, str]:
        """Returns digests of the module and of where it came from."""
        from crucibench_adapters._torch_files import module_digests

        origin = self._loaded.origin
        if origin.program:
            return {"program": origin.program}
        folders = [self._opening.base, *([origin.folder] if origin.folder else [])]
        found, self._libraries = module_digests(self._module, folders, self._ask_made_up)
        return found | ({} if origin.source is None else {"source": origin.source})

    def _ask_made_up(self, question: int) -> None:
        """Asks about made-up samples: 0 as often before, 1 other and fewer ones."""
        import torch

        with contextlib.suppress(Exception), torch.inference_mode():
            _, inputs = self._made_up()
            if inputs is not None and question:
                inputs = inputs[1:] / 2 if inputs.is_floating_point() else inputs[1:].flip(1)
            if inputs is not None:
                self._canonical.answer(inputs)


def _array(tensor: torch.Tensor) -> NDArray[np.floating[Any]]:
    return cast("NDArray[np.floating[Any]]", tensor.cpu().numpy())


# Where a torch module comes from: a factory with weights, an exported program, or live.

OPTIONS = ("weights", "output")
WEIGHTS = (".safetensors", ".pt", ".pth")
"""Suffixes of files of weights."""

_EXPORTED = ".pt2"


@dataclass(frozen=True)
class Origin:
    """Where a module came from.

    Attributes:
        what: how messages call it.
        source: the digest of its factory's address and source files, or None for a live module.
        program: the digest of the file of an exported program, "" for other modules.
        notes: what was done to load it, one sentence each.
        folder: that its source lies in, or None.
    """

    what: str
    source: str | None = None
    program: str = ""
    notes: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass
class Loaded:
    """What the variants of one model share."""

    origin: Origin
    device: str
    modes: Mapping[str, bool] = field(default_factory=dict)


def torch_sources(uri: URI, base: Path) -> Sources:
    """Returns the files that `uri` names.

    Raises:
        InputError: if a file is missing or an option is unknown.
    """
    uri.only(*OPTIONS)
    score_kind(uri)
    if is_exported(uri):
        if "weights" in uri.query:
            raise InputError(f"{uri.rest!r}: option weights: an exported program holds its own")
        return Sources((existing_file(base, uri.rest, "exported program"),))
    weights = _named_weights(uri, base)
    ref = parse_factory(uri.rest, base)
    return Sources((*ref.files, *([weights] if weights else [])), ref.facts)


def is_exported(uri: URI) -> bool:
    """Whether `uri` names an exported program."""
    return Path(uri.rest).suffix == _EXPORTED


def from_address(opening: Opening) -> tuple[Any, Origin]:
    """Loads what the address names: a module, or an adapter that a factory returned.

    Raises:
        InputError: if it can't be loaded.
    """
    if not is_exported(opening.uri):
        return _from_factory(opening)
    from crucibench_adapters._torch_files import load_exported

    (file,) = torch_sources(opening.uri, opening.base).files
    module = load_exported(file, opening.device, allow_pickle=opening.allow_pickle)
    notes = tuple(module.notes)
    return module, Origin(file.name, source="", program=file_digest(file), notes=notes)


def score_kind(uri: URI) -> ScoreKind:
    """Returns what the address declares the scores to be.

    Raises:
        InputError: if it is neither logits nor probabilities.
    """
    known = ("logits", "probabilities")
    kind = uri.query.get("output", "logits")
    if kind not in known:
        raise InputError(unknown("output of torch:", kind, known))
    return cast("ScoreKind", kind)


def _from_factory(opening: Opening) -> tuple[Any, Origin]:
    import torch

    from crucibench_adapters._torch_files import load_weights

    ref = parse_factory(opening.uri.rest, opening.base)
    weights = _named_weights(opening.uri, opening.base)
    made = call_factory(load_factory(ref), str(ref))
    if isinstance(made, Adapter):
        if opening.uri.query:
            raise InputError(f"{ref} returns an adapter, which takes no options")
        return made, Origin(str(ref))
    if not isinstance(made, torch.nn.Module):
        raise InputError(
            f"{ref}: expected the factory to return a torch.nn.Module or an Adapter, "
            f"got {type(made).__name__}"
        )
    notes: list[str] = []
    if weights is not None:
        notes = load_weights(made, weights, str(ref), allow_pickle=opening.allow_pickle)
    origin = Origin(str(ref), ref.identity(), notes=tuple(notes), folder=ref.root)
    return made.requires_grad_(False), origin


def weights_file(base: Path, name: str) -> Path:
    """Returns the weights file `name`.

    Raises:
        InputError: if it is missing, or not of a kind that is read.
    """
    if Path(name).suffix not in WEIGHTS:
        kinds = f"{', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}"
        raise InputError(f"weights {name!r}: expected {kinds}")
    return existing_file(base, name, "weights")


def _named_weights(uri: URI, base: Path) -> Path | None:
    return weights_file(base, uri.query["weights"]) if "weights" in uri.query else None
