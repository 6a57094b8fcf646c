"""`publish`, and the verbs that read a bundle; `leaderboard` with filters, notes and formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]


def test_everything_at_once(call: Call, run: Path, folder: Path) -> None:
    done = call(
        "publish", "--site", "public", "--card", "cards", "--every-eval-ever", "shared",
        "--bundle", "evidence.zip", "latest",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0] == str(Path("public") / "index.html")
    assert printed[-1] == "evidence.zip"
    assert all((folder / name).is_file() for name in printed)
    assert sum(name.endswith("README.md") for name in printed) == 2
    assert "no data set of the Hub, so no .eval_results" in done.stderr
    assert "sha256" in done.stderr
    quiet = call("publish", "-q", "--card", "one", "--model", "logistic", "--hub-data",
                 "wine=me/wine", run.name[:5])  # fmt: skip
    assert quiet.exit_code == 0 and not quiet.stderr
    assert quiet.stdout == f"{Path('one') / 'README.md'}\n"
    assert len(list((folder / "one" / ".eval_results").iterdir())) == 1


def test_what_a_bundle_lacks_is_not_called_sound(call: Call, folder: Path) -> None:
    rows = [f"{i},{i % 2},{'ab'[i % 3 == 0]}" for i in range(60)]
    (folder / "people.csv").write_text("\n".join(["x,y,ward", *rows]), encoding="utf-8")
    (folder / "model.py").write_text(
        "import numpy as np\n\n\ndef odd(table):\n"
        "    return np.eye(2)[(table['x'] % 2 + (table['x'] < 9)).astype(int) % 2]\n"
    )
    data = "csv:people.csv?target=y&groups=ward&classes=0,1"
    made = call("run", "--model", "python:model.py:odd", "--data", data, "--suite", "bias", "-q")
    assert made.exit_code == 0, made.stderr
    assert call("publish", "-q", "--bundle", "people.zip").exit_code == 0
    found = call("verify", "people.zip")
    assert found.exit_code == 3, found.stderr
    assert "can't be scored again: column 'ward' is not there" in found.stderr
    assert "is sound as far as it can be checked" in found.stderr
    assert found.stderr.rstrip().endswith("records that their scoring reads were left out")
    kept = call("publish", "-q", "--bundle", "whole.zip", "--with-groups")
    assert kept.exit_code == 0 and call("verify", "whole.zip").exit_code == 0


def test_verbs_read_a_bundle(call: Call, run: Path, folder: Path) -> None:
    assert call("publish", "-q", "--bundle", "e.zip").exit_code == 0
    shown = json.loads(call("show", "e.zip", "--format", "json").stdout)
    assert (shown["run"], shown["finished"], shown["folder"]) == (run.name, True, None)
    verified = call("verify", "e.zip")
    assert verified.exit_code == 0, verified.stderr
    assert "is sound" in verified.stderr
    compared = call("compare", "e.zip", str(run), "--metric", "*/top-1")
    assert compared.exit_code == 0, compared.stderr
    report = call("report", "e.zip", "-o", "report.html")
    assert report.exit_code == 0, report.stderr
    assert run.name in (folder / "report.html").read_text(encoding="utf-8")
    assert "give -o FILE" in call("report", "e.zip").stderr
    board = call("leaderboard", "-q", "e.zip", "--format", "csv")
    assert board.stdout == call("leaderboard", "-q", str(run), "--format", "csv").stdout
    assert call("publish", "-q", "--site", "s", "e.zip").exit_code == 0
    again = call("publish", "--bundle", "f.zip", "e.zip")
    assert again.exit_code == 2 and "not bundled again" in again.stderr
    damaged = bytearray((folder / "e.zip").read_bytes())
    damaged[1000] ^= 1
    (folder / "e.zip").write_bytes(damaged)
    assert call("verify", "e.zip").exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected --site, --card, --every-eval-ever or --bundle"),
        (["--bundle", "x.cbz"], "--bundle: expected a name that ends in .zip"),
        (["--bundle", "x.zip", "a", "b"], "and one RUN"),
        (["--site", "s", "--with-inputs"], "--with-inputs goes with --bundle"),
        (["--site", "s", "--model", "m"], "--model goes with --card"),
        (["--card", "c", "--notes", "n.yaml"], "--notes goes with --site"),
        (["--card", "c", "--hub-data", "wine"], "expected NAME=OWNER/REPO"),
        (["--card", "c", "--hub-data", "whine=me/wine"], "did you mean 'wine'"),
        (["--card", "c", "--model", "logistik"], "did you mean 'logistic'"),
        (["--site", "s", "--notes", "none.yaml"], "expected a file that can be read"),
        (["--site", "s", "nothing"], "no such folder"),
    ],
)
def test_mistakes_are_sentences(
    call: Call, run: Path, folder: Path, arguments: list[str], sentence: str
) -> None:
    done = call("publish", *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert not [path for path in folder.iterdir() if path.name in {"s", "c", "x.zip"}]


def test_a_damaged_run_is_not_published(call: Call, run: Path, folder: Path) -> None:
    next(run.glob("cells/*/cell.json")).write_text("{}")
    for option, place in (("--site", "s"), ("--bundle", "x.zip")):
        done = call("publish", option, place)
        assert done.exit_code == 4
        assert not (folder / place).exists()


def test_leaderboard_options(call: Call, run: Path, folder: Path) -> None:
    (folder / "notes.yaml").write_text("rows: [{model: logistic, withdrawn: wrong split}]\n")
    board = call("leaderboard", "-q", "--notes", "notes.yaml", "--filter", "model=log*",
                 "--format", "json")  # fmt: skip
    assert board.exit_code == 0, board.stderr
    numbers = json.loads(board.stdout)["boards"][0]["numbers"]
    assert {(one["model"], one["retired"]) for one in numbers} == {
        ("logistic", "withdrawn: wrong split")
    }
    assert call("leaderboard", "-q", "--format", "html").stdout.startswith("<!DOCTYPE html>")
    assert "\\toprule" in call("leaderboard", "-q", "--format", "latex").stdout
    wrong = call("leaderboard", "--filter", "top-9>=1")
    assert wrong.exit_code == 2 and "unknown column 'top-9'" in wrong.stderr
    schema = json.loads(call("schema", "notes").stdout)
    assert schema["title"] == "Crucibench leaderboard notes"
