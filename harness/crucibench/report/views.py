"""The views of a run: files that can be made again from its cells at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crucibench.comparing.claims import claims_of
from crucibench.report import leaderboard_text
from crucibench.report.html import render_html
from crucibench.report.leaderboard import leaderboard
from crucibench.util.atomic import write_text

if TYPE_CHECKING:
    from crucibench.gating.policy import Policy
    from crucibench.store.run import Run


def write_views(run: Run, *, gallery: bool = True, policy: Policy | None = None) -> list[Path]:
    """Writes ``report.html``, ``leaderboard.md`` and ``leaderboard.csv`` into the run directory.

    The manifest does not list them. If it is written before, the report shows its digest. With
    `gallery` the report shows the samples that the run kept for it; with a gate's `policy` its
    decision keeps to that.
    """
    claims_of(run)  # boards show the baselines that are scored with them
    board = leaderboard([run])
    texts = {
        run.layout.report: render_html(run, gallery=gallery, policy=policy),
        run.layout.leaderboard("md"): leaderboard_text.markdown(board),
        run.layout.leaderboard("csv"): leaderboard_text.csv(board),
    }
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
