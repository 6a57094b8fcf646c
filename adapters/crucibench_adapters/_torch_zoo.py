"""What adapters of model libraries share: a module that a library makes, asked as `torch:` is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucibench.contracts.adapter import Adapter, Normalisation, Opening, Sources
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.util.devices import fix_precision
from crucibench.util.errors import InputError
from crucibench.util.optional import need
from crucibench.util.suggest import hint
from crucibench_adapters._classes import named_for
from crucibench_adapters.torch_module import Loaded, Origin, TorchAdapter, weights_file

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LibraryOrigin(Origin):
    """Where a library's module came from.

    Attributes:
        facts: what tells it from others beside its weights and preprocessing; part of its
            fingerprint.
        preprocessing: more to say about it, for people.
    """

    source: str | None = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Mapping[str, str] = field(default_factory=dict)


class LibraryAdapter(TorchAdapter):
    """A module that a model library made; subclasses say how.

    The fingerprint names the library with its version, the architecture, and digests of weights
    and preprocessing: no source of the user's takes part.
    """

    @classmethod
    @abstractmethod
    def _made(cls, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
        """Returns the module, which declares its inputs and classes, and where it came from.

        Raises:
            InputError: if it can't be made.
        """

    @classmethod
    def accepts(cls, model: object) -> bool:
        return False  # a live module is `torch:`'s, whichever library made it

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        fix_precision()
        return cls._opened(*cls._made(opening), opening)

    @classmethod
    def _opened(cls, module: nn.Module, origin: LibraryOrigin, opening: Opening) -> Adapter:
        module = module.requires_grad_(False).to(opening.device).eval()
        adapter = cls(module, Loaded(origin, opening.device), opening)
        adapter._look()
        return adapter

    def diagnostics(self) -> Mapping[str, Any]:
        return {**super().diagnostics(), "library": self._origin.facts.get("library", "")}

    @property
    def _origin(self) -> LibraryOrigin:
        origin = self._loaded.origin
        assert isinstance(origin, LibraryOrigin)
        return origin

    def _preprocessing(self) -> dict[str, str]:
        return super()._preprocessing() | dict(self._origin.preprocessing)

    def _of_module(self) -> dict[str, str]:
        from crucibench.util.content import content_of
        from crucibench_adapters._torch_files import special_tensors, weights_digest

        # The library's version and the architecture's name stand for all but the weights.
        special = special_tensors(self._module)
        others = {"tensors": content_of(special).digest} if special else {}
        return {"weights": weights_digest(self._module), **others, **self._origin.facts}


def library_version(package: str, extra: str) -> str:
    """Returns the version of an installed package, which is not imported.

    Raises:
        InputError: one sentence with the install line, if it is absent.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        need(package, extra)
        raise InputError(f"{package} is imported from no installed distribution") from None


def image_sources(uri: URI, base: Path, file: str | None, library: str) -> Sources:
    """Returns the weights file that `uri` names, if any, and the library's version.

    Raises:
        InputError: if the file is missing or of another kind, or the library is absent.
    """
    files = () if file is None else (weights_file(base, file),)
    return Sources(files, {library: library_version(library, "vision")})


def only_images(opening: Opening, what: str, outputs: int | None) -> None:
    """Raises InputError if the data holds no images, or asks for a number of a classifier."""
    task = opening.data.task
    if task.modality is not Modality.IMAGE:
        raise InputError(f"{what} takes images, the data holds {task.modality}s")
    if task.one_number and outputs != 1:
        raise InputError(
            f"{what}: the data asks for a number (regression), the model gives classes: "
            "num_classes=1 makes it give one number"
        )


def class_count(uri: URI, what: str) -> int | None:
    """Returns option ``num_classes``, or None.

    Raises:
        InputError: if it is no positive whole number.
    """
    text = uri.query.get("num_classes")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"{what}: option num_classes: expected 1 or more, got {text!r}")
    return int(text)


def no_model(library: str, name: str, known: Sequence[str]) -> InputError:
    """Returns the error for a name that a library of many models does not know."""
    return InputError(
        f"unknown model of {library}: {name!r}{hint(name, known)} ({len(known)} are known)"
    )


def declare(
    module: nn.Module, opening: Opening, inputs: Mapping[str, Any], names: Sequence[str] | None,
    synsets: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Lets a module say what the library knows of its inputs and classes; returns notes.

    What the spec says of size and normalisation goes before what the library says: weights of
    one's own may have been trained otherwise.
    """
    declared, notes = dict(inputs), []
    if opening.size is not None and list(opening.size) != list(declared.get("size") or ()):
        notes.append(f"size: {list(opening.size)} of the spec instead of {declared.get('size')}")
        declared.pop("size", None)
    if opening.normalisation is not None:
        known = Normalisation(mean=tuple(declared["mean"]), std=tuple(declared["std"]))
        if opening.normalisation != known:
            notes.append("range, mean and std are the spec's, not the library's")
        for key in ("range", "mean", "std"):
            declared.pop(key, None)
    attributes: dict[str, Any] = {"crucibench_input": declared}
    if names is not None and opening.classes is None:
        own, note = named_for(opening.data.task, names, synsets)
        attributes["crucibench_classes"] = own
        notes += [note] * bool(note)
    elif names is not None:
        attributes["crucibench_classes"] = list(names)
    for name, value in attributes.items():
        setattr(module, name, value)
    return notes


def alike(opening: Opening, size: tuple[int, int]) -> bool:
    """Whether all images of the data have the proportions of `size`, (height, width)."""
    parts = opening.data.features.get("image", "").split("x")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return False
    return int(parts[1]) * size[1] == int(parts[2]) * size[0]


def stretching(opening: Opening, size: tuple[int, int]) -> tuple[dict[str, str], list[str]]:
    """Returns what a module declares whose library stretches images to a size, and notes.

    Nothing where there is nothing to stretch: such a model takes what others of its size take.

    Args:
        opening: whose option ``fit=crop`` asks for cropping instead.
        size: (height, width) that images are stretched to.
    """
    if alike(opening, size):
        return {}, []
    if opening.uri.query.get("fit") == "crop":
        return {}, ["images are cropped, where the library stretches them (fit=crop)"]
    return {"fit": "stretch"}, []


def bordered(opening: Opening, size: tuple[int, int], what: str) -> list[str]:
    """Returns a note where a library gives images borders, which the harness does not.

    Args:
        opening: whose option ``fit=crop`` allows cropping instead.
        size: (height, width) that images are brought to.
        what: how messages call the model.

    Raises:
        InputError: if images of other proportions may occur and cropping was not asked for.
    """
    if alike(opening, size):
        return []
    if opening.uri.query.get("fit") == "crop":
        return ["images are cropped, where the library gives them borders (fit=crop)"]
    raise InputError(
        f"{what}: its preprocessing adds borders to make images {size[0]} x {size[1]}, and here "
        "none are added: fit=crop resizes and crops the middle instead"
    )


def check_fit(uri: URI, what: str) -> None:
    """Raises InputError if option ``fit`` is there and is not ``crop``."""
    if uri.query.get("fit", "crop") != "crop":
        raise InputError(f"{what}: option fit: expected crop, got {uri.query['fit']!r}")
