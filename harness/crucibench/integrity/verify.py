"""Verify: is a run what its manifest, its records and its metric rows say?

It shares the models of the files with what wrote them, and none of the code that plans, collects or
scores a run: a mistake there does not hide itself.
"""

from __future__ import annotations

from crucibench.integrity.accounting import accounting
from crucibench.integrity.bundles import bundle_differences
from crucibench.integrity.cells import cell_differences, missing_cells
from crucibench.integrity.planned import Planned, planned
from crucibench.integrity.reader import Reader
from crucibench.integrity.rescoring import Rescoring
from crucibench.store.bundle import BundleRun
from crucibench.store.manifest import changed_views, differences
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError, UnreadableError
from crucibench.util.hashing import data_digest
from crucibench.util.user_errors import one_line


def verify(run: Run) -> list[str]:
    """Re-hashes a run, accounts for its samples and scores its records again.

    Returns:
        One sentence for each difference; none means sound.

    Raises:
        UnreadableError: if there is no finished run.
    """
    found = differences(run.layout)
    if run.manifest["digest"] != data_digest(run.manifest["files"]):
        found.append("manifest.json: its digest is not that of the files it names")
    if found:
        return found  # what is computed from changed files would only repeat the news
    if isinstance(run, BundleRun):
        return bundle_differences(run, scored_again(run))
    if run.packed:
        return []  # it was checked when it was opened, and holds no probes to score again with
    return scored_again(run)


def scored_again(run: Run) -> list[str]:
    """Accounts for the samples of a run whose files are as hashed, and scores it again."""
    found = [
        f"{name}: not what was scored (crucibench score computes it again)"
        for name in changed_views(run.layout)
    ]
    try:
        plan = _plan(run)
    except CrucibenchError as error:
        return [*found, str(error)]
    reader = Reader(run, plan.spec.defaults.seed)
    found += missing_cells(run, plan)
    broken = set()
    for name, file in run.cells.items():
        found += [f"{name}: {sentence}" for sentence in cell_differences(run, name, file)]
        wrong = [f"{name}: {sentence}" for sentence in accounting(reader, file)]
        if wrong:
            broken.add(name)
            found += wrong
    return found + list(Rescoring(reader, plan, broken).differences())


def _plan(run: Run) -> Planned:
    """Reads all that stands beside the records, so that what can't be read is known at once."""
    try:
        for _ in (run.cells, run.models, run.cards, run.suites, run.environment):
            pass
        return planned(run)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # As hashed, and yet not of the form that the format says.
        raise UnreadableError(
            f"spec, cells, models, cards or suites can't be read: {one_line(error)}"
        ) from error
