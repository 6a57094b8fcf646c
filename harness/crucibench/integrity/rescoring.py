"""Whether a run's verdicts and numbers are what its records give, scored here once more."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from typing import Any

import pandas as pd

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity, Status, verdict_of
from crucibench.integrity.compared import (
    StoredRows,
    asked_otherwise,
    findings_otherwise,
    plain,
    rows_otherwise,
    stored_findings,
    table_otherwise,
)
from crucibench.integrity.comparison import comparison_fields, comparison_key
from crucibench.integrity.equal import same, shown
from crucibench.integrity.planned import Planned
from crucibench.integrity.reader import Reader
from crucibench.metrics.scoring import score
from crucibench.passes.marks import marks
from crucibench.store.cells import CellFile
from crucibench.store.layout import slug
from crucibench.store.tables import read_table
from crucibench.util.errors import CrucibenchError, UnreadableError
from crucibench.util.user_errors import one_line


class CannotScoreError(Exception):
    """A cell can't be scored again; the message says why."""


class Rescoring:
    """Scores the cells of a run again and says where that differs from what is stored."""

    def __init__(self, reader: Reader, planned: Planned, broken: Set[str]) -> None:
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
        """Yields what differs in one cell; whoever wants but the first asks for no more."""
        scenario = self._scenario(file)
        seed = self._planned.spec.defaults.seed
        yield from asked_otherwise(file, scenario)
        yield from self._needs_otherwise(file, scenario)
        comparison = plain(comparison_fields(self.run, file, scenario, seed))
        for key in sorted(comparison.keys() | file.comparison.keys()):
            before, now = file.comparison.get(key), comparison.get(key)
            if not same(before, now):
                yield (
                    f"cell.json: comparison {key} is {shown(before)}, the run gives {shown(now)}"
                )
        evidence = self._evidence(file)
        try:
            scored = score(scenario, evidence)
        except KeyError as error:
            # Of a bundle, most often a column of groups that was left out of it.
            raise CannotScoreError(f"scoring asks for {error}, which is not there") from error
        except Exception as error:
            raise CannotScoreError(f"scoring raised: {one_line(error)}") from error
        findings = self._found(file, scenario, evidence)
        yield from findings_otherwise(file, findings)
        if rows is not None:
            verdict = str(verdict_of(findings))
            computed = [_row(file, scenario, row, verdict) for row in scored.rows]
            yield from rows_otherwise(rows, computed)
        yield from self._tables_otherwise(file, scored.tables)

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

    def _needs_otherwise(self, file: CellFile, scenario: Scenario) -> Iterator[str]:
        needs = {need.alias: need for need in scenario.needs}
        for alias, other in file.needs.items():
            if alias not in needs:
                yield f"cell.json: it needs {other!r} as {alias!r}, the scenario does not"
                continue
            found, need = self.run.cells.get(other), needs[alias]
            due = (need.model or file.model, file.data, need.cell)
            if found is None:
                continue  # said elsewhere
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
            return Evidence(
                own=self._reader.evidence(file), needs=needs, data=self.run.cards[file.data],
                options=self._planned.options,
            )  # fmt: skip
        except CrucibenchError as error:
            raise CannotScoreError(str(error)) from error

    def _found(self, file: CellFile, scenario: Scenario, evidence: Evidence) -> list[Finding]:
        """Returns what audits find in a cell, with what it inherits from the cells it needs."""
        if file.cell not in self._findings:
            # Until it is known: what is stored, so that a circle of needs comes to an end.
            self._findings[file.cell] = stored_findings(file)
            try:
                found = [*scenario.audit(evidence), *marks(file.facts)]
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
                pass  # said where that cell is looked at
        return self._findings.get(name, stored_findings(file))

    def _tables_otherwise(self, file: CellFile, computed: dict[str, pd.DataFrame]) -> Iterator[str]:
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
                    yield from table_otherwise(where, stored, due[name])


def _row(file: CellFile, scenario: Scenario, row: Row, verdict: str) -> dict[str, Any]:
    declared = {metric.id: metric for metric in scenario.metrics}
    if row.metric not in declared or row.point not in scenario.points:
        what = f"metric {row.metric!r}" if row.metric not in declared else f"point {row.point!r}"
        raise CannotScoreError(f"scoring gives {what}, which {scenario.address} does not declare")
    metric = declared[row.metric]
    key = comparison_key(file.comparison, metric, row.point, row.group)
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
