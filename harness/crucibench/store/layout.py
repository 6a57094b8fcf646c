"""Where everything stands in a run directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FORMAT_VERSION: Literal[1] = 1
"""Raised whenever a reader of the older format would misread a run directory."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Layout:
    """The paths of one run directory."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.yaml"

    @property
    def environment(self) -> Path:
        return self.root / "environment"

    @property
    def models(self) -> Path:
        return self.environment / "models.json"

    @property
    def suites(self) -> Path:
        return self.environment / "suites.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.parquet"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def cells(self) -> Path:
        return self.root / "cells"

    def leaderboard(self, extension: str) -> Path:
        return self.root / f"leaderboard.{extension}"

    def card(self, data: str) -> Path:
        return self.samples / slug(data) / "card.json"

    def sample_table(self, data: str, role: str) -> Path:
        return self.samples / slug(data) / f"{slug(role)}.parquet"

    def cell(self, cell: str) -> Path:
        return self.cells / cell

    def cell_file(self, cell: str) -> Path:
        return self.cell(cell) / "cell.json"

    def timing(self, cell: str) -> Path:
        return self.cell(cell) / "timing.json"

    def shard(self, cell: str, stage: int, shard: int) -> Path:
        return self.cell(cell) / f"records-{stage:02d}-{shard:05d}.parquet"

    def probe(self, cell: str, name: str) -> Path:
        return self.cell(cell) / f"probes-{slug(name)}.parquet"

    def table(self, cell: str, name: str) -> Path:
        """A table that scoring made: a view, like `metrics`."""
        return self.root / "tables" / cell / f"{slug(name)}.parquet"


def slug(name: str) -> str:
    """Returns a name that every file system takes; different names may give the same slug."""
    text = _UNSAFE.sub("-", name).strip("-.")
    return text[:60] or "x"
