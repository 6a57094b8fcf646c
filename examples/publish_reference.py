"""Publishes the boards: site, model cards and evidence to results/reference, pictures to docs.

    python examples/publish_reference.py [RUN ...] [--to FOLDER] [--images FOLDER] [--demo]

Without RUN: the newest run of each board in results/boards (examples/boards/README.md says how
they are made). A run that is not sound, or that the installed version can't read all of, is
refused. What stood in the folders is replaced. With --demo the demo is run, too, which takes
minutes, and pictures are taken of its report.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

_SIZES = [(390, 844), (768, 1024), (1366, 768), (1920, 1080)]
_CARDS = ["boosting", "characters-linear", "cnn-adversarial", "resnet_basic_32"]
_KEPT = 2_500_000
"""Bytes of a bundle that is kept."""
_TERMINAL = (
    "display: inline-block; margin: 0; padding: 16px; background: #14181f; color: #e6e9ef; "
    "font: 14px/1.35 'DejaVu Sans Mono', monospace"
)


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", help="finished runs; the boards' by default")
    parser.add_argument("--to", type=Path, default=ROOT / "results" / "reference")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--demo", action="store_true", help="pictures of the demo's report, too")
    args = parser.parse_args()
    runs = args.runs or newest(ROOT / "results" / "boards")
    publish(runs, args.to, cards=_CARDS)
    take_pictures(args.to / "site" / "index.html", [(1280, 800)], args.images / "site")
    if args.demo:
        with tempfile.TemporaryDirectory() as scratch:
            crucibench("demo", "--out", scratch)
            (run,) = (path.parent for path in Path(scratch).glob("*/manifest.json"))
            take_pictures(run / "report.html", _SIZES, args.images / "report")
            take_terminal(run, args.images / "terminal.png")
    size = sum(path.stat().st_size for path in args.to.glob("site/**/*") if path.is_file())
    print(f"{args.to / 'site' / 'index.html'}: {size / 1e6:.1f} MB")


def newest(folder: Path) -> list[Path]:
    """Returns the newest run of each board.

    Raises:
        SystemExit: if there is none.
    """
    found: dict[Path, Path] = {}
    for path in sorted(folder.glob("*/runs/*/manifest.json"), key=os.path.getmtime):
        found[path.parent.parent] = path.parent
    if not found:
        raise SystemExit(f"{folder} has no runs: examples/boards/README.md says how to make them")
    return [found[place] for place in sorted(found)]


def publish(runs: Sequence[Path], folder: Path, *, cards: Sequence[str] = ()) -> None:
    """Writes `bundles/`, `site/` and `cards/` of finished runs into `folder`.

    Args:
        runs: their folders.
        folder: where to.
        cards: models that get a card; all by default.

    Raises:
        SystemExit: if a run is not sound, or holds numbers that the installed version can't make
            again: nothing is written then.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bundles, site, model_cards = (Path(scratch, name) for name in ("bundles", "site", "cards"))
        bundle(runs, bundles)
        crucibench(
            "publish", "--quiet", *map(str, runs), "--site", str(site), "--card", str(model_cards),
            *(word for name in cards for word in ("--model", name)),
        )  # fmt: skip
        compress(site / "runs")
        folder.mkdir(parents=True, exist_ok=True)
        for made in (bundles, site, model_cards):
            shutil.rmtree(folder / made.name, ignore_errors=True)
            shutil.move(made, folder)


def bundle(runs: Sequence[Path], folder: Path) -> None:
    """Bundles each run, which computes its numbers again; keeps what is small, and tells of all."""
    folder.mkdir()
    lines = [
        "# Evidence bundles",
        "",
        "`crucibench verify FILE.zip` holds one against its digests and computes its numbers",
        "again. Larger ones are not kept here; the same run gives the same bytes.",
        "",
        "| run | bundle | SHA-256 | clauses and rows |",
        "| --- | --- | --- | --- |",
    ]
    for run in runs:
        name = run.parent.parent.name
        path = folder / f"{name}.zip"
        crucibench("publish", "--quiet", "--bundle", str(path), str(run))
        with zipfile.ZipFile(path) as archive:
            (folder / f"{name}-risks.md").write_bytes(archive.read("bundle/risks.md"))
        content = path.read_bytes()
        kept, digest = f"{len(content) / 1e6:.1f} MB", hashlib.sha256(content).hexdigest()
        if len(content) > _KEPT:
            path.unlink()
        else:
            kept = f"[{kept}]({path.name})"
        lines.append(f"| `{run.name}` ({name}) | {kept} | `{digest}` | [risks]({name}-risks.md) |")
    (folder / "README.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


@contextmanager
def browser() -> Iterator[Any]:
    """Opens Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        opened = player.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield opened
        opened.close()


def take_pictures(path: Path, sizes: Sequence[tuple[int, int]], to: Path) -> None:
    """Writes the first screen of a page at each size, as `to` with the width behind its name."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with browser() as opened:
        for width, height in sizes:
            page = opened.new_page(viewport={"width": width, "height": height})
            page.goto(path.resolve().as_uri())
            page.screenshot(path=f"{to}-{width}.png")


def take_terminal(run: Path, to: Path) -> None:
    """Writes what `show` prints of a run at 80 columns as a picture."""
    shown = crucibench("show", "--quiet", str(run), columns=80)
    with browser() as opened:
        page = opened.new_page(viewport={"width": 400, "height": 300})
        page.set_content(f"<pre style='{_TERMINAL}'>{html.escape(shown)}</pre>")
        page.locator("pre").screenshot(path=to)


def compress(folder: Path) -> None:
    """Compresses the tables of all numbers, most of a site's size, and the links to them."""
    for path in sorted(folder.glob("*.csv")):
        page = path.with_suffix(".html")
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(path.name, f"{path.name}.xz"), encoding="utf-8")
        path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
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
