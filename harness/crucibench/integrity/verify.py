"""Verify: is a run what its manifest, its records and its metric rows say?

It shares the models of the files with what wrote them, and none of the code that plans, collects or
scores a run: a mistake there does not hide itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from crucibench.integrity.accounting import cell_differences, missing_cells, record_differences
from crucibench.integrity.planned import PlannedRun, planned_run
from crucibench.integrity.reader import EvidenceReader
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
        return found  # numbers computed from changed files would only repeat this
    if isinstance(run, BundleRun):
        return _bundle_differences(run, recomputed_differences(run))
    if run.packed:
        return []  # it was checked when it was opened, and holds no probes to score again with
    return recomputed_differences(run)


def recomputed_differences(run: Run) -> list[str]:
    """Accounts for the samples of a run whose files are as hashed, and scores it again."""
    found = [
        f"{name}: not what was scored (crucibench score computes it again)"
        for name in changed_views(run.layout)
    ]
    try:
        plan = _plan(run)
    except CrucibenchError as error:
        return [*found, str(error)]
    reader = EvidenceReader(run, plan.spec.defaults.seed)
    found += missing_cells(run, plan)
    broken = set()
    for name, file in run.cells.items():
        found += [f"{name}: {sentence}" for sentence in cell_differences(run, name, file)]
        wrong = [f"{name}: {sentence}" for sentence in record_differences(reader, file)]
        if wrong:
            broken.add(name)
            found += wrong
    return found + list(Rescoring(reader, plan, broken).differences())


def _plan(run: Run) -> PlannedRun:
    """Reads all that stands beside the records, so that what can't be read is known at once."""
    try:
        for _ in (run.cells, run.models, run.cards, run.suites, run.environment):
            pass
        return planned_run(run)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The files are as hashed, but not of the form that the format requires.
        raise UnreadableError(
            f"spec, cells, models, cards or suites can't be read: {one_line(error)}"
        ) from error


def _bundle_differences(run: BundleRun, found: Sequence[str]) -> list[str]:
    """Returns a sentence for each difference between a bundle and the run it was made of.

    What scoring finds is held against what it found when the bundle was made: a cell that can't be
    scored again without what was left out is no news, and everything else is.

    Args:
        run: the bundle.
        found: what accounting and scoring find now.
    """
    known = set(run.verification["from_the_bundle"])
    found = without_folder(found, run.root)
    sentences = [sentence for sentence in found if sentence not in known]
    original, own = run.run_manifest["files"], run.manifest["files"]
    if run.run_manifest["digest"] != data_digest(original):
        sentences.append("run-manifest.json: its digest is not that of the files it names")
    withheld = run.account["withheld"]
    for name, digest in original.items():
        if name not in own:
            if name not in withheld:
                sentences.append(f"{name}: missing, and the bundle does not say so")
        elif digest != own[name] and name not in withheld:
            sentences.append(f"{name}: is not that of the run, and the bundle does not say so")
    sentences += [f"{name}: not in the run" for name in own if name not in original]
    return sentences


def without_folder(sentences: Sequence[str], root: Path) -> list[str]:
    """Returns sentences without the folder that a bundle was unpacked into, which always differs.

    Paths stand in messages as Python writes texts, so the folder is left out in that form.
    """
    places = (repr(f"{root}{os.sep}")[1:-1], f"{root.as_posix()}/")
    for place in places:
        sentences = [sentence.replace(place, "") for sentence in sentences]
    return list(sentences)
