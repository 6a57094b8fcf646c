"""Every verb says what it does, with an example, and is quick about it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from crucibench.cli._app import VERBS, application

HEAVY = ("torch", "datasets", "pandas", "numpy", "pyarrow", "pydantic", "matplotlib", "rich")
SUBVERBS = [("cache", name) for name in ("ls", "prune", "clear")]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("run --suite ac", ["accuracy"]),
        ("run --suite accuracy,b", ["accuracy,bias"]),
        ("run --model m", ["m.skops", "models.py"]),
        ("run --data p", ["people.csv"]),
        ("init --data sub/", ["sub/more.parquet"]),
        ("show ", ["latest", "3f2a", "9c41"]),
        ("report 3", ["3f2a"]),
        ("compare 3f2a 9", ["9c41"]),
        ("show --out elsewhere b", ["b00c"]),
        ("gate --baseline 9", ["9c41"]),
    ],
)
def test_shells_complete_suites_runs_and_files(
    words: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m.skops", "models.py", "people.csv", "notes.md", "sub/more.parquet",
                 "results/3f2a/spec.yaml", "results/9c41/spec.yaml", "results/other/x",
                 "elsewhere/b00c/spec.yaml"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    *arguments, last = words.split(" ")
    completion = ShellComplete(application, {}, "crucibench", "_CRUCIBENCH_COMPLETE")
    assert [one.value for one in completion.get_completions(arguments, last)] == offered


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_exits_0(verb: str) -> None:
    result = CliRunner().invoke(application, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.stdout
    assert f"  crucibench {verb}" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_their_help_says_and_options_what_they_are(verb: str) -> None:
    command: click.Command = import_module(f"crucibench.cli.{verb}").command
    assert (command.help or "").startswith(f"{VERBS[verb]}\n")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name


@pytest.mark.parametrize(("verb", "name"), SUBVERBS)
def test_help_of_a_subcommand_has_an_example_and_says_what_its_options_are(
    verb: str, name: str
) -> None:
    result = CliRunner().invoke(application, [verb, name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.stdout and f"  crucibench {verb} {name}" in result.stdout
    group: click.Group = import_module(f"crucibench.cli.{verb}").command
    assert sorted(group.commands) == sorted(known for of, known in SUBVERBS if of == verb)
    for option in group.commands[name].params:
        assert isinstance(option, click.Option) and option.help, option.name


def test_help_of_all() -> None:
    result = CliRunner().invoke(application, ["--help"])
    assert result.exit_code == 0
    for verb, sentence in VERBS.items():
        assert verb in result.stdout
        assert sentence in result.stdout
    assert "crucibench demo" in result.stdout


def test_help_imports_nothing_heavy() -> None:
    verbs = [[], *([verb] for verb in VERBS), *map(list, SUBVERBS)]
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from crucibench.cli._app import application\n"
        f"for words in {verbs!r}:\n"
        "    result = CliRunner().invoke(application, [*words, '--help'])\n"
        "    assert result.exit_code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crucibench", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("crucibench ")


def test_without_a_word_the_help_is_shown_and_nothing_was_done() -> None:
    result = CliRunner().invoke(application, [])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ") and "error" not in result.stderr.splitlines()[0]
    assert "  demo " in result.stderr
