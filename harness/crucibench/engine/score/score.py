"""Score and audit: pure functions of records and sample tables, for one cell at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived
from crucibench.contracts.verdict import Finding, Status, Verdict, verdict_of
from crucibench.engine.plan.cell_files import comparison_key
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.plan.roles import limited
from crucibench.engine.worker.failures import failed, failed_file
from crucibench.metrics.scoring import score
from crucibench.passes.marks import marks
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cells import CellFile, FindingFile
from crucibench.store.run import Run
from crucibench.store.stored_records import RecentRecords
from crucibench.store.tables import write_frame, write_table
from crucibench.util.errors import InputError

_MOST_VIEWED = 1 << 18
"""Most samples of which what was made of their records is kept from cell to cell: of more, making
it again takes little beside the numbers, and it fills memory."""


class Scorer:
    """Scores the cells of a run from what is on disk."""

    def __init__(self, run: Run, options: ScoringOptions, beside: Scorer | None = None) -> None:
        """Takes a finished run's options, and who scores another that it is compared with."""
        self.run = run
        self.options = options
        self._beside = beside
        before: Scorer | None = run.scorer
        self._samples: dict[tuple[str, str, int | None], Samples] = (
            {} if before is None else before._samples
        )
        self._recent: RecentRecords = RecentRecords() if before is None else before._recent
        self._passes: dict[tuple[str, ...], CellEvidence] = {} if before is None else before._passes

    def evidence(self, cell: PlannedCell, files: Mapping[str, CellFile]) -> Evidence:
        """Gathers a cell's evidence; a need that did not end well is absent."""
        needs = {
            alias: self._cell_evidence(files[other])
            for alias, other in cell.needs.items()
            if files[other].status is Status.OK
        }
        return Evidence.of(self._cell_evidence(files[cell.id]), needs, cell.data, self.options)

    def score(
        self, cell: PlannedCell, files: Mapping[str, CellFile]
    ) -> tuple[CellFile, list[dict[str, Any]]]:
        """Returns the cell with its verdict, and its metric rows; writes its tables."""
        own = files[cell.id]
        evidence = self.evidence(cell, files)
        scored = score(cell.scenario, evidence)
        findings = [*cell.scenario.findings(evidence), *marks(own.facts)]
        inherited = [
            replace(finding.as_finding(), cell=finding.cell or other)
            for _, other in sorted(cell.needs.items())  # the order in which they are stored
            for finding in files[other].findings
            if finding.severity != "info"
        ]
        findings = _once([*findings, *inherited])
        verdict = verdict_of(findings)
        for name, frame in scored.tables.items():
            write_frame(self.run.layout.table(cell.id, name), frame)
        stored = [FindingFile.model_validate(finding.as_dict()) for finding in findings]
        updated = own.model_copy(update={"verdict": verdict, "findings": stored})
        for kept in self._passes.values():
            if len(kept.samples) > _MOST_VIEWED:
                kept.shared.clear()
        return updated, [self._row(cell, updated, row, verdict) for row in scored.rows]

    def _row(self, cell: PlannedCell, file: CellFile, row: Row, verdict: Verdict) -> dict[str, Any]:
        metric = _declared(cell, row)
        if row.point not in cell.scenario.points:
            raise InputError(
                f"{cell.scenario.address} has a number of {row.metric!r} at {row.point!r}, which "
                "is none of its points"
            )
        return {
            "model": cell.model.name, "data": cell.data.name, "suite": cell.scenario.suite,
            "scenario": cell.scenario.name, "point": row.point, "group": row.group,
            "metric": row.metric, "value": row.value, "lower": row.lower, "upper": row.upper,
            "level": row.level, "method": row.method, "n": row.n, "direction": metric.direction,
            "unit": metric.unit, "estimand": row.estimand, "mark": row.mark,
            "reason": row.reason, "verdict": str(verdict), "cell": cell.id,
            "comparison_key": comparison_key(file.comparison, metric, row.point, row.group),
        }  # fmt: skip

    def _cell_evidence(self, file: CellFile) -> CellEvidence:
        """Gathers what a cell left; of the last one or two, with the views that were made of it."""
        records = self._recent.records(self.run.cell_records(file.cell))
        # Between stages a cell has records, and its probes and artefacts are not known yet.
        key = (file.cell, *file.probes, *file.outputs)
        kept = self._passes.pop(key, None)
        if kept is None or kept.records is not records or kept.facts != file.facts:
            kept = self._made(file, records)
        self._passes = {**dict([*self._passes.items()][-1:]), key: kept}
        return kept

    def _made(self, file: CellFile, records: Records) -> CellEvidence:
        made = CellEvidence(
            cell=file.cell,
            model=self.run.models[file.model, file.data],
            role=file.role,
            records=records,
            samples=self._sample_table(file),
            probes=self.run.probes(file.cell, file.probes),
            facts=file.facts,
            artifacts=self.run.artifacts(file.cell, file.outputs),
        )
        return made.by_asking() if file.suite == PASS else made

    def _sample_table(self, file: CellFile) -> Samples:
        key = (file.data, file.role, file.limit)
        if key not in self._samples and (same := self._same_table(file)) is not None:
            self._samples[key] = same
        elif key not in self._samples:
            whole = self.run.samples(file.data, file.role)
            card = self.run.cards[file.data]
            rows = None
            if file.limit is not None and file.limit < len(whole):
                rows = self.run.rows_within(file.data, file.role, file.limit)
            self._samples[key] = (
                limited(whole, card, file.role, file.limit, self.options.seed)
                if rows is None
                else whole.take(rows)
            )
        return self._samples[key]

    def _same_table(self, file: CellFile) -> Samples | None:
        """Returns the sample table of the run beside, where it is of the same content."""
        other = self._beside
        if other is None or file.limit is not None or self.run.packed or other.run.packed:
            return None
        digests = {
            run.manifest["files"].get(
                run.layout.sample_table(file.data, file.role).relative_to(run.root).as_posix()
            )
            for run in (self.run, other.run)
        }
        return other._samples.get((file.data, file.role, None)) if len(digests) == 1 else None


def finish(
    cell: PlannedCell, file: CellFile, files: Mapping[str, CellFile], scorer: Scorer
) -> tuple[CellFile, list[dict[str, Any]]]:
    """Scores a cell that ended well; a scenario that can't be scored is a failed cell."""
    if file.status is not Status.OK:
        return file, []
    try:
        needed = {other: files[other] for other in cell.needs.values()}
        return scorer.score(cell, {**needed, cell.id: file})
    except Exception as error:
        return failed_file(file, failed(error)), []


def derived(
    cell: PlannedCell, scenario: Derived, files: Mapping[str, CellFile], scorer: Scorer
) -> CellFile:
    """Derives a cell's records from those of the cells it needs, and writes them.

    Args:
        cell: the cell.
        scenario: its scenario.
        files: by cell id, the files of the cell and of all that it needs.
        scorer: of the run.

    Returns:
        The cell's file; a failed one where the scenario raised.
    """
    try:
        columns = scenario.derive(scorer.evidence(cell, files))
        if columns is not None:
            write_table(scorer.run.layout.shard(cell.id, 0, 0), to_table(columns))
    except Exception as error:
        return failed_file(files[cell.id], failed(error))
    return files[cell.id]


def conclude(
    cell: PlannedCell, file: CellFile, files: Mapping[str, CellFile], scorer: Scorer
) -> tuple[CellFile, list[dict[str, Any]]]:
    """Derives the records of a cell, where they are derived, and scores it.

    Args:
        cell: the cell.
        file: its file.
        files: by cell id, the files of all that it needs.
        scorer: of the run.

    Returns:
        The cell's file, and its metric rows.
    """
    if file.status is Status.OK and isinstance(cell.scenario, Derived):
        file = derived(cell, cell.scenario, {**files, cell.id: file}, scorer)
    return finish(cell, file, files, scorer)


def _declared(cell: PlannedCell, row: Row) -> MetricInfo:
    for metric in cell.scenario.metrics:
        if metric.id == row.metric:
            return metric
    raise InputError(
        f"{cell.scenario.address} computes metric {row.metric!r}, which it does not list: add it "
        f"to the metrics of {type(cell.scenario).__name__}"
    )


def _once(findings: list[Finding]) -> list[Finding]:
    seen: set[tuple[str, str, str]] = set()
    kept: list[Finding] = []
    for finding in findings:
        key = (finding.code, finding.cell, finding.message)
        if key not in seen:
            seen.add(key)
            kept.append(finding)
    return kept
