"""`onnx:` files: what lies next to them, damage, and models that do not suit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch import nn

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.util.errors import InputError
from crucibench_adapters.onnx_model import OnnxAdapter

WANT = frozenset({"scores", "labels"})
Export = Callable[..., None]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> OnnxAdapter:
    adapter = OnnxAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, OnnxAdapter)
    return adapter


@pytest.fixture
def cnn(tmp_path: Path, trained_cnn: nn.Module, export_onnx: Export, digits: Batch) -> Path:
    export_onnx(trained_cnn, digits.inputs[:4], tmp_path / "cnn.onnx")
    return tmp_path / "cnn.onnx"


def _differing(a: OnnxAdapter, b: OnnxAdapter) -> set[tuple[str, str]]:
    return set((a.fingerprint() or {}).items()) - set((b.fingerprint() or {}).items())


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
def test_external_data_stay_in_the_folder(tmp_path: Path, place: str, location: str) -> None:
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
    with pytest.raises(InputError) as caught:
        OnnxAdapter.sources(parse_uri("onnx:m.onnx"), folder)
    assert str(caught.value) == (
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
def test_mistakes_show_before_anything_is_loaded(tmp_path: Path, uri: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        OnnxAdapter.sources(parse_uri(uri), tmp_path)
    assert str(caught.value).startswith(told)


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


def test_pixels_of_another_type(opening: Any, tmp_path: Path, digits_card: DataCard) -> None:
    graph(tmp_path / "m.onnx", ["n", 1, 8, 8], kind=TensorProto.INT64)
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:m.onnx", digits_card)
    assert str(caught.value) == (
        "m.onnx: input 'x' is tensor(int64), expected pixels as float, float16, double, uint8"
    )


def test_another_size_than_the_model_s(opening: Any, cnn: Path, digits_card: DataCard) -> None:
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:cnn.onnx", digits_card, size=(16, 16))
    assert str(caught.value) == (
        "size: the spec says (16, 16), cnn.onnx declares (8, 8); keep one of them"
    )


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
    opening: Any, cnn: Path, digits_card: DataCard, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        opened(opening, "onnx:cnn.onnx", digits_card)
    assert str(caught.value) == f'{package} is not installed: pip install "crucibench[onnx]"'


def test_texts_want_strings(opening: Any, cnn: Path) -> None:
    task = Task(kind="classification", modality=Modality.TEXT, classes=("a", "b"))
    card = DataCard(name="t", uri="csv:t.csv", task=task, features={"text": "string"})
    with pytest.raises(InputError, match="its inputs image are numbers"):
        opened(opening, "onnx:cnn.onnx", card)
