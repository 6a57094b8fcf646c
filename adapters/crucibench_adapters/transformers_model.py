"""``hf:DIR_OR_ID``: classifiers of Hugging Face `transformers`, of texts or of images.

A folder (as ``save_pretrained`` writes it) never touches the network. Another name is a repository
of the hub, which is downloaded. Options:

- ``revision=COMMIT``: of a repository; without it, its newest is read, and a note says which;
- ``max_length=N``: how many tokens a text is cut to; as tokenizer and model say, otherwise;
- ``fit=crop``: for an image processor that stretches images: they are resized and cropped instead.

Weights are read from safetensors, as float32; pickled ones need ``--allow-pickle``, and code that
comes with the files needs ``--trust-remote-code``.

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

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from crucibench.contracts.adapter import Opening, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import OF_LANGUAGE_MODELS, URI
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.optional import need
from crucibench.util.untrusted.json_text import read_json
from crucibench.util.user_errors import one_line
from crucibench_adapters._classes import imagenet_synsets, named_for
from crucibench_adapters._preprocessing import stored_form
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import (
    LibraryAdapter,
    LibraryOrigin,
    check_fit,
    declare,
    library_version,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from crucibench_adapters._transformers_inputs import TextClassifier, Words

_OPTIONS = ("revision", "max_length", "fit")
_KINDS = {Modality.TEXT: "SequenceClassification", Modality.IMAGE: "ImageClassification"}
_GENERATING = ("CausalLM", "LMHead", "ConditionalGeneration")
_PASSING = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "id2label", "label2id")


class TransformersAdapter(LibraryAdapter):
    """A classifier or regressor of `transformers`, in eval mode."""

    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        check_fit(uri, f"hf:{uri.rest}")
        found = hf_sources(uri, base)
        known = {"transformers": library_version("transformers", "text")}
        return Sources(found.files, {**found.facts, **known})

    @classmethod
    def _made(cls, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
        cls.sources(opening.uri, opening.base)
        modality = opening.data.task.modality
        if modality not in _KINDS:
            raise InputError(
                f"hf:{opening.uri.rest}: models of transformers take texts or images, "
                f"the data holds {modality}s"
            )
        files = find_files(opening)
        with quiet():
            need("transformers", "text")
        model = _model(files, opening)
        made = _text if modality is Modality.TEXT else _image
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
    """Returns the model, whose weights are all from its files, as float32."""
    transformers = need("transformers", "text")
    kind = _KINDS[opening.data.task.modality]
    named = files.config().get("architectures") or []
    if named and not any(kind in name for name in named):
        generates = any(part in name for part in _GENERATING for name in named)
        pointer = f"; {OF_LANGUAGE_MODELS}" if generates else ""
        raise InputError(
            f"{files.what}: expected a model for {kind}, got {', '.join(named)}{pointer}"
        )
    config = _loaded(transformers.AutoConfig, files, opening, "configuration")
    _check_task(config, opening.data.task, files.what)
    options: dict[str, Any] = {"use_safetensors": not files.pickled}
    if files.pickled:
        options["weights_only"] = False  # as --allow-pickle says
    model, loading = _loaded(
        getattr(transformers, f"AutoModelFor{kind}"), files, opening, "model",
        config=config, output_loading_info=True, **options,
    )  # fmt: skip
    missing = sorted(loading.get("missing_keys") or ())
    if missing:
        raise InputError(
            f"{files.what}: its files lack {len(missing)} weights (e.g. {missing[0]}), which "
            "would be random: expected a model that was trained for the task and saved whole"
        )
    return model.float().to(opening.device).eval()


def _check_task(config: Any, task: Task, what: str) -> None:
    problem, labels = getattr(config, "problem_type", None), int(config.num_labels)
    if problem == "multi_label_classification":
        raise InputError(
            f"{what} gives a sample any number of labels (multi_label_classification): "
            "expected one class for each sample"
        )
    if task.one_number and (labels != 1 or problem not in {None, "regression"}):
        raise InputError(
            f"{what}: the data asks for a number (regression), the model gives {labels} classes"
        )
    if task.one_class and problem == "regression":
        raise InputError(
            f"{what} gives a number (regression), the data has {len(task.classes)} classes"
        )


def _loaded(auto: Any, files: Files, opening: Opening, part: str, **options: Any) -> Any:
    """Returns ``auto.from_pretrained`` of the files, with no network."""
    try:
        with quiet():
            return auto.from_pretrained(
                str(files.path), local_files_only=True,
                trust_remote_code=opening.trust_remote_code, **options,
            )  # fmt: skip
    except Exception as error:
        raise InputError(f"{files.what}: its {part} can't be loaded: {one_line(error)}") from error


def _text(model: Any, files: Files, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
    from crucibench_adapters._transformers_inputs import TextClassifier, tokens_for

    columns = stored_form(opening.data).columns
    if columns > 2:
        raise InputError(f"{files.what} takes one or two texts, the data has {columns} columns")
    transformers = need("transformers", "text")
    digest = files.tokenizer_digest()
    tokenizer = _loaded(transformers.AutoTokenizer, files, opening, "tokenizer")
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
    processor = _loaded(
        transformers.AutoImageProcessor, files, opening, "image processor", **_plain_backend()
    )
    channels = int(getattr(model.config, "num_channels", None) or 3)
    inputs, notes = image_inputs(processor, channels, opening, files.what)
    module = ImageClassifier(model)
    names = _names(model)
    notes += declare(module, opening, inputs, names, imagenet_synsets(names or ()))
    return module, _origin(model, files, {}, notes, {})


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


# The files of a `transformers` model: a folder, or a hub repository's; and what they may hold.

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_READ = ("*.json", "*.txt", "*.model", "*.bpe", "*.vocab", "*.safetensors")
_PICKLED = ("pytorch_model*.bin",)
_CODE = ("*.py",)
_IGNORED = ("trainer_state.json", "README.txt", "chat_template.json", "generation_config.json")
_TOKENIZER = ("*token*", "vocab*", "merges.txt", "*.model", "*.bpe", "*.vocab", "normalizer.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*")


@dataclass(frozen=True)
class Files:
    """The folder that a model's files lie in.

    Attributes:
        path: of the folder.
        what: how messages call the model.
        revision: the commit of the hub's repository, "" for a local folder.
        pickled: whether the weights are pickled.
        code: a digest of the code that came with the files and may be run, "" for none.
        notes: one sentence each.
    """

    path: Path
    what: str
    revision: str = ""
    pickled: bool = False
    code: str = ""
    notes: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Returns what ``config.json`` says."""
        return _json(self.path / "config.json", self.what)

    def tokenizer_digest(self) -> str:
        """Returns a digest of the tokenizer's files.

        Raises:
            InputError: if there are none: transformers would make one without words.
        """
        if not _matching(self.path, _TOKENIZER):
            raise InputError(f"{self.what}: the folder holds no tokenizer (tokenizer.json)")
        return _digest(self.path, _TOKENIZER)


def hf_sources(uri: URI, base: Path) -> Sources:
    """Returns the files of a local folder; of a repository, its name and revision.

    Raises:
        InputError: if there is no such folder, and the name can be no repository's.
    """
    folder = _local(uri, base)
    if folder is None:
        return Sources(facts={"repository": uri.rest, "revision": uri.query.get("revision", "")})
    patterns = (*_READ, *_CODE, *(() if _any(folder, _WEIGHTS[:1]) else _PICKLED))
    return Sources(tuple(_matching(folder, patterns)))


def find_files(opening: Opening) -> Files:
    """Returns the folder of a model, downloaded if its address names a repository, and checked.

    Raises:
        InputError: if it is not there, or holds code or pickles that may not be run.
    """
    uri, what = opening.uri, f"hf:{opening.uri.rest}"
    folder, revision, notes = _local(uri, opening.base), "", []
    if folder is None:
        folder, revision = _downloaded(opening, what)
        asked = uri.query.get("revision", "")
        if not _COMMIT.fullmatch(asked):
            notes.append(
                f"the repository was read at {revision}, which {asked or 'its newest revision'!r} "
                f"meant then: revision={revision} always means it"
            )
    config = _json(folder / "config.json", what)
    code = _check_code(folder, config, opening, what)
    if code:
        notes.append("code that came with the model's files was run (--trust-remote-code)")
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{what} holds an adapter for another model: merge the two, and save the whole"
        )
    pickled = _check_weights(folder, opening, what)
    return Files(folder, what, revision, pickled, code, tuple(notes))


def _local(uri: URI, base: Path) -> Path | None:
    path = (base / Path(uri.rest).expanduser()).resolve()
    if path.is_dir():
        if "revision" in uri.query:
            raise InputError(f"hf:{uri.rest}: option revision: {uri.rest!r} is a local folder")
        return path
    if path.is_file():
        raise InputError(f"hf:{uri.rest}: expected the folder of a saved model, got a file")
    if not _REPOSITORY.fullmatch(uri.rest) or uri.rest.startswith("."):
        raise InputError(f"hf:{uri.rest}: there is no folder {str(path)!r}")
    return None


def _downloaded(opening: Opening, what: str) -> tuple[Path, str]:
    """Returns the folder and commit of a repository's files."""
    with quiet():
        hub = need("huggingface_hub", "text")
        # Read from the environment once: it may have been imported before that was set.
        vars(need("huggingface_hub.constants"))["HF_HUB_DISABLE_TELEMETRY"] = True
    revision = opening.uri.query.get("revision")
    patterns = [*_READ, *(_PICKLED if opening.allow_pickle else ())]
    patterns += _CODE if opening.trust_remote_code else ()
    asked: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": patterns,
        "ignore_patterns": ["*/*"],  # other forms of the same model lie in folders
    }
    with quiet():
        if revision and _COMMIT.fullmatch(revision):
            try:  # a commit does not change: if it is in the cache, nobody is asked
                found = Path(
                    hub.snapshot_download(opening.uri.rest, local_files_only=True, **asked)
                )
                if _any(found, _WEIGHTS):
                    return found, revision
            except Exception:
                pass  # the download says why it can't be had
        try:
            found = Path(hub.snapshot_download(opening.uri.rest, **asked))
        except Exception as error:
            raise InputError(
                f"{what}: there is no such folder, and the repository can't be read from the "
                f"Hugging Face hub: {one_line(error)}"
            ) from error
    return found, found.name


def _check_code(folder: Path, config: Mapping[str, Any], opening: Opening, what: str) -> str:
    """Returns a digest of the code that the files want to run, "" for none.

    Raises:
        InputError: if there is such code and it may not be run.
    """
    files = [folder / "config.json", *sorted(folder.glob("*_config.json"))]
    named = [file.name for file in files if "auto_map" in _json(file, what)]
    kernels = [str(value) for key, value in _entries(config) if "attn_implementation" in key]
    if any("/" in kernel for kernel in kernels):
        named.append("config.json")
    if not named:
        return ""
    if not opening.trust_remote_code:
        raise InputError(
            f"{what} wants to run code that comes with its files ({named[0]} names it): "
            "read it, then pass --trust-remote-code"
        )
    return _digest(folder, _CODE)


def _check_weights(folder: Path, opening: Opening, what: str) -> bool:
    """Returns whether the weights are pickled."""
    if _any(folder, _WEIGHTS[:1]):
        return False
    if not _any(folder, _PICKLED):
        raise InputError(f"{what}: the folder holds no weights (model.safetensors)")
    if not opening.allow_pickle:
        raise InputError(
            f"{what}: its weights are pickled (pytorch_model.bin), and a pickle can run any code: "
            "save them as safetensors, or pass --allow-pickle"
        )
    return True


def _json(file: Path, what: str) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{what}: the folder holds no {file.name}")
    found = read_json(file, f"{what}: {file.name}")
    if not isinstance(found, dict):
        raise InputError(f"{what}: {file.name}: expected an object, got {type(found).__name__}")
    return found


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Yields the entries of nested mappings."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield key, value
            yield from _entries(value)


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return sorted(file for file in found if file.name not in _IGNORED)


def _any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _digest(folder: Path, patterns: tuple[str, ...]) -> str:
    return data_digest({file.name: file_digest(file) for file in _matching(folder, patterns)})
