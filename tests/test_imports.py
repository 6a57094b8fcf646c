"""What importing costs, and what is public."""

from __future__ import annotations

import subprocess
import sys

import pytest

import crucibench

HEAVY = {"torch", "pandas", "datasets", "matplotlib", "pyarrow", "sklearn", "pydantic", "scipy"}


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_crucibench_pulls_in_nothing_heavy() -> None:
    assert not loaded_after("import crucibench") & HEAVY


def test_reading_a_run_pulls_in_no_framework() -> None:
    found = loaded_after("import crucibench as cb; cb.load; cb.Run; cb.InputError")
    assert not found & {"torch", "datasets", "matplotlib", "sklearn", "foolbox", "fairlearn"}


@pytest.mark.parametrize(
    "module",
    [
        "crucibench.engine.score.rescore", "crucibench.integrity.verify", "crucibench.comparing",
        "crucibench_suites.accuracy", "crucibench_adapters.torch_module",
        "crucibench_adapters.sklearn_estimator", "crucibench_adapters.python_function",
        "crucibench_adapters.logged_predictions", "crucibench.registry", "crucibench.report",
        "crucibench.api",
    ],
)  # fmt: skip
def test_modules_are_cheap_until_they_are_used(module: str) -> None:
    found = loaded_after(f"import {module}")
    assert not found & {"torch", "datasets", "matplotlib", "sklearn", "skops", "foolbox"}


def test_the_public_names_are_these() -> None:
    assert crucibench.__all__ == sorted(crucibench.__all__)
    assert crucibench.__all__ == [
        "Adapter", "CrucibenchError", "DataSource", "InputError", "Run", "Suite", "compare",
        "gate", "load", "run", "verify",
    ]  # fmt: skip
    for name in crucibench.__all__:
        assert getattr(crucibench, name).__module__.startswith("crucibench.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        crucibench.nothing  # noqa: B018
