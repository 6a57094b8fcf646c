from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.store.cell_cache import CellCache


@pytest.fixture
def cache(tmp_path: Path) -> CellCache:
    return CellCache(tmp_path / "cache" / "cells")
