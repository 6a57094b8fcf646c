"""A model without a fingerprint: its noise is measured, and a change is told from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.worker.inspect import _on_disk
from crucibench.integrity.verify import verify
from crucibench.store.run import Run

FUNCTION = """
import json
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)
FILE = Path(__file__).with_name("settings.json")


def settings():
    return json.loads(FILE.read_text())


def asked(images):
    found = settings()
    flat = images.numpy().reshape(len(images), -1).astype(np.float64)
    lead = 10 * (flat[:, 1::2].mean(axis=1) - flat[:, ::2].mean(axis=1) - 0.3) + found["lean"]
    logits = np.stack([-lead, lead], axis=1)
    exact = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return exact + found["noise"] * RNG.normal(size=exact.shape)


def labels(images):
    found = asked(images).argmax(axis=1)
    return np.where(RNG.uniform(size=len(found)) < settings()["flips"], 1 - found, found)


def value(images):
    return asked(images)[:, 0]
"""
Runner = Callable[..., Run]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., None]:
    (tmp_path / "function.py").write_text(FUNCTION)

    def write(noise: float = 0.0, lean: float = 0.0, flips: float = 0.0) -> None:
        text = f'{{"noise": {noise}, "lean": {lean}, "flips": {flips}}}'
        (tmp_path / "settings.json").write_text(text)

    write()
    return write


@pytest.fixture
def run(run_spec: Any, settings: Any) -> Runner:
    def asked(output: str = "logits", **options: Any) -> Run:
        name = "labels" if output == "labels" else "asked"
        models = {"f": f"python:function.py:{name}?output={output}"}
        usual: dict[str, Any] = {
            "data": "stripes:200", "defaults": {"batch_size": 8, "replicates": 100},
            "suites": ("accuracy",),
        }  # fmt: skip
        done: Run = run_spec(models=models, **usual | options)
        return done

    return asked


def rows(run: Run) -> dict[str, dict[str, Any]]:
    found = run.metrics()
    return {
        row["metric"]: row
        for row in found[found["suite"] == "pass"].to_dict("records")
    }  # fmt: skip


def failed(run: Run) -> list[str]:
    return [
        finding.code
        for file in run.cells.values()
        if file.status is Status.FAILED
        for finding in file.findings
    ]


class Changing(Listener):
    """Changes the model once so many batches are done."""

    def __init__(self, change: Callable[[], None], after: int = 8) -> None:
        self._change = change
        self._left = after

    def advanced(self, cell: Any, samples: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._change()


def test_an_honest_noisy_function_runs_through(run: Runner, settings: Any) -> None:
    settings(noise=0.01)
    done = run()
    assert done.exit_code == 0, [file.findings for file in done.cells.values()]
    noise = rows(done)["repeat-score-noise"]
    assert noise["lower"] < 0.01 < noise["upper"] and noise["value"] == pytest.approx(0.01, rel=0.2)
    assert noise["n"] == 16 and noise["reason"] == "" and noise["direction"] == "none"
    flips = rows(done)["repeat-flip-rate"]
    assert 0 <= flips["lower"] <= flips["value"] <= flips["upper"] < 0.5
    assert verify(done) == []


def test_a_deterministic_function_has_no_noise(run: Runner) -> None:
    done = run()
    assert done.exit_code == 0
    assert rows(done)["repeat-score-noise"]["value"] == 0.0
    assert rows(done)["repeat-score-noise"]["reason"] == "all repeats agree"
    assert rows(done)["repeat-flip-rate"]["value"] == 0.0
    probe = done.probes(*_pass(done))["same-model"]
    assert len(probe) == 8 * 16 and set(probe.array("draw")) == set(range(8))


def _pass(run: Run) -> tuple[str, Sequence[str]]:
    (file,) = [file for file in run.cells.values() if file.suite == "pass"]
    return file.cell, file.probes


def test_a_model_with_a_fingerprint_has_no_such_rows(run_spec: Any) -> None:
    assert rows(run_spec(models={"a": "nearest:0"})) == {}


@pytest.mark.parametrize(("noise", "lean"), [(0.0, 0.001), (0.01, 0.1)], ids=["exact", "noisy"])
def test_a_model_that_is_swapped_midway_is_caught(
    run: Runner, settings: Any, noise: float, lean: float
) -> None:
    settings(noise=noise)
    done = run(listener=Changing(lambda: settings(noise=noise, lean=lean)))
    assert "model-changed" in failed(done)


def test_a_model_that_is_swapped_between_two_attempts_is_caught(run: Runner, settings: Any) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    settings(noise=0.01)
    with pytest.raises(KeyboardInterrupt):
        run(listener=Changing(stop))
    settings(noise=0.01, lean=0.1)
    done = run()
    assert "model-changed" in failed(done)
    assert not failed(run())  # and is asked from the beginning then


# Labels that half turn are seen in all of 200 draws at 2 % flips, in 61 % at 10 %.
@pytest.mark.parametrize("flips", [0.0, 0.02])
def test_labels_alone(run: Runner, settings: Any, flips: float) -> None:
    settings(flips=flips)
    done = run("labels")
    assert done.exit_code == 0, [file.findings for file in done.cells.values()]
    assert rows(done)["repeat-score-noise"]["reason"] == "the model gives labels alone"
    assert np.isnan(rows(done)["repeat-score-noise"]["value"])
    found = rows(done)["repeat-flip-rate"]
    assert found["lower"] <= 2 * flips * (1 - flips) <= found["upper"]
    settings(flips=flips)
    changed = run(
        "labels", out="changed", listener=Changing(lambda: settings(flips=flips, lean=-9))
    )
    assert "model-changed" in failed(changed)


FACTORY = "def net():\n    raise AssertionError('nobody opens it')\n"


@pytest.mark.parametrize(
    ("uri", "size"),
    [("torch:nets.py:net?weights=w.safetensors", 1234), ("torch:nets.py:net", None)],
)
def test_weights_count_and_source_does_not(tmp_path: Path, uri: str, size: int | None) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    (tmp_path / "w.safetensors").write_bytes(b"0" * 1234)
    document = {
        "models": [{"name": "net", "uri": uri, "variants": ["bf16"]}],
        "data": [{"name": "digits", "uri": "sklearn:digits"}],
    }
    resolved = resolve(document, tmp_path, "test", Overrides())
    found = _on_disk(resolved.models["net"], tmp_path)
    assert found == ({} if size is None else {"file_bytes": size})
    assert _on_disk(resolved.models["net@bf16"], tmp_path) == {}
