"""Files that the settings of suites name: looked for, digested, and handed to the suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from crucibench.contracts.suite import NamedFile, SuiteConfig
from crucibench.spec.check import Mistakes
from crucibench.util.hashing import file_digest


def check_suites(
    configs: Mapping[str, SuiteConfig],
    base: Path,
    shown: Callable[[Path], str],
    mistakes: Mistakes,
) -> dict[str, dict[str, str]]:
    """Returns the digest of each file by name, by ``SECTION.SETTING``.

    Args:
        configs: validated settings by `section`.
        base: what paths are relative to.
        shown: how a path is written down.
        mistakes: where a missing file, or package, goes.
    """
    found = {}
    for where, config in configs.items():
        mistakes.attempt(where, config.check_installed)
        for setting, name in config.files().items():
            path, key = base / name, f"{where}.{setting}"
            if path.is_file():
                found[key] = {shown(path): file_digest(path)}
            else:
                mistakes.add(key, f"expected a file, and there is none at {str(path)!r}")
    return found


def named_files(
    digests: Mapping[str, Mapping[str, str]], suite: str, track: str, base: Path
) -> dict[str, NamedFile]:
    """Returns a suite's files by setting, from the digests that were stored with the run.

    Those that a track's own settings name come before those that hold everywhere.
    """
    found = {}
    for start in (section(suite) + ".", section(suite, track) + "."):
        for key, entry in digests.items():
            if key.startswith(start):
                for name, digest in entry.items():
                    found[key.removeprefix(start)] = NamedFile(base / name, digest)
    return found


def section(suite: str, track: str | None = None) -> str:
    """Names the settings of a suite, or those of one track."""
    return f"suites.{suite}" if track is None else f"tracks.{track}.settings.{suite}"
