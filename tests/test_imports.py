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


def test_the_engine_chooses_what_is_attacked_without_torch() -> None:
    found = loaded_after("import crucibench_suites.adversarial.audits.cause")
    assert "numpy" in found
    assert "torch" not in found


FRAMEWORKS = {
    "torch", "datasets", "matplotlib", "sklearn", "skops", "joblib", "foolbox", "fairlearn",
    "onnx", "onnxruntime", "httpx", "huggingface_hub", "PIL", "statsmodels",
}  # fmt: skip
LIGHT = FRAMEWORKS | {"scipy", "pandas"}
# In this order in one process: what one loads, those after it have.
CHEAP = {
    "crucibench.metrics.catalogue": LIGHT,
    "crucibench.stats": LIGHT - {"scipy"} | {"scipy.stats"},
    "crucibench_suites.accuracy": FRAMEWORKS | {"scipy.stats"},
    "crucibench_suites.bias": FRAMEWORKS | {"scipy.stats"},
    "crucibench_suites.shift": FRAMEWORKS | {"scipy.stats"},
    "crucibench_adapters.torch_module": FRAMEWORKS,
    "crucibench_adapters.sklearn_estimator": FRAMEWORKS,
    "crucibench_adapters.python_function": FRAMEWORKS,
    "crucibench_adapters.logged_predictions": FRAMEWORKS,
    "crucibench_adapters.onnx_model": FRAMEWORKS,
    "crucibench_adapters.open_inference": FRAMEWORKS,
    **{
        f"crucibench.data.{name}": FRAMEWORKS
        for name in (
            "evalset", "subset", "sources.hf_datasets",
            "sources.imagefolder", "sources.arrays", "sources.tables",
            "sources.python_factory", "sources.sklearn_bundled", "sources.synthetic.source",
            "sources.tar_shards",
        )
    },
    "crucibench.registry": FRAMEWORKS,
    "crucibench.comparing": FRAMEWORKS,
    "crucibench.integrity.verify": FRAMEWORKS,
    "crucibench.engine.score.rescore": FRAMEWORKS,
    "crucibench.report": FRAMEWORKS,
    "crucibench.api": FRAMEWORKS,
}  # fmt: skip


def test_modules_are_cheap_until_they_are_used() -> None:
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *CHEAP], capture_output=True, text=True, check=True
    )
    found = [set(line.split()) for line in done.stdout.splitlines()]
    heavy = {name: loaded & CHEAP[name] for name, loaded in zip(CHEAP, found, strict=True)}
    assert not any(heavy.values()), heavy


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
