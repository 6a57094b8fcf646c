"""What the suite's audits must find: planted defects, and cases just short of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.contracts.asking import ENDS
from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench.contracts.lists import Lists
from crucibench_suites.prompted.audits import AGAIN

_N = 100


def _case(*, diagnostics: Any = None, probe: Any = None, **other: Any) -> AuditCase:
    """Returns a cell of `_N` written answers, with some columns in place of sound ones."""

    def one(values: Any) -> Lists:
        return Lists.of([1] * _N, np.array(values))

    lists = {
        "input:texts": [f"answer {row}" for row in range(_N)], "finish": [0] * _N,
        "input:error": [""] * _N, "cut": [0] * _N, "doubled_start": [False] * _N,
        "attempts": [1] * _N,
    }  # fmt: skip
    columns: dict[str, Any] = {
        name: one(np.array(other.get(name, values), dtype=object if name[0] == "i" else None))
        for name, values in lists.items()
    }
    columns["input:prompt"] = [f"question {row}" for row in range(_N)]
    columns["answered_by"] = other.get("answered_by", ["tiny"] * _N)
    columns["parsed:whole"] = np.array(other.get("parsed", [1.0] * _N))
    probes = {AGAIN: probe} if probe else None
    cell = example_cell(columns, np.zeros(_N), diagnostics=diagnostics, probes=probes)
    return AuditCase(example_evidence(cell), None)


def _some(bad: Any, good: Any, count: int) -> list[Any]:
    return [bad] * count + [good] * (_N - count)


def _again(differ: int, apart: float) -> dict[str, Any]:
    return {
        "id": [f"{row:032x}" for row in range(16)], "point": "",
        "differs": np.arange(16) < differ, "apart": np.full(16, apart),
    }  # fmt: skip


def _known(code: str, planted: Any, **others: Any) -> KnownFindings:
    return KnownFindings(planted={code: planted, **others}, clean=_case)


ANSWERS_CUT_OFF = _known("answers-cut-off", lambda: _case(finish=_some(ENDS.index("length"), 0, 6)))
ANSWERS_REFUSED = _known(
    "answers-refused",
    lambda: _case(**{"input:texts": _some("I'm sorry, but no.", "Paris", 6)}),
)
QUESTIONS_NOT_TAKEN = _known(
    "questions-not-taken", lambda: _case(**{"input:error": _some("HOST answers 400", "", 6)})
)
ANSWERS_ALIKE = KnownFindings(
    planted={"answers-alike": lambda: _case(**{"input:texts": ["B"] * _N})}, clean=_case,
    spared={"answers-alike": lambda: _case(**{"input:texts": _some("A", "B", 1)})},
)  # fmt: skip
PROMPT_START_DOUBLED = _known(
    "prompt-start-doubled", lambda: _case(doubled_start=_some(True, False, 1))
)
PROMPTS_CUT = _known("prompts-cut", lambda: _case(cut=_some(3, 0, 6)))
ANSWERING_MODEL_CHANGED = _known(
    "answering-model-changed", lambda: _case(answered_by=_some("other", "tiny", 1))
)
ANSWERS_REUSED = _known("answers-reused", lambda: _case(attempts=_some(0, 1, 1)))
CHAT_TEMPLATE_UNUSED = _known(
    "chat-template-unused", lambda: _case(diagnostics={"chat_template": "unused"})
)
GREEDY_NOT_GREEDY = _known(
    "greedy-not-greedy",
    lambda: _case(probe=_again(1, 0.0)),
    **{"likelihoods-noisy": lambda: _case(probe=_again(0, 0.01))},
)
ANSWERS_UNPARSED = _known("answers-unparsed", lambda: _case(parsed=_some(0.0, 1.0, 6)))
