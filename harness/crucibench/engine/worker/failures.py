"""Turns what a task raised into plain data, and into the file of the cell that it ended."""

from __future__ import annotations

import errno
import traceback

from crucibench.contracts.verdict import Finding, Severity, Status
from crucibench.engine.worker.tasks import Failed, Kind
from crucibench.store.cells import CellFile, FindingFile
from crucibench.util.doors import StorageError
from crucibench.util.errors import CrucibenchError, InputError, UnavailableError
from crucibench.util.memory import is_out_of_memory
from crucibench.util.user_errors import one_line

_ITS_OWN = frozenset({errno.EBADF, errno.EFBIG, errno.EMFILE})
"""What the system refuses to one process alone, for its limits or for what it has closed."""
MODEL_CHANGED = "model-changed"
"""The code of the finding that a `ModelChangedError` becomes."""


class ModelChangedError(CrucibenchError):
    """A model that has no fingerprint answers its probe batch in another way than before."""


class WorkerLostError(CrucibenchError):
    """The process that began the rounds of a timed cell has ended."""


def failed(error: BaseException, *, isolated: bool = False) -> Failed:
    """Returns an error as the message that a worker sends.

    Args:
        error: what was raised.
        isolated: whether it was raised in a process that a model has to itself: what that process
            alone can't write ends no run.
    """
    kinds: dict[type[Exception], Kind] = {
        ModelChangedError: "model-changed", WorkerLostError: "worker", StorageError: "storage",
        UnavailableError: "unavailable",
    }  # fmt: skip
    if isolated and isinstance(error, StorageError) and error.errno in _ITS_OWN:
        return Failed("error", str(error))
    for kind, name in kinds.items():
        if isinstance(error, kind):
            return Failed(name, str(error))
    if isinstance(error, InputError):
        return Failed("input", str(error), error.detail or "")
    if isinstance(error, CrucibenchError):
        return Failed("error", str(error), error.detail or "")
    reason = one_line(error)
    if is_out_of_memory(error):
        reason = f"memory ran out: {reason}"
    return Failed("error", reason, "".join(traceback.format_exception(error)))


def failed_file(file: CellFile, failure: Failed) -> CellFile:
    """Returns the file of a cell that `failure` ended.

    Raises:
        StorageError: if the disk refused: that ends the run, and no cell.
    """
    if failure.kind == "storage":
        raise StorageError(failure.reason)
    findings = file.findings
    if failure.kind == "model-changed":
        finding = Finding(code=MODEL_CHANGED, severity=Severity.INVALID, message=failure.reason)
        findings = [FindingFile.model_validate(finding.as_dict())]
    return file.model_copy(
        update={
            "status": Status.FAILED, "reason": failure.reason, "detail": failure.detail,
            "verdict": None, "findings": findings,
        }
    )  # fmt: skip
