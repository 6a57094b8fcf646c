"""Which clause asks about which risk, and which rows of a run speak of it.

Suites declare of which risks their numbers speak (`Suite.risks`); clauses name risks, so that
neither knows the other. A clause without a row says "not measured", and why.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from crucibench.contracts.verdict import Verdict
from crucibench.report.numbers import numbers_of
from crucibench.store.run import Run
from crucibench.util.text import markdown_text

_ACT = "EU AI Act, Article 15"
_ANNEX = "EU AI Act, Annex IV"
_NIST = "NIST AI RMF 1.0, MEASURE"
_ISO = "ISO/IEC TR 24029-1:2021"

_PEOPLE = "a measure that people take, which no test of a model shows"
_LATER = "it concerns the system in use, which an evaluation before it does not see"


class Clause(NamedTuple):
    """What a text asks for.

    Attributes:
        source: the text.
        place: where in it.
        asks: for what, shortened.
        risks: those whose rows answer it.
        beyond: why no row can answer it; "" where risks are named.
    """

    source: str
    place: str
    asks: str
    risks: tuple[str, ...] = ()
    beyond: str = ""


CLAUSES = (
    Clause(_ACT, "(1)", "an appropriate level of accuracy", ("accuracy",)),
    Clause(
        _ACT, "(1)", "an appropriate level of robustness", ("changed-inputs", "unfamiliar-inputs")
    ),
    Clause(
        _ACT, "(1)", "an appropriate level of cybersecurity",
        ("evasion", "poisoned-data", "triggers", "membership"),
    ),
    Clause(_ACT, "(1)", "consistent performance throughout the lifecycle", beyond=_LATER),
    Clause(
        _ACT, "(3)", "levels of accuracy and relevant metrics, declared in the instructions of use",
        ("accuracy",),
    ),
    Clause(
        _ACT, "(4)", "resilience regarding errors, faults or inconsistencies within the system or "
        "its environment", ("changed-inputs", "unfamiliar-inputs"),
    ),
    Clause(
        _ACT, "(4)", "technical redundancy, which may include backup or fail-safe plans",
        beyond=_PEOPLE,
    ),
    Clause(_ACT, "(4)", "feedback loops of systems that continue to learn", beyond=_LATER),
    Clause(
        _ACT, "(5)", "attacks that manipulate the training data set (data poisoning)",
        ("poisoned-data",),
    ),
    Clause(
        _ACT, "(5)", "attacks that manipulate pre-trained components (model poisoning)",
        ("triggers",),
    ),
    Clause(
        _ACT, "(5)", "inputs designed to cause a mistake (adversarial examples or model evasion)",
        ("evasion",),
    ),
    Clause(_ACT, "(5)", "confidentiality attacks", ("membership",)),
    Clause(_ACT, "(5)", "model flaws", ("shortcuts",)),
    Clause(_ANNEX, "2(e)", "assessment of the human oversight measures needed", beyond=_PEOPLE),
    Clause(_ANNEX, "2(g)", "metrics used to measure accuracy", ("accuracy",)),
    Clause(
        _ANNEX, "2(g)", "metrics used to measure robustness",
        ("changed-inputs", "unfamiliar-inputs", "evasion"),
    ),
    Clause(
        _ANNEX, "2(g)", "metrics used to measure compliance with other relevant requirements",
        beyond=_PEOPLE,
    ),
    Clause(_ANNEX, "2(g)", "potentially discriminatory impacts", ("discrimination",)),
    Clause(_ANNEX, "2(h)", "cybersecurity measures put in place", beyond=_PEOPLE),
    Clause(_ANNEX, "3", "the overall expected level of accuracy", ("accuracy",)),
    Clause(
        _ANNEX, "3", "degrees of accuracy for specific persons or groups of persons",
        ("discrimination",),
    ),
    Clause(_ANNEX, "3", "foreseeable unintended outcomes and sources of risks", beyond=_PEOPLE),
    Clause(_ANNEX, "4", "appropriateness of the performance metrics", beyond=_PEOPLE),
    Clause(
        _NIST, "2.3", "performance or assurance criteria, for conditions similar to deployment",
        ("accuracy",),
    ),
    Clause(_NIST, "2.4", "functionality and behavior are monitored in production", beyond=_LATER),
    Clause(
        _NIST, "2.5", "valid and reliable; limitations of the generalizability",
        ("accuracy", "calibration", "changed-inputs"),
    ),
    Clause(
        _NIST, "2.6", "safe; can fail safely, particularly beyond its knowledge limits",
        ("unfamiliar-inputs",),
    ),
    Clause(_NIST, "2.7", "security and resilience", ("evasion", "poisoned-data", "triggers")),
    Clause(_NIST, "2.8", "risks of transparency and accountability", beyond=_PEOPLE),
    Clause(
        _NIST, "2.9", "the model is explained and validated, its output interpreted within its "
        "context", ("explanations",),
    ),
    Clause(_NIST, "2.10", "privacy risk", ("membership",)),
    Clause(_NIST, "2.11", "fairness and bias", ("discrimination",)),
    Clause(
        _NIST, "2.12", "environmental impact and sustainability of model training and management "
        "(rows: of answering)", ("energy",),
    ),
    Clause(
        _NIST, "2.13", "effectiveness of the employed metrics and processes", beyond=_PEOPLE
    ),
    Clause(
        _ISO, "5", "statistical methods",
        ("accuracy", "changed-inputs", "unfamiliar-inputs"),
    ),
    Clause(_ISO, "6", "formal methods", ("guarantees",)),
    Clause(_ISO, "7.2", "empirical methods: field trials", beyond=_LATER),
    Clause(_ISO, "7.3", "empirical methods: a posteriori testing", ("evasion",)),
    Clause(
        _ISO, "7.4", "empirical methods: benchmarking of neural networks",
        ("changed-inputs", "evasion"),
    ),
)  # fmt: skip


def risk_rows(run: Run) -> list[dict[str, Any]]:
    """Returns every clause with the rows of a run that answer it.

    Returns:
        One a clause: its fields; ``rows``: the numbers that have a value and are not invalid, as
        ``SUITE/SCENARIO/METRIC``, headlines first, each with how many there are over models,
        points and groups;
        ``not_measured``: why there are none, or "".
    """
    declared = {suite: info.get("risks") for suite, info in run.suites.items()}
    found: dict[str, dict[str, int]] = {}
    for number in numbers_of(run):
        address = number.address
        if number.value is None or number.verdict is Verdict.INVALID:
            continue
        own = f"{address.scenario}/{address.metric}"
        for risk, patterns in (declared.get(address.suite) or {}).items():
            if any(fnmatchcase(own, pattern) for pattern in patterns):
                counts = found.setdefault(risk, {})
                counts[f"{address.suite}/{own}"] = counts.get(f"{address.suite}/{own}", 0) + 1
    headlines = {
        f"{suite}/{place.partition('[')[0]}{place.partition(']')[2]}"
        for suite, info in run.suites.items()
        for place in info["headline"]
    }
    silent = all(risks is None for risks in declared.values())
    return [
        {
            **clause._asdict(),
            "rows": (rows := _merged((found.get(risk, {}) for risk in clause.risks), headlines)),
            "not_measured": "" if rows else _reason(clause, silent),
        }
        for clause in CLAUSES
    ]


def _merged(parts: Iterable[Mapping[str, int]], first: Container[str]) -> list[tuple[str, int]]:
    """Returns all rows, headlines first."""
    rows = {address: count for part in parts for address, count in part.items()}
    return sorted(rows.items(), key=lambda row: (row[0] not in first, row[0]))


def _reason(clause: Clause, silent: bool) -> str:
    if clause.beyond:
        return clause.beyond
    if silent:
        return "the version that made the run did not say of which risks its numbers speak"
    return f"no number of this run speaks of {' or '.join(clause.risks)}"


def risk_table(rows: Iterable[Mapping[str, Any]], most: int = 4) -> str:
    """Renders what `risk_rows` returns as Markdown, at most so many rows a clause."""
    lines = ["| clause | asks for | rows of `metrics.parquet` |", "| --- | --- | --- |"]
    for one in rows:
        names = [f"`{name}` ({count})" for name, count in one["rows"]]
        shown = ", ".join(names[:most])
        if len(names) > most:
            shown += f" and {len(names) - most} more, in `risks.json`"
        answer = shown or f"**not measured**: {markdown_text(one['not_measured'])}"
        clause = markdown_text(f"{one['source']} {one['place']}")
        lines.append(f"| {clause} | {markdown_text(one['asks'])} | {answer} |")
    return "\n".join(lines) + "\n"
