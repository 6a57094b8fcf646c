"""The files of a `transformers` model: a folder, or a hub repository's; and what they may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crucibench.contracts.adapter import Opening, Sources
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.optional import need
from crucibench.util.untrusted.content import DOCUMENT_AT_MOST, read_content
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.user_errors import one_line
from crucibench_adapters._quiet import quiet

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_LIMIT = b"1000000000000000019884624838656"
"""What transformers writes as the length of texts without a limit; no file may hold such a number.
"""
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


def loaded(auto: Any, files: Files, opening: Opening, part: str, **options: Any) -> Any:
    """Returns ``auto.from_pretrained`` of the files, with no network."""
    try:
        with quiet():
            return auto.from_pretrained(
                str(files.path), local_files_only=True,
                trust_remote_code=opening.trust_remote_code, **options,
            )  # fmt: skip
    except Exception as error:
        raise InputError(f"{files.what}: its {part} can't be loaded: {one_line(error)}") from error


def model_of_kind(kind: str, config: Any, files: Files, opening: Opening) -> Any:
    """Returns a model of a kind, whose weights are all from its files, as float32."""
    transformers = need("transformers", "text")
    options: dict[str, Any] = {"use_safetensors": not files.pickled}
    if files.pickled:
        options["weights_only"] = False  # as --allow-pickle says
    model, loading = loaded(
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
    name = f"{what}: {file.name}"
    content = read_content(file, name, DOCUMENT_AT_MOST)
    found = parse_json(content.replace(_NO_LIMIT, b"null"), name)
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
