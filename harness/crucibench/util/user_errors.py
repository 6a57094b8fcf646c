"""Errors of the user's own code, without frames and names of Crucibench's."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.private_packages import plain

_CORE = Path(__file__).resolve().parents[1]


def user_traceback(error: BaseException) -> str:
    """Returns the traceback of `error` without the frames of Crucibench and of the importer."""
    report = traceback.TracebackException.from_exception(error, compact=True)
    seen: list[traceback.TracebackException | None] = [report]
    while seen:
        entry = seen.pop()
        if entry is not None:
            users = [frame for frame in entry.stack if not _is_ours(frame.filename)]
            entry.stack = traceback.StackSummary.from_list(users or entry.stack)
            seen += [entry.__cause__, entry.__context__, *(entry.exceptions or ())]
    return plain("".join(report.format())).rstrip()


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of the message of `error`."""
    lines = [line.strip() for line in plain(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def as_input_error(what: str) -> Iterator[None]:
    """Makes an InputError of what the user's code raises: "`what` raised ..."."""
    try:
        yield
    except CrucibenchError:
        raise
    except (Exception, SystemExit) as error:
        message = f"{what} raised {one_line(error)}"
        raise InputError(message, detail=user_traceback(error)) from error


def _is_ours(filename: str) -> bool:
    if filename == importlib.__file__ or filename.startswith("<frozen importlib"):
        return True
    # The bundled demo models lie in a folder below the adapters, and count as a user's.
    file = Path(filename)
    return _CORE in file.parents or file.parent.name == "crucibench_adapters"
