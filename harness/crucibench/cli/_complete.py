"""What a shell completes: suites, runs, and files of models and data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import click
from click.shell_completion import CompletionItem


def suites(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Returns names of suites, also behind a comma."""
    from crucibench.registry import suites as registered

    head, comma, last = incomplete.rpartition(",")
    names = registered().names()
    return [f"{head}{comma}{name}" for name in names if name.startswith(last)]


def runs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Returns ids of runs in the results' folder; where none fits, files, e.g. packs."""
    out = Path(ctx.params.get("out") or "results")
    found = sorted(spec.parent.name for spec in out.glob("*/spec.yaml"))
    return _or_files(("latest", *found), incomplete)


def files_of(
    what: Literal["data", "model"],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Returns what completes files that hold a model, or data; where none fits, any file."""

    def complete(
        _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from crucibench.contracts.uri import FITTING

        suffixes = {*FITTING[what], *({".py"} if what == "model" else ())}
        folder = incomplete.rpartition("/")[0]
        here = sorted(Path(folder or ".").glob("*"))
        fitting = (str(path) for path in here if path.suffix.lower() in suffixes)
        return _or_files(fitting, incomplete)

    return complete


def _or_files(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
