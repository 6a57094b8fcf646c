"""Hugging Face `datasets`, imported so that it calls nobody."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

SWITCHES = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
}
"""What `datasets` and its hub client read when they are imported.

`HF_HUB_OFFLINE` is left alone: it would cut off the user's own libraries for the rest of the
process. Nothing here asks the hub anything: local files are never opened by `load_dataset`.
"""


def import_datasets() -> ModuleType:
    """Returns `datasets`, its network and telemetry off unless the user's environment says else."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    return importlib.import_module("datasets")
