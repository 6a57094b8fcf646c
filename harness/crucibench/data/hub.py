"""Hugging Face `datasets`, imported so that it calls nobody."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from types import ModuleType

from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line

SWITCHES = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
}
"""What `datasets` and its hub client read when they are imported.

`HF_HUB_OFFLINE` is left alone: it would cut off the user's own libraries for the rest of the
process. The hub is asked only within `online`, for data whose address names a repository.
"""

_USERS = os.environ.get("HF_DATASETS_OFFLINE")
"""What the user's environment said before `import_datasets` said something."""

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that can't move."""


def import_datasets() -> ModuleType:
    """Returns `datasets`, its network and telemetry off unless the user's environment says else."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    return importlib.import_module("datasets")


@contextlib.contextmanager
def online(repository: str) -> Iterator[None]:
    """Lets `datasets` ask the hub for one repository, and tells what goes wrong in one sentence.

    Raises:
        InputError: if the environment says offline, or the hub can't be reached or has no such
            data.
    """
    library = import_datasets()
    hub = importlib.import_module("huggingface_hub")
    told = (_USERS or "").upper() in {"1", "ON", "YES", "TRUE"}
    if told or hub.constants.HF_HUB_OFFLINE:
        raise InputError(
            f"hf:{repository}: the environment says offline (HF_DATASETS_OFFLINE or HF_HUB_OFFLINE)"
        )
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: getattr(library.config, name) for name in names}
    try:
        for name in names:
            setattr(library.config, name, False)
        yield
    except InputError:
        raise
    except Exception as error:  # the hub's client and its HTTP libraries have dozens
        raise InputError(f"hf:{repository} can't be read from the hub: {one_line(error)}") from None
    finally:
        for name, value in before.items():
            setattr(library.config, name, value)


def commit_of(repository: str, revision: str) -> str:
    """Returns the commit that a revision of a data set on the hub is; "" is its main branch.

    Raises:
        InputError: if the hub can't be reached or has no such revision.
    """
    if COMMIT.fullmatch(revision):
        return revision
    with online(repository):
        hub = importlib.import_module("huggingface_hub")
        return str(hub.HfApi().dataset_info(repository, revision=revision or None).sha)
