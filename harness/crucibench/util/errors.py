"""The errors that a user can mend; each is one clear sentence."""

from __future__ import annotations


class CrucibenchError(Exception):
    """A mistake of the user's; the message is one sentence.

    Attributes:
        detail: what helps to mend it but is no sentence (a traceback of the user's own code).
    """

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail


class InputError(CrucibenchError):
    """The spec, a file or a model can't be used: exit code 2, nothing was run."""


class UnavailableError(InputError):
    """What was asked for is sound but can't be had on this machine: skipped, with the reason."""


class NotComparableError(CrucibenchError):
    """Two results may not be set side by side: exit code 4. Names the field that differs."""


class UnreadableError(CrucibenchError):
    """A run directory is not there, damaged, or of another format: exit code 4 of `verify`."""


class StoppedError(CrucibenchError):
    """A run was stopped: too many of its cells have failed, or no worker is left: exit code 4."""
