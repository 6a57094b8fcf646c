"""Where what is stored of a cell differs from what its records give; the first is the news."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from crucibench.contracts.scenario import Derived, Mapped, Scenario, Timed
from crucibench.contracts.verdict import Finding, verdict_of
from crucibench.integrity.equal import same, shown
from crucibench.store.cells import CellFile, FindingFile
from crucibench.store.tables import rows_to_table

_KINDS: dict[str, type[Scenario]] = {"mapped": Mapped, "derived": Derived, "timed": Timed}

StoredRows = Sequence[tuple[int, dict[str, Any]]]
"""Rows of metrics.parquet, with their numbers in the file."""


def asked_otherwise(file: CellFile, scenario: Scenario) -> Iterator[str]:
    if not isinstance(scenario, _KINDS[file.kind]):
        yield f"cell.json: kind is {file.kind!r}, the scenario is another"
    due = {
        "role": scenario.role, "points": list(scenario.points), "limit": scenario.limit,
        "parameters": plain(dict(scenario.parameters)), "draws": scenario.draws,
    }  # fmt: skip
    for name, value in due.items():
        if not same(getattr(file, name), value):
            yield (
                f"cell.json: {name} is {shown(getattr(file, name))}, the installed "
                f"{file.suite}/{file.scenario} of the same version has {shown(value)}"
            )
    stages = list(scenario.stages) if isinstance(scenario, Mapped) else []
    if [stage.name for stage in file.stages] != stages:
        yield f"cell.json: stages are {[s.name for s in file.stages]}, expected {stages}"


def findings_otherwise(file: CellFile, computed: list[Finding]) -> Iterator[str]:
    stored = [plain(finding.as_dict()) for finding in stored_findings(file)]
    due = [plain(_as_stored(finding).as_finding().as_dict()) for finding in computed]
    for finding in due:
        if finding["code"] not in {entry["code"] for entry in stored}:
            yield (
                f"cell.json: the finding {finding['code']} ({finding['severity']}) is missing; "
                f"the records give: {finding['message']}"
            )
    for finding in stored:
        if finding["code"] not in {entry["code"] for entry in due}:
            yield f"cell.json: the records give no finding {finding['code']}"
    if len(stored) != len(due):
        yield f"cell.json: expected {len(due)} findings, got {len(stored)}"
    for before, now in zip(stored, due, strict=False):
        for key in now:
            if not same(before[key], now[key]):
                yield (
                    f"cell.json: finding {now['code']}: {key} is {shown(before[key])}, the records "
                    f"give {shown(now[key])}"
                )
    verdict = verdict_of(computed)
    if file.verdict is not verdict:
        yield f"cell.json: the verdict is {file.verdict}, the records give {verdict}"


def rows_otherwise(stored: StoredRows, computed: list[dict[str, Any]]) -> Iterator[str]:
    due = rows_to_table(computed).to_pylist()
    places = {_place(row) for _, row in stored}
    for row in due:
        if _place(row) not in places:
            yield f"metrics.parquet: the row {_told(row)} is missing"
    places = {_place(row) for row in due}
    for number, row in stored:
        if _place(row) not in places:
            yield f"metrics.parquet: row {number} ({_told(row)}): the records give no such number"
    if len(stored) != len(due):
        yield f"metrics.parquet: expected {len(due)} rows of the cell, got {len(stored)}"
    for (number, before), now in zip(stored, due, strict=False):
        for name in now:
            if not same(before.get(name), now[name]):
                yield (
                    f"metrics.parquet: row {number} ({_told(before)}): {name} is "
                    f"{shown(before.get(name))}, the records give {shown(now[name])}"
                )


def table_otherwise(where: str, stored: pa.Table, frame: pd.DataFrame) -> Iterator[str]:
    due = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    if stored.equals(due):
        return
    if stored.column_names != due.column_names:
        yield f"{where}: columns are {stored.column_names}, the records give {due.column_names}"
    elif stored.num_rows != due.num_rows:
        yield f"{where}: expected {due.num_rows} rows, got {stored.num_rows}"
    for number, (before, now) in enumerate(zip(stored.to_pylist(), due.to_pylist(), strict=False)):
        for name in now:
            if not same(before.get(name), now[name]):
                yield (
                    f"{where}: row {number}: {name} is {shown(before.get(name))}, the records give "
                    f"{shown(now[name])}"
                )


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row.get("metric"), row.get("point"), row.get("group")


def _told(row: dict[str, Any]) -> str:
    point = f" at {row['point']}" if row.get("point") else ""
    group = f" @{row['group']}" if row.get("group") else ""
    return f"{row.get('metric')}{point}{group} of {row.get('model')}"


def _as_stored(finding: Finding) -> FindingFile:
    return FindingFile.model_validate(finding.as_dict())


def stored_findings(file: CellFile) -> list[Finding]:
    return [finding.as_finding() for finding in file.findings]


def plain(data: Any) -> Any:
    """Returns data as it is read back from JSON: tuples are lists, numbers are Python's."""
    return json.loads(json.dumps(data, default=_number))


def _number(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
