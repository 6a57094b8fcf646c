"""Makes the bundle of a run: its files, and the account of what they are and lack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crucibench.integrity.verify import recomputed_differences, verify, without_folder
from crucibench.report.format import iso
from crucibench.report.gaps import not_measured
from crucibench.report.risks import risk_rows, risk_table
from crucibench.store.archive import Unpacked
from crucibench.store.bundle import BUNDLE_FORMAT, bundle_files, manifest_of, write_bundle
from crucibench.store.events import Dates
from crucibench.store.redaction import Disclosure
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError


def make_bundle(run: Run, path: Path, kept: Disclosure) -> dict[str, list[str]]:
    """Writes the bundle of a run.

    The run is verified first; the bundle's own verification is done once, so that whoever checks it
    later knows which cells can't be scored again without what was left out.

    Args:
        run: a finished run.
        path: the file to write.
        kept: what is published although it says something of samples.

    Returns:
        What was left out, by file.

    Raises:
        InputError: if the run is itself read from a pack or bundle.
        UnreadableError: if it is not finished, or not sound: nothing unsound is published.
    """
    if run.packed:
        raise InputError("a pack or bundle is not bundled again: copy it")
    differences = verify(run)
    if differences:
        raise UnreadableError(f"run {run.id} is not sound, so no bundle is made: {differences[0]}")
    version = str(run.manifest["crucibench_version"])
    risks = risk_rows(run)
    files, withheld = bundle_files(run, kept)
    documents = {
        "bundle.json": _json(_account(run, withheld, kept)),
        "run-manifest.json": _json(run.manifest),
        "verification.json": _json(
            {
                "of_the_run": {"sound": True, "files": len(run.manifest["files"])},
                "from_the_bundle": _known_differences(run, files, version),
            }
        ),
        "not-measured.json": _json(not_measured(run)),
        "risks.json": _json(risks),
        "risks.md": risk_table(risks),
        "README.md": _README.format(
            run=run.id, digest=run.digest, started=iso(run.dates.started) or "a date not known",
            version=version,
        ),
    }  # fmt: skip
    write_bundle(path, run, files, documents, version)
    return withheld


def _known_differences(run: Run, files: Mapping[str, bytes], version: str) -> list[str]:
    """Returns what scoring finds where the bundle's files stand alone."""
    alone = {**files, "manifest.json": manifest_of(files, run.id, version)}
    with Unpacked((name, [content]) for name, content in alone.items()) as place:
        return without_folder(recomputed_differences(Run(place.root)), place.root)


def _account(run: Run, withheld: Mapping[str, Sequence[str]], kept: Disclosure) -> dict[str, Any]:
    dates: Dates = run.dates
    return {
        "format_version": BUNDLE_FORMAT,
        "run": run.id,
        "digest": run.digest,
        "crucibench_version": run.manifest["crucibench_version"],
        "dates": list(dates),
        "started": iso(dates.started),
        "finished": iso(dates.finished),
        "with_inputs": kept.inputs,
        "with_groups": kept.groups,
        "withheld": withheld,
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_README = """\
# Evidence of run {run}

Made by Crucibench {version} of a run that was started on {started}.
Digest of the run: `{digest}`.

- `spec.yaml`: what was tested, on which data, how: the validation and testing procedure.
- `samples/*/card.json`: the test data and its main characteristics, with its fingerprint.
- `metrics.parquet`: every number, with interval, sample count, direction, method and verdict.
- `cells/*/cell.json`: what became of each test, its audits' findings, its digests.
- `cells/*/records-*.parquet`: what happened to each sample: the test log.
- `environment/`: versions, hardware, settings of each worker; `suites.json` defines the metrics.
- `bundle/bundle.json`: dates, digests, and what was left out of which file.
- `bundle/run-manifest.json`: the SHA-256 of every file of the run that this was made of.
- `bundle/verification.json`: what an independent scoring found.
- `bundle/not-measured.json`: what nobody measured.
- `bundle/risks.md`, `bundle/risks.json`: which numbers answer which clause of the EU AI Act, the
  NIST AI RMF and ISO/IEC TR 24029-1, and which clauses none answers.

Check it with `crucibench verify FILE.zip`. Sample ids are hashes of the samples' content: whoever
can guess a sample exactly can tell that it was tested.
"""
