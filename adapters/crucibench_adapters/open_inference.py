"""``oip:``: a model behind a server that speaks the Open Inference Protocol v2 over HTTP.

KServe, Triton, MLServer and others do. What the server says of the model, names, datatypes and
shapes of its inputs and outputs, decides what is sent; options of the URI say what it leaves out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.task import Modality, OutputError
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, RemoteError
from crucibench.util.http.limits import WaitingClock, budget_of
from crucibench.util.suggest import unknown
from crucibench_adapters._oip_address import ServerAddress, parse_address
from crucibench_adapters._oip_inputs import LAYOUTS, inputs_of
from crucibench_adapters._oip_metadata import Metadata, read_metadata
from crucibench_adapters._oip_outputs import OutputReader, kind_of, output_of
from crucibench_adapters._oip_tensors import DATATYPES, HEADER, Tensor, decode, encode
from crucibench_adapters._outputs import KINDS, capabilities_of

_OPTIONS = ("output", "outputs", "input", "layout", "datatype", "binary", "batch")
_BATCH = 32
_UNNAMED = "input-0"


class OpenInferenceAdapter(Adapter):
    """A served model.

    Options: ``output=probabilities|logits|labels|values`` (by default values for regression, labels
    for an output of whole numbers or BYTES, else probabilities); ``outputs=NAME`` and
    ``input=NAME[,NAME]`` where the model has several; ``layout=nchw|nhwc|nhw|flat`` and
    ``datatype=FP32`` where the metadata does not tell; ``binary=true|false`` (by default what the
    server offers); ``batch=N``, samples to a request at most.
    """

    remote: ClassVar[bool] = True
    clock: ClassVar[WaitingClock] = WaitingClock()

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        parse_address(uri.rest)
        _check_options(uri)
        return Sources()

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        cls.sources(opening.uri, opening.base)
        address = parse_address(opening.uri.rest)
        budget = budget_of(opening.name, opening.remote)
        client = Client(address.server, opening.remote, budget, cls.clock)
        try:
            return cls(client, address, read_metadata(client, address), opening)
        except BaseException:
            client.close()
            raise

    def __init__(
        self, client: Client, address: ServerAddress, metadata: Metadata, opening: Opening
    ) -> None:
        query = opening.uri.query
        self.task = opening.data.task
        self._client = client
        self._url = f"{address.url}/infer"
        self._what = f"model {address.model!r} at {address.server}"
        self._metadata = metadata
        self._binary = opening.uri.flag("binary") if "binary" in query else metadata.binary
        declared = _declared(metadata, opening)
        self._inputs = inputs_of(declared, opening, query.get("layout"))
        self.input_spec = self._inputs.spec
        self.normalisation = opening.normalisation
        output = output_of(metadata.outputs, query.get("outputs"))
        kind = kind_of(query.get("output"), output, self.task)
        self._output = None if output is None else output.name
        self._reader = OutputReader(kind, output, opening, metadata.labels, self._what)
        self.capabilities = capabilities_of(kind)
        self.score_kind = self._reader.score_kind
        self._rows = self._inputs.fixed or min(
            int(query.get("batch", metadata.batch or _BATCH)), metadata.batch or 1 << 30
        )
        self._datatypes = ",".join(sorted({tensor.datatype for tensor in declared}))
        self._notes = (
            "a server's answers have no fingerprint: they are not cached across runs",
            *self._inputs.notes,
            *self._reader.notes,
        )

    def _predict(self, batch: Batch, want: Request) -> Answer:
        filled = self._inputs.filled(batch.inputs)

        def ask(start: int, stop: threading.Event) -> tuple[str, NDArray[Any]]:
            part = [(tensor, array[start : start + self._rows]) for tensor, array in filled]
            return self._ask(part, stop)

        found = self._client.each(ask, range(0, len(batch), self._rows))
        datatypes = sorted({datatype for datatype, _ in found})
        shapes = {array.shape[1:] for _, array in found}
        if len(datatypes) > 1 or len(shapes) > 1:
            raise OutputError(
                f"{self._what}: its answers to one batch differ in datatype or shape: "
                f"{', '.join(datatypes)}; {', '.join(map(str, sorted(shapes)))}"
            )
        joined = np.concatenate([array for _, array in found])
        try:
            return self._reader.outputs(datatypes[0], joined)
        except OutputError as error:
            raise self._error(error) from error

    def _ask(
        self, filled: list[tuple[Tensor, NDArray[Any]]], stop: threading.Event
    ) -> tuple[str, NDArray[Any]]:
        rows = len(filled[0][1])
        try:
            content, headers = encode(filled, self._output, binary=self._binary)
            answer = self._client.post(self._url, content, headers, stop)
            outputs = decode(
                answer.content, answer.headers.get(HEADER.lower()), self._client.headers.scrub
            )
            return self._reader.pick(outputs, rows)
        except OutputError as error:
            raise self._error(error) from error
        except RemoteError as error:
            if error.status in {400, 413, 422} and rows > 1:
                raise RemoteError(
                    f"{error} (a request held {rows} samples: ?batch=N makes it fewer)",
                    error.status,
                ) from error
            raise

    def _error(self, error: OutputError) -> OutputError:
        return OutputError(self._client.headers.shown(f"{self._what}: {error}", 500))

    def unidentified(self) -> str:
        return "it is a server, which may answer for another model tomorrow"

    def diagnostics(self) -> Mapping[str, Any]:
        return {"request_batch": self._rows, "notes": list(self._notes)}

    def numerics(self) -> Mapping[str, str]:
        return {
            "server": self._metadata.server,
            "platform": self._metadata.platform,
            "datatype": self._datatypes,
            "encoding": "binary" if self._binary else "json",
            "request_batch": str(self._rows),
        }

    def close(self) -> None:
        self._client.close()


def _check_options(uri: URI) -> None:
    for key, known in (("output", KINDS), ("layout", LAYOUTS), ("datatype", DATATYPES)):
        if uri.query.get(key, next(iter(known))) not in known:
            raise InputError(unknown(f"{key} of oip:", uri.query[key], known))
    uri.flag("binary")
    batch = uri.query.get("batch", "1")
    if not (batch.isascii() and batch.isdigit() and int(batch[:10]) > 0):
        raise InputError(f"oip: option batch: expected a whole number from 1 up, got {batch!r}")


def _declared(metadata: Metadata, opening: Opening) -> list[Tensor]:
    """Returns the inputs that are filled: what the metadata declares, narrowed by the URI."""
    names, datatype = opening.uri.names("input"), opening.uri.query.get("datatype")
    declared = {tensor.name: tensor for tensor in metadata.inputs}
    if not declared:
        text = opening.data.task.modality is Modality.TEXT
        usual = datatype or ("BYTES" if text else "FP32")
        return [Tensor(name, usual) for name in names or (_UNNAMED,)]
    for name in names:
        if name not in declared:
            raise InputError(f"option input: {unknown('input of the model', name, declared)}")
    chosen = [declared[name] for name in names] if names else list(declared.values())
    for tensor in chosen:
        if datatype not in {None, tensor.datatype}:
            raise InputError(f"datatype={datatype}: the server says: {tensor}")
    return chosen
