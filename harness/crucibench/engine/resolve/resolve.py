"""Resolve: read the spec, its URIs and the digests of the files it names. Needs no torch."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from crucibench import registry
from crucibench.contracts.adapter import Adapter, Sources
from crucibench.contracts.source import DataSource
from crucibench.contracts.uri import URI, parse_uri
from crucibench.engine.resolve.suites import (
    ResolvedSuite,
    ResolvedSuiteData,
    check_tracks,
    resolve_suite_data,
    resolve_suites,
    settings_of_tracks,
    suite_data_digests,
    suite_names,
)
from crucibench.spec.check import Mistakes, parse_spec, tracks_of
from crucibench.spec.models import DataSpec, ModelSpec, Spec, Track
from crucibench.spec.suite_files import check_suites, section
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.hashing import (
    data_digest,
    differing_fields,
    file_digest,
    file_digests,
    relative_name,
)
from crucibench.util.untrusted.yaml_text import dump_yaml

LIVE = "live"
"""The scheme of live objects: they have no address."""

_NO_RESULT = {"timeout", "until_decided"}
"""A longer timeout changes no result: the run goes on where a shorter one ended it. Of a policy the
content counts, which is among the digests."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model of the spec, or one of its variants, with its adapter class."""

    spec: ModelSpec
    name: str
    variant: str
    uri: URI
    adapter: type[Adapter]
    live: Any = None


@dataclass(frozen=True)
class ResolvedData:
    """A data set of the spec with its source class."""

    spec: DataSpec
    uri: URI
    source: type[DataSource]
    live: Any = None
    suite_data: tuple[ResolvedSuiteData, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """A spec, ready to be inspected.

    Attributes:
        spec: as written, after overrides, every track with its suites.
        base: the folder that relative paths are relative to.
        models: every model and variant by name.
        data: every data set by name.
        suites: every suite that some track asks for, by name.
        tracks: the spec's, with variants among the models.
        digests: of every file that the spec names, and facts such as library versions.
        allow_pickle: whether pickled files may be read.
        trust_remote_code: whether code that comes with a model's files may be run.
        run_id: derives from all of it.
        batch_sizes: what ``auto`` came to, by model and data set, where that is known.
    """

    spec: Spec
    base: Path
    models: Mapping[str, ResolvedModel]
    data: Mapping[str, ResolvedData]
    suites: Mapping[str, ResolvedSuite]
    tracks: tuple[Track, ...]
    digests: Mapping[str, Mapping[str, str]]
    allow_pickle: bool
    run_id: str
    trust_remote_code: bool = False
    batch_sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether a model or data set is a live object, which can't leave this process."""
        return any(entry.live is not None for entry in self.models.values()) or any(
            entry.live is not None for entry in self.data.values()
        )

    def document(self, root: Path) -> str:
        """Returns the resolved spec as YAML; running it from `root` reproduces the run."""
        base = os.path.relpath(self.base, root)
        return dump_yaml(
            {
                **self.spec.model_dump(mode="json"),
                "resolved": {
                    "base": Path(base).as_posix(),
                    "allow_pickle": self.allow_pickle,
                    "trust_remote_code": self.trust_remote_code,
                    "batch_sizes": {key: dict(value) for key, value in self.batch_sizes.items()},
                    "digests": {key: dict(value) for key, value in self.digests.items()},
                },
            }
        )


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the command line sets on top of a spec.

    Attributes:
        defaults: keys of `Defaults`.
        suites: the suites to run, or None for those of the tracks.
        settings: ``SUITE.KEY`` to value.
        allow_pickle: whether pickled files may be read.
        trust_remote_code: whether code that comes with a model's files may be run.
        live: live objects by ``models.NAME`` or ``data.NAME``.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    suites: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    allow_pickle: bool = False
    trust_remote_code: bool = False
    live: Mapping[str, Any] = field(default_factory=dict)


def resolve(document: Any, base: Path, where: str, overrides: Overrides) -> Resolved:
    """Resolves a spec given as plain data.

    Raises:
        InputError: all mistakes at once, with their paths.
    """
    document, base, batch_sizes = _unpack_resolved(document, base)
    spec = parse_spec(overridden(document, overrides.defaults, overrides.settings), where)
    mistakes = Mistakes(where)
    suites = resolve_suites(spec, suite_names(spec, overrides.suites, mistakes), mistakes)
    digests: dict[str, Mapping[str, str]] = {}
    models: dict[str, ResolvedModel] = {}
    for position, model in enumerate(spec.models):
        path = f"models[{position}]"
        for variant in _model(model, path, overrides, mistakes):
            if variant.name in models:
                mistakes.add(f"{path}.variants", f"the name {variant.name!r} stands twice")
            models[variant.name] = variant
            found = mistakes.attempt(f"{path}.uri", partial(_sources, variant, base))
            digests[f"models.{model.name}"] = found or {}
    data: dict[str, ResolvedData] = {}
    for position, dataset in enumerate(spec.data):
        path = f"data[{position}]"
        resolved = _data(dataset, path, overrides, mistakes)
        if resolved is not None:
            data[dataset.name] = resolved
            found = mistakes.attempt(f"{path}.uri", partial(_sources, resolved, base))
            digests[f"data.{dataset.name}"] = found or {}
    filled = _filled(spec, suites, overrides)
    check_tracks(filled.tracks, suites, mistakes)
    shown = partial(relative_name, base=base)
    read: dict[Path, str] = {}
    for name, entry in data.items():
        settings = settings_of_tracks(filled.tracks, suites, name)
        suite_data = tuple(resolve_suite_data(settings, entry.uri, base, mistakes))
        data[name] = replace(entry, suite_data=suite_data)
        for one in suite_data:
            found = mistakes.attempt(one.path, partial(suite_data_digests, one, base, shown, read))
            digests[f"data.{name}:{one.role}"] = found or {}
    configs = {
        section(name, track): config
        for name, entry in suites.items()
        for track, config in ((None, entry.config), *entry.by_track.items())
    }
    digests |= check_suites(configs, base, shown, mistakes)
    if spec.defaults.until_decided is not None:
        policy = base / spec.defaults.until_decided
        found = mistakes.attempt("defaults.until_decided", partial(_policy_digest, policy, shown))
        digests["defaults.until_decided"] = found or {}
    mistakes.report()
    trusted = overrides.allow_pickle, overrides.trust_remote_code
    return Resolved(
        filled, base, models, data, suites, _with_variants(filled), digests, trusted[0],
        _run_id(filled, digests, *trusted), trusted[1], batch_sizes,
    )  # fmt: skip


def _run_id(
    spec: Spec, digests: Mapping[str, Mapping[str, str]], allow_pickle: bool, remote_code: bool
) -> str:
    identity = {
        "spec": spec.model_dump(mode="json", exclude={"defaults": _NO_RESULT}),
        "digests": {key: dict(value) for key, value in digests.items()},
        "allow_pickle": allow_pickle,
        "trust_remote_code": remote_code,
    }
    return data_digest(identity)[:12]


def _policy_digest(policy: Path, shown: Callable[[Path], str]) -> dict[str, str]:
    if not policy.is_file():
        raise InputError(f"there is no policy {str(policy)!r}")
    return {shown(policy): file_digest(policy)}


def _unpack_resolved(
    document: Any, base: Path
) -> tuple[Any, Path, Mapping[str, Mapping[str, int]]]:
    # The spec.yaml of a run holds its base folder, and the batch sizes found for it.
    if not isinstance(document, dict) or "resolved" not in document:
        return document, base, {}
    document = dict(document)
    resolved = document.pop("resolved")
    return document, (base / resolved["base"]).resolve(), resolved.get("batch_sizes", {})


def _model(
    model: ModelSpec, path: str, overrides: Overrides, mistakes: Mistakes
) -> list[ResolvedModel]:
    live = overrides.live.get(f"models.{model.name}")
    adapter: type[Adapter] | None
    if live is not None:
        uri = URI(LIVE, model.name)
        adapter = mistakes.attempt(path, lambda: registry.accepting_adapter(live, model.name))
    else:
        parsed = mistakes.attempt(f"{path}.uri", lambda: parse_uri(model.uri))
        if parsed is None:
            return []
        uri = parsed
        adapter = mistakes.attempt(f"{path}.uri", lambda: registry.adapters().get(uri.scheme))
    if adapter is None:
        return []
    for key in ("headers", "remote"):
        if getattr(model, key) and not adapter.remote:
            mistakes.add(f"{path}.{key}", f"{uri.scheme}: models are not asked over a network")
    variants = ["", *(variant for variant in model.variants if variant != "fp32")]
    return [
        ResolvedModel(
            model, f"{model.name}@{variant}" if variant else model.name, variant, uri, adapter, live
        )
        for variant in variants
    ]


def _data(
    entry: DataSpec, path: str, overrides: Overrides, mistakes: Mistakes
) -> ResolvedData | None:
    live = overrides.live.get(f"data.{entry.name}")
    if live is not None:
        uri: URI | None = URI(LIVE, entry.name, _options(entry, {}))
        source = mistakes.attempt(path, lambda: registry.accepting_source(live, entry.name))
    else:
        parsed = mistakes.attempt(f"{path}.uri", lambda: parse_uri(entry.uri))
        if parsed is None:
            return None
        uri = URI(parsed.scheme, parsed.rest, _options(entry, parsed.query))
        source = mistakes.attempt(f"{path}.uri", lambda: registry.sources().get(parsed.scheme))
    return None if source is None or uri is None else ResolvedData(entry, uri, source, live)


def _options(entry: DataSpec, query: Mapping[str, str]) -> dict[str, str]:
    options = dict(query)
    for key in ("target", "id", "cluster", "task", "split", "on_bad_sample"):
        value = getattr(entry, key)
        if value is not None:
            options[key] = str(value)
    for key in ("groups", "features", "input", "classes"):
        if getattr(entry, key):
            options[key] = ",".join(getattr(entry, key))
    return options


def _sources(entry: ResolvedModel | ResolvedData, base: Path) -> dict[str, str]:
    if entry.live is not None:
        # A live object has no file; unless its content tells it apart, no run resumes another.
        return {"live": _live_digest(entry.live)}
    loader = entry.adapter if isinstance(entry, ResolvedModel) else entry.source
    found: Sources = loader.sources(entry.uri, base)
    return file_digests(found.files, base) | dict(found.facts)


def _filled(spec: Spec, suites: Mapping[str, ResolvedSuite], overrides: Overrides) -> Spec:
    """Returns the spec with every track's suites written out: what is stored and identified."""
    tracks = []
    for track in tracks_of(spec):
        asked = overrides.suites if overrides.suites is not None else track.suites
        names = sorted(suites) if asked is None else [name for name in asked if name in suites]
        tracks.append(track.model_copy(update={"suites": names}))
    return spec.model_copy(update={"tracks": tracks})


def _with_variants(spec: Spec) -> tuple[Track, ...]:
    names = {
        model.name: [model.name, *(f"{model.name}@{v}" for v in model.variants if v != "fp32")]
        for model in spec.models
    }
    return tuple(
        track.model_copy(update={"models": [name for m in track.models for name in names[m]]})
        for track in spec.tracks
    )


def resolve_stored(run: Run) -> Resolved:
    """Resolves the stored spec of a run again, if all that it names is there and as it was.

    Raises:
        InputError: naming what is missing or differs, or was a live object.
    """
    where = f"spec.yaml of run {run.id}"
    stored = run.spec["resolved"]
    for part, facts in stored["digests"].items():
        if LIVE in facts:
            raise InputError(
                f"{where}: {part} was a live object: only models and data that have an address can "
                "be opened again"
            )
    overrides = Overrides(
        allow_pickle=bool(stored["allow_pickle"]),
        trust_remote_code=bool(stored.get("trust_remote_code", False)),
    )
    resolved = resolve(run.spec, run.root, where, overrides)
    changed = differing_fields(
        {part: dict(facts) for part, facts in stored["digests"].items()},
        {part: dict(facts) for part, facts in resolved.digests.items()},
    )
    if changed:
        raise InputError(
            f"{where}: {changed[0]} is not what it was when run {run.id} was made: another model "
            "or other data would be asked than the run's"
        )
    return resolved


def offline(document: Mapping[str, Any]) -> Resolved:
    """Resolves the stored spec of a run as far as scoring needs it: no file is looked at.

    Its base is as it was written, relative to the run's folder.

    Raises:
        InputError: if a suite of the run is not installed.
    """
    document = dict(document)
    resolved = document.pop("resolved")
    spec = parse_spec(document, "spec.yaml")
    mistakes = Mistakes("spec.yaml")
    suites = resolve_suites(spec, suite_names(spec, None, mistakes), mistakes)
    mistakes.report()
    trusted = bool(resolved["allow_pickle"]), bool(resolved.get("trust_remote_code", False))
    return Resolved(
        spec, Path(resolved["base"]), {}, {}, suites, _with_variants(spec), resolved["digests"],
        trusted[0], _run_id(spec, resolved["digests"], *trusted), trusted[1],
        resolved.get("batch_sizes", {}),
    )  # fmt: skip


def overridden(document: Any, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """Returns a spec given as plain data with some keys set; the one given stays what it was.

    Args:
        document: the spec, perhaps of a wrong form.
        defaults: keys of its section ``defaults``.
        settings: ``SUITE.KEY`` to value: in the section ``suites``, and in every track that has
            this key of its own.

    Raises:
        InputError: if a name of `settings` has no dot.
    """
    if not isinstance(document, dict):
        return document
    document = dict(document)
    if defaults:
        document["defaults"] = {**(document.get("defaults") or {}), **defaults}
    for address, value in settings.items():
        suite, dot, key = address.partition(".")
        if not dot:
            raise InputError(f"--set {address}: expected SUITE.KEY=VALUE")
        keys = key.split(".")
        _put(document, ["suites", suite, *keys], value)
        tracks = document.get("tracks")
        if isinstance(tracks, list):
            document["tracks"] = [_track(track, suite, keys, value) for track in tracks]
    return document


def _track(track: Any, suite: str, keys: Sequence[str], value: Any) -> Any:
    below = track
    for key in ("settings", suite, keys[0]):
        if not isinstance(below, dict) or key not in below:
            return track
        below = below[key]
    changed = dict(track)
    _put(changed, ["settings", suite, *keys], value)
    return changed


def _put(mapping: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Sets a key, or one of a mapping below it; mappings below are copied, not changed."""
    first, *rest = keys
    if not rest:
        mapping[first] = value
        return
    below = mapping.get(first)
    mapping[first] = dict(below) if isinstance(below, dict) else {}
    _put(mapping[first], rest, value)


_LIBRARIES = frozenset({"numpy", "pandas", "torch", "sklearn", "datasets"})


def _live_digest(value: Any) -> str:
    """Returns a digest of a live object's content, or a random one where there is none to be had.

    A torch module and an estimator are all that they hold, their classes' code too; frames and
    arrays are their values. A function has no such content, so that a run with it is always a new
    run.
    """
    # Imported here, since it would slow the start of commands without live objects.
    from crucibench.util.content import OpaqueError, content_of

    try:
        if _has_content(value):
            return content_of(value, folders=[Path.cwd()]).digest
    except OpaqueError:
        pass
    return f"unknown-{secrets.token_hex(8)}"


def _has_content(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_has_content(entry) for entry in value)
    if isinstance(value, dict):
        return all(_has_content(entry) for entry in value.values())
    if isinstance(value, str | int | float | bool | type(None)) or _is_model(value):
        return True
    return type(value).__module__.partition(".")[0] in _LIBRARIES and not callable(value)


def _is_model(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return True
    return not isinstance(value, type) and hasattr(value, "fit") and hasattr(value, "predict")
