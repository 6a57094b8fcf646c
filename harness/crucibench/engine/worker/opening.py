"""Opens the models and data sets that a spec names, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from crucibench.contracts.adapter import Adapter, Normalisation, Opening
from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.engine.listener import Listener
from crucibench.engine.resolve.resolve import Resolved, ResolvedModel, resolve_stored
from crucibench.engine.worker.meter import count_passes
from crucibench.engine.worker.tasks import MadeData
from crucibench.spec.check import Mistakes
from crucibench.spec.models import InputSettings, ModelSpec, RemoteSettings
from crucibench.store.run import Run
from crucibench.util.devices import resolve_device, thread_count
from crucibench.util.doors import StorageError
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.http.limits import Remote
from crucibench.util.user_errors import one_line, user_traceback


class Models:
    """Opens models and keeps the last few open."""

    def __init__(self, resolved: Resolved, device: str, cards: Mapping[str, DataCard]) -> None:
        self._resolved = resolved
        self._device = device
        self._cards = cards
        self._open: dict[tuple[str, str], Adapter] = {}

    def get(self, model: str, data: str, keep: int = 2) -> Adapter:
        """Returns an open model, closing those used longest ago beyond `keep`.

        Raises:
            InputError: if it can't be opened.
        """
        key = (model, data)
        adapter = self._open.pop(key, None)
        if adapter is None:
            adapter = self._load(key)
            count_passes(adapter)
        self._open[key] = adapter
        while len(self._open) > max(1, keep):
            self._open.pop(next(iter(self._open))).close()
        return adapter

    def holds(self, model: str, data: str) -> bool:
        """Whether a model is open."""
        return (model, data) in self._open

    def close(self) -> None:
        """Closes all."""
        for adapter in self._open.values():
            adapter.close()
        self._open.clear()

    def _load(self, key: tuple[str, str]) -> Adapter:
        entry = self._resolved.models[key[0]]
        adapter = open_plain(entry, self._resolved, self._device, self._cards[key[1]])
        return adapter.with_variant(entry.variant) if entry.variant else adapter


class Reopened:
    """A stored run whose models and data are opened again.

    Attributes:
        resolved: its spec.
        data: the data sets; open after `open`.
        device: what its spec means by its device, on this machine.
        threads: likewise.
    """

    def __init__(self, run: Run, scratch: Path, listener: Listener) -> None:
        """Resolves the stored spec.

        Raises:
            InputError: if something that it names is missing or differs.
        """
        self.resolved = resolve_stored(run)
        self._where = f"spec.yaml of run {run.id}"
        self._scratch = scratch
        self._listener = listener
        defaults = self.resolved.spec.defaults
        self.device = resolve_device(defaults.device)
        self.threads = thread_count(defaults.threads)
        self.data: Mapping[str, EvalSet] = {}
        self._models: Models | None = None

    def open(self) -> None:
        """Opens the data.

        Raises:
            InputError: if they can't be read.
        """
        self.data = open_all_data(self.resolved, self._scratch, self._listener, self._where)
        cards = {name: evalset.card for name, evalset in self.data.items()}
        self._models = Models(self.resolved, self.device, cards)

    def device_of(self, model: str) -> str:
        """Returns where a model is to run."""
        asked = self.resolved.models[model].spec.device
        return self.device if asked == "auto" else asked

    def model(self, model: str, data: str, keep: int = 1) -> Adapter:
        """Returns an open model; `keep` of them stay open, those used last."""
        if self._models is None:
            raise RuntimeError("open() comes first")
        return self._models.get(model, data, keep)

    def close(self) -> None:
        """Closes all models."""
        if self._models is not None:
            self._models.close()


def open_plain(entry: ResolvedModel, resolved: Resolved, device: str, card: DataCard) -> Adapter:
    """Opens the model as it is, whichever variant of it `entry` stands for.

    Raises:
        InputError: if it can't be opened.
    """
    if isinstance(entry.live, Adapter):
        return entry.live
    settings = entry.spec.input
    auto = entry.spec.device == "auto"
    return entry.adapter.open(
        Opening(
            name=entry.name,
            uri=entry.uri,
            base=resolved.base,
            data=card,
            normalisation=_normalisation(settings),
            size=(settings.size[0], settings.size[1]) if settings and settings.size else None,
            device=device if auto else entry.spec.device,
            auto_device=auto and resolved.spec.defaults.device == "auto",
            allow_pickle=resolved.allow_pickle,
            trust_remote_code=resolved.trust_remote_code,
            classes=_classes(entry.spec.classes),
            remote=_remote(entry.spec),
            live=entry.live,
        )
    )


def _normalisation(settings: InputSettings | None) -> Normalisation | None:
    if settings is None or not {"range", "mean", "std"} & settings.model_fields_set:
        return None
    low, high = settings.range
    # x * (high - low) + low - mean: the low end of the range joins the mean.
    return Normalisation(
        scale=high - low, mean=tuple(mean - low for mean in settings.mean), std=tuple(settings.std)
    )


def _classes(
    classes: list[str] | dict[str, str] | None,
) -> tuple[str, ...] | Mapping[str, str] | None:
    return tuple(classes) if isinstance(classes, list) else classes


def _remote(spec: ModelSpec) -> Remote:
    settings = spec.remote or RemoteSettings()
    return Remote(
        headers=spec.headers, concurrency=settings.concurrency,
        requests_per_second=settings.requests_per_second, max_requests=settings.max_requests,
        max_bytes=settings.max_bytes, max_seconds=settings.max_seconds, timeout=settings.timeout,
        max_tokens=settings.max_tokens, max_cost=settings.max_cost,
    )  # fmt: skip


def open_all_data(
    resolved: Resolved, scratch: Path, listener: Listener, where: str,
    made: Mapping[str, MadeData | CrucibenchError] | None = None,
) -> dict[str, EvalSet]:  # fmt: skip
    """Opens every data set that a track names.

    Args:
        resolved: the spec.
        scratch: the cache.
        listener: is told what is read.
        where: what messages call the spec.
        made: what was made in a process of its own, or why it could not be.

    Raises:
        InputError: all that can't be opened, at once.
    """
    mistakes = Mistakes(where)
    opened: dict[str, EvalSet] = {}
    used = {track.data for track in resolved.tracks}
    details: list[str] = []
    for position, name in enumerate(resolved.data):
        if name not in used:
            continue
        listener.note(f"reading {name}")

        def failed(path: str, error: Exception) -> None:
            if isinstance(error, StorageError):
                raise error
            if not isinstance(error, CrucibenchError):
                error = unexpected("it can't be read", error)
            mistakes.add(path, str(error))
            details.extend([error.detail] if error.detail else [])

        progress = partial(listener.indexing, name)
        before = (made or {}).get(name)
        if isinstance(before, CrucibenchError):
            failed(f"data[{position}] ({name})", before)
            continue
        raw = None if before is None else dict(before.raw)
        try:
            evalset = open_resolved(name, resolved, scratch, failed, progress=progress, made=raw)
        except Exception as error:
            failed(f"data[{position}] ({name})", error)
        else:
            opened |= {} if evalset is None else {name: evalset}
    report(mistakes, details)
    return opened


def open_resolved(
    name: str,
    resolved: Resolved,
    scratch: Path,
    failed: Callable[[str, Exception], None],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    made: dict[str, RawData] | None = None,
) -> EvalSet | None:
    """Opens a data set with the data sets of suites that go with it.

    Args:
        name: of the data set.
        resolved: the spec.
        scratch: the cache.
        failed: called with each address of a suite that can't be opened: its path in the spec, and
            the error.
        progress: called with the number of samples done and their total.
        made: by role, "" for the data set itself, what was read before and is not to be read
            again; takes what is read now.

    Returns:
        The data set, or None where some data set of a suite could not be opened.

    Raises:
        InputError: if the main data set can't be opened.
    """
    from crucibench.data.evalset import (
        ExtendedEvalSet,
        InHashOrder,
        open_data,
        open_suite_data,
    )

    entry = resolved.data[name]
    opening = DataOpening(
        name=name, uri=entry.uri, base=resolved.base, scratch=scratch, live=entry.live,
        allow_pickle=resolved.allow_pickle, progress=progress,
    )  # fmt: skip
    made = {} if made is None else made
    main = open_data(_ReadOnce(entry.source(), "", made), opening)
    opened = {}
    for one in entry.suite_data:
        more = DataOpening(
            name=one.role, uri=one.uri, base=resolved.base, scratch=scratch,
            allow_pickle=resolved.allow_pickle, progress=progress,
        )  # fmt: skip
        if one.role in main.card.counts:
            failed(one.path, InputError(f"the data set {name!r} has a role {one.role!r} already"))
            continue
        try:
            opened[one.role] = open_suite_data(
                _ReadOnce(one.source(), one.role, made), more, main, one.labels
            )
        except Exception as error:
            failed(one.path, error)
    if len(opened) < len(entry.suite_data):
        return None
    evalset = ExtendedEvalSet(main, opened) if opened else main
    defaults = resolved.spec.defaults
    if defaults.until_decided is None:
        return evalset
    if main.card.cluster or not main.card.counts.get("test"):
        what = "samples come in clusters" if main.card.cluster else "there is no role test"
        raise InputError(f"until_decided: {what}, so that there is no order to ask them in")
    return InHashOrder(evalset, defaults.seed)


class _ReadOnce(DataSource):
    """A source that is read only if it has not been read before."""

    def __init__(self, source: DataSource, role: str, made: dict[str, RawData]) -> None:
        self._source, self._role, self._made = source, role, made

    def read(self, opening: DataOpening) -> RawData:
        if self._role not in self._made:
            self._made[self._role] = self._source.read(opening)
        return self._made[self._role]


def unexpected(what: str, error: Exception) -> InputError:
    """Returns the sentence for an error that an adapter or a source did not put into words."""
    return InputError(f"{what}: {one_line(error)}", detail=user_traceback(error))


def report(mistakes: Mistakes, details: list[str]) -> None:
    """Raises what was found, with the users' own tracebacks as its detail."""
    try:
        mistakes.report()
    except InputError as error:
        raise InputError(str(error), detail="\n".join(details) or None) from None
