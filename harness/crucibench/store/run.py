"""Reading a run directory: `Run`, as `crucibench.load` returns it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Status, Verdict
from crucibench.store.cells import CellFile, read_cell
from crucibench.store.documents import read_typed
from crucibench.store.events import Dates, logged_dates
from crucibench.store.layout import ARTIFACTS, Layout
from crucibench.store.manifest import changed_views, not_as_scored, read_manifest
from crucibench.store.stored_records import StoredRecords
from crucibench.store.tables import read_frame, read_table, table_to_samples
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.hashing import file_digest
from crucibench.util.suggest import unknown
from crucibench.util.text import shorten, visible
from crucibench.util.untrusted.content import RefusedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNLIKE = (TypeError, LookupError, InputError)
"""A field is missing, or there is no such, or no such name."""


@dataclass(frozen=True)
class _StoredModel:
    """An entry of ``models.json``."""

    data: str
    model: ModelInfo


def _notebook() -> ModuleType:
    # By name, since what shows a run lies above what stores it.
    return import_module("crucibench.report.notebook")


class Run:
    """One run, read from its directory. Needs neither models nor data, nor torch."""

    packed = False
    """Whether it is read from a file: a pack or a bundle, which may lack parts of the run."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.root = root
        self.scorer: Any = None  # who has just scored it, and holds what claims read too

    def __repr__(self) -> str:
        return f"Run({str(self.root)!r})"

    def _repr_html_(self) -> str:
        return str(_notebook().run_html(self))

    def scorecard(self) -> pd.DataFrame:
        """Returns the headline numbers, one a row; see `crucibench.report.notebook.scorecard`."""
        frame: pd.DataFrame = _notebook().scorecard(self)
        return frame

    def plot(self, metric: str | None = None) -> Figure:
        """Draws the models' values of a headline metric with their intervals.

        Args:
            metric: as in the column ``metric`` of `scorecard`; the first unless given.

        Raises:
            InputError: if there is no such metric.
        """
        figure: Figure = _notebook().plot(self, metric)
        return figure

    @property
    def id(self) -> str:
        """The run's id: what its folder is called, however that was named (``.`` too)."""
        name = self.root.name
        return name if name not in {"", ".."} else self.root.resolve().name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; UnreadableError if the run is not finished."""
        return read_manifest(self.layout)

    @property
    def digest(self) -> str:
        """The digest of all its results; UnreadableError if the run is not finished."""
        return str(self.manifest["digest"])

    @property
    def finished(self) -> bool:
        """Whether the manifest has been written."""
        return self.layout.manifest.is_file()

    @property
    def stopped_early(self) -> bool:
        """Whether it asked in blocks until a policy was decided, so that n depends on outcomes."""
        return any(card.block for card in self.cards.values())

    @cached_property
    def dates(self) -> Dates:
        """When it was made."""
        return logged_dates(self.layout.events)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The resolved spec."""
        from crucibench.util.untrusted.yaml_text import read_yaml

        try:
            spec = read_yaml(self.layout.spec)
        except RefusedError as error:
            raise UnreadableError(f"run {self.id!r} has no readable spec: {error}") from error
        if not isinstance(spec, dict):
            raise UnreadableError(f"run {self.id!r} has no readable spec: it is no mapping")
        return spec

    @cached_property
    def cells(self) -> dict[str, CellFile]:
        """All cells by id, in the order of their ids."""
        paths = sorted(self.layout.cells.glob("*/cell.json"))
        return {path.parent.name: read_cell(path) for path in paths}

    @cached_property
    def models(self) -> dict[tuple[str, str], ModelInfo]:
        """What inspection found, by (model, data set)."""
        found = read_typed(self.layout.models, list[_StoredModel])
        try:
            return {
                (entry["model"]["name"], entry["data"]): ModelInfo.from_dict(entry["model"])
                for entry in found
            }
        except _UNLIKE as error:
            raise _unlike(self.layout.models, error) from error

    @cached_property
    def suites(self) -> dict[str, Any]:
        """How leaderboard and report show each suite: axis, headline, sections, metrics."""
        found: dict[str, Any] = read_typed(self.layout.suites, dict[str, dict[str, Any]])
        return found

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware and flags of the worker."""
        found: dict[str, Any] = read_typed(self.layout.environment / "main.json", dict[str, Any])
        return found

    @cached_property
    def cards(self) -> dict[str, DataCard]:
        """The data cards by data set name."""
        cards = [self._card(path) for path in sorted(self.layout.samples.glob("*/card.json"))]
        return {card.name: card for card in cards}

    def _card(self, path: Path) -> DataCard:
        try:
            return DataCard.from_dict(read_typed(path, DataCard))
        except _UNLIKE as error:
            raise _unlike(path, error) from error

    @cached_property
    def uninspected(self) -> set[tuple[str, str]]:
        """The (model, data set) pairs whose inspection failed, so that nothing was asked.

        Of the cells, only those of inspections are read.
        """
        found = (read_cell(path) for path in self.layout.cells.glob("*.inspection/cell.json"))
        return {(file.model, file.data) for file in found if file.scenario == "inspection"}

    def metrics(self) -> pd.DataFrame:
        """Returns all metric rows, long form; see `metric_table`."""
        frame: pd.DataFrame = self.metric_table().to_pandas()
        return frame

    def recipes(self) -> pd.DataFrame:
        """Returns the numbers of recipes, of which several trainings are among the models.

        See `crucibench.comparing.recipes.recipe_frame`.
        """
        # By name, since what compares trainings lies above what stores them.
        frame: pd.DataFrame = import_module("crucibench.comparing.recipes").recipe_frame(self)
        return frame

    def metric_table(self) -> pa.Table:
        """Returns all metric rows, long form.

        Raises:
            UnreadableError: if the file is missing or damaged, or, in a finished run, not the one
                that the manifest was written for.
        """
        metrics = self.layout.metrics
        if self.finished and not self._scored(metrics):
            raise UnreadableError(not_as_scored(self.layout))
        return read_table(metrics)

    def _scored(self, metrics: Path) -> bool:
        """Says whether the metric rows are those that the manifest was written for."""
        stated = self.manifest.get("views", {}).get(metrics.name)
        as_read = stated is None or (metrics.is_file() and file_digest(metrics) == stated)
        # The manifest may have been written anew since it was read.
        return as_read or metrics.name not in changed_views(self.layout)

    def records(self, cell: str) -> pd.DataFrame:
        """Returns a cell's records.

        Raises:
            InputError: if there is no such cell.
        """
        if cell not in self.cells:
            raise InputError(f"run {self.id} has no such cell: {unknown('cell', cell, self.cells)}")
        return self.cell_records(cell).frame()

    def cell_records(self, cell: str) -> Records:
        """Returns what is on disk of a cell's records; empty if there are none."""
        paths = sorted(self.layout.cell(cell).glob("records-*.parquet"))
        if not paths:
            return Records(pa.table({"id": pa.array([], pa.string())}))
        return StoredRecords(paths)

    def probes(self, cell: str, names: Iterable[str]) -> dict[str, Records]:
        """Returns a cell's probe records by name; they stay on disk until read."""
        paths = {name: self.layout.probe(cell, name) for name in names}
        for path in paths.values():
            if not path.is_file():
                raise UnreadableError(f"{str(path)!r} can't be read: it is missing")
        return {name: StoredRecords([path]) for name, path in paths.items()}

    def artifacts(self, cell: str, outputs: Iterable[str]) -> dict[str, Records]:
        """Returns the artefacts among a cell's `outputs` by name; they stay on disk until read."""
        names = [name.removeprefix(ARTIFACTS) for name in outputs if name.startswith(ARTIFACTS)]
        paths = {name: self.layout.artifacts(cell, name) for name in names}
        return {name: StoredRecords(files) for name, files in paths.items() if files}

    def samples(self, data: str, role: str) -> Samples:
        """Returns a role's sample table."""
        return table_to_samples(read_table(self.layout.sample_table(data, role)))

    def rows_within(self, data: str, role: str, limit: int) -> NDArray[np.int64] | None:
        """Returns the rows of a role's sample table that a limit keeps; None if the ids say so."""
        return None

    def table(self, cell: str, name: str) -> pd.DataFrame | None:
        """Returns a table that scoring made, or None."""
        path = self.layout.table(cell, name)
        return read_frame(path) if path.is_file() else None

    @property
    def exit_code(self) -> int:
        """0 if nothing failed and nothing is invalid, else 4."""
        bad = any(
            cell.status is Status.FAILED or cell.verdict is Verdict.INVALID
            for cell in self.cells.values()
        )
        return 4 if bad else 0


def _unlike(path: Path, error: Exception) -> UnreadableError:
    why = shorten(visible(str(error)), 160)
    return UnreadableError(f"{str(path)!r} is of another format: {why}")
