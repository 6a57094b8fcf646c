"""``timm:NAME``: the classification models of timm (PyTorch Image Models).

Options:

- ``pretrained=true``: the weights that timm offers for the name and its tag
  (``timm:resnet18.a1_in1k``), downloaded by it; ``checkpoint=FILE`` (.safetensors, or a .pt or .pth
  state dict): one's own; neither: random weights, the same each time;
- ``num_classes=10``: a head of another size;
- ``fit=crop``: for a model whose preprocessing stretches images or adds borders: they are resized
  and cropped instead.

What `timm.data.resolve_model_data_config` says is split in two: resizing and cropping make the
canonical sample, on which perturbations act; normalisation is part of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucibench.contracts.adapter import Opening, Sources
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory
from crucibench.util.optional import need
from crucibench.util.user_errors import one_line
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import (
    LibraryAdapter,
    LibraryOrigin,
    bordered,
    check_fit,
    class_count,
    declare,
    image_sources,
    library_version,
    no_model,
    only_images,
    stretching,
)
from crucibench_adapters.torch_module import weights_file

if TYPE_CHECKING:
    from torch import nn

_OPTIONS = ("checkpoint", "pretrained", "num_classes", "fit")
_RESIZES = ("bilinear", "bicubic", "nearest")


class TimmAdapter(LibraryAdapter):
    """A classification model of timm, in eval mode."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        check_fit(uri, f"timm:{uri.rest}")
        if uri.flag("pretrained") and "checkpoint" in uri.query:
            raise InputError(f"timm:{uri.rest}: pretrained and checkpoint: expected one of them")
        return image_sources(uri, base, uri.query.get("checkpoint"), "timm")

    @classmethod
    def _made(cls, opening: Opening) -> tuple[nn.Module, LibraryOrigin]:
        uri, what = opening.uri, f"timm:{opening.uri.rest}"
        cls.sources(uri, opening.base)
        with quiet():
            timm = need("timm", "vision")
        count = class_count(uri, what)
        only_images(opening, what, count)
        pretrained = uri.flag("pretrained")
        if pretrained and count is not None:
            raise InputError(f"{what}: num_classes: pretrained weights come with their own head")
        module = _build(timm, uri.rest, pretrained, count)
        notes: list[str] = []
        if "checkpoint" in uri.query:
            from crucibench_adapters._torch_files import load_weights

            file = weights_file(opening.base, uri.query["checkpoint"])
            notes += load_weights(module, file, what, allow_pickle=opening.allow_pickle)
        elif not pretrained:
            notes.append("random weights, the same each time: the address names none")
        config: Mapping[str, Any] = timm.data.resolve_model_data_config(module)
        if not pretrained:
            tag = _config_of(module, "tag")
            whose = f"{uri.rest.partition('.')[0]}.{tag}" if tag else uri.rest
            notes.append(f"preprocessing is that of timm's {whose}: the address does not say")
        inputs, note = _inputs(config, opening, what)
        names, synsets = (None, ()) if count is not None else _classes(timm, module)
        notes += [*note, *declare(module, opening, inputs, names, synsets)]
        head = [] if count is None else [f"num_classes={count}"]
        facts = {
            "library": f"timm {library_version('timm', 'vision')}",
            "architecture": " ".join([uri.rest, *head]),
        }
        return module, LibraryOrigin(what, notes=tuple(notes), facts=facts)


def _build(timm: Any, name: str, pretrained: bool, count: int | None) -> nn.Module:
    what = f"timm:{name}"
    if ":" in name or not timm.is_model(name):
        raise no_model("timm", name, timm.list_models())
    architecture, _, tag = name.partition(".")
    tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise no_model("timm", name, [f"{architecture}.{entry}" for entry in tags if entry])
    if pretrained and not tags:
        raise InputError(f"{what}: pretrained: timm offers no weights for it")

    def make() -> nn.Module:
        options = {} if count is None else {"num_classes": count}
        module: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
        return module

    with quiet():
        if not pretrained:
            return call_factory(make, what)  # type: ignore[no-any-return]
        try:
            return make()
        except Exception as error:
            raise InputError(
                f"{what}: its weights could not be downloaded, and are not in the cache: "
                f"{one_line(error)}"
            ) from error


def _inputs(
    config: Mapping[str, Any], opening: Opening, what: str
) -> tuple[dict[str, Any], list[str]]:
    """Returns what timm's evaluation transform does, as a module declares it, and notes.

    Raises:
        InputError: if the harness can't do it.
    """
    channels, height, width = config["input_size"]
    if config["interpolation"] not in _RESIZES:
        raise InputError(
            f"{what}: its preprocessing resizes by {config['interpolation']}: "
            f"expected {', '.join(_RESIZES[:-1])} or {_RESIZES[-1]}"
        )
    fit: dict[str, str] = {}
    notes: list[str] = []
    if config["crop_mode"] == "squash":
        fit, notes = stretching(opening, (height, width))
    elif config["crop_mode"] != "center":
        notes = bordered(opening, (height, width), what)
    # timm rounds the size before cropping down; the share says the same size, rounded to nearest.
    resized = math.floor(height / config["crop_pct"])
    declared = {
        "size": [height, width],
        "crop": height / resized,
        "resize": config["interpolation"],
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "channels": channels,
        **fit,
    }
    return declared, notes


def _classes(timm: Any, module: nn.Module) -> tuple[list[str] | None, tuple[str, ...]]:
    """Returns the names and WordNet ids of a model's classes, where timm knows them."""
    named = _config_of(module, "label_names")
    if named:
        return list(named), ()
    subset = timm.data.infer_imagenet_subset(module)
    if not subset:
        return None, ()
    info = timm.data.ImageNetInfo(subset)
    count = info.num_classes()
    return [info.index_to_description(at) for at in range(count)], tuple(info.label_names())


def _config_of(module: Any, key: str) -> Any:
    return (getattr(module, "pretrained_cfg", None) or {}).get(key)
