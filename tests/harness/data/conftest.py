"""Opens data as the engine does, with a cache of the test's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import DataOpening, DataSource
from crucibench.contracts.uri import URI, parse_uri
from crucibench.data.evalset import ArrowEvalSet, open_data

SOURCES = {
    "sklearn": "sklearn_bundled:SklearnSource",
    "csv": "tables:CsvSource",
    "parquet": "tables:ParquetSource",
    "npz": "arrays:NpzSource",
    "coco": "coco:CocoSource",
    "yolo": "yolo:YoloSource",
    "voc": "voc:VocSource",
    "imagefolder": "imagefolder:ImageFolderSource",
    "imagenet-c": "imagefolder:ImageNetCSource",
    "cifar-npy": "arrays:CifarNpySource",
    "tar": "tar_shards:TarSource",
    "hf": "hf_datasets:HubSource",
    "python": "python_factory:PythonSource",
    "synthetic": "synthetic.source:SyntheticSource",
}

Open = Callable[..., ArrowEvalSet]


def source_of(scheme: str) -> DataSource:
    module, name = SOURCES[scheme].split(":")
    return getattr(importlib.import_module(f"crucibench.data.sources.{module}"), name)()


@pytest.fixture
def open_uri(tmp_path: Path) -> Open:
    """Opens an address relative to `tmp_path`, or a live object with options."""

    def opened(uri: str, live: Any = None, **more: Any) -> ArrowEvalSet:
        parsed = parse_uri(uri)
        opening = DataOpening(
            name="data",
            uri=parsed,
            base=tmp_path,
            scratch=tmp_path / "cache",
            live=live,
            **more,
        )
        return open_data(source_of(parsed.scheme), opening)

    return opened


@pytest.fixture
def open_live(open_uri: Open) -> Open:
    """Opens a live object; options are given as keywords."""

    def opened(live: Any, **options: str) -> ArrowEvalSet:
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return open_uri("python:live" + (f"?{query}" if query else ""), live)

    return opened


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[str], Any]:
    """Returns what an address names."""

    def named(uri: str) -> Any:
        parsed: URI = parse_uri(uri)
        return source_of(parsed.scheme).sources(parsed, tmp_path)

    return named


@pytest.fixture
def spec() -> InputSpec:
    """What a model wants that takes whatever there is."""
    return InputSpec()
