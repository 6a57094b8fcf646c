"""Findings about how a cell was collected, from the facts that the engine left with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity

REDUCED_BATCH = "reduced_batch"
"""The fact: what the batch came down to."""

REPLACED = "replaced_functions"
"""The fact: functions of libraries that models had replaced, in a process that several share."""

_SHOWN, _LISTED = 3, 20


PROBE_DISAGREES = "probe-disagrees"
"""The fact: how a model's answer to the fixed probe differs from the one stored with records that
were therefore not used; also the event, and the code of the finding."""


def marks(facts: Mapping[str, Any]) -> Findings:
    """Returns what a reader must know of how the records were made."""
    found: Findings = []
    if (size := facts.get(REDUCED_BATCH)) is not None:
        message = (
            f"memory ran out: batches were brought down to {size} samples, so that another run's "
            "floats may differ in their last digits"
        )
        found.append(
            Finding(
                code="batch-reduced", severity=Severity.INFO, message=message,
                evidence={"batch_size": size},
            )
        )  # fmt: skip
    if names := facts.get(REPLACED):
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        message = (
            f"code of a model or data set has replaced {shown}, in a process that all models share:"
            " nobody can tell whose answers these are; give addresses (URIs) and workers, so that "
            "each model has a process of its own"
        )
        evidence = {"replaced": names[:_LISTED], "count": len(names)}
        found.append(
            Finding(
                code="replaced-function", severity=Severity.INVALID, message=message,
                evidence=evidence,
            )
        )  # fmt: skip
    if (difference := facts.get(PROBE_DISAGREES)) is not None:
        found.append(
            Finding(
                code=PROBE_DISAGREES, severity=Severity.INFO,
                message=disagreement_text(difference), evidence=dict(difference),
            )
        )  # fmt: skip
    return found


def disagreement_text(facts: Mapping[str, Any]) -> str:
    """Returns the sentence that says why stored records were not used."""
    whose = facts["whose"].rpartition("/")[2]
    model = f"the model of {whose!r}, which this cell needs," if whose else "the model"
    what, unit = "answers", ""
    if facts["what"] == "gradients":
        what, unit = "has other gradients for", " of their length"
    otherwise = " otherwise" if what == "answers" else ""
    apart = f" (up to {facts['apart']:.2g}{unit} apart)" if facts["apart"] else ""
    return (
        f"{model} has the fingerprint of an earlier run, yet it {what} {facts['differ']} of "
        f"{facts['samples']} probe samples{otherwise}{apart}: what was kept was not used; "
        "something that the fingerprint can't see differs"
    )
