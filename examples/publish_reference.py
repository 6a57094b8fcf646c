"""Runs the demo; writes its site and leaderboard to results/reference, pictures to docs/images.

    python examples/publish_reference.py [--run FOLDER] [--to FOLDER] [--images FOLDER]

The demo takes minutes; --run takes a finished run of it instead. A run that is not sound, or that
the installed version can't read all of, is refused. What stood in the site's folder is replaced.
Rerun on the same machine and versions, numbers stay but for what is timed, and with the
timings the digest of the run, which names its page.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

_BROWSER = ["--no-sandbox"]
_TERMINAL = (
    "display: inline-block; margin: 0; padding: 16px; background: #14181f; color: #e6e9ef; "
    "font: 14px/1.35 'DejaVu Sans Mono', monospace"
)


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, help="a finished run of the demo")
    parser.add_argument("--to", type=Path, default=ROOT / "results" / "reference")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = args.run
        if run is None:
            crucibench("demo", "--out", scratch)
            (run,) = (path.parent for path in Path(scratch).glob("*/manifest.json"))
        publish(run, args.to)
        take_pictures(run, args.images)
    size = sum(path.stat().st_size for path in args.to.glob("site/**/*") if path.is_file())
    print(f"{args.to / 'site' / 'index.html'}: {size / 1e6:.1f} MB")


def publish(run: Path, folder: Path) -> None:
    """Writes `leaderboard.md` and `site/` of a finished run into `folder`.

    Raises:
        SystemExit: if the run is not sound, or holds numbers of an older version of a scenario:
            nothing is written then.
    """
    crucibench("verify", "--quiet", str(run))
    boards = json.loads(crucibench("leaderboard", "--quiet", str(run), "--format", "json"))
    told = {
        *(note for board in boards["boards"] for note in board["left_out"]),
        *(
            f"{number['model']}, {number['address']}: {number['reason']}"
            for board in boards["boards"]
            for number in board["numbers"]
            if number["reason"].startswith("left out: ")
        ),
    }
    if told:
        raise SystemExit(f"{run} is not published, run the demo anew: {min(told)}")
    board = crucibench("leaderboard", "--quiet", str(run), "--format", "md")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "leaderboard.md").write_text(board, encoding="utf-8")
    shutil.rmtree(folder / "site", ignore_errors=True)
    crucibench("publish", "--quiet", "--site", str(folder / "site"), str(run))
    compress(folder / "site" / "runs")
    numbers = [number for board in boards["boards"] for number in board["numbers"]]
    doubted = [number for number in numbers if number["verdict"] in {"suspect", "invalid"}]
    places = sorted({number["address"].partition("[")[0] for number in doubted})
    if doubted:
        print(
            f"{len(doubted)} of {len(numbers)} numbers are suspect or invalid: marked, and not "
            f"ranked ({', '.join(places)}); a quieter machine times better"
        )


def take_pictures(run: Path, folder: Path) -> None:
    """Writes the first screen of a run's report at four widths, and `show` at 80 columns."""
    from playwright.sync_api import sync_playwright

    shown = crucibench("show", "--quiet", str(run), columns=80)
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=_BROWSER)
        for width, height in ((390, 844), (768, 1024), (1366, 768), (1920, 1080)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto((run / "report.html").resolve().as_uri())
            page.screenshot(path=folder / f"report-{width}.png")
        page = browser.new_page(viewport={"width": 400, "height": 300})
        page.set_content(f"<pre style='{_TERMINAL}'>{html.escape(shown)}</pre>")
        page.locator("pre").screenshot(path=folder / "terminal.png")
        browser.close()


def compress(folder: Path) -> None:
    """Compresses the tables of all numbers, most of a site's size, and the links to them."""
    for path in sorted(folder.glob("*.csv")):
        page = path.with_suffix(".html")
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(path.name, f"{path.name}.gz"), encoding="utf-8")
        # Without a date of its own, so that equal tables are equal files.
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()


def crucibench(*words: str, columns: int | None = None) -> str:
    """Runs a command and returns what it writes to stdout; its stderr goes to the terminal.

    Args:
        words: of the command line.
        columns: width of what it writes; None for that of a pipe.

    Raises:
        SystemExit: if the command fails, which has said why.
    """
    command = [sys.executable, "-m", "crucibench", *words]
    env = {**os.environ, **({} if columns is None else {"COLUMNS": str(columns)})}
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"crucibench {words[0]} ended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
