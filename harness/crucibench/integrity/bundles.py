"""Whether a bundle is of the run that it says, and lacks no more than it says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from crucibench.store.bundle import BundleRun
from crucibench.util.hashing import data_digest


def bundle_differences(run: BundleRun, found: Sequence[str]) -> list[str]:
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
