"""What a run was made on: versions, hardware, flags, git state. Holds no time and no path."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from crucibench.util.devices import torch_numerics
from crucibench.util.libraries import package_version

_PACKAGES = (
    "crucibench", "numpy", "scipy", "pandas", "pyarrow", "datasets", "scikit-learn", "torch",
    "skops", "safetensors", "pillow",
)  # fmt: skip

# Flags are left out: adapters set them as they need them.
_NUMERICS = ("instructions", "device_name", "cuda", "cudnn")


def environment(base: Path, threads: int, device: str) -> dict[str, Any]:
    """Returns plain data about the worker."""
    return {
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in _PACKAGES},
        "threads": threads,
        "device": device,
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
        },
        "git": git_state(base),
    }


def worker_facts(device: str) -> dict[str, str]:
    """Returns what must be equal wherever a part of one run is done, by name.

    With these equal, and files and threads, records are the same bytes.
    """
    numerics = torch_numerics(device)
    return {
        "Python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        **{name: package_version(name) for name in _PACKAGES},
        **{name: numerics[name] for name in _NUMERICS if name in numerics},
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Returns the commit of the user's project and whether it has uncommitted changes."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "-uno"))}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
