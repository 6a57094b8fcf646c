"""Scores a run's records again, and compares verdicts and numbers with the stored ones."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Mapped, Scenario, Timed, needs_of
from crucibench.contracts.verdict import Finding, Severity, Status, verdict_of
from crucibench.integrity.planned import PlannedRun
from crucibench.integrity.reader import EvidenceReader
from crucibench.metrics.scoring import score
from crucibench.passes.marks import marks
from crucibench.store.cells import CellFile, FindingFile
from crucibench.store.layout import slug
from crucibench.store.run import Run
from crucibench.store.tables import read_table, rows_to_table
from crucibench.util.errors import CrucibenchError, UnreadableError
from crucibench.util.hashing import data_digest
from crucibench.util.user_errors import one_line

TOLERANCE = 1e-9
"""What another build of NumPy or SciPy may move a number by, relative to it."""

_ZERO = 1e-12
"""Two numbers as small as this are the same: what is left of a difference of equal ones."""

_KINDS: dict[str, type[Scenario]] = {"mapped": Mapped, "derived": Derived, "timed": Timed}

StoredRows = Sequence[tuple[int, dict[str, Any]]]
"""Rows of metrics.parquet, with their numbers in the file."""


class CannotScoreError(Exception):
    """A cell can't be scored again; the message says why."""


class Rescoring:
    """Scores the cells of a run again and says where that differs from what is stored."""

    def __init__(self, reader: EvidenceReader, planned: PlannedRun, broken: Set[str]) -> None:
        """Takes what to read and to score by.

        Args:
            reader: of the run.
            planned: the scenarios.
            broken: cells whose records are known to be wrong: what they give means nothing.
        """
        self.run = reader.run
        self._reader = reader
        self._planned = planned
        self._broken = broken
        self._findings: dict[str, list[Finding]] = {}
        self._unscored: dict[str, list[str]] = {}

    def differences(self) -> Iterator[str]:
        """Yields the first difference of each cell, then which cells can't be scored, and why."""
        try:
            stored = self._stored()
        except UnreadableError as error:
            yield str(error)
            stored = None
        for name, file in self.run.cells.items():
            rows = None if stored is None else stored.pop(name, [])
            if file.status is not Status.OK:
                if rows:
                    yield f"metrics.parquet: row {rows[0][0]} is of {name}, which is {file.status}"
                continue
            if name in self._broken or self._broken & set(file.needs.values()):
                continue
            try:
                found = next(self._cell(file, rows), None)
            except CannotScoreError as error:
                self._unscored.setdefault(str(error), []).append(name)
            else:
                if found is not None:
                    yield f"{name}: {found}"
        for name, rows in (stored or {}).items():
            yield f"metrics.parquet: row {rows[0][0]} is of {name!r}, which the run does not have"
        for reason, names in self._unscored.items():
            others = f" and {len(names) - 1} more" if names[1:] else ""
            yield f"{names[0]}{others} can't be scored again: {reason}"

    def _stored(self) -> dict[str, list[tuple[int, dict[str, Any]]]]:
        rows: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for number, row in enumerate(read_table(self.run.layout.metrics).to_pylist()):
            rows.setdefault(str(row.get("cell")), []).append((number, row))
        return rows

    # -- one cell ----------------------------------------------------------------------------

    def _cell(self, file: CellFile, rows: StoredRows | None) -> Iterator[str]:
        """Yields what differs in one cell, lazily: callers may take only the first."""
        scenario = self._scenario(file)
        seed = self._planned.spec.defaults.seed
        yield from _scenario_differences(file, scenario)
        yield from self._need_differences(file, scenario)
        comparison = _plain(_comparison_fields(self.run, file, scenario, seed))
        for key in sorted(comparison.keys() | file.comparison.keys()):
            before, now = file.comparison.get(key), comparison.get(key)
            if not _same(before, now):
                yield (
                    f"cell.json: comparison {key} is {_shown(before)}, the run gives {_shown(now)}"
                )
        evidence = self._evidence(file)
        try:
            scored = score(scenario, evidence)
        except KeyError as error:
            # In a bundle this is mostly a group column that was left out.
            raise CannotScoreError(f"column {_column(error)!r} is not there") from error
        except Exception as error:
            raise CannotScoreError(f"scoring raised: {one_line(error)}") from error
        findings = self._found(file, scenario, evidence)
        yield from _finding_differences(file, findings)
        if rows is not None:
            verdict = str(verdict_of(findings))
            computed = [_row(file, scenario, row, verdict) for row in scored.rows]
            yield from _row_differences(rows, computed)
        yield from self._tables_differ(file, scored.tables)

    def _scenario(self, file: CellFile) -> Scenario:
        address = f"{file.suite}/{file.scenario}"
        scenario = self._planned.scenario(file)
        if scenario is None:
            reason = self._planned.reasons.get(file.suite)
            raise CannotScoreError(
                reason or f"no installed suite asks {address} of {file.model!r} on {file.data!r}"
            )
        if scenario.version != file.version:
            raise CannotScoreError(
                f"{address} is version {file.version} in the run, version {scenario.version} is "
                "installed"
            )
        known = self.run.suites.get(file.suite, {}).get("metrics", [])
        versions = {entry["id"]: entry.get("version") for entry in known}
        for metric in scenario.metrics:
            if versions.get(metric.id, metric.version) != metric.version:
                raise CannotScoreError(
                    f"metric {metric.id!r} is version {versions[metric.id]} in the run, version "
                    f"{metric.version} is installed"
                )
        return scenario

    def _need_differences(self, file: CellFile, scenario: Scenario) -> Iterator[str]:
        model = self.run.models.get((file.model, file.data))
        due_needs = scenario.needs if model is None else needs_of(scenario, model)
        needs = {need.alias: need for need in due_needs}
        for alias, other in file.needs.items():
            if alias not in needs:
                yield f"cell.json: it needs {other!r} as {alias!r}, the scenario does not"
                continue
            found, need = self.run.cells.get(other), needs[alias]
            due = (need.model or file.model, file.data, need.cell)
            if found is None:
                continue  # reported with the cell file
            if (found.model, found.data, f"{found.suite}/{found.scenario}") != due:
                yield f"cell.json: {alias!r} is {other!r}, expected {due[2]} of {due[0]!r}"
            elif found.status is not Status.OK and not need.optional:
                yield f"cell.json: it is ok, and {other!r}, which it needs, is {found.status}"
        for alias, need in needs.items():
            if alias not in file.needs and not need.optional:
                yield f"cell.json: it does not say which cell {alias!r} ({need.cell}) is"

    def _evidence(self, file: CellFile) -> Evidence:
        cells = self.run.cells
        try:
            needs = {
                alias: self._reader.evidence(cells[other])
                for alias, other in file.needs.items()
                if other in cells and cells[other].status is Status.OK
            }
            own = self._reader.evidence(file)
            return Evidence.of(
                own, needs, self.run.cards[file.data], self._planned.spec.defaults.scoring
            )
        except CrucibenchError as error:
            raise CannotScoreError(str(error)) from error

    def _found(self, file: CellFile, scenario: Scenario, evidence: Evidence) -> list[Finding]:
        """Returns what audits find in a cell, with what it inherits from the cells it needs."""
        if file.cell not in self._findings:
            # The stored findings stand in until the new ones are known: so a circle of needs ends.
            self._findings[file.cell] = _stored_findings(file)
            try:
                found = [*scenario.findings(evidence), *marks(file.facts)]
            except KeyError as error:
                raise CannotScoreError(f"column {_column(error)!r} is not there") from error
            except Exception as error:
                raise CannotScoreError(f"its audit raised: {one_line(error)}") from error
            for other in file.needs.values():
                found += [
                    replace(finding, cell=finding.cell or other)
                    for finding in self._findings_of(other)
                    if finding.severity is not Severity.INFO
                ]
            self._findings[file.cell] = _once(found)
        return self._findings[file.cell]

    def _findings_of(self, name: str) -> list[Finding]:
        file = self.run.cells.get(name)
        if file is None:
            return []
        if name not in self._findings and file.status is Status.OK and name not in self._broken:
            try:
                return self._found(file, self._scenario(file), self._evidence(file))
            except CannotScoreError:
                pass  # reported for that cell
        return self._findings.get(name, _stored_findings(file))

    def _tables_differ(self, file: CellFile, computed: dict[str, pd.DataFrame]) -> Iterator[str]:
        folder = self.run.root / "tables" / file.cell
        due = {f"{slug(name)}.parquet": frame for name, frame in computed.items()}
        found = {path.name for path in folder.glob("*.parquet")}
        for name in sorted(due.keys() | found):
            where = f"tables/{file.cell}/{name}"
            if name not in due:
                yield f"{where}: the scenario makes no such table"
            elif name not in found:
                yield f"{where}: missing"
            else:
                try:
                    stored = read_table(folder / name)
                except UnreadableError as error:
                    yield str(error)
                else:
                    yield from _table_differences(where, stored, due[name])


def _column(error: KeyError) -> str:
    """Returns the name of a missing column, which pyarrow wraps in a sentence."""
    text = str(error.args[0])
    wrapped = re.fullmatch(r'Field "(.*)" does not exist in schema', text)
    return wrapped[1] if wrapped else text


def unscored(sentences: Sequence[str]) -> int:
    """Returns how many cells sentences say can't be scored again."""
    found = (re.search(r"(?: and (\d+) more)? can't be scored again: ", one) for one in sentences)
    return sum(1 + int(match[1] or 0) for match in found if match)


def _row(file: CellFile, scenario: Scenario, row: Row, verdict: str) -> dict[str, Any]:
    declared = {metric.id: metric for metric in scenario.metrics}
    if row.metric not in declared or row.point not in scenario.points:
        what = f"metric {row.metric!r}" if row.metric not in declared else f"point {row.point!r}"
        raise CannotScoreError(f"scoring gives {what}, which {scenario.address} does not declare")
    metric = declared[row.metric]
    key = _comparison_key(file.comparison, metric, row.point, row.group)
    return {
        "model": file.model, "data": file.data, "suite": file.suite, "scenario": file.scenario,
        "point": row.point, "group": row.group, "metric": row.metric, "value": row.value,
        "lower": row.lower, "upper": row.upper, "level": row.level, "method": row.method,
        "n": row.n, "direction": metric.direction, "unit": metric.unit, "estimand": row.estimand,
        "mark": row.mark, "reason": row.reason,
        "verdict": verdict, "cell": file.cell, "comparison_key": key,
    }  # fmt: skip


def _once(findings: list[Finding]) -> list[Finding]:
    kept: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        kept.setdefault((finding.code, finding.cell, finding.message), finding)
    return list(kept.values())


# Where what is stored differs from what the records give


def _scenario_differences(file: CellFile, scenario: Scenario) -> Iterator[str]:
    if not isinstance(scenario, _KINDS[file.kind]):
        yield f"cell.json: kind is {file.kind!r}, the scenario is another"
    due = {
        "role": scenario.role, "points": list(scenario.points), "limit": scenario.limit,
        "parameters": _plain(dict(scenario.parameters)), "draws": scenario.draws,
    }  # fmt: skip
    for name, value in due.items():
        if not _same(getattr(file, name), value):
            yield (
                f"cell.json: {name} is {_shown(getattr(file, name))}, the installed "
                f"{file.suite}/{file.scenario} of the same version has {_shown(value)}"
            )
    stages = list(scenario.stages) if isinstance(scenario, Mapped) else []
    if [stage.name for stage in file.stages] != stages:
        yield f"cell.json: stages are {[s.name for s in file.stages]}, expected {stages}"


def _finding_differences(file: CellFile, computed: list[Finding]) -> Iterator[str]:
    stored = [_plain(finding.as_dict()) for finding in _stored_findings(file)]
    due = [
        _plain(FindingFile.model_validate(finding.as_dict()).as_finding().as_dict())
        for finding in computed
    ]
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
        yield from _field_differences(f"cell.json: finding {now['code']}", before, now)
    verdict = verdict_of(computed)
    if file.verdict is not verdict:
        yield f"cell.json: the verdict is {file.verdict}, the records give {verdict}"


def _row_differences(stored: StoredRows, computed: list[dict[str, Any]]) -> Iterator[str]:
    due = rows_to_table(computed).to_pylist()
    places = {_place(row) for _, row in stored}
    for row in due:
        if _place(row) not in places:
            yield f"metrics.parquet: the row {_row_name(row)} is missing"
    places = {_place(row) for row in due}
    for number, row in stored:
        if _place(row) not in places:
            where = f"metrics.parquet: row {number} ({_row_name(row)})"
            yield f"{where}: the records give no such number"
    if len(stored) != len(due):
        yield f"metrics.parquet: expected {len(due)} rows of the cell, got {len(stored)}"
    for (number, before), now in zip(stored, due, strict=False):
        where = f"metrics.parquet: row {number} ({_row_name(before)})"
        yield from _field_differences(where, before, now)


def _table_differences(where: str, stored: pa.Table, frame: pd.DataFrame) -> Iterator[str]:
    due = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    if stored.equals(due):
        return
    if stored.column_names != due.column_names:
        yield f"{where}: columns are {stored.column_names}, the records give {due.column_names}"
    elif stored.num_rows != due.num_rows:
        yield f"{where}: expected {due.num_rows} rows, got {stored.num_rows}"
    for number, (before, now) in enumerate(zip(stored.to_pylist(), due.to_pylist(), strict=False)):
        yield from _field_differences(f"{where}: row {number}", before, now)


def _field_differences(
    where: str, stored: Mapping[str, Any], computed: Mapping[str, Any]
) -> Iterator[str]:
    for name, value in computed.items():
        if not _same(stored.get(name), value):
            yield (
                f"{where}: {name} is {_shown(stored.get(name))}, the records give {_shown(value)}"
            )


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return row.get("metric"), row.get("point"), row.get("group")


def _row_name(row: dict[str, Any]) -> str:
    point = f" at {row['point']}" if row.get("point") else ""
    group = f" @{row['group']}" if row.get("group") else ""
    return f"{row.get('metric')}{point}{group} of {row.get('model')}"


def _stored_findings(file: CellFile) -> list[Finding]:
    return [finding.as_finding() for finding in file.findings]


def _plain(data: Any) -> Any:
    """Returns data as it is read back from JSON: tuples are lists, numbers are Python's."""
    return json.loads(json.dumps(data, default=_number))


def _number(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _same(stored: Any, computed: Any) -> bool:
    """Says whether two values of plain data are equal, numbers to within `TOLERANCE`."""
    if isinstance(stored, float) or isinstance(computed, float):
        return _same_number(stored, computed)
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        return stored.keys() == computed.keys() and all(
            _same(stored[key], computed[key]) for key in stored
        )
    if isinstance(stored, list | tuple) and isinstance(computed, list | tuple):
        return len(stored) == len(computed) and all(map(_same, stored, computed))
    return bool(stored == computed) and isinstance(stored, bool) == isinstance(computed, bool)


def _same_number(stored: Any, computed: Any) -> bool:
    if not all(type(value) in {int, float} for value in (stored, computed)):
        return False
    if math.isnan(stored) or math.isnan(computed):
        return math.isnan(stored) and math.isnan(computed)
    return math.isclose(stored, computed, rel_tol=TOLERANCE, abs_tol=_ZERO)


def _shown(value: Any) -> str:
    """Returns a value as messages show it."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


# The comparison key as the format states it, made again from the run's cards and scenarios


def _comparison_fields(run: Run, file: CellFile, scenario: Scenario, seed: int) -> dict[str, Any]:
    """Returns what two cells must share to be set side by side."""
    fields: dict[str, Any] = {
        "data": run.cards[file.data].fingerprint,
        "task": run.cards[file.data].task.identity,
        "ids": file.ids_digest,
        "scenario": {
            "address": scenario.address,
            "version": scenario.version,
            "parameters": dict(scenario.parameters),
            "points": list(scenario.points),
            "role": scenario.role,
            "limit": scenario.limit,
        },
        "seed": None if scenario.draws == "none" else seed,
        "geometry": None,
    }
    if run.cards[file.data].block:
        fields["blocks"] = run.cards[file.data].block
    role_fingerprints = run.cards[file.data].role_fingerprints
    if read := {
        role: role_fingerprints[role]
        for role in (scenario.role, *scenario.roles)
        if role in role_fingerprints
    }:
        fields["role_fingerprints"] = read
    if scenario.perturbs:
        fields["geometry"] = dict(run.models[file.model, file.data].geometry)
    if scenario.on_hardware:
        fields["hardware"] = run.environment.get("hardware", {})
    groups = run.cards[file.data].group_digests.get(scenario.role)
    if groups and scenario.reads_groups:
        fields["groups"] = groups
    return fields


def _comparison_key(fields: Mapping[str, Any], metric: MetricInfo, point: str, group: str) -> str:
    """Returns the digest that a metric row carries."""
    return data_digest(
        {
            "cell": dict(fields),
            "metric": metric.id,
            "metric_version": metric.version,
            "point": point,
            "group": group,
        }
    )[:16]
