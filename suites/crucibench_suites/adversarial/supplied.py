"""Adversarial inputs from elsewhere: checked like our own, and counted in the worst case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from crucibench.contracts.attack import Norm
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench.contracts.suite import NamedFile
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.threat import ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.supplied_file import Supplied


@dataclass(frozen=True, kw_only=True)
class SuppliedExamples(OneAttack):
    """Inputs of a file: whether each is in ball and box, and what the model says of it."""

    file: NamedFile

    @classmethod
    def of(
        cls,
        suite: str,
        file: NamedFile,
        norm: Norm,
        eps: tuple[float, ...],
        *,
        limit: int | None,
    ) -> SuppliedExamples:
        """Returns the scenario of one norm."""
        threat = ThreatModel(norm=norm, eps=eps)
        told = {"norm": norm, "eps": list(threat.eps), "targeted": False}
        return cls(
            suite=suite,
            name=f"supplied-{norm}",
            file=file,
            threat=threat,
            parameters={"supplied": file.digest, "threat": told, "budget": "not known"},
            points=("", *(point_of(radius) for radius in threat.eps)),
            limit=limit,
        )

    probe = Mapped.probe  # it searches nothing that could be tested

    @property
    def attack(self) -> str:
        """Its name in records and tables."""
        return "supplied"

    def _read(self) -> Supplied:
        from crucibench_suites.adversarial.supplied_file import read_supplied

        return read_supplied(self.file.path, self.file.digest)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right as they are and that the file has an input of."""
        keep = super().select(stage, view).keep
        return Selection(keep & self._read().known(view().samples.ids))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: the smallest eps that its input breaks."""
        import torch

        from crucibench_suites.adversarial.search import Ledger
        from crucibench_suites.adversarial.settle import settle, snapped
        from crucibench_suites.adversarial.shown import show_images

        grid, norm = np.asarray(self.threat.eps, dtype=np.float64), self.threat.norm
        targets = work.samples.targets.astype(np.int64)
        examples = torch.from_numpy(self._read().of(work.batch))
        ledger = Ledger.of(work.batch, np.full(len(work.batch), len(grid), dtype=np.int64))
        near, moved = snapped(work.batch.inputs, examples, grid, norm)
        # As they are, and once more, moved by less than rounding, where that decides.
        for rows, asked in ((np.arange(len(targets)), examples), (np.flatnonzero(moved), near)):
            if len(rows):
                settle(
                    context.adapter, work.batch, targets, rows=rows,
                    examples=asked[torch.from_numpy(rows)], grid=grid, norm=norm, ledger=ledger,
                )  # fmt: skip
        boxed = ((examples >= 0) & (examples <= 1)).flatten(1).all(1).numpy()
        show_images(self.threat, self.attack, work, context, ledger)
        return {**self.columns(work, ledger, self.attack), "in_box": boxed}

    def audit(self, evidence: Evidence) -> Findings:
        """Tells how many inputs count, and why the others don't."""
        records = evidence.own.records
        if not len(records):
            return []
        boxed, found = records.array("in_box"), records.array("prediction") >= 0
        beyond = found & (records.array("level") == len(self.threat.eps))
        counts = {
            "inputs": len(records),
            "within_largest_eps": int((found & ~beyond).sum()),
            "beyond_largest_eps": int(beyond.sum()),
            "outside_box": int((~boxed).sum()),
            "answered_rightly": int((boxed & ~found).sum()),
        }
        return [
            Finding(
                code="supplied-examples",
                severity=Severity.INFO,
                message=f"Of {counts['inputs']} supplied inputs of samples that are right, "
                f"{counts['within_largest_eps']} make the model wrong within the largest eps, "
                f"{counts['beyond_largest_eps']} only beyond it; {counts['answered_rightly']} are "
                f"answered rightly, and {counts['outside_box']} are not within [0, 1].",
                evidence=counts,
            )
        ]


def checked(file: NamedFile, samples: int) -> NamedFile:
    """Looks into the file, where it is at hand as it was.

    Raises:
        InputError: if it can't be what was supplied for `samples` samples.
    """
    from crucibench.util.hashing import file_digest
    from crucibench_suites.adversarial.supplied_file import check_count, read_supplied

    # A run that is only read needs no file: its records say what became of the inputs.
    if file.path.is_file() and file_digest(file.path) == file.digest:
        check_count(read_supplied(file.path, file.digest), samples)
    return replace(file, path=file.path.absolute())
