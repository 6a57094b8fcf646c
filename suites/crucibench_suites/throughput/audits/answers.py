"""Whether what was answered while the clock ran is what the pass answered (MLPerf's TEST01)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.throughput.bench import chosen
from crucibench_suites.throughput.readings import Floats, Readings

WRONG = 0.01
"""The share of wrong answers from which the times are invalid."""

OTHER_NUMBERS = 0.01
"""The share of scores beyond the tolerance from which the numerics are other ones."""


def wrong_answers(evidence: Evidence, readings: Readings) -> Findings:
    """Compares the answers of timed queries with those of the accuracy pass."""
    clean = evidence.needs["clean"]
    ids, predictions, scores = readings.answers()
    known = pd.Index(clean.records.ids).get_indexer(pd.Index(ids))
    if not len(ids) or (known < 0).all():
        return [
            Finding(
                code="answers-not-checked",
                severity=Severity.SUSPECT,
                message="no answer of a timed query could be read: nobody knows whether they were "
                "right",
            )
        ]
    ids, predictions, scores = ids[known >= 0], predictions[known >= 0], scores[known >= 0]
    said, best = _of_pass(clean.records)
    said, best = said[known[known >= 0]], best[known[known >= 0]]
    regression = evidence.task.kind == "regression"
    comparable = ~np.isnan(scores) & ~np.isnan(best)
    off = np.zeros(len(ids), dtype=np.bool_)
    size = np.abs(scores[comparable] - best[comparable])
    # A score that is not finite is off, whatever it is compared with.
    off[comparable] = ~(
        size <= evidence.own.model.noise * np.maximum(1.0, np.abs(best[comparable]))
    )
    # Two classes of equal scores may change places; a wrong label has another score, or no score.
    wrong = off if regression else (predictions != said) & (off | ~comparable)
    count, n = int(wrong.sum()), len(ids)
    found: Findings = []
    if count:
        share = count / n
        found.append(
            Finding(
                code="wrong-answers-while-timed",
                severity=Severity.INVALID if share > WRONG else Severity.SUSPECT,
                message=f"{count:,} of {n:,} answers of timed queries are not what the model "
                "answered in the accuracy pass: what was timed is not what was scored",
                evidence={"wrong": count, "checked": n},
            )
        )
    differ = int(off.sum())
    if not regression and differ > OTHER_NUMBERS * n and count <= WRONG * n:
        found.append(
            Finding(
                code="other-numerics-while-timed",
                severity=Severity.SUSPECT,
                message=f"{differ:,} of {n:,} scores of timed queries differ from the accuracy "
                f"pass's by up to {float(size.max()):.2g}, more than "
                f"{evidence.own.model.variant or 'float32'} does: another precision was timed than "
                "was scored",
                evidence={"differing": differ, "checked": n, "largest": float(size.max())},
            )
        )
    return found


def _of_pass(records: Records) -> tuple[Floats, Floats]:
    """Returns the pass's predictions and their scores, NaN where it has none."""
    said = records.array("prediction")
    if said.dtype.kind == "f":
        return said.astype(np.float64), said.astype(np.float64)
    if "scores" in records:
        return chosen(records.array("scores"))
    return said.astype(np.float64), np.full(len(said), np.nan)
