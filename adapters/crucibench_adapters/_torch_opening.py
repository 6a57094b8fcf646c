"""Where a torch module comes from: a factory with weights, an exported program, or live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from crucibench.contracts.adapter import Adapter, Opening, Sources
from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest
from crucibench.util.loading import call_factory, load_factory, parse_factory
from crucibench.util.suggest import unknown

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
    from crucibench_adapters._torch_exported import load_exported

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

    from crucibench_adapters._torch_weights import load_weights

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
