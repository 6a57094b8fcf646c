"""`onnx:` on images: the same answers as torch, every form of input, files not to be trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.onnx_model import OnnxAdapter
from crucibench_adapters.torch_module import TorchAdapter

WANT = frozenset({"scores", "labels"})
Export = Callable[..., None]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> OnnxAdapter:
    adapter = OnnxAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, OnnxAdapter)
    return adapter


def softmax(scores: Any) -> Any:
    return torch.tensor(scores).double().softmax(dim=1).numpy()


@pytest.fixture
def cnn(tmp_path: Path, trained_cnn: nn.Module, export_onnx: Export, digits: Batch) -> Path:
    export_onnx(trained_cnn, digits.inputs[:4], tmp_path / "cnn.onnx")
    return tmp_path / "cnn.onnx"


# The same answers, from every form of the model.


@pytest.mark.filterwarnings(
    # Torch's own treespecs, when a program is copied.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)
def test_torch_onnx_and_the_exported_program_agree(
    opening: Any,
    cnn: Path,
    trained_cnn: nn.Module,
    digits_card: DataCard,
    digits: Batch,
    all_digits: Batch,
    digits_xy: Any,
) -> None:
    samples = torch.export.Dim("samples")
    program = torch.export.export(trained_cnn, (digits.inputs[:4],), dynamic_shapes=({0: samples},))
    torch.export.save(program, cnn.parent / "cnn.pt2")

    def exported() -> Any:
        return TorchAdapter.open(opening("torch:cnn.pt2", digits_card, allow_pickle=True))

    check_adapter(lambda: opened(opening, "onnx:cnn.onnx", digits_card), digits)
    check_adapter(exported, digits)
    live = TorchAdapter.open(opening("live:m", digits_card, live=trained_cnn))
    expected = live.predict(all_digits, WANT)
    assert (expected.labels == digits_xy[1]).mean() > 0.95
    for other in (opened(opening, "onnx:cnn.onnx", digits_card), exported()):
        answer = other.predict(all_digits, WANT)
        assert (answer.labels == expected.labels).all()
        assert np.abs(softmax(answer.scores) - softmax(expected.scores)).max() < 1e-5


class Nhwc(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.permute(0, 3, 1, 2))


class OfBytes(Nhwc):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.float() / 255)


class Flat(Nhwc):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.reshape(-1, 1, 8, 8) / 16)


class Half(Nhwc):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.float()).half()


class Double(Nhwc):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.float())


class Softmax(Nhwc):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).softmax(dim=1)


FORMS: dict[str, tuple[Any, Callable[[torch.Tensor], torch.Tensor], str, str]] = {
    "fixed": (Double, lambda x: x, "NCHW", "float32"),
    "nhwc": (Nhwc, lambda x: x.permute(0, 2, 3, 1), "NHWC", "float32"),
    "bytes": (OfBytes, lambda x: (x * 255).to(torch.uint8), "NCHW", "uint8, rounded"),
    "half": (Half, lambda x: x.half(), "NCHW", "float16"),
    "double": (Double, lambda x: x.double(), "NCHW", "float64"),
    "flat": (Flat, lambda x: x.flatten(1), "N x (C * H * W)", "float32"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dynamic", [True, False])
def test_forms_of_input(
    opening: Any,
    tmp_path: Path,
    trained_cnn: nn.Module,
    export_onnx: Export,
    digits_card: DataCard,
    digits: Batch,
    form: str,
    dynamic: bool,
) -> None:
    wrapper, change, layout, dtype = FORMS[form]
    example = change(digits.inputs[:3])
    export_onnx(wrapper(trained_cnn), example, tmp_path / "m.onnx", dynamic=dynamic)
    options = {"normalisation": Normalisation(scale=16.0)} if form == "flat" else {}

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:m.onnx", digits_card, **options)

    tolerance = 1e-2 if form == "half" else 1e-4
    check_adapter(open_adapter, digits, tolerance=tolerance)
    adapter = open_adapter()
    inputs = digits.inputs
    if form == "bytes":
        inputs = (inputs * 255).round() / 255
        assert adapter.normalisation == Normalisation(scale=255.0)
    with torch.no_grad():
        expected = trained_cnn(inputs.half().float() if form == "half" else inputs)
    answer = adapter.predict(digits, WANT)
    assert np.allclose(softmax(answer.scores), softmax(expected.numpy()), atol=tolerance / 10)
    assert answer.scores is not None and answer.scores.dtype == np.float32
    told = adapter.diagnostics()
    assert (told["preprocessing"]["layout"], told["preprocessing"]["dtype"]) == (layout, dtype)
    fixed = "the model takes 3 samples at a time, filled up by us"
    assert told["notes"] == ([] if dynamic else [fixed])
    if form != "flat":
        assert (adapter.input_spec.channels, adapter.input_spec.size) == (1, (8, 8))


def test_what_is_claimed_and_told(opening: Any, cnn: Path, digits_card: DataCard) -> None:
    adapter = opened(opening, "onnx:cnn.onnx", digits_card)
    assert adapter.capabilities == {
        Capability.LABELS, Capability.SCORES, Capability.LOGITS, Capability.ANY_INPUT,
    }  # fmt: skip
    told = adapter.diagnostics()
    assert told["producer"].startswith("pytorch") and set(told["opset"]) == {"ai.onnx"}
    assert told["inputs"] == {"image": "tensor(float) n x 1 x 8 x 8"}
    assert told["parameters"] > 1000
    assert told["preprocessing"] == {
        "resize": "bilinear to 8 x 8, antialiased", "crop": "none", "colour": "one channel",
        "normalisation": "none: [0, 1]", "layout": "NCHW", "dtype": "float32",
    }  # fmt: skip
    numerics = adapter.numerics()
    assert numerics["providers"] == "CPUExecutionProvider" and numerics["device"] == "cpu"
    assert adapter.with_variant("fp32") is adapter


def test_threads_are_those_that_were_given(
    opening: Any, cnn: Path, digits_card: DataCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert opened(opening, "onnx:cnn.onnx", digits_card).numerics()["threads"] == "3"


def test_the_spec_and_the_metadata_say_what_is_done_to_pixels(
    opening: Any, cnn: Path, digits_card: DataCard, digits: Batch
) -> None:
    plain = opened(opening, "onnx:cnn.onnx", digits_card)
    spec = Normalisation(mean=(0.3,), std=(0.4,))
    of_spec = opened(opening, "onnx:cnn.onnx", digits_card, normalisation=spec)
    by_hand = plain.predict(digits.with_inputs((digits.inputs - 0.3) / 0.4), WANT).scores
    assert np.allclose(of_spec.predict(digits, WANT).scores, by_hand, atol=1e-4)
    told = of_spec.diagnostics()["preprocessing"]
    assert told["normalisation"] == "(x * 1 - 0.3) / 0.4"

    with_metadata(cnn, crucibench_input=json.dumps({"mean": [0.3], "std": [0.4], "crop": 0.875}))
    of_file = opened(opening, "onnx:cnn.onnx", digits_card)
    assert of_file.normalisation == spec and of_file.input_spec.crop == 0.875
    assert {key for key, _ in _differing(plain, of_spec)} == {"preprocessing"}
    with pytest.raises(InputError, match=r"^normalisation: the spec says .*cnn.onnx declares"):
        opened(opening, "onnx:cnn.onnx", digits_card, normalisation=Normalisation(scale=2.0))
    with_metadata(cnn, crucibench_input=json.dumps({"size": [16, 16]}))
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:cnn.onnx", digits_card)
    assert str(caught.value) == (
        "cnn.onnx: its metadata declares size [16, 16], its input has [8, 8]"
    )


def _differing(a: OnnxAdapter, b: OnnxAdapter) -> set[tuple[str, str]]:
    return set((a.fingerprint() or {}).items()) - set((b.fingerprint() or {}).items())


def with_metadata(path: Path, **entries: str) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    helper.set_model_props(model, entries)
    onnx.save(model, path)


@pytest.mark.parametrize(
    "names",
    [
        json.dumps(["nine", *map(str, range(9))]),
        json.dumps({str(at): name for at, name in enumerate(["nine", *map(str, range(9))])}),
        "nine, 0, 1, 2, 3, 4, 5, 6, 7, 8",
    ],
)
def test_classes_of_the_metadata(
    opening: Any, cnn: Path, digits_card: DataCard, digits: Batch, names: str
) -> None:
    plain = opened(opening, "onnx:cnn.onnx", digits_card).predict(digits, WANT)
    with_metadata(cnn, classes=names)

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:cnn.onnx", digits_card, classes={"nine": "9"})

    check_adapter(open_adapter, digits)
    answer = open_adapter().predict(digits, WANT)
    assert plain.labels is not None and plain.scores is not None
    assert (answer.labels == (plain.labels - 1) % 10).all()
    assert np.array_equal(answer.scores, np.roll(plain.scores, -1, axis=1))
    assert "classes" in (open_adapter().fingerprint() or {})
    with pytest.raises(InputError, match="the model lacks 9"):
        opened(opening, "onnx:cnn.onnx", digits_card)


def test_probabilities(
    opening: Any,
    tmp_path: Path,
    trained_cnn: nn.Module,
    export_onnx: Export,
    digits_card: DataCard,
    digits: Batch,
    cnn: Path,
) -> None:
    export_onnx(Softmax(trained_cnn), digits.inputs[:3], tmp_path / "p.onnx")
    check_adapter(lambda: opened(opening, "onnx:p.onnx", digits_card), digits)
    adapter = opened(opening, "onnx:p.onnx", digits_card)
    assert adapter.score_kind == "probabilities" and Capability.LOGITS not in adapter.capabilities
    assert adapter.diagnostics()["notes"] == [
        "scores are probabilities: output 'logits' is made by Softmax"
    ]
    assert opened(opening, "onnx:p.onnx?output=logits", digits_card).score_kind == "logits"
    assert opened(opening, "onnx:cnn.onnx?output=probabilities", digits_card).score_kind == (
        "probabilities"
    )
