"""``torchvision:NAME``: the classification models of torchvision, and its detectors.

Options:

- ``weights=IMAGENET1K_V2``: weights that torchvision offers, downloaded by it into torch's cache;
  ``weights=FILE`` (.safetensors, or a .pt or .pth state dict): one's own; ``weights=none``, or no
  option: random weights, the same each time;
- ``num_classes=10``: a head of another size;
- ``preprocessing=IMAGENET1K_V1``: whose resizing, cropping and normalisation; those of the named
  weights, otherwise of the model's default weights.

A detector resizes and normalises by itself, and takes images in their own sizes; ``num_classes``
counts the background, ``preprocessing`` is not for it. A file of one's own is of the data's classes
in their order, the background before them.

The transform that belongs to the weights is split in two: resizing and cropping make the canonical
sample, on which perturbations act; normalisation is part of the model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucibench.contracts.adapter import Opening, Sources
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory
from crucibench.util.optional import need
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line
from crucibench_adapters._classes import imagenet_synsets
from crucibench_adapters._outputs import list_fields
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import (
    LibraryAdapter,
    LibraryOrigin,
    class_count,
    declare,
    image_sources,
    library_version,
    no_model,
    only_images,
)
from crucibench_adapters.torch_module import WEIGHTS, weights_file

if TYPE_CHECKING:
    from torch import nn

_OPTIONS = ("weights", "num_classes", "preprocessing")
_WITH_AUXILIARY = ("googlenet", "inception_v3")
_SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class TorchvisionAdapter(LibraryAdapter):
    """A classification model of torchvision or a detector, in eval mode."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        weights = uri.query.get("weights", "none")
        return image_sources(uri, base, weights if _is_file(weights) else None, "torchvision")

    @classmethod
    def _made(cls, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
        uri, what = opening.uri, f"torchvision:{opening.uri.rest}"
        uri.only(*_OPTIONS)
        models = need("torchvision", "vision").models
        if list_fields(opening.data.task):
            return _detector(opening, models, what)
        known = models.list_models(module=models)
        if uri.rest not in known:
            raise no_model("torchvision", uri.rest, known)
        count = class_count(uri, what)
        only_images(opening, what, count)
        offered = models.get_model_weights(uri.rest)
        weights = uri.query.get("weights", "none")
        named = None if weights == "none" or _is_file(weights) else _one(offered, weights, what)
        if named is not None and count is not None:
            raise InputError(
                f"{what}: num_classes: weights {named.name} come with a head of their own"
            )
        preset = named or offered.DEFAULT
        if "preprocessing" in uri.query:
            preset = _one(offered, uri.query["preprocessing"], what)
        options = _options(uri.rest, weights, count)
        module = _build(models, uri.rest, named, options, what)
        notes = []
        if named is None:
            notes = _filled(module, opening, weights, what)
            notes.append(f"preprocessing is taken from {preset}: the address does not say")
        names = None if count is not None else list(preset.meta["categories"])
        notes += declare(
            module, opening, _inputs(preset, what), names, imagenet_synsets(names or ())
        )
        facts = {
            "library": f"torchvision {library_version('torchvision', 'vision')}",
            "architecture": " ".join([uri.rest, *(f"{k}={v}" for k, v in sorted(options.items()))]),
        }
        return module, LibraryOrigin(what, notes=tuple(notes), facts=facts)


def _filled(module: nn.Module, opening: Opening, weights: str, what: str) -> list[str]:
    """Loads weights of the user's own, if the address names a file, and says what they are."""
    from crucibench_adapters._torch_files import load_weights

    if weights == "none":
        return ["random weights, the same each time: the address names none"]
    file = weights_file(opening.base, weights)
    return [*load_weights(module, file, what, allow_pickle=opening.allow_pickle)]


def _detector(opening: Opening, models: Any, what: str) -> tuple[nn.Module, LibraryOrigin]:
    """Returns a detector, which resizes and normalises by itself, and where it came from."""
    from crucibench_adapters._torchvision_boxes import OneByOne

    uri, task = opening.uri, opening.data.task
    uri.only("weights", "num_classes")
    if opening.normalisation is not None:
        raise InputError(f"{what}: a detector normalises by itself")
    known = models.list_models(module=models.detection)
    if uri.rest not in known:
        raise no_model("torchvision's detectors", uri.rest, known)
    offered = models.get_model_weights(uri.rest)
    weights, count = uri.query.get("weights", "none"), class_count(uri, what)
    named = None if weights == "none" or _is_file(weights) else _one(offered, weights, what)
    names = ["__background__", *task.classes]
    if named is not None:
        if count is not None:
            raise InputError(f"{what}: num_classes: weights {named.name} have classes of their own")
        names = list(named.meta["categories"])
    elif count not in (None, len(names)):
        raise InputError(
            f"{what}: num_classes: expected the data's {len(task.classes)} classes and one of the "
            f"background, {len(names)}, got {count}"
        )
    options = {} if named is not None else {"num_classes": len(names), "weights_backbone": None}
    model = _build(models, uri.rest, named, options, what)
    notes = _filled(model, opening, weights, what) if named is None else []
    module = OneByOne(model)
    own = {"sizes": "own", "channels": 3}
    notes += declare(module, opening, own, names)
    facts = {
        "library": f"torchvision {library_version('torchvision', 'vision')}",
        "architecture": f"{uri.rest} num_classes={len(names)}",
    }
    steps = {"resizing": "the detector's own"}
    return module, LibraryOrigin(what, notes=tuple(notes), facts=facts, preprocessing=steps)


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in WEIGHTS or "/" in weights


def _one(offered: Any, name: str, what: str) -> Any:
    if name not in offered.__members__:
        raise InputError(unknown(f"weights of {what}:", name, offered.__members__))
    return offered[name]


def _options(name: str, weights: str, count: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {} if count is None else {"num_classes": count}
    if name in _WITH_AUXILIARY and (weights == "none" or _is_file(weights)):
        # torchvision warns where this is left open; a file replaces what it would make.
        options["init_weights"] = weights == "none"
        # As torchvision does for its own weights, whose form a file of 1,000 classes has.
        options["transform_input"] = count is None
    return options


def _build(models: Any, name: str, weights: Any, options: dict[str, Any], what: str) -> nn.Module:
    def make() -> nn.Module:
        module: nn.Module = models.get_model(name, weights=weights, progress=False, **options)
        return module

    if weights is None:
        return call_factory(make, what)  # type: ignore[no-any-return]
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"  # what is downloaded may hold tensors and no code
    try:
        with quiet():
            return make()
    except Exception as error:
        raise InputError(
            f"{what}: weights {weights.name} are not in torch's cache and could not be "
            f"downloaded: {one_line(error)}"
        ) from error
    finally:
        os.environ.pop(_SAFE)
        os.environ.update({_SAFE: before} if before is not None else {})


def _inputs(preset: Any, what: str) -> dict[str, Any]:
    """Returns what the transform that belongs to `preset` does, as a module declares it."""
    transform = preset.transforms()
    try:
        (size,), (resized,) = transform.crop_size, transform.resize_size
        declared = {
            "size": [size, size],
            "crop": size / resized,
            "resize": transform.interpolation.value,
            "mean": list(transform.mean),
            "std": list(transform.std),
            "channels": 3,
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{what}: the transform of {preset} is not resizing, cropping and normalising alone"
        ) from error
    return declared
