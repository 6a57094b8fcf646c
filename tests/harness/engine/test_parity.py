"""Two forms of one model agree; planted mistakes of a conversion are caught and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from crucibench.cli.parity import command
from crucibench.comparing.parity import Parity, measure, probabilities
from crucibench.comparing.parity_models import parity_of
from crucibench.util.errors import InputError

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    crucibench_input = {"range": [0, 1], "mean": [0.5], "std": [0.25]}

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 144, 4)
        )

    def forward(self, x):
        return self.body(self.change(x))

    def change(self, x):
        return x


def net():
    return Net()


class Same(Net):
    def forward(self, x):
        return 2 * super().forward(x) / 2


def same():
    return Same()


class Swapped(Net):
    def change(self, x):
        return x.flip(1)


def swapped():
    return Swapped()


class Transposed(Net):
    def change(self, x):
        return x.transpose(2, 3)


def transposed():
    return Transposed()


class ChannelsLast(Net):
    def change(self, x):
        return x.permute(0, 2, 3, 1).reshape(x.shape)


def channels_last():
    return ChannelsLast()


def raw():
    net = Net()
    net.crucibench_input = {"range": [0, 1]}
    return net


class Half(Net):
    def forward(self, x):
        return self.body.to(torch.bfloat16)(x.to(torch.bfloat16)).float()


def half():
    return Half()


class Shuffled(Net):
    def forward(self, x):
        return super().forward(x)[:, [1, 2, 0, 3]]


def shuffled():
    return Shuffled()


class Other(Net):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)


def other():
    return Other()


class Broken(Net):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no weights here")


def broken():
    return Broken()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    (folder / "models.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 160, 12)[None, :, None, None] * np.array([1.0, 0.6, 0.2])
    images = np.clip(slope + rng.normal(60, 30, (90, 12, 12, 3)), 0, 255).astype(np.uint8)
    np.savez(folder / "data.npz", images=images, labels=rng.integers(0, 4, 90))
    return folder


def ask(folder: Path, second: str, tolerance: float = 1e-5) -> Parity:
    return parity_of(
        ("torch:models.py:net", f"torch:models.py:{second}"), {"uri": "npz:data.npz"},
        base=folder, limit=64, tolerance=tolerance,
    )  # fmt: skip


def test_two_forms_of_one_model_agree(folder: Path) -> None:
    parity = ask(folder, "same")
    assert parity.agree and parity.flips == 0 and parity.n == 64
    assert parity.largest is not None and parity.largest < 1e-6 and parity.suspicion == ""


@pytest.mark.parametrize(
    ("second", "suspicion"),
    [
        ("swapped", "channels are swapped"),
        ("transposed", "the image is transposed"),
        ("channels_last", "channels first where they come last"),
        ("raw", "lacks the normalisation of the first"),
        ("half", "half precision, or is quantised"),
        ("shuffled", "the classes stand in another order: the first's '0' is the second's '2'"),
    ],
)
def test_a_planted_mistake_is_caught_and_named(folder: Path, second: str, suspicion: str) -> None:
    parity = ask(folder, second)
    assert not parity.agree
    assert suspicion in parity.suspicion


def test_another_model_is_no_conversion_of_this_one(folder: Path) -> None:
    parity = ask(folder, "other")
    assert not parity.agree and parity.flips and parity.suspicion == ""
    assert len(parity.tried) >= 5


def test_the_tolerance_decides(folder: Path) -> None:
    assert ask(folder, "half", tolerance=0.5).agree


FITTED = """
import numpy as np
import torch
from torch import nn


class Fitted(nn.Module):
    def __init__(self, **declared):
        super().__init__()
        self.crucibench_input = {"size": [8, 8], "channels": 3, **declared}
        self.line = nn.Linear(192, 3)
        weights = np.random.default_rng(0).normal(size=(3, 192)).astype(np.float32)
        self.line.weight.data = torch.from_numpy(weights)
        self.line.bias.data.zero_()

    def forward(self, x):
        return self.line(x.flatten(1))


def cropping():
    return Fitted()


def stretching():
    return Fitted(fit="stretch")


def nearest():
    return Fitted(resize="nearest")


def stored():
    model = Fitted()
    model.crucibench_input = {}
    return model
"""


def _fitted(folder: Path, sides: tuple[int, int]) -> None:
    """Writes one model as torch and as ONNX, and images of these sides."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    (folder / "fitted.py").write_text(FITTED)
    weights = np.random.default_rng(0).normal(size=(3, 192)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["logits"], transB=1),
        ],
        "fitted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    for name, declared in (("silent", {}), ("stretched", {"fit": "stretch", "size": [8, 8]})):
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        entry = model.metadata_props.add()
        entry.key, entry.value = "crucibench_input", json.dumps(declared)
        onnx.save(model, folder / f"{name}.onnx")
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (30, *sides, 3)).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=rng.integers(0, 3, 30))


def _held(folder: Path, first: str, second: str) -> Parity:
    return parity_of(
        (first, second), {"uri": "npz:images.npz"}, base=folder, limit=None, tolerance=1e-4
    )


STRETCHING = "torch:fitted.py:stretching"


def test_how_images_are_fitted_is_answered(tmp_path: Path) -> None:
    """What one form declares, and the other does not, matters where images are not square."""
    _fitted(tmp_path, (12, 16))
    assert _held(tmp_path, STRETCHING, "onnx:stretched.onnx").agree
    for first, second, apart in (
        (STRETCHING, "onnx:silent.onnx", "fit stretch and crop"),
        ("onnx:silent.onnx", STRETCHING, "fit crop and stretch"),
        ("torch:fitted.py:cropping", "onnx:stretched.onnx", "fit crop and stretch"),
        (STRETCHING, "torch:fitted.py:cropping", "fit stretch and crop"),
        ("torch:fitted.py:cropping", "torch:fitted.py:nearest", "resize bilinear and nearest"),
    ):
        with pytest.raises(InputError) as refused:
            _held(tmp_path, first, second)
        assert str(refused.value) == f"the models take different canonical inputs: {apart}"
    _fitted(tmp_path, (12, 12))
    assert _held(tmp_path, STRETCHING, "onnx:silent.onnx").agree
    assert _held(tmp_path, "onnx:silent.onnx", STRETCHING).agree


def test_images_as_they_are_stored_fit_a_model_of_their_size(tmp_path: Path) -> None:
    _fitted(tmp_path, (8, 8))
    for name in ("stored", "stretching", "nearest"):
        assert _held(tmp_path, f"torch:fitted.py:{name}", "onnx:silent.onnx").agree


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"fit": ["stretch"]}, "unknown fit"),
        ({"channels": [3]}, "channels: expected 1 or 3"),
        ({"crop": "half"}, "crop: expected a number above 0, up to 1, got 'half'"),
        ({"crop": 0}, "crop: expected a number above 0, up to 1, got 0"),
        ({"size": [0, 8]}, "size: expected sides of at least 1"),
        ({"resize": ["nearest"]}, "unknown resize"),
    ],
)
def test_a_declaration_that_means_nothing_is_a_sentence(
    tmp_path: Path, declared: dict[str, object], sentence: str
) -> None:
    _fitted(tmp_path, (8, 8))
    wrong = FITTED.replace('Fitted(fit="stretch")', f"Fitted(**{declared!r})")
    (tmp_path / "fitted.py").write_text(wrong)
    with pytest.raises(InputError, match=sentence):
        _held(tmp_path, STRETCHING, "onnx:silent.onnx")


def test_logged_predictions_are_held_against_the_model_that_made_them(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(
        "import numpy as np\n\n\ndef rule(frame):\n"
        "    high = 1 / (1 + np.exp(-frame['x'].to_numpy()))\n"
        "    return np.stack([1 - high, high], axis=1)\n"
    )
    x = np.linspace(-3, 3, 40)
    high = 1 / (1 + np.exp(-x))
    rows = [f"{i},{x[i]:.17g},{'b' if i % 3 else 'a'}" for i in range(40)]
    (tmp_path / "data.csv").write_text("\n".join(["row,x,y", *rows]))
    for name, shift in (("same", 0.0), ("stale", 0.25)):
        score = np.clip(high + shift, 0, 1)
        lines = [f"{i},{1 - score[i]:.17g},{score[i]:.17g}" for i in range(40)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["row,a,b", *lines]))
    found = {
        name: parity_of(
            ("python:rule.py:rule", f"predictions:{name}.csv?id=row&scores=a,b"),
            {"uri": "csv:data.csv?target=y&id=row"}, base=tmp_path, limit=None, tolerance=1e-5,
        )
        for name in ("same", "stale")
    }  # fmt: skip
    assert found["same"].agree and found["same"].n == 40
    assert not found["stale"].agree
    assert found["stale"].largest == pytest.approx(0.25, abs=0.01)


def test_a_model_that_can_not_be_opened_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"the second model: .*no weights here"):
        ask(folder, "broken")


def test_the_command_tells_and_exits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    data = ["--data", "npz:data.npz", "--limit", "40", "--format", "json"]
    result = CliRunner().invoke(
        command, ["a=torch:models.py:net", "torch:models.py:swapped", *data], standalone_mode=False
    )
    assert result.return_value == 1, result.output
    found = json.loads(result.stdout)
    assert found["samples"] == 40 and "channels are swapped" in found["suspicion"]
    assert "they differ: " in result.stderr
    alike = CliRunner().invoke(
        command, ["torch:models.py:net", "torch:models.py:same", *data], standalone_mode=False
    )
    assert alike.return_value == 0 and json.loads(alike.stdout)["agree"] is True


def test_known_differences() -> None:
    first = np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]])
    second = np.array([[0.6, 0.4], [0.49, 0.51], [0.2, 0.8]])
    parity = measure(first, second, 1e-5, "scores")
    assert parity.flips == 1 and parity.largest == pytest.approx(0.1)
    assert parity.quantiles[0.5] == pytest.approx(0.01)
    values = measure(np.array([[100.0], [0.1]]), np.array([[101.0], [0.1]]), 1e-2, "values")
    assert values.flips is None and values.largest == pytest.approx(1 / 101) and values.agree
    labels = measure(np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]]), 1e-5, "labels")
    assert labels.flips == 1 and labels.largest is None and not labels.agree
    logits = np.log(np.array([[0.7, 0.3]])) + 5
    assert probabilities(logits, "logits") == pytest.approx(np.array([[0.7, 0.3]]))
