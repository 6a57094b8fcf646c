"""Model libraries, kept from chatting on the console and from calling home."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

SWITCHES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    # A tokenizer's own threads are not among those that the plan gives to a worker.
    "TOKENIZERS_PARALLELISM": "false",
}
"""What the libraries of Hugging Face read when they are imported, unless the user says else."""

_LOGGERS = ("transformers", "huggingface_hub", "timm", "torchvision")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets libraries log errors alone, show no progress bars and raise no warnings.

    What is noteworthy about a model is told by its adapter, in notes.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _no_bars():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    library = sys.modules.get("transformers.utils.logging")
    if library is None or not library.is_progress_bar_enabled():
        yield
        return
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.enable_progress_bar()
