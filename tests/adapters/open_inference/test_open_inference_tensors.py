"""Tensors on the wire, byte by byte."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crucibench.contracts.task import OutputError
from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, Headers, Reply
from crucibench_adapters._oip_tensors import HEADER, NUMBERS, Tensor, decode, encode
from crucibench_adapters.open_inference import ServerAddress, read_metadata

# A busy machine is no reason to fail.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _back(datatype: str, array: np.ndarray, *, binary: bool) -> np.ndarray:
    """Returns what an answer gives that holds the tensor of a request."""
    body, headers = encode([(Tensor("x", datatype), array)], None, binary=binary)
    size = int(headers.get(HEADER, len(body)))
    (entry,) = json.loads(body[:size])["inputs"]
    head = json.dumps({"outputs": [entry]}).encode()
    found = decode(head + body[size:], str(len(head)) if binary else None, str)
    assert found["x"][0] == datatype
    return found["x"][1]


@patient
@given(st.data(), st.sampled_from(sorted(NUMBERS)), st.booleans())
def test_numbers_come_back_as_they_were(data: st.DataObject, datatype: str, binary: bool) -> None:
    shape = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
    finite = {"allow_nan": False, "allow_infinity": False} if datatype.startswith("FP") else None
    array = data.draw(arrays.arrays(np.dtype(NUMBERS[datatype]), shape, elements=finite))
    again = _back(datatype, array, binary=binary)
    assert again.shape == array.shape and again.tobytes() == array.tobytes()


@patient
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.booleans())
def test_texts_come_back_as_they_were(texts: list[str], binary: bool) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    assert _back("BYTES", array, binary=binary).tolist() == texts


@pytest.mark.parametrize(
    ("datatype", "array", "blob"),
    [
        ("FP32", np.array([1.0, -2.0]), "0000803f000000c0"),
        ("INT64", np.array([-2]), "feffffffffffffff"),
        ("BOOL", np.array([True, False]), "0100"),
        ("FP16", np.array([1.0]), "003c"),
        ("BF16", np.array([1.0, 1.00390625, 1.01171875, np.nan, np.inf]), "803f803f823fc07f807f"),
        ("BYTES", np.array(["é", ""], dtype=object), "02000000c3a900000000"),
    ],
)
def test_the_bytes_are_those_of_the_protocol(datatype: str, array: np.ndarray, blob: str) -> None:
    body, headers = encode([(Tensor("x", datatype), array)], "y", binary=True)
    size = int(headers[HEADER])
    assert body[size:].hex() == blob
    assert json.loads(body[:size]) == {
        "inputs": [
            {
                "name": "x", "datatype": datatype, "shape": [len(array)],
                "parameters": {"binary_data_size": len(blob) // 2},
            }
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }  # fmt: skip


def test_bf16_comes_back_rounded_to_even() -> None:
    array = np.array([1.0, 1.00390625, 1.01171875, -3.39e38, np.inf], dtype=np.float32)
    wanted = [1.0, 1.0, 1.015625, -3.3895313892515355e38, np.inf]
    assert _back("BF16", array, binary=True).tolist() == wanted


def test_nan_goes_in_binary_alone() -> None:
    array = np.array([np.nan], dtype=np.float32)
    assert np.isnan(_back("FP32", array, binary=True)).all()
    with pytest.raises(OutputError, match=r"which JSON can't say: \?binary=true can"):
        _back("FP32", array, binary=False)


def test_null_and_nesting_in_an_answer() -> None:
    entry = {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, None]]}
    array = decode(json.dumps({"outputs": [entry]}).encode(), None, str)["y"][1]
    assert array[1, 0] == 3 and np.isnan(array[1, 1])


@patient
@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=5)))
def test_any_bytes_are_an_answer_or_one_sentence(content: bytes, head: str | None) -> None:
    with pytest.raises(OutputError):
        decode(content, head, str)


@patient
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["name", "datatype", "shape", "data", "parameters", "outputs"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_an_answer_or_one_sentence(document: object) -> None:
    for content in ({"outputs": document}, {"outputs": [document]}, document):
        try:
            decode(json.dumps(content).encode(), None, str)
        except OutputError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("head", "told"),
    [("99", "its body has 2 bytes"), ("-1", "its body has 2 bytes"), ("1", "is not JSON")],
)
def test_where_the_json_ends(head: str, told: str) -> None:
    with pytest.raises(OutputError, match=told):
        decode(b"{}", head, str)


@pytest.mark.parametrize("blob", ["01000000", "0100", "ffffffff61"])
def test_bytes_that_end_too_early(blob: str) -> None:
    data = bytes.fromhex(blob)
    entry = {
        "name": "y", "datatype": "BYTES", "shape": [1],
        "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    head = json.dumps({"outputs": [entry]}).encode()
    with pytest.raises(OutputError, match="its BYTES end in the middle of a value"):
        decode(head + data, str(len(head)), str)


def test_bytes_that_nobody_announced() -> None:
    head = b'{"outputs": []}'
    with pytest.raises(OutputError, match="2 bytes that belong to no output"):
        decode(head + b"ab", str(len(head)), str)


# Whatever a server says of itself is metadata or one sentence: no server is asked here.

ADDRESS = ServerAddress("http://h", "m")
KEYS = ["name", "datatype", "shape", "inputs", "outputs", "extensions", "parameters", "labels"]


class _Saying:
    """A client whose server says the same about everything."""

    server = "http://h"
    headers = Headers({})

    def __init__(self, documents: dict[str, Any]) -> None:
        self._documents = documents

    def get(self, url: str) -> Reply:
        document = self._documents.get(url.rpartition("/")[2], {})
        return Reply(200, {}, json.dumps(document).encode())

    def post(self, url: str, *_: Any, **__: Any) -> Reply:
        return Reply(200, {}, b"[]")


def _read(**documents: Any) -> Any:
    return read_metadata(cast(Client, _Saying(documents)), ADDRESS)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["FP32", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, "ready", "max_batch_size"]), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything, anything, anything, anything)
def test_anything(server: Any, model: Any, ready: Any, config: Any) -> None:
    tensors = {"inputs": [model], "outputs": model, "parameters": model, "platform": ready}
    for said in (model, tensors, {"outputs": [model]}):
        try:
            found = _read(v2=server, m=said, ready=ready, config=config)
        except InputError as error:
            assert str(error)
        else:
            assert found.batch is None or found.batch > 0


def test_what_is_read() -> None:
    found = _read(
        v2={"name": "triton", "version": "2.60", "extensions": ["model_configuration"]},
        m={
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", 3]}],
            "outputs": [
                {
                    "name": "y", "datatype": "FP32", "shape": [-1, 2],
                    "parameters": {"labels": {"string_param": "[\"cat\", \"dog\"]"}},
                }
            ],
        },
        config={"max_batch_size": 16},
    )  # fmt: skip
    assert (found.server, found.platform, found.batch) == ("triton 2.60", "onnxruntime_onnx", 16)
    assert found.labels == ("cat", "dog") and found.inputs[0].shape == (-1, 3) and not found.binary
