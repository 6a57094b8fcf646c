"""`onnx:` on images: the same answers as torch, every form of input, files not to be trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError, UnavailableError
from crucibench_adapters._onnx_file import in_form
from crucibench_adapters.onnx_model import OnnxAdapter
from crucibench_adapters.torch_module import TorchAdapter

WANT = frozenset({"scores", "labels"})
Export = Callable[..., None]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> Any:
    return OnnxAdapter.open(opening(uri, card, **options))


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
    opening: Any, cnn: Path, digits_card: DataCard, digits: Batch, refusal: Any
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
    assert refusal(InputError, lambda: opened(opening, "onnx:cnn.onnx", digits_card)) == (
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


# Files next to the model.


def external(path: Path, location: str) -> None:
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=0
    )


def test_external_data_are_part_of_the_model(
    opening: Any, cnn: Path, digits_card: DataCard, digits: Batch
) -> None:
    before = opened(opening, "onnx:cnn.onnx", digits_card).predict(digits, WANT)
    external(cnn, "cnn.data")
    sources = OnnxAdapter.sources(parse_uri("onnx:cnn.onnx"), cnn.parent)
    assert [file.name for file in sources.files] == ["cnn.onnx", "cnn.data"]
    adapter = opened(opening, "onnx:cnn.onnx", digits_card)
    assert np.array_equal(adapter.predict(digits, WANT).scores, before.scores)
    data = cnn.with_name("cnn.data")
    content = bytearray(data.read_bytes())
    content[2] ^= 1
    data.write_bytes(content)
    assert {
        key for key, _ in _differing(adapter, opened(opening, "onnx:cnn.onnx", digits_card))
    } == {"weights"}
    data.unlink()
    with pytest.raises(
        InputError, match=r"^cnn.onnx: its external data 'cnn.data' does not exist$"
    ):
        OnnxAdapter.sources(parse_uri("onnx:cnn.onnx"), cnn.parent)


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function"])
@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "C:\\secret", "a/../../secret", "link", "..\\secret"]
)
def test_external_data_stay_in_the_folder(
    tmp_path: Path, place: str, location: str, refusal: Any
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "secret")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    inner = helper.make_graph([constant], "inner", [], [out])
    nodes = {
        "initializer": [],
        "function": [],
        "attribute": [constant],
        "subgraph": [helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)],
    }[place]
    stored = [tensor] if place == "initializer" else []
    model = helper.make_model(helper.make_graph(nodes, "g", [], [out], initializer=stored))
    if place == "function":
        opset = [helper.make_opsetid("", 20)]
        model.functions.append(helper.make_function("d", "f", [], ["c"], [constant], opset))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert refusal(InputError, lambda: OnnxAdapter.sources(parse_uri("onnx:m.onnx"), folder)) == (
        f"m.onnx: its external data {location!r} lies outside its own folder: such a model is not "
        "read"
    )


# Mistakes.


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("onnx:cnn.onxx", "onnx 'cnn.onxx': expected FILE.onnx"),
        ("onnx:cmn.onnx", "model 'cmn.onnx' does not exist; did you mean 'cnn.onnx'?"),
        ("onnx:cnn.onnx?outputs=logits", "unknown option of onnx: 'outputs'; did you mean 'outp"),
        ("onnx:cnn.onnx?output=logit", "unknown output of onnx: 'logit'; did you mean 'logits'?"),
        ("onnx:cnn.onnx?layout=hwc", "unknown layout of onnx: 'hwc'; did you mean 'nhwc'?"),
    ],
)
@pytest.mark.usefixtures("cnn")
def test_mistakes_show_before_anything_is_loaded(
    tmp_path: Path, uri: str, told: str, refusal: Any
) -> None:
    assert refusal(InputError, lambda: OnnxAdapter.sources(parse_uri(uri), tmp_path)).startswith(
        told
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "m.onnx can't be read as an ONNX model: it has no graph"),
        (b"no model at all", "m.onnx can't be read as an ONNX model: DecodeError: "),
        (None, "m.onnx can't be read as an ONNX model: DecodeError: "),
    ],
)
def test_damaged_files(
    opening: Any, cnn: Path, digits_card: DataCard, content: bytes | None, told: str
) -> None:
    cut = cnn.read_bytes()[:-500]
    cnn.with_name("m.onnx").write_bytes(cut if content is None else content)
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:m.onnx", digits_card)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)


def graph(
    path: Path, shape: list[Any], *, op: str = "Identity", kind: int = TensorProto.FLOAT
) -> None:
    """Writes a model of one node."""
    domain = "com.example" if op == "Unheard" else ""
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets, ir_version=9
    )
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("shape", "query", "told"),
    [
        (["n", 1, 8, 8], "?layout=flat", "m.onnx: layout 'flat' does not suit input 'x': n x 1 x"),
        (["n", "a", "b", "c"], "", "says"),
        (["n", None, None, None], "", "m.onnx: input 'x': n x ? x ? x ? does not tell where the"),
        (["n", 3, 8, 3], "", "m.onnx: input 'x': n x 3 x 8 x 3 does not tell where the channels"),
        (["n", 4, 8, 8], "", "m.onnx: input 'x': n x 4 x 8 x 8 does not tell where the channels"),
        (["n", 4, 8, 8], "?layout=nchw", "m.onnx: channels: expected 1 or 3, got 4"),
        (["n", 1, 8], "", "m.onnx: input 'x' is no batch of images: n x 1 x 8"),
        (["n", 1, 8, 8], "", "m.onnx: expected scores of shape (N, K) from output 'y', got (4, 1"),
        (
            ["n", 64],
            "",
            "m.onnx: it has 64 classes without names of their own, the data has 10 (0,",
        ),
        (["n", 1, 8, 8], "?input=z", "m.onnx: unknown input 'z' (known: x)"),
        (["n", 1, 8, 8], "?scores=z", "m.onnx: unknown output of scores 'z' (known: y)"),
        (
            ["n", 1, 8, 8],
            "?output=labels",
            "m.onnx: expected one output of labels, got y tensor(fl",
        ),
        (["n", 1, 8, 8], "?providers=gpu", "unknown provider of onnxruntime 'gpu'"),
        (["n", 63], "", "m.onnx raised InvalidArgument: [ONNXRuntimeError]"),
    ],
)
def test_models_that_do_not_suit(
    opening: Any, tmp_path: Path, digits_card: DataCard, shape: Any, query: str, told: str
) -> None:
    graph(tmp_path / "m.onnx", shape)
    if told == "says":  # the sides' names tell
        graph(tmp_path / "m.onnx", ["n", "height", "width", "channels"])
        told = "m.onnx: expected scores of shape (N, K) from output 'y', got (4, 8, 8, 1)"
    with pytest.raises(InputError) as caught:
        opened(opening, f"onnx:m.onnx{query}", digits_card)
    assert str(caught.value).startswith(told) and "\n" not in str(caught.value)


def test_operators_that_the_runtime_has_not(
    opening: Any, tmp_path: Path, digits_card: DataCard
) -> None:
    graph(tmp_path / "m.onnx", ["n", 1, 8, 8], op="Unheard")
    with pytest.raises(InputError, match=r"^m.onnx can't be loaded: .*Unheard"):
        opened(opening, "onnx:m.onnx", digits_card)


def test_pixels_of_another_type(
    opening: Any, tmp_path: Path, digits_card: DataCard, refusal: Any
) -> None:
    graph(tmp_path / "m.onnx", ["n", 1, 8, 8], kind=TensorProto.INT64)
    assert refusal(InputError, lambda: opened(opening, "onnx:m.onnx", digits_card)) == (
        "m.onnx: input 'x' is tensor(int64), expected pixels as float, float16, double, uint8"
    )


def test_another_size_than_the_model_s(
    opening: Any, cnn: Path, digits_card: DataCard, refusal: Any
) -> None:
    assert refusal(
        InputError, lambda: opened(opening, "onnx:cnn.onnx", digits_card, size=(16, 16))
    ) == ("size: the spec says (16, 16), cnn.onnx declares (8, 8); keep one of them")


def test_a_device_that_the_runtime_has_not(opening: Any, cnn: Path, digits_card: DataCard) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it has")
    with pytest.raises(InputError, match=r"^device 'cuda:0': this onnxruntime has no CUDA"):
        opened(opening, "onnx:cnn.onnx", digits_card, device="cuda:0")


def test_a_device_that_nobody_named_is_the_cpu_where_the_runtime_has_no_other(
    opening: Any, cnn: Path, digits_card: DataCard, digits: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def answered(**options: Any) -> tuple[Any, list[str]]:
        adapter = opened(opening, "onnx:cnn.onnx", digits_card, **options)
        told = [note for note in adapter.diagnostics()["notes"] if "on the cpu" in note]
        assert adapter.numerics()["device"] == "cpu"
        return adapter.predict(digits, frozenset({"scores"})).scores, told

    with_cpu = ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: with_cpu)
    plain, nothing = answered()
    assert nothing == []
    scores, told = answered(device="cuda", auto_device=True)
    assert told == [
        "on the cpu, for this onnxruntime has no CUDAExecutionProvider (onnxruntime-gpu)"
    ]
    np.testing.assert_array_equal(scores, plain)
    # Built with CUDA, on a machine without its libraries: ONNX Runtime leaves it out in silence.
    both = ["CUDAExecutionProvider", *with_cpu]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda file, sess_options, providers: session(file, sess_options, providers=with_cpu),
    )
    scores, told = answered(device="cuda:0", auto_device=True)
    assert told == ["on the cpu, for onnxruntime could not start CUDAExecutionProvider"]
    np.testing.assert_array_equal(scores, plain)
    with pytest.raises(InputError, match=r"onnxruntime could not start CUDAExecutionProvider$"):
        opened(opening, "onnx:cnn.onnx", digits_card, device="cuda:0")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_package_the_install_line_is_told(
    opening: Any,
    cnn: Path,
    digits_card: DataCard,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    refusal: Any,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert (
        refusal(InputError, lambda: opened(opening, "onnx:cnn.onnx", digits_card))
        == f'{package} is not installed: pip install "crucibench[onnx]"'
    )


def test_texts_want_strings(opening: Any, cnn: Path) -> None:
    task = Task(kind="classification", modality=Modality.TEXT, classes=("a", "b"))
    card = DataCard(name="t", uri="csv:t.csv", task=task, features={"text": "string"})
    with pytest.raises(InputError, match="its inputs image are numbers"):
        opened(opening, "onnx:cnn.onnx", card)


FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
XY = tuple[pd.DataFrame, Any]


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], stored: Any = ()
) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(stored))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def tensor(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def maps(name: str, kind: int) -> Any:
    value = helper.make_tensor_type_proto(FLOAT, None)
    return helper.make_value_info(
        name, helper.make_sequence_type_proto(helper.make_map_type_proto(kind, value))
    )


def linear(model: Any, X: pd.DataFrame, **labels: Any) -> list[Any]:
    """The nodes of a logistic regression: from `x` to `label` and `p`, as converters write them."""
    scaler, last = model[0], model[-1]
    weight = last.coef_[0] / scaler.scale_
    offset = last.intercept_[0] - weight @ scaler.mean_
    return [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml",
            coefficients=[*([0.0] * len(weight)), *weight.tolist()], intercepts=[0.0, offset],
            multi_class=1, post_transform="SOFTMAX", **labels,
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(diabetes_xy: XY) -> Any:
    X, y = diabetes_xy
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y)


NAMES = {"classlabels_strings": ["high", "low"]}
ONE_INPUT = [tensor("x", FLOAT, None, 10)]
LABEL, SCORES = tensor("label", STRING, None), tensor("p", FLOAT, None, 2)


def test_labels_and_probabilities(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    save(tmp_path / "m.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL, SCORES])

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:m.onnx", diabetes_card)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    answer = adapter.predict(diabetes, WANT)
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]  # classes_ is high, low
    assert np.abs(answer.scores - expected).max() < 1e-5
    assert (np.array(["low", "high"])[answer.labels] == fitted.predict(diabetes.inputs)).all()
    assert adapter.score_kind == "probabilities"
    told = adapter.diagnostics()
    assert told["notes"] == ["output 'p' beside labels is taken as probabilities"]
    assert told["preprocessing"] == {
        "encoding": "columns in their order, one input", "dtype": "float32",
    }  # fmt: skip
    assert "classes" in (adapter.fingerprint() or {})
    assert Capability.MISSING_VALUES not in adapter.capabilities


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(STRING, NAMES), (INT64, {"classlabels_ints": [1, 0]})],
    ids=["strings", "numbers"],
)
def test_maps(
    opening: Any,
    tmp_path: Path,
    fitted: Any,
    diabetes_card: DataCard,
    diabetes: Batch,
    kind: int,
    labels: Any,
) -> None:
    nodes = linear(fitted, diabetes.inputs, **labels)
    of_map = {key.replace("_ints", "_int64s"): value for key, value in labels.items()}
    nodes.append(helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", **of_map))
    outputs = [tensor("label", kind, None), maps("maps", kind)]
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, outputs)
    classes = None if kind == STRING else {"1": "high", "0": "low"}

    def open_adapter() -> OnnxAdapter:
        return opened(opening, "onnx:m.onnx", diabetes_card, classes=classes)

    check_adapter(open_adapter, diabetes)
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]
    assert np.abs(open_adapter().predict(diabetes, WANT).scores - expected).max() < 1e-5


def test_labels_alone(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    save(tmp_path / "m.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL])
    save(tmp_path / "b.onnx", linear(fitted, diabetes.inputs, **NAMES), ONE_INPUT, [LABEL, SCORES])
    numbered = linear(fitted, diabetes.inputs, classlabels_ints=[1, 0])
    save(tmp_path / "n.onnx", numbered, ONE_INPUT, [tensor("label", INT64, None)])
    expected = fitted.predict(diabetes.inputs) == "high"
    plainly = linear(fitted, diabetes.inputs, classlabels_ints=[0, 1])
    save(tmp_path / "z.onnx", plainly, ONE_INPUT, [tensor("label", INT64, None)])
    for uri, classes in (
        ("onnx:m.onnx", None),
        ("onnx:b.onnx?output=labels", None),
        ("onnx:n.onnx", {"1": "high", "0": "low"}),
        ("onnx:n.onnx", ("high", "low")),
        ("onnx:z.onnx", ("high", "low")),
        ("onnx:z.onnx", {"0": "high", "1": "low"}),
    ):
        adapter = opened(opening, uri, diabetes_card, classes=classes)
        check_adapter(lambda kept=adapter: kept, diabetes)  # type: ignore[misc]
        assert adapter.capabilities == {Capability.LABELS, Capability.ANY_INPUT}
        assert (adapter.predict(diabetes, frozenset({"labels"})).labels == expected).all()
    by_index = opened(opening, "onnx:z.onnx", diabetes_card)  # 0 is low: the other way round
    labels = by_index.predict(diabetes, frozenset({"labels"})).labels
    assert labels is not None and (labels != expected).all()
    with pytest.raises(InputError, match=r"^n.onnx: its classes are not the data's: the model ha"):
        opened(opening, "onnx:n.onnx", diabetes_card)
    with pytest.raises(InputError, match=r"classes: expected one name for each of 1, 0, got a$"):
        opened(opening, "onnx:n.onnx", diabetes_card, classes=("a",))


@pytest.mark.parametrize(
    ("classes", "declared", "expected"),
    [
        (("7", "8", "9"), ("7", "8", "9"), [0, 1, 2]),
        (("a", "b", "c"), None, [0, 1, 2]),
        (("c", "b", "a"), ("a", "b", "c"), [2, 1, 0]),
        (("2", "1", "0"), None, [2, 1, 0]),
    ],
)
def test_whole_numbers_as_labels(
    opening: Any, tmp_path: Path, classes: Any, declared: Any, expected: list[int]
) -> None:
    node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
    save(tmp_path / "m.onnx", [node], [tensor("x", FLOAT, None, 3)], [tensor("y", INT64, None)])
    task = Task(kind="classification", modality=Modality.TABLE, classes=classes)
    card = DataCard(name="t", uri="t", task=task, features=dict.fromkeys("abc", "float64"))
    batch = Batch(tuple("xyz"), pd.DataFrame(np.eye(3), columns=list("abc")))
    adapter = opened(opening, "onnx:m.onnx", card, classes=declared)
    labels = adapter.predict(batch, frozenset({"labels"})).labels
    assert labels is not None and labels.tolist() == expected
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card, classes=declared), batch)


def test_margins_beside_labels_are_not_taken_for_probabilities(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    (node,) = linear(fitted, diabetes.inputs, **NAMES)
    next(entry for entry in node.attribute if entry.name == "post_transform").s = b"NONE"
    save(tmp_path / "m.onnx", [node], ONE_INPUT, [LABEL, SCORES])
    with pytest.raises(InputError, match=r"^m.onnx: output 'p' stands beside labels and is no pro"):
        opened(opening, "onnx:m.onnx", diabetes_card)
    adapter = opened(opening, "onnx:m.onnx?output=logits", diabetes_card)
    assert Capability.LOGITS in adapter.capabilities
    check_adapter(lambda: opened(opening, "onnx:m.onnx?output=logits", diabetes_card), diabetes)


def test_an_input_for_each_column(
    opening: Any,
    tmp_path: Path,
    fitted: Any,
    diabetes_card: DataCard,
    diabetes: Batch,
    refusal: Any,
) -> None:
    names = list(diabetes.inputs.columns)
    order = names[::-1]
    join = helper.make_node("Concat", names, ["x"], axis=1)
    inputs = [tensor(name, FLOAT, None, 1) for name in order]
    nodes = [join, *linear(fitted, diabetes.inputs, **NAMES)]
    save(tmp_path / "m.onnx", nodes, inputs, [LABEL, SCORES])
    check_adapter(lambda: opened(opening, "onnx:m.onnx", diabetes_card), diabetes)
    scores = opened(opening, "onnx:m.onnx", diabetes_card).predict(diabetes, WANT).scores
    expected = fitted.predict_proba(diabetes.inputs)[:, [1, 0]]
    assert np.abs(scores - expected).max() < 1e-5
    features = {name: kind for name, kind in diabetes_card.features.items() if name != "bmi"}
    card = DataCard(name="d", uri="d", task=diabetes_card.task, features=features)
    assert refusal(InputError, lambda: opened(opening, "onnx:m.onnx", card)) == (
        "m.onnx: the data lacks 1 of the model's 10 inputs: 'bmi' (the data has: "
        f"{', '.join(features)})"
    )


MIXED = pd.DataFrame(
    {"colour": ["red", "blue", "red", "green"], "size": [1, 2, 3, 4], "w": [0.5, 1.5, 2.0, 0.0]}
)


def mixed(path: Path) -> None:
    """Scores from a word, a whole number and a float, each an input of its own."""
    nodes = [
        helper.make_node(
            "LabelEncoder", ["colour"], ["c"], domain="ai.onnx.ml", default_float=0.0,
            keys_strings=["red", "blue"], values_floats=[1.0, -1.0],
        ),
        helper.make_node("Cast", ["size"], ["s"], to=FLOAT),
        helper.make_node("Concat", ["c", "s", "w"], ["x"], axis=1),
        helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1),
    ]  # fmt: skip
    inputs = [tensor("colour", STRING, None, 1), tensor("size", INT64, None, 1)]
    inputs.append(tensor("w", FLOAT, None, 1))
    axes = helper.make_tensor("axes", INT64, [1], [1])
    save(path, nodes, inputs, [tensor("y", FLOAT, None, 1)], [axes])


def test_words_whole_numbers_and_gaps(opening: Any, tmp_path: Path) -> None:
    mixed(tmp_path / "m.onnx")
    task = Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes"))
    features = {"colour": "string", "size": "int64", "w": "float64"}
    card = DataCard(name="t", uri="t", task=task, features=features)
    batch = Batch(tuple("abcd"), MIXED)
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card), batch)
    adapter = opened(opening, "onnx:m.onnx", card)
    scores = adapter.predict(batch, WANT).scores
    assert scores is not None
    assert np.allclose(scores, [[0, 2.5], [0, 2.5], [0, 6.0], [0, 4.0]])
    for column, value, told in (
        ("colour", None, "column 'colour': 1 of 4 are missing, and input 'colour' takes string"),
        (
            "size",
            2.0**63,
            "column 'size' reaches from 1 to 9223372036854775808, and input 'size' "
            "takes -9223372036854775808 to 9223372036854775807",
        ),
        ("size", np.nan, "column 'size': 1 of 4 are missing, and input 'size' takes int64"),
        ("size", 1.5, "column 'size' is not whole numbers, and input 'size' takes int64"),
        ("w", "much", "column 'w' is not numbers, and input 'w' takes float32"),
    ):
        frame = MIXED.astype({column: object})
        frame.loc[1, column] = value
        with pytest.raises((InputError, OutputError)) as caught:
            adapter.predict(batch.with_inputs(frame), WANT)
        assert str(caught.value) == f"m.onnx: {told}"


def test_regression_and_missing_values(
    opening: Any,
    tmp_path: Path,
    diabetes_regression_card: DataCard,
    diabetes: Batch,
    diabetes_frame: pd.DataFrame,
) -> None:
    X, y = diabetes_frame.drop(columns="target"), diabetes_frame["target"]
    model = LinearRegression().fit(X, y)
    nodes = [
        helper.make_node(
            "Imputer", ["x"], ["full"], domain="ai.onnx.ml",
            imputed_value_floats=X.mean().tolist(), replaced_value_float=float("nan"),
        ),
        helper.make_node(
            "LinearRegressor", ["full"], ["y"], domain="ai.onnx.ml",
            coefficients=model.coef_.tolist(), intercepts=[float(model.intercept_)],
        ),
    ]  # fmt: skip
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, [tensor("y", FLOAT, None, 1)])
    save(
        tmp_path / "p.onnx",
        nodes[1:],
        [tensor("full", FLOAT, None, 10)],
        [tensor("y", FLOAT, None, 1)],
    )

    def open_adapter(name: str = "m") -> OnnxAdapter:
        return opened(opening, f"onnx:{name}.onnx", diabetes_regression_card)

    check_adapter(open_adapter, diabetes)
    values = open_adapter().predict(diabetes, frozenset({"values"})).values
    assert np.allclose(values, model.predict(diabetes.inputs), rtol=1e-4)
    assert open_adapter().capabilities == {
        Capability.VALUES, Capability.ANY_INPUT, Capability.MISSING_VALUES,
    }  # fmt: skip
    assert Capability.MISSING_VALUES not in open_adapter("p").capabilities
    with pytest.raises(InputError, match="option output is for classification"):
        opened(opening, "onnx:m.onnx?output=logits", diabetes_regression_card)


def test_texts(opening: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "LabelEncoder", ["text"], ["y"], domain="ai.onnx.ml", default_float=-1.0,
            keys_strings=["win money", "free"], values_floats=[2.0, 1.0],
        )
    ]  # fmt: skip
    task = Task(kind="classification", modality=Modality.TEXT, classes=("ham", "spam"))
    card = DataCard(name="t", uri="t", task=task, features={"text": "string"})
    batch = Batch(tuple("abc"), ["win money", "hello", "free"])
    for name, shape in (("flat", [None]), ("column", [None, 1]), ("fixed", [2, 1])):
        save(tmp_path / f"{name}.onnx", nodes, [tensor("text", STRING, *shape)],
             [tensor("y", FLOAT, *shape)])  # fmt: skip
        check_adapter(lambda name=name: opened(opening, f"onnx:{name}.onnx", card), batch)  # type: ignore[misc]
        scores = opened(opening, f"onnx:{name}.onnx", card).predict(batch, WANT).scores
        assert scores is not None and scores[:, 1].tolist() == [2.0, -1.0, 1.0]


def test_several_columns_of_text(opening: Any, tmp_path: Path) -> None:
    encode = {"domain": "ai.onnx.ml", "keys_strings": ["a"], "values_floats": [1.0]}
    nodes = [
        helper.make_node("LabelEncoder", ["title"], ["t"], default_float=0.0, **encode),
        helper.make_node("LabelEncoder", ["body"], ["b"], default_float=-3.0, **encode),
        helper.make_node("Add", ["t", "b"], ["y"]),
    ]
    inputs = [tensor("title", STRING, None, 1), tensor("body", STRING, None, 1)]
    save(tmp_path / "m.onnx", nodes, inputs, [tensor("y", FLOAT, None, 1)])
    task = Task(kind="classification", modality=Modality.TEXT, classes=("ham", "spam"))
    card = DataCard(name="t", uri="t", task=task, features={"title": "string", "body": "string"})
    batch = Batch(tuple("abc"), [("a", "b"), ("b", "a"), ("a", "a")])
    check_adapter(lambda: opened(opening, "onnx:m.onnx", card), batch)
    scores = opened(opening, "onnx:m.onnx", card).predict(batch, WANT).scores
    assert scores is not None and scores[:, 1].tolist() == [-2.0, 1.0, 2.0]
    alone = DataCard(name="t", uri="t", task=task, features={"text": "string"})
    with pytest.raises(InputError, match=r"^m.onnx: it has 2 inputs, the data 1 columns$"):
        opened(opening, "onnx:m.onnx", alone)


# Mistakes.


def test_tables_that_do_not_suit(
    opening: Any, tmp_path: Path, fitted: Any, diabetes_card: DataCard, diabetes: Batch
) -> None:
    nodes = linear(fitted, diabetes.inputs, **NAMES)
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, [LABEL, SCORES])
    features = dict(list(diabetes_card.features.items())[:3])
    card = DataCard(name="d", uri="d", task=diabetes_card.task, features=features)
    for options, told in (
        ({}, "m.onnx: input 'x' takes 10 columns, the data has 3: age, sex, bmi"),
        ({"uri": "?layout=nchw"}, "m.onnx: option layout is for images"),
        (
            {"normalisation": Normalisation(scale=2.0)},
            "m.onnx: normalisation and size are for images; a model for tables declares encode",
        ),
    ):
        query = options.pop("uri", "")
        with pytest.raises(InputError) as caught:
            opened(opening, f"onnx:m.onnx{query}", card, **options)
        assert str(caught.value) == told


def test_several_outputs_must_be_told_apart(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes: Batch, refusal: Any
) -> None:
    weight = helper.make_tensor("w", FLOAT, [10, 2], np.linspace(-1, 1, 20).tolist())
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["gates"]),
    ]
    outputs = [tensor("logits", FLOAT, None, 2), tensor("gates", FLOAT, None, 2)]
    save(tmp_path / "m.onnx", nodes, ONE_INPUT, outputs, [weight])
    assert refusal(InputError, lambda: opened(opening, "onnx:m.onnx", diabetes_card)) == (
        "m.onnx: expected one output of numbers, got logits tensor(float), gates tensor(float): "
        "say scores=NAME"
    )
    check_adapter(lambda: opened(opening, "onnx:m.onnx?scores=logits", diabetes_card), diabetes)


# Forms of an ONNX model: int8, float16, threads; what they answer, and what they say of it.

SCORES_VARIANTS = frozenset({"scores"})


@pytest.fixture(scope="module")
def quantisable_cnn(
    tmp_path_factory: pytest.TempPathFactory, trained_cnn: nn.Module, export_onnx: Any,
    digits: Batch,
) -> Path:  # fmt: skip
    path = tmp_path_factory.mktemp("onnx") / "cnn.onnx"
    export_onnx(trained_cnn, digits.inputs[:4], path)
    return path


@pytest.fixture
def adapter(quantisable_cnn: Path, opening: Any, digits_card: DataCard) -> OnnxAdapter:
    found = OnnxAdapter.open(opening(f"onnx:{quantisable_cnn}", digits_card))
    assert isinstance(found, OnnxAdapter)
    return found


@pytest.mark.parametrize(("name", "tolerance"), [("int8", 0.05), ("fp16", 0.005)])
def test_a_converted_model_answers_nearly_alike_and_not_the_same(
    adapter: OnnxAdapter, digits: Batch, name: str, tolerance: float
) -> None:
    variant = adapter.with_variant(name)
    plain, other = (one.predict(digits, SCORES_VARIANTS).scores for one in (adapter, variant))
    assert plain is not None and other is not None
    assert 0 < np.abs(plain - other).max() < tolerance * np.abs(plain).max()
    assert other.dtype == plain.dtype  # float16 stays inside
    kept, changed = adapter.fingerprint(), variant.fingerprint()
    assert kept is not None and changed == {**kept, "variant": name}
    if name == "fp16":  # in int8 an answer depends a little on the batch, and a note says so
        check_adapter(lambda: variant, digits)


def test_the_quantised_share_is_that_of_the_formulas(
    tmp_path: Path, opening: Any, digits_card: DataCard, export_onnx: Any, digits: Batch
) -> None:
    """Convolution and last layer are int8: all but the biases; a product of inputs is not there."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10))
    export_onnx(net, digits.inputs[:4], tmp_path / "net.onnx")
    variant = OnnxAdapter.open(opening("onnx:net.onnx", digits_card)).with_variant("int8")
    told = variant.diagnostics()
    weights, biases = 6 * 9 + 2160, 6 + 10
    assert told["parameters"] == weights + biases
    assert told["quantised-parameters"] == pytest.approx(weights / (weights + biases))
    assert told["quantised-multiply-adds"] == 1
    assert any("whole batch" in note for note in told["notes"])


def test_multiply_adds_that_stay_in_floating_point_are_left_out(tmp_path: Path) -> None:
    """A product whose weight is bent by another operator first is not quantised."""
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"]),
            helper.make_node("Gemm", ["h", "second"], ["y"], alpha=0.5),
        ],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(array, name)
         for name, array in (("first", first), ("second", second))],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    form = in_form("int8", tmp_path / "m.onnx", tmp_path, {"x": (1, 4)}, "cpu")
    assert form.measured == {"quantised-parameters": 0.5, "quantised-multiply-adds": 0.5}
    unknown = in_form("int8", tmp_path / "m.onnx", tmp_path, None, "cpu")
    assert "quantised-multiply-adds" not in unknown.measured


def test_threads_change_no_answer_and_are_recorded(adapter: OnnxAdapter, digits: Batch) -> None:
    variant = adapter.with_variant("threads-2")
    assert variant.numerics()["threads"] == "2"
    plain, other = (one.predict(digits, SCORES_VARIANTS).scores for one in (adapter, variant))
    np.testing.assert_allclose(plain, other, atol=1e-4)


def test_what_cannot_be_is_told_in_a_sentence(adapter: OnnxAdapter, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cnn.onnx: unknown variant 'int4'; did you mean 'int8'"):
        adapter.with_variant("int4")
    with pytest.raises(UnavailableError, match="for the processor, and the model answers on cuda"):
        in_form("threads-2", tmp_path / "m.onnx", tmp_path, None, "cuda")


def test_a_model_without_weights_is_not_quantised(tmp_path: Path) -> None:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="has none that onnxruntime quantises"):
        in_form("int8", tmp_path / "m.onnx", tmp_path, None, "cpu")
