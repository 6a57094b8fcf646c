"""``hf:DIR_OR_ID``: Hugging Face `transformers`: classifiers of texts or images, language models.

A folder (as ``save_pretrained`` writes it) never touches the network. Another name is a repository
of the hub, which is downloaded. Options:

- ``revision=COMMIT``: of a repository; without it, its newest is read, and a note says which;
- ``max_length=N``: how many tokens a text is cut to; as tokenizer and model say, otherwise;
- ``fit=crop``: for an image processor that stretches images: they are resized and cropped instead.

Weights are read from safetensors, as float32; pickled ones need ``--allow-pickle``, and code that
comes with the files needs ``--trust-remote-code``.

**Language models.** See `CausalAdapter`.

**Texts.** Samples are texts, or pairs of them. Gradients are with respect to embeddings: where the
capability ``embeddings`` is there, `encode` returns float (N, L, E + 1), texts filled up to the
longest: E numbers that the model's embedding layer makes of each token, and one last that carries
attention mask, filling and segment. It is rounded when it is read, so that its gradient is zero,
and an attack leaves it as it is. `module` maps this to logits. `vocabulary` returns the (V, E)
embeddings of all tokens. Positions of filling have a gradient of zero wherever the model heeds its
mask. An architecture that can't be asked so (an encoder-decoder, say) has no gradients.

**Images.** What the image processor does is split in two: resizing and cropping make the canonical
sample, on which perturbations act; rescaling and normalising are part of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from crucibench.contracts.adapter import Adapter, Opening, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import URI
from crucibench.util.devices import fix_precision
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.optional import need
from crucibench_adapters._class_prompts import prompt_files
from crucibench_adapters._classes import imagenet_synsets, named_for
from crucibench_adapters._outputs import list_fields
from crucibench_adapters._preprocessing import stored_form
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import (
    LibraryAdapter,
    LibraryOrigin,
    check_fit,
    declare,
    library_version,
)
from crucibench_adapters._transformers_causal import OPTIONS as OF_CAUSAL
from crucibench_adapters._transformers_causal import CausalAdapter
from crucibench_adapters._transformers_files import (
    Files,
    find_files,
    hf_sources,
    loaded,
    model_of_kind,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from crucibench_adapters._transformers_inputs import TextClassifier, Words

_OPTIONS = ("revision", "max_length", "fit")
_KINDS = {Modality.TEXT: "SequenceClassification", Modality.IMAGE: "ImageClassification"}
_BOXES = "ObjectDetection"
_LANGUAGE = ("CausalLM", "LMHead", "ForConditionalGeneration", "Seq2SeqLM")
"""What the names of architectures hold that write text."""
_PASSING = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "id2label", "label2id")


class TransformersAdapter(LibraryAdapter):
    """A classifier, regressor or object detector of `transformers`, in eval mode."""

    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS, *(name for name in OF_CAUSAL if name not in _OPTIONS))
        check_fit(uri, f"hf:{uri.rest}")
        found = hf_sources(uri, base)
        known = {"transformers": library_version("transformers", "text")}
        return Sources((*found.files, *prompt_files(uri, base)), {**found.facts, **known})

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        cls.sources(opening.uri, opening.base)
        modality = opening.data.task.modality
        if modality is Modality.TABLE:
            raise _unfit(opening)
        files = find_files(opening)
        if any(kind in name for name in _architectures(files) for kind in _LANGUAGE):
            return CausalAdapter.of(files, opening)
        opening.uri.only(*_OPTIONS)
        if modality not in _KINDS:
            raise _unfit(opening)
        fix_precision()
        return cls._opened(*cls._made(opening, files), opening)

    @classmethod
    def _made(cls, opening: Opening, files: Files | None = None) -> tuple[nn.Module, LibraryOrigin]:
        files = files or find_files(opening)
        with quiet():
            need("transformers", "text")
        model = _model(files, opening)
        made = _text if opening.data.task.modality is Modality.TEXT else _image
        if list_fields(opening.data.task):
            made = _boxes
        return made(model, files, opening)

    def vocabulary(self) -> torch.Tensor:
        """Returns the embedding of each token by its id, (V, E).

        Raises:
            InputError: if the model is not asked with embeddings.
        """
        return self._texts().vocabulary()

    def neighbours(self, words: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        return self._words.near(words, count)

    @cached_property
    def _words(self) -> Words:
        from crucibench_adapters._transformers_inputs import Words

        texts = self._texts()
        return Words(texts.tokens.tokenizer, texts.vocabulary())

    def diagnostics(self) -> Mapping[str, Any]:
        found = dict(super().diagnostics())
        tokens = getattr(self._module, "tokens", None)
        if tokens is not None:
            for count, what in (
                (tokens.cut, f"were cut to {tokens.limit} tokens"),
                (tokens.empty, "had no token and were given one"),
            ):
                if count:
                    note = f"{count} of the {tokens.asked} texts asked about so far {what}"
                    found["notes"] = [*found["notes"], note]
        return found

    def _texts(self) -> TextClassifier:
        if Capability.EMBEDDINGS not in self.capabilities:
            raise InputError(f"{self._loaded.origin.what} has no embeddings")
        texts: TextClassifier = self._module  # type: ignore[assignment]
        return texts

    def _seen(self, inputs: torch.Tensor, batch: Batch) -> frozenset[Capability]:
        seen = super()._seen(inputs, batch)
        if self.task.modality is Modality.TEXT and Capability.GRADIENTS in seen:
            seen |= {Capability.EMBEDDINGS}
        return seen


def _model(files: Files, opening: Opening) -> Any:
    """Returns the classifier."""
    transformers = need("transformers", "text")
    task = opening.data.task
    kind = _BOXES if list_fields(task) else _KINDS[task.modality]
    named = _architectures(files)
    if named and not any(kind in name for name in named):
        raise InputError(f"{files.what}: expected a model for {kind}, got {', '.join(named)}")
    config = loaded(transformers.AutoConfig, files, opening, "configuration")
    _check_task(config, task, files.what)
    return model_of_kind(kind, config, files, opening)


def _unfit(opening: Opening) -> InputError:
    return InputError(
        f"hf:{opening.uri.rest}: models of transformers take texts or images, "
        f"the data holds {opening.data.task.modality}s"
    )


def _architectures(files: Files) -> list[str]:
    return files.config().get("architectures") or []


def _check_task(config: Any, task: Task, what: str) -> None:
    problem, labels = getattr(config, "problem_type", None), int(config.num_labels)
    single = task.one_class or task.one_number
    if problem == "multi_label_classification" and single:
        raise InputError(
            f"{what} gives a sample any number of labels (multi_label_classification): "
            "expected one class for each sample"
        )
    if problem not in {None, "multi_label_classification"} and not single:
        raise InputError(f"{what} gives one answer ({problem}), the data asks for {task.kind}")
    if task.one_number and (labels != 1 or problem not in {None, "regression"}):
        raise InputError(
            f"{what}: the data asks for a number (regression), the model gives {labels} classes"
        )
    if task.one_class and problem == "regression":
        raise InputError(
            f"{what} gives a number (regression), the data has {len(task.classes)} classes"
        )


def _text(model: Any, files: Files, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
    from crucibench_adapters._transformers_inputs import TextClassifier, tokens_for

    columns = stored_form(opening.data).columns
    if columns > 2:
        raise InputError(f"{files.what} takes one or two texts, the data has {columns} columns")
    transformers = need("transformers", "text")
    digest = files.tokenizer_digest()
    tokenizer = loaded(transformers.AutoTokenizer, files, opening, "tokenizer")
    tokens, notes = tokens_for(model, tokenizer, opening.uri.query.get("max_length"), files.what)
    module = TextClassifier(model, tokens)
    notes += module.probe()
    notes += _name_classes(module, model, opening)
    side, cut = tokenizer.padding_side, getattr(tokenizer, "truncation_side", "right")
    steps = {
        "encoding": f"tokens of {type(tokenizer).__name__}",
        "truncation": f"to {tokens.limit} tokens, on the {cut}" if tokens.limit else "none",
        "padding": f"to the longest in the batch, on the {side}",
    }
    settings = {"limit": tokens.limit, "truncation": cut, "padding": side, "pad": tokens.pad}
    settings["positions"] = module.positions
    # What was read, whichever files it was read from.
    rules = getattr(tokenizer, "backend_tokenizer", None)
    settings["rules"] = "" if rules is None else data_digest(rules.to_str())
    facts = {
        "tokenizer": data_digest([digest, settings]),
        "tokenizers": library_version("tokenizers", "text"),
    }
    return module, _origin(model, files, facts, notes, steps)


def _image(model: Any, files: Files, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
    from crucibench_adapters._transformers_inputs import ImageClassifier, image_inputs

    transformers = need("transformers", "text")
    processor = loaded(
        transformers.AutoImageProcessor, files, opening, "image processor", **_plain_backend()
    )
    channels = int(getattr(model.config, "num_channels", None) or 3)
    inputs, notes = image_inputs(processor, channels, opening, files.what)
    module = ImageClassifier(model)
    names = _names(model)
    notes += declare(module, opening, inputs, names, imagenet_synsets(names or ()))
    return module, _origin(model, files, {}, notes, {})


def _boxes(model: Any, files: Files, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
    from crucibench_adapters._transformers_boxes import BoxDetector

    transformers = need("transformers", "text")
    processor = loaded(
        transformers.AutoImageProcessor, files, opening, "image processor", **_plain_backend()
    )
    if not hasattr(processor, "post_process_object_detection"):
        raise InputError(f"{files.what}: its {type(processor).__name__} gives no boxes")
    module = BoxDetector(model, processor)
    notes = _name_classes(module, model, opening)
    facts = {"processor": data_digest(processor.to_dict())}
    steps = {"resizing": f"{type(processor).__name__} of transformers"}
    return module, _origin(model, files, facts, notes, steps)


def _plain_backend() -> dict[str, Any]:
    """Returns the option for the image processor that needs no torchvision."""
    major = int(library_version("transformers", "text").partition(".")[0])
    return {"backend": "pil"} if major >= 5 else {"use_fast": False}


def _names(model: Any) -> list[str] | None:
    if model.config.num_labels == 1:
        return None
    labels = model.config.id2label
    return [str(labels[at]) for at in range(len(labels))]


def _name_classes(module: Any, model: Any, opening: Opening) -> list[str]:
    names = _names(model)
    if names is None or opening.data.task.one_number:
        return []
    note = ""
    if opening.classes is None:
        names, note = named_for(opening.data.task, names)
    module.crucibench_classes = names
    return [note] * bool(note)


def _origin(
    model: Any, files: Files, facts: dict[str, str], notes: list[str], steps: dict[str, str]
) -> LibraryOrigin:
    config = {key: value for key, value in files.config().items() if key not in _PASSING}
    known = {
        "library": f"transformers {library_version('transformers', 'text')}",
        "architecture": type(model).__name__,
        "configuration": data_digest(config),
        **({"code": files.code} if files.code else {}),
    }
    return LibraryOrigin(
        files.what,
        notes=(*files.notes, *notes),
        facts={**known, **facts},
        preprocessing={**steps, **({"revision": files.revision} if files.revision else {})},
    )
