"""Audits of what language models answered: each looks for one reason not to trust the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.asking import ENDS
from crucibench.contracts.audit import Audit, Find
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.prompted.scoring import best_choices, refusals

AGAIN = "again"
"""The probe of the same questions asked twice."""
SAME_MODEL = "same-model"
"""The probe of the same questions asked several times, of a model without a fingerprint."""
TOLERATED = 0.02
"""Cut off, refused or unparsed answers from whose share on numbers are suspect."""
_FEWEST = 20
_KNOWN = "crucibench_suites.prompted.known_answers:"


def _share(
    code: str, bad: np.ndarray, what: str, severity: Severity = Severity.SUSPECT
) -> Findings:  # fmt: skip
    """Returns a finding where more than the tolerated share of some answers is bad."""
    count, total = int(bad.sum()), len(bad)
    if not count:
        return []
    share = count / total
    return [
        Finding(
            code=code, severity=severity if share > TOLERATED else Severity.INFO,
            message=f"{count} of {total} {what}", evidence={"count": count, "of": total},
        )
    ]  # fmt: skip


def _cut_off(records: Records) -> Findings:
    ends = records.lists("finish").values
    return _share(
        "answers-cut-off",
        ends == ENDS.index("length"),
        "answers ended at the limit of tokens (max_tokens): what they would have said is not "
        "judged",
    )


def _refused(records: Records) -> Findings:
    bad = refusals(records.lists("input:texts").values, records.lists("finish").values)
    return _share(
        "answers-refused",
        bad,
        "answers were refused by the server or begin as refusals do; they count as wrong",
    )


def _failed(records: Records) -> Findings:
    if "input:error" not in records:  # of version 0.1.0, whose cells failed instead
        return []
    errors = records.lists("input:error").values
    first = next((str(error) for error in errors if error), "")
    return _share(
        "questions-not-taken",
        errors != "",
        f"questions were not taken by the server ({first}); they count as wrong",
    )


def _alike(records: Records) -> Findings:
    texts = records.lists("input:texts")
    if len(texts.values):
        # Of several items: draws of one prompt may well agree.
        found, what = texts.values[texts.offsets[:-1]], "texts"
        asked = len(set(records.array("input:prompt").tolist()))
    elif "gold" in records:
        found, what = best_choices(records), "choices by place"
        asked = len(set(records.array("gold").tolist())) * _FEWEST
    else:
        return []
    if len(found) < _FEWEST or asked < 2 or len(set(found.tolist())) > 1:
        return []
    return [
        Finding(
            code="answers-alike", severity=Severity.INVALID,
            message=f"all {len(found)} {what} are the same: the model does not read the prompt, or "
            "the prompt does not hold the item", evidence={"of": len(found)},
        )
    ]  # fmt: skip


def _counted(code: str, severity: Severity, hit: NDArray[Any], what: str) -> Findings:
    """Returns a finding that says how many of all are hit, or nothing."""
    if not hit.any():
        return []
    count, of = int(hit.sum()), len(hit)
    return [
        Finding(
            code=code, severity=severity, message=f"{count} of {of} {what}",
            evidence={"count": count, "of": of},
        )
    ]  # fmt: skip


def _doubled(records: Records) -> Findings:
    return _counted(
        "prompt-start-doubled", Severity.INVALID, records.lists("doubled_start").values,
        "prompts begin with the token of the beginning twice: the tokenizer adds one, and the "
        "template or the prompt holds another",
    )  # fmt: skip


def _prompts_cut(records: Records) -> Findings:
    cut = records.lists("cut").values
    return _share(
        "prompts-cut",
        cut > 0,
        f"prompts were too long for the model: up to {int(cut.max(initial=0))} tokens at their "
        "beginning were left out",
    )


def _changed(records: Records) -> Findings:
    names = sorted({name for name in records.array("answered_by").tolist() if name})
    if len(names) < 2:
        return []
    return [
        Finding(
            code="answering-model-changed", severity=Severity.INVALID,
            message=f"the server says that {len(names)} models answered: {', '.join(names[:3])}",
            evidence={"models": names},
        )
    ]  # fmt: skip


def _reused(records: Records) -> Findings:
    return _counted(
        "answers-reused", Severity.INFO, records.lists("attempts").values == 0,
        "answers are those of an earlier run (--reuse-answers): they say what the model answered "
        "then",
    )  # fmt: skip


def _template(evidence: Evidence, scenario: object) -> Findings:
    if evidence.own.model.diagnostics.get("chat_template") != "unused":
        return []
    return [
        Finding(
            code="chat-template-unused", severity=Severity.SUSPECT,
            message="the model has a chat template and is asked without it: chat=true applies it",
        )
    ]  # fmt: skip


def _greedy(evidence: Evidence, scenario: object) -> Findings:
    probe, watched = (evidence.own.probes.get(name) for name in (AGAIN, SAME_MODEL))
    if probe is None or not len(probe):  # drawn answers: they are meant to differ
        return []
    differs, apart = probe.array("differs"), float(probe.array("apart").max())
    if watched is not None and len(evidence.own.records.lists("input:texts").values):
        draws = watched.array("answer").astype(np.float64)
        draws = draws.reshape(int(watched.array("draw").max()) + 1, -1, draws.shape[-1])
        differs = np.concatenate([differs, (draws[1:] != draws[0]).any(axis=2).ravel()])
    evidence_of = {"differ": int(differs.sum()), "of": len(differs), "apart": apart}
    if differs.any():
        return [
            Finding(
                code="greedy-not-greedy", severity=Severity.SUSPECT, evidence=evidence_of,
                message=f"{int(differs.sum())} of {len(differs)} answers at temperature 0 were "
                "others when asked again: numbers are of one drawing among many",
            )
        ]  # fmt: skip
    if not apart:
        return []
    return [
        Finding(
            code="likelihoods-noisy", severity=Severity.INFO, evidence=evidence_of,
            message=f"log-likelihoods asked twice lie up to {apart:.2g} nats apart",
        )
    ]  # fmt: skip


def _unparsed(evidence: Evidence, scenario: object) -> Findings:
    records = evidence.own.records
    names = [name for name in records.table.column_names if name.startswith("parsed")]
    if not names:
        return []
    # Of several extractors, the one that finds most: others may be meant for other answers.
    best = min((records.array(name) < 1.0 for name in names), key=lambda bad: int(bad.sum()))
    return _share(
        "answers-unparsed", best, "items have an answer in which nothing was found to judge; it "
        "counts as wrong",
    )  # fmt: skip


def _of_records(find: Callable[[Records], Findings]) -> Find:
    return lambda evidence, scenario: find(evidence.own.records)


def _audit(name: str, description: str, function: Find) -> Audit:
    known = _KNOWN + name.upper().replace("-", "_")
    return Audit(name=name, description=description, function=function, known_answer=known)


CUT_OFF = _audit(
    "answers-cut-off", "Did answers end at the limit of tokens?", _of_records(_cut_off)
)
REFUSED = _audit("answers-refused", "Did the model refuse to answer?", _of_records(_refused))
NOT_TAKEN = _audit(
    "questions-not-taken", "Did the server refuse to take questions?", _of_records(_failed)
)
ALIKE = _audit("answers-alike", "Do all items get the same answer?", _of_records(_alike))
DOUBLED = _audit(
    "prompt-start-doubled", "Does the beginning token stand twice?", _of_records(_doubled)
)
PROMPTS_CUT = _audit("prompts-cut", "Were prompts too long?", _of_records(_prompts_cut))
CHANGED = _audit(
    "answering-model-changed", "Does the server name several models?", _of_records(_changed)
)
REUSED = _audit("answers-reused", "Are answers those of an earlier run?", _of_records(_reused))
TEMPLATE = _audit(
    "chat-template-unused", "Is a chat model asked without its chat template?", _template
)
GREEDY = _audit(
    "greedy-not-greedy", "Are answers at temperature 0 the same when asked again?", _greedy
)
UNPARSED_ANSWERS = _audit("answers-unparsed", "Was there something to judge?", _unparsed)
