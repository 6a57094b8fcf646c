"""Errors as people read them: one sentence, what helps to mend it, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from crucibench.cli._output import visible
from crucibench.util.errors import (
    CrucibenchError,
    NotComparableError,
    StoppedError,
    UnreadableError,
)
from crucibench.util.signals import exit_code_of

USAGE = 2
BAD = 4
BUG = 70
SYSTEM = 74
BROKEN_PIPE = 141


def exit_code(call: Callable[[], object]) -> int:
    """Runs a verb and returns its exit code; an exception becomes a sentence on stderr."""
    _never_fail_to_print()
    try:
        result = call()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo("interrupted", err=True)
        return exit_code_of(error)
    except BrokenPipeError:
        return broken_pipe()
    except Exception as error:
        return _report_error(error)


def broken_pipe() -> int:
    """Whoever read stdout has gone: Python's own flush at exit must not complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _report_error(error: Exception) -> int:
    if isinstance(error, CrucibenchError):
        print_error(str(error), error.detail)
        bad = isinstance(error, NotComparableError | StoppedError | UnreadableError)
        return BAD if bad else USAGE
    if isinstance(error, click.ClickException):
        print_error(error.format_message(), _hint(error))
        return USAGE
    if isinstance(error, OSError):
        name = f": {error.filename}" if error.filename else ""
        print_error(f"{error.strerror or error}{name}")
        return SYSTEM
    if isinstance(error, MemoryError):
        print_error("memory ran out")
        return SYSTEM
    import traceback

    sentence = "this is a bug in crucibench; please report it with these lines"
    print_error(sentence, "".join(traceback.format_exception(error)))
    return BUG


def print_error(sentence: str, detail: str | None = None) -> None:
    """Prints ``error: SENTENCE`` on stderr and, indented below it, the detail."""
    click.echo(f"error: {visible(sentence)}", err=True)
    for line in visible(detail or "").rstrip().splitlines():
        click.echo(f"    {line}".rstrip(), err=True)


def _hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help says more" if context else None


def _never_fail_to_print() -> None:
    # A terminal that can't show a mark shows its escape, rather than a traceback.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and not (stream.encoding or "").lower().startswith("utf"):
            reconfigure(errors="backslashreplace")
