"""The examples of docs/data.md, executed; and every scheme has its row."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from crucibench import registry
from crucibench.cli._app import application

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"`make_data.py`\n\n```python\n(.*?)```", TEXT, re.DOTALL)
(COMMANDS,) = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
FOUND = {
    "csv": "test: 40",
    "imagefolder": "1 of 12 samples of test is left out (no image: 1)",
    "imagenet-c": "corrupted: defocus_blur, severity 3",
    "tar": "cat",
    "cifar-npy": "severity 3: images 20 to 29 of fog.npy",
    "hf": "mit",
    "sklearn": "1797",
    "synthetic": "nobody's opinion",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    (made / "make_data.py").write_text(CODE, encoding="utf-8")
    subprocess.run([sys.executable, "make_data.py"], cwd=made, check=True)
    return made


def test_the_examples_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    first, *commands = COMMANDS.splitlines()
    assert first == "python make_data.py"
    shown = set()
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "crucibench"
        scheme = words[-1].partition(":")[0]
        shown.add(scheme)
        done = CliRunner().invoke(application, [*words, "--format", "json"])
        assert done.exit_code == 0, done.output
        assert FOUND[scheme].replace("test: ", '"test": ') in done.stdout, (scheme, done.stdout)
    assert shown == set(FOUND)


def test_every_scheme_has_a_row() -> None:
    table = TEXT.partition("## Try it")[0]
    named = set(re.findall(r"^\| `([a-z0-9-]+):", table, re.MULTILINE))
    ours = {entry.name for entry in registry.sources().entries() if entry.package == "crucibench"}
    assert named == ours
