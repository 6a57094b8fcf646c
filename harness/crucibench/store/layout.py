"""The paths in a run directory."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

FORMAT_VERSION: Literal[1] = 1
"""Raised whenever a reader of the older format would misread a run directory."""

PART = ".part-"
"""What the folder's name of a part of a run holds, and no run's id."""

ARTIFACTS = "artifacts/"
"""What the names of artefacts begin with, in a cell's folder and among its outputs."""

ANSWERS = ".answers-"
"""What the names of logs of answers begin with, in a cell's folder while it is collected."""

_RUN_ID = re.compile(r"\w[\w .,+=@()~-]*(?<![ .])")
_LONGEST_ID = 200
_LONGEST_NAME = 1000
_COMPONENT = re.compile(r"[A-Za-z0-9._=+@-]{1,255}")
_STAGE = re.compile(r"(?:records|artifacts/.+)-(\d{2,})-\d{5,}\.parquet")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Layout:
    """The paths of one run directory.

    Attributes:
        part: the account of a part of a run: only a part has one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "spec.yaml"
        self.environment = root / "environment"
        self.models = self.environment / "models.json"
        self.suites = self.environment / "suites.json"
        self.part = self.environment / "part.json"
        self.metrics = root / "metrics.parquet"
        self.claims = root / "claims.json"
        self.recipes = root / "recipes.json"
        self.report = root / "report.html"
        self.events = root / "events.jsonl"
        self.manifest = root / "manifest.json"
        self.samples = root / "samples"
        self.cells = root / "cells"

    def leaderboard(self, extension: str) -> Path:
        return self.root / f"leaderboard.{extension}"

    def card(self, data: str) -> Path:
        return self.samples / slug(data) / "card.json"

    def sample_table(self, data: str, role: str) -> Path:
        return self.samples / slug(data) / f"{_distinct(role)}.parquet"

    def cell(self, cell: str) -> Path:
        return self.cells / cell

    def cell_file(self, cell: str) -> Path:
        return self.cell(cell) / "cell.json"

    def timing(self, cell: str) -> Path:
        return self.cell(cell) / "timing.json"

    def log(self, cell: str) -> Path:
        """What the model printed; no part of the results, as the timing is none."""
        return self.cell(cell) / "log.txt"

    def shard(self, cell: str, stage: int, shard: int) -> Path:
        return self.cell(cell) / f"records-{stage:02d}-{shard:05d}.parquet"

    def answers(self, cell: str, stage: int, shard: int) -> Path:
        """The log of a language model's answers, until the shard's records are there."""
        return self.cell(cell) / f"{ANSWERS}{stage:02d}-{shard:05d}"

    def artifact(self, cell: str, name: str, stage: int, shard: int) -> Path:
        return self.cell(cell) / f"{ARTIFACTS}{slug(name)}-{stage:02d}-{shard:05d}.parquet"

    def artifacts(self, cell: str, name: str) -> list[Path]:
        """The files of one artefact of a cell, in the order of stages and shards."""
        return sorted(self.cell(cell).glob(f"{ARTIFACTS}{slug(name)}-??-?????.parquet"))

    def probe(self, cell: str, name: str) -> Path:
        return self.cell(cell) / f"probes-{slug(name)}.parquet"

    def table(self, cell: str, name: str) -> Path:
        """A table that scoring made: a view, like `metrics`."""
        return self.root / "tables" / cell / f"{slug(name)}.parquet"


def is_run_id(value: object) -> bool:
    """Says whether a value may be the id of a run: a plain name that any folder could have."""
    return (
        isinstance(value, str)
        and _RUN_ID.fullmatch(value) is not None
        and len(value.encode()) <= _LONGEST_ID
        and PART not in value
    )


def is_cell_id(name: str) -> bool:
    """Says whether a name may be the id of a cell."""
    return "/" not in name and is_inside(name)


def is_inside(name: str) -> bool:
    """Says whether a file name with slashes stays inside the folder that it is joined to."""
    parts = name.split("/")
    return len(name) <= _LONGEST_NAME and all(
        _COMPONENT.fullmatch(part) and part.strip(".") for part in parts
    )


def stage_of(name: str) -> int | None:
    """Returns the number of the stage that a file of a cell's folder belongs to, if to one."""
    match = _STAGE.fullmatch(name)
    return int(match[1]) if match else None


def _distinct(name: str) -> str:
    """Returns a slug that no other name has: with a digest where it is not the name itself."""
    text = slug(name)
    return text if text == name else f"{text}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def slug(name: str) -> str:
    """Returns a name that every file system takes; different names may give the same slug."""
    text = _UNSAFE.sub("-", name).strip("-.")
    return text[:60] or "x"
