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
    """Returns the digest of each file by name, by ``suites.SUITE.SETTING``.

    Args:
        configs: validated settings by suite.
        base: what paths are relative to.
        shown: how a path is written down.
        mistakes: where a missing file, or package, goes.
    """
    found = {}
    for suite, config in configs.items():
        mistakes.attempt(f"suites.{suite}", config.check_installed)
        for setting, name in config.files().items():
            path, key = base / name, _key(suite, setting)
            if path.is_file():
                found[key] = {shown(path): file_digest(path)}
            else:
                mistakes.add(key, f"expected a file, and there is none at {str(path)!r}")
    return found


def named_files(
    digests: Mapping[str, Mapping[str, str]], suite: str, base: Path
) -> dict[str, NamedFile]:
    """Returns a suite's files by setting, from the digests that were stored with the run."""
    start = _key(suite, "")
    return {
        key.removeprefix(start): NamedFile(base / name, digest)
        for key, entry in digests.items()
        if key.startswith(start)
        for name, digest in entry.items()
    }


def _key(suite: str, setting: str) -> str:
    return f"suites.{suite}.{setting}"
