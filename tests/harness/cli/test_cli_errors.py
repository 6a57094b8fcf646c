"""What is raised becomes a sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import Result

from crucibench.cli._errors import exit_code
from crucibench.util.errors import InputError, NotComparableError, UnreadableError


def _raising(error: BaseException) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "first"),
    [
        (InputError("file 'x' does not exist"), 2, "error: file 'x' does not exist"),
        (NotComparableError("data differs"), 4, "error: data differs"),
        (UnreadableError("no manifest"), 4, "error: no manifest"),
        (click.UsageError("No such option"), 2, "error: No such option"),
        (OSError(28, "No space left on device", "records.parquet"), 74,
         "error: No space left on device: records.parquet"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_mistakes_are_told_without_a_traceback(
    error: BaseException, code: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(_raising(error)) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0] == first
    assert "Traceback" not in told.err


def test_the_users_own_traceback_is_indented_below(capsys: pytest.CaptureFixture[str]) -> None:
    detail = 'Traceback (most recent call last):\n  File "models.py", line 3, in cnn\nKeyError: 1'
    assert exit_code(_raising(InputError("cnn() raised KeyError: 1", detail=detail))) == 2
    assert capsys.readouterr().err == (
        "error: cnn() raised KeyError: 1\n"
        "    Traceback (most recent call last):\n"
        '      File "models.py", line 3, in cnn\n'
        "    KeyError: 1\n"
    )


def test_a_bug_asks_to_be_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(_raising(ZeroDivisionError("of ours"))) == 70
    told = capsys.readouterr().err
    assert told.startswith("error: this is a bug in crucibench; please report it")
    assert "ZeroDivisionError: of ours" in told
    assert "Traceback" in told


def test_what_could_steer_a_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code(_raising(InputError("file '\x1b[2J\u202e' does not exist")))
    assert capsys.readouterr().err == "error: file '\\u001b[2J\\u202e' does not exist\n"


def test_results_are_exit_codes() -> None:
    assert exit_code(lambda: 4) == 4
    assert exit_code(lambda: None) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["run"], "expected SPEC.yaml, or --model and --data"),
        (["run", "--model", "torch:a.py:b"], "expected SPEC.yaml, or --model and --data"),
        (["run", "a.yaml", "--data", "sklearn:digits"],
         "expected SPEC.yaml, or --model and --data, not both"),
        (["run", "a.yaml", "--target", "y"],
         "expected SPEC.yaml, or --model and --data, not both"),
        (["run", "--set", "accuracy"], "expected SUITE.KEY=VALUE, got 'accuracy'"),
        (["run", "--batch-size", "0"], "expected auto or a whole number from 1 up, got '0'"),
        (["show", "--spec", "--env"], "expected one of --spec and --env, not both"),
        (["show", "--where", "a=b"], "--where goes with --metrics"),
        (["list", "modles"], "unknown kind 'modles'; did you mean 'models'?"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_usage(call: Callable[..., Result], arguments: list[str], sentence: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert sentence in result.stderr
    assert "--help says more" in result.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "crucibench", "schema", "spec"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    told = writer.stderr.read().decode()
    writer.stderr.close()
    assert writer.wait() == 141
    assert told == ""


def test_a_terminal_that_knows_no_marks_shows_escapes() -> None:
    code = (
        "import click\n"
        "from crucibench.cli._errors import exit_code\n"
        "raise SystemExit(exit_code(lambda: click.echo('± ✗')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"\xb1 \\u2717\n"
