"""Tables of measured numbers, as they are committed under results/reference/evidence."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).parent.parent / "results" / "reference" / "evidence"


def measured(*packages: str) -> str:
    """Returns the line that says on what was measured, and at which commit."""
    found = ", ".join(f"{name} {version(name)}" for name in ("crucibench", *packages))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    git = ["git", "-C", str(Path(__file__).parent), "log", "-1", "--format=, commit %h"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"Measured on: {system}, Python {platform.python_version()}, {found}{commit}."


def load() -> str:
    """Returns a sentence on how busy the machine is: whoever is kept waiting is timed as slow."""
    if not hasattr(os, "getloadavg"):
        return ""
    return f"Load average of the {os.cpu_count()} cores meanwhile: {os.getloadavg()[0]:.1f}."


def publish(name: str, title: str, lines: Sequence[str], *packages: str) -> None:
    """Prints a Markdown page and writes it."""
    page = "\n".join([f"# {title}", "", *lines, "", measured(*packages), ""])
    print(page)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.md").write_text(page, encoding="utf-8")


def median_and_ends(numbers: Sequence[float], form: str) -> str:
    """Returns the median, with the least and the most, each in a format."""
    low, high = (format(pick(numbers), form) for pick in (min, max))
    return f"{median(numbers):{form}} ({low} to {high})"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Returns a Markdown table."""
    return [
        "| " + " | ".join(header) + " |",
        "| " + " | ".join("---" for _ in header) + " |",
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
    ]


def rows_so_far(name: str) -> list[list[str]]:
    """Returns the rows of the table of a page that was written before; none without one."""
    path = FOLDER / f"{name}.md"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def run_or_page(
    about: str,
    replicates: int,
    work: Path,
    run: Callable[[argparse.Namespace], None],
    page: Callable[[argparse.Namespace], str],
    path: Path,
) -> None:
    """The command line of a benchmark that resumes: ``run`` works, ``page`` writes what there is.

    Args:
        about: what it measures; its first line is the help.
        replicates: of each cell, by default.
        work: where results are kept, by default.
        run: does the replicates that are missing.
        page: returns the page.
        path: of the page.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("step", choices=["run", "page"])
    parser.add_argument("--replicates", type=int, default=replicates, help="of each cell")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--work", type=Path, default=work, help="where results are kept")
    options = parser.parse_args()
    if options.step == "run":
        run(options)
    else:
        path.write_text(f"{page(options).rstrip()}\n\n{measured()}\n", encoding="utf-8")
        print(path.read_text(encoding="utf-8").split("## Every")[0])
