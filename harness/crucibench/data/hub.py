"""Hugging Face `datasets`, imported so that it calls nobody, and data in the layout of its hub.

What a folder's files say is not trusted to name others: its README's patterns and the paths of its
images stay inside, so that reading a folder calls nobody and reads nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from crucibench.data.bad_samples import BadSampleError
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import read_text
from crucibench.util.untrusted.images import BYTES_AT_MOST
from crucibench.util.untrusted.json_text import read_json
from crucibench.util.untrusted.yaml_text import parse_yaml
from crucibench.util.user_errors import one_line

SWITCHES = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
}
"""What `datasets` and its hub client read when they are imported.

`HF_HUB_OFFLINE` is left alone: it would cut off the user's own libraries for the rest of the
process. The hub is asked only within `online`, for data whose address names a repository.
"""

_USERS = os.environ.get("HF_DATASETS_OFFLINE")
"""The value in the user's environment, before `import_datasets` sets one."""

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that can't move."""


def switch_off() -> None:
    """Sets `SWITCHES` for this process and those that it starts, unless the user has set them."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def import_datasets() -> ModuleType:
    """Returns `datasets`, its network and telemetry off unless the user's environment says else."""
    switch_off()
    return importlib.import_module("datasets")


@contextlib.contextmanager
def online(repository: str) -> Iterator[None]:
    """Lets `datasets` ask the hub for one repository; makes one sentence of what goes wrong.

    Raises:
        InputError: if the environment says offline, or the hub can't be reached or has no such
            data.
    """
    library = import_datasets()
    hub = importlib.import_module("huggingface_hub")
    offline = (_USERS or "").upper() in {"1", "ON", "YES", "TRUE"}
    if offline or hub.constants.HF_HUB_OFFLINE:
        raise InputError(
            f"hf:{repository}: the environment says offline (HF_DATASETS_OFFLINE or HF_HUB_OFFLINE)"
        )
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: getattr(library.config, name) for name in names}
    try:
        for name in names:
            setattr(library.config, name, False)
        yield
    except InputError:
        raise
    except Exception as error:  # the hub's client and its HTTP libraries have dozens
        raise InputError(f"hf:{repository} can't be read from the hub: {one_line(error)}") from None
    finally:
        for name, value in before.items():
            setattr(library.config, name, value)


def commit_of(repository: str, revision: str) -> str:
    """Returns the commit that a revision of a data set on the hub is; "" is its main branch.

    Raises:
        InputError: if the hub can't be reached or has no such revision.
    """
    if COMMIT.fullmatch(revision):
        return revision
    with online(repository):
        hub = importlib.import_module("huggingface_hub")
        return str(hub.HfApi().dataset_info(repository, revision=revision or None).sha)


@dataclass(frozen=True)
class HubPlace:
    """Where data in the hub's layout is.

    Attributes:
        folder: on this machine, or None.
        repository: on the hub, or "".
        commit: of the repository.
        config: which of its configurations; "" for the only or default one.
    """

    folder: Path | None
    repository: str
    commit: str
    config: str

    @property
    def name(self) -> str:
        """Names it in a sentence."""
        return self.folder.name if self.folder else self.repository


def card_of(folder: Path) -> Mapping[str, Any]:
    """Returns the metadata at the head of a folder's README.

    Raises:
        InputError: if it is no YAML, or its patterns lead out of the folder.
    """
    found: dict[str, Any] = {}
    for name in ("README.md", ".huggingface.yaml"):
        path = folder / name
        if not path.is_file():
            continue
        what = f"{name} of {folder.name}"
        text = read_text(path, what)
        front = _FRONT.match(text) if name == "README.md" else None
        content = parse_yaml(front[1] if front else "" if name == "README.md" else text, what)
        found |= content if isinstance(content, dict) else {}
    for text in _strings(found.get("configs")):
        parts = text.replace("\\", "/").split("/")
        if "://" in text or "::" in text or text.startswith("/") or ".." in parts:
            raise InputError(
                f"README.md of {folder.name} names {text!r}, which is not in the folder: it is not "
                "read"
            )
    return found


def configs_of(folder: Path) -> tuple[str, ...]:
    """Returns the names of the configurations that a folder's README declares.

    Raises:
        InputError: as `card_of` does.
    """
    configs = card_of(folder).get("configs")
    found = configs if isinstance(configs, list) else []
    return tuple(str(one["config_name"]) for one in found if "config_name" in (one or ()))


def open_splits(place: HubPlace) -> dict[str, Any]:
    """Returns a `datasets.Dataset` or `IterableDataset` by split; images are not decoded.

    Raises:
        InputError: if there is no such data or configuration, or code would have to be run.
    """
    library = import_datasets()
    folder = place.folder
    if folder is not None:
        saved = _saved(folder, place)
        if saved is not None:
            return {split: _undecoded(data) for split, data in saved.items()}
        if (folder / f"{folder.name}.py").is_file():
            raise _script(folder.name, f"{folder.name}.py")
        card_of(folder)
    with tempfile.TemporaryDirectory() as cache:  # for its locks: it converts nothing
        try:
            builder = library.load_dataset_builder(
                str(folder) if folder else place.repository,
                place.config or None,
                revision=None if folder else place.commit,
                cache_dir=cache,
            )
        except Exception as error:
            raise _sentence(place, error) from None
        files = builder.config.data_files or {}
        inside = _Inside(place)
        for split in files:
            for file in files[split]:
                inside.require(str(file))
        return {
            str(split): _undecoded(builder.as_streaming_dataset(split=str(split)))
            for split in files
        }


class HubImages:
    """Reads the bytes of images that a split names by their paths."""

    def __init__(self, place: HubPlace) -> None:
        self._inside = _Inside(place)

    def read(self, image: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Returns an image with its bytes, and its path relative to the data.

        Raises:
            InputError: if it lies outside of the data.
            BadSampleError: if it can't be read.
        """
        if image is None:
            return None
        path = image.get("path") or ""
        if image.get("bytes") is not None:
            # The path of a stored image is a name; nothing is read there.
            return {"bytes": image["bytes"], "path": path.rpartition("/")[2] or None}
        if not path:
            return None
        self._inside.require(path)
        name = self._inside.name(path)
        xopen = import_datasets().utils.file_utils.xopen
        try:
            with xopen(path, "rb") as stream:
                content = stream.read(BYTES_AT_MOST + 1)
        except OSError as error:
            why = error.strerror or one_line(error)
            raise BadSampleError(
                "unreadable image", f"image {name!r} can't be read: {why}"
            ) from None
        if len(content) > BYTES_AT_MOST:
            raise BadSampleError(
                "unreadable image", f"image {name!r} has more than {BYTES_AT_MOST:,} bytes"
            )
        return {"bytes": content, "path": name}


class _Inside:
    """Tells what lies in a folder or repository from what does not."""

    def __init__(self, place: HubPlace) -> None:
        self._place = place
        self._root = place.folder.resolve() if place.folder else None
        self._known: dict[str, str] = {}

    def require(self, path: str) -> None:
        if self.name(path) is None:
            raise InputError(
                f"{self._place.name} names {path!r}, which is not part of it: it is not read"
            )

    def name(self, path: str) -> str | None:
        """Returns a path relative to the data; None if it lies elsewhere."""
        inner, archived, outer = path.rpartition("::")
        if self._root is None:
            start = f"hf://datasets/{self._place.repository}@{self._place.commit}/"
            relative = outer.removeprefix(start) if outer.startswith(start) else None
        elif "://" in outer:
            relative = None
        else:
            there = Path(outer).resolve()
            within = there.is_relative_to(self._root)
            relative = there.relative_to(self._root).as_posix() if within else None
        if relative is None or ".." in relative.split("/"):
            return None
        if archived:
            return f"{relative}/{inner.rpartition('::')[0] or inner.partition('://')[2]}"
        return relative


def _saved(folder: Path, place: HubPlace) -> dict[str, Any] | None:
    """Returns the splits of what `save_to_disk` wrote; None if it did not."""
    several = folder / "dataset_dict.json"
    if not several.is_file() and not (folder / "state.json").is_file():
        return None
    if place.config:
        raise InputError(f"hf: what save_to_disk wrote has no configuration {place.config!r}")
    library = import_datasets()
    try:
        names = read_json(several, several.name)["splits"] if several.is_file() else [""]
        splits = {}
        for name in names:
            if name and not re.fullmatch(r"[\w.-]+", name):
                raise InputError(f"{folder.name} has a split {name!r}: expected a plain name")
            state = read_json(folder / name / "state.json", "state.json")
            for file in state["_data_files"]:
                _Inside(place).require(str(folder / name / file["filename"]))
            data = library.load_from_disk(str(folder / name), keep_in_memory=False)
            splits[name or str(data.split or "test")] = data
        return splits
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder.name} can't be read: {one_line(error)}") from None


def _undecoded(data: Any) -> Any:
    library = import_datasets()
    for name, kind in (data.features or {}).items():
        if isinstance(kind, library.Image):
            data = data.cast_column(name, library.Image(decode=False))
    return data


def _script(name: str, file: str) -> InputError:
    return InputError(
        f"hf:{name} is a script ({file}), which would run code: expected data files, e.g. Parquet "
        "(the hub's branch refs/convert/parquet has them)"
    )


def _sentence(place: HubPlace, error: Exception) -> InputError:
    text = one_line(error)
    if "scripts are no longer supported" in text:
        return _script(place.name, text.rpartition(" ")[2])
    if "BuilderConfig" in text or "Config name is missing" in text:
        return InputError(f"hf:{place.name}: which configuration? {text.partition(': ')[2]}")
    return InputError(f"hf:{place.name} can't be read: {text}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key in {"data_files", "data_dir", "path"} or not isinstance(inner, str):
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
