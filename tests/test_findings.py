"""The page of findings says what the committed tables say, and its links lead somewhere."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BOARDS = ROOT / "results" / "reference" / "boards"
PAGE = ROOT / "docs" / "findings.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    script = ROOT / "examples" / "boards" / "findings.py"
    subprocess.run([sys.executable, str(script), "--to", str(folder)], check=True)
    return folder


def test_page_and_plots_are_those_that_the_tables_give(made: Path) -> None:
    assert made.joinpath("findings.md").read_text() == PAGE.read_text()
    plots = sorted(path.name for path in (made / "images").iterdir())
    assert len(plots) == 5
    for name in plots:
        kept = (PAGE.parent / "images" / name).read_text()
        assert (made / "images" / name).read_text() == kept, name
        assert f"images/{name}" in PAGE.read_text()


def test_rows_plot_and_command_are_one_click_away() -> None:
    text = PAGE.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (PAGE.parent / target).exists(), target
    findings = text.split("\n## ")[1:]
    assert len(findings) >= 6
    for one in findings[:5]:
        assert {"rows", "pairs", "plot", "script"} <= set(re.findall(r"\[(\w+)\]\(", one))
        assert "`python examples/boards/" in one


def accuracies(board: str) -> dict[str, float]:
    with (BOARDS / board / "numbers.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["scenario"] == "clean"]
    return {row["model"]: float(row["value"]) for row in rows if row["metric"] == "top-1"}


def test_published_accuracies() -> None:
    """Of Recht et al. 2018: the best falls to 93 %, VGG and ResNet to about 85 %."""
    found = accuracies("networks")
    assert len(found) == 30
    assert max(found, key=lambda name: found[name]) == "shake_shake_26_2x64d_SSI_cutout16"
    assert round(100 * max(found.values())) == 93
    for name in ("vgg_15_BN_64", "vgg16_keras", "resnet_basic_32", "resnet_basic_110"):
        assert found[name] == pytest.approx(0.85, abs=0.01)
    # A share of 2,000 images is a whole number of them.
    assert all(abs(2000 * value - round(2000 * value)) < 1e-9 for value in found.values())


@pytest.mark.parametrize("board", ["networks", "adult", "clinc150", "digits"])
def test_each_board_says_where_it_comes_from(board: str) -> None:
    folder = BOARDS / board
    names = {"about.json", "leaderboard.md", "numbers.csv", "pairs.csv", "ranks.csv",
             "recipes.csv", "spec.yaml"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names
    assert not re.search(r"(?<![\w.])/(root|work|home|tmp)/", (folder / "about.json").read_text())
    assert 6 <= len(accuracies(board)) <= 30
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
