"""Whatever a server says of itself is metadata or one sentence: no server is asked here."""

from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, Reply
from crucibench.util.http.secrets import Headers
from crucibench_adapters.open_inference import ServerAddress, read_metadata

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
