"""The files of a verdict, and what it tells GitHub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from crucibench.gating.github import badge, workflow_commands
from crucibench.gating.junit import junit
from crucibench.gating.markdown import SUMMARY_LIMIT, comment, summary
from crucibench.gating.plot import deltas_svg
from crucibench.gating.result import Verdict
from crucibench.util.atomic import write_text

FILES = (
    "verdict.json", "junit.xml", "summary.md", "comment.md", "badge.json", "deltas.svg",
)  # fmt: skip


def verdict_json(verdict: Verdict) -> str:
    """Returns the content of ``verdict.json``; ``crucibench schema verdict`` describes it."""
    return verdict.model_dump_json(indent=2) + "\n"


def write_outputs(verdict: Verdict, folder: Path) -> None:
    """Writes `FILES` into a folder, the verdict first."""
    contents = {
        "verdict.json": verdict_json(verdict),
        "junit.xml": junit(verdict),
        "summary.md": summary(verdict),
        "comment.md": comment(verdict),
        "badge.json": badge(verdict) + "\n",
        "deltas.svg": deltas_svg(verdict),
    }
    for name in FILES:
        write_text(folder / name, contents[name])


def tell_github(verdict: Verdict, environment: Mapping[str, str] | None = None) -> list[str]:
    """Appends the job summary where GitHub asks for one, and returns the annotations to print.

    Args:
        verdict: what to tell.
        environment: the process's own by default.
    """
    variables = os.environ if environment is None else environment
    path = variables.get("GITHUB_STEP_SUMMARY")
    if path:
        file = Path(path)
        before = file.stat().st_size if file.is_file() else 0
        # Too large a summary is refused as a whole, with what other steps had to say.
        room = SUMMARY_LIMIT - before - 1
        text = summary(verdict, max(room, 0))
        if len(text.encode()) <= room:
            with file.open("a", encoding="utf-8", newline="\n") as stream:
                stream.write(text + "\n")
    return workflow_commands(verdict) if variables.get("GITHUB_ACTIONS") == "true" else []
