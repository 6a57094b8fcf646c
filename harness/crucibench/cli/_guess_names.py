"""Names and paths as the spec that `init` writes holds them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crucibench.util.suggest import nearest


def name_of(path: Path) -> str:
    """Returns a name for what a file holds."""
    return re.sub(r"[^\w.-]+", "-", path.name.partition(".")[0]).strip("-") or "data"


def shown_from(path: Path, base: Path) -> str:
    """Returns a path relative to the folder of the spec."""
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def near(path: Path) -> str:
    """Returns the end of a sentence: which file of the folder was meant, if any."""
    if not path.parent.is_dir():
        return ""
    guess = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    return f"; did you mean {guess!r}?" if guess else ""
