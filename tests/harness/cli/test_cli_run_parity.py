"""`run --check-parity`: from the records of the passes, in show and report, with its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from crucibench.api import load
from crucibench.comparing.run_parity import pairs_of

Call = Callable[..., Result]

MODELS = """
import numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(64, 10))


def logits(images):
    return np.asarray(images, dtype=np.float64).reshape(len(images), 64) @ WEIGHTS


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def first(images):
    return softmax(logits(images))


def same(images):
    return softmax(logits(images) + 3.0)


def reversed_classes(images):
    return first(images)[:, ::-1]


def rounded(images):
    return softmax(logits(images).astype(np.float16).astype(np.float64))


def broken(images):
    if len(images) > 32:
        raise RuntimeError("not so many")
    return first(images)
"""

DATA = ("--data", "sklearn:digits", "--limit", "80", "--suite", "accuracy")


@pytest.fixture
def models(folder: Path) -> Path:
    (folder / "forms.py").write_text(MODELS, encoding="utf-8")
    return folder


def run_of(*names: str, flags: tuple[str, ...] = ("--check-parity",)) -> tuple[str, ...]:
    chosen = [part for name in names for part in ("--model", f"python:forms.py:{name}")]
    return ("run", *chosen, *DATA, *flags)


def test_forms_that_answer_alike_are_told_and_shown(call: Call, models: Path) -> None:
    result = call(*run_of("first", "same"))
    assert result.exit_code == 0, result.stderr
    (folder,) = (models / "results").iterdir()
    (pair,) = pairs_of(load(folder))
    assert pair.agree and pair.parity is not None and pair.parity.n == 80
    assert pair.sentence() in result.stderr.splitlines()
    assert pair.sentence().startswith(
        "same answers as first on digits: 80 samples, 0 label flips, probabilities at most "
    )
    shown = call("show", "--all").stdout.partition("Parity\n")[2].splitlines()
    assert shown[0].split()[:4] == ["second", "first", "data", "agree"]
    assert shown[2].split()[:6] == ["same", "first", "digits", "yes", "80", "0"]
    (document,) = json.loads(call("show", "--format", "json").stdout)["parity"]
    assert document["agree"] is True and document["largest_difference"] < 1e-12
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert pair.sentence() in report
    again = call(*run_of("first", "same"))
    assert again.exit_code == 0 and pair.sentence() in again.stderr


def test_later_forms_are_each_held_against_the_first(call: Call, models: Path) -> None:
    result = call(*run_of("first", "same", "reversed_classes", "rounded"))
    assert result.exit_code == 4
    (folder,) = (models / "results").iterdir()
    run = load(folder)
    found = {pair.second: pair for pair in pairs_of(run)}
    assert {name: pair.agree for name, pair in found.items()} == {
        "same": True, "reversed_classes": False, "rounded": False
    }  # fmt: skip
    assert {pair.first for pair in found.values()} == {"first"}
    assert "the classes stand in another order" in found["reversed_classes"].sentence()
    assert "half precision, or is quantised" in found["rounded"].sentence()
    for pair in found.values():
        assert pair.sentence() in result.stderr
    # What the sentence says is what the models answer.
    scores = {}
    for cell in run.cells.values():
        if cell.scenario == "test":
            scores[cell.model] = np.stack(run.records(cell.cell)["scores"].to_list())
    apart = np.abs(scores["first"] - scores["reversed_classes"]).max()
    parity = found["reversed_classes"].parity
    assert parity is not None and parity.largest == pytest.approx(float(apart))
    flips = scores["first"].argmax(axis=1) != scores["reversed_classes"].argmax(axis=1)
    assert parity.flips == int(flips.sum())
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "does not answer as first on digits" in report


def test_a_form_that_fails_can_not_be_held_against_the_first(call: Call, models: Path) -> None:
    result = call(*run_of("first", "broken", flags=("--check-parity", "--batch-size", "60")))
    assert result.exit_code == 4
    assert "broken can't be held against first on digits: the forward pass of broken failed" in (
        result.stderr
    )


def test_without_the_flag_nothing_is_held_against_anything(call: Call, models: Path) -> None:
    result = call(*run_of("first", "reversed_classes", flags=()))
    assert result.exit_code == 0, result.stderr
    assert "answer as" not in result.stderr
    (folder,) = (models / "results").iterdir()
    assert pairs_of(load(folder)) == []
    assert "parity" not in json.loads(call("show", "--format", "json").stdout)


def test_a_spec_asks_for_it_and_the_pass_is_planned_for_it(call: Call, models: Path) -> None:
    (models / "spec.yaml").write_text(
        "defaults: {check_parity: 1e-6, limit: 50}\n"
        "models:\n"
        '  - {name: a, uri: "python:forms.py:first"}\n'
        '  - {name: b, uri: "python:forms.py:same"}\n'
        'data: [{name: digits, uri: "sklearn:digits"}]\n'
        "tracks: [{name: t, models: [a, b], data: digits, suites: []}]\n",
        encoding="utf-8",
    )
    result = call("run", "spec.yaml")
    assert result.exit_code == 0, result.stderr
    assert "b answers as a on digits: 50 samples" in result.stderr
    assert call("verify", "latest").exit_code == 0


def test_an_exported_file_answers_as_the_module(call: Call, models: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    np.save(models / "weights.npy", weights)
    (models / "linear.py").write_text(
        "import numpy as np, torch\n"
        "from pathlib import Path\n\n"
        "class Linear(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        weights = np.load(Path(__file__).parent / 'weights.npy')\n"
        "        self.weights = torch.nn.Parameter(torch.from_numpy(weights))\n\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1) @ self.weights\n",
        encoding="utf-8",
    )
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", 1, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", 1, ["n", 10])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, models / "linear.onnx")
    result = call(
        "run", "--model", "module=torch:linear.py:Linear", "--model", "file=onnx:linear.onnx",
        *DATA, "--check-parity",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "file answers as module on digits: 80 samples, 0 label flips" in result.stderr


def test_other_canonical_inputs_are_the_first_suspicion(call: Call, models: Path) -> None:
    (models / "nets.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, fit):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.crucibench_input = {'size': [4, 6], 'fit': fit}\n"
        "        self.head = torch.nn.Linear(24, 10)\n\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1))\n\n"
        "def cropping():\n"
        "    return Net('crop')\n\n"
        "def stretching():\n"
        "    return Net('stretch')\n",
        encoding="utf-8",
    )
    result = call(
        "run", "--model", "torch:nets.py:cropping", "--model", "torch:nets.py:stretching",
        *DATA, "--check-parity",
    )  # fmt: skip
    assert result.exit_code == 4
    assert "; they take different canonical inputs: fit crop and stretch\n" in result.stderr
