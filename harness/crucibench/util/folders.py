"""Folders of the user's."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the user's cache folder; ``CRUCIBENCH_CACHE`` names another."""
    import platformdirs

    named = os.environ.get("CRUCIBENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("crucibench"))
