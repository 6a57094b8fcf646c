"""``oip:``: a model behind a server that speaks the Open Inference Protocol v2 over HTTP.

KServe, Triton, MLServer and others do. What the server says of the model, names, datatypes and
shapes of its inputs and outputs, decides what is sent; options of the URI say what it leaves out.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, RemoteError, Reply
from crucibench.util.http.limits import WaitingClock, budget_of
from crucibench.util.suggest import hint, unknown
from crucibench_adapters._classes import ClassMap, LabelMap
from crucibench_adapters._named_inputs import name_shown
from crucibench_adapters._oip_tensors import (
    DATATYPES,
    FLOATS,
    HEADER,
    LAYOUTS,
    Tensor,
    decode,
    encode,
    inputs_of,
)
from crucibench_adapters._outputs import KINDS, capabilities_of, two_columns
from crucibench_adapters._servers import server_address, shown_address

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


# Where a model is asked by the Open Inference Protocol.

_PATH = re.compile(
    r"(?P<prefix>.*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/?", re.DOTALL
)
_FORM = "oip:http://HOST:PORT/v2/models/NAME[/versions/V] or oip:https://..."


@dataclass(frozen=True)
class ServerAddress:
    """Where a model is asked.

    Attributes:
        server: scheme, host, port and what stands before ``/v2``.
        model: its name, as the address spells it.
        version: "" for the one that the server chooses.
    """

    server: str
    model: str
    version: str = ""

    @property
    def url(self) -> str:
        """The model's own address."""
        version = f"/versions/{self.version}" if self.version else ""
        return f"{self.server}/v2/models/{self.model}{version}"


def parse_address(rest: str) -> ServerAddress:
    """Reads what follows ``oip:``.

    Raises:
        InputError: if it is no address of a model, or holds a user name or password.
    """
    parts = server_address("oip", rest, _FORM, "/v2/")
    found = _PATH.fullmatch(parts.path)
    if found is None:
        raise InputError(f"oip: expected {_FORM}, got {shown_address(rest)}")
    server = f"{parts.scheme}://{parts.netloc}{found['prefix']}"
    return ServerAddress(server, found["model"], found["version"] or "")


# What an Open Inference Protocol server says of itself and of a model.

_BINARY = "binary_tensor_data"
_CONFIGURATION = "model_configuration"
_LABELS = ("labels", "classes", "class_names")
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is known of a served model before it is asked.

    Attributes:
        server: name and version of the server, "" where it does not say.
        platform: what runs the model, e.g. ``onnxruntime_onnx``.
        binary: whether the server offers the binary tensor extension.
        batch: the most samples to a request, or None where nothing says.
        inputs: empty where the server does not say.
        outputs: likewise.
        labels: the names of the model's classes, empty where the server does not say.
    """

    server: str
    platform: str
    binary: bool
    batch: int | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]


def read_metadata(client: Client, address: ServerAddress) -> Metadata:
    """Asks a server what it is and what the model takes and answers.

    Raises:
        InputError: if it can't be asked, does not know the model, or the model is not ready.
    """
    try:
        server = _server(client, address)
        model = _model(client, address)
        _check_ready(client, address)
        extensions = server.get("extensions")
        extensions = extensions if isinstance(extensions, list) else []
        batch = _most(client, address) if _CONFIGURATION in extensions else None
    except RemoteError as error:
        raise InputError(str(error)) from error
    inputs, outputs = _tensors(model, "inputs"), _tensors(model, "outputs")
    return Metadata(
        server=" ".join(
            client.headers.shown(str(server[key]), 60) for key in ("name", "version")
            if server.get(key)
        ),
        platform=client.headers.shown(str(model.get("platform") or ""), 60),
        binary=_BINARY in extensions,
        batch=batch,
        inputs=inputs,
        outputs=outputs,
        labels=_labels([model.get("parameters"), *(output.parameters for output in outputs)]),
    )  # fmt: skip


def _server(client: Client, address: ServerAddress) -> Mapping[str, Any]:
    try:
        return _document(client, client.get(f"{address.server}/v2"), "the server's metadata")
    except RemoteError as error:
        # Some gateways let through what concerns a model alone.
        if error.status in {404, 405}:
            return {}
        raise


def _model(client: Client, address: ServerAddress) -> Mapping[str, Any]:
    try:
        answer = client.get(address.url)
    except RemoteError as error:
        if error.status is None or not 400 <= error.status < 500 or error.status in {401, 403}:
            raise
        raise InputError(_missing(client, address, error)) from error
    return _document(client, answer, f"the metadata of model {address.model!r}")


def _missing(client: Client, address: ServerAddress, error: RemoteError) -> str:
    """Returns the sentence for a model that the server does not know, or whose name it rejects."""
    names = _index(client)
    if error.status != 404 and (not names or address.model in names):
        return str(error)
    version = f" in version {address.version}" if address.version else ""
    missing = f"{address.server} has no model {address.model!r}{version}"
    if not names:
        return missing
    meant = hint(address.model, [name for name in names if name != address.model])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{missing}{meant} (it has: {', '.join(names[:_SHOWN])}{more})"


def _index(client: Client) -> list[str]:
    """Returns the names of the models that the server has; empty if it does not say."""
    url = f"{client.server}/v2/repository/index"
    headers = {"Content-Type": "application/json"}
    try:
        found = json.loads(client.post(url, b"{}", headers, patient=False).content)
        names = [entry["name"] for entry in found]
    except (RemoteError, ValueError, TypeError, KeyError, RecursionError):
        return []
    return sorted({client.headers.shown(str(name), 60) for name in names})


def _check_ready(client: Client, address: ServerAddress) -> None:
    not_ready = f"{address.server}: model {address.model!r} is there and not ready"
    try:
        answer = client.get(f"{address.url}/ready")
    except RemoteError as error:
        if error.status in {404, 405}:
            return  # not every gateway passes it on, and the model's metadata is there
        if error.status is None or error.status in {401, 403} or 300 <= error.status < 400:
            raise
        raise InputError(f"{not_ready}: {error}") from error
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        return  # the status alone says it
    if isinstance(found, dict) and found.get("ready") is False:
        raise InputError(not_ready)


def _most(client: Client, address: ServerAddress) -> int | None:
    """Returns the ``max_batch_size`` of a configuration as Triton gives it."""
    try:
        found = json.loads(client.get(f"{address.url}/config").content)
        most = found.get("max_batch_size")
    except (RemoteError, ValueError, AttributeError, RecursionError):
        return None
    return most if type(most) is int and most > 0 else None


def _document(client: Client, answer: Reply, what: str) -> Mapping[str, Any]:
    text = client.headers.scrub(answer.content.decode(errors="replace"))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"{client.server}: {what} is not JSON: {name_shown(text)}") from error
    if not isinstance(found, dict):
        raise RemoteError(f"{client.server}: {what} is no JSON object")
    return found


def _tensors(model: Mapping[str, Any], key: str) -> tuple[Tensor, ...]:
    entries = model.get(key)
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise InputError(f"the model's metadata: {key}: expected a list")
    return tuple(_tensor(entry, key) for entry in entries)


def _tensor(entry: Any, key: str) -> Tensor:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InputError(f"the model's metadata: {key}: expected tensors with a name")
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    where = f"the model's metadata: {key}: {name_shown(name)}"
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InputError(
            f"{where}: expected a datatype of the protocol, got {name_shown(datatype)}"
        )
    # Triton writes int64 as numbers, some gateways as strings.
    try:
        sides = tuple(int(side) for side in shape or ())
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: expected a shape, got {name_shown(shape)}") from error
    parameters = entry.get("parameters")
    return Tensor(name, datatype, sides, parameters if isinstance(parameters, dict) else {})


def _labels(places: Sequence[Any]) -> tuple[str, ...]:
    for place in places:
        for key in _LABELS if isinstance(place, dict) else ():
            found = _names(place.get(key))
            if found:
                return found
    return ()


def _names(value: Any) -> tuple[str, ...]:
    """Reads a list of names: a list, a list as JSON in a string, or names between commas."""
    if isinstance(value, dict):
        value = value.get("string_param")  # gRPC's form of a parameter, as some gateways pass it
    if isinstance(value, str):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            listed = None
        value = listed if isinstance(listed, list) else value.split(",")
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        return ()
    return tuple(str(one).strip() for one in value)


# From a served model's answer to outputs in the data's terms.


def output_of(declared: Sequence[Tensor], wanted: str | None) -> Tensor | None:
    """Returns the output that is read: the one that is wanted, the only one, or the only scores.

    None where the server does not say which there are and the URI neither.

    Raises:
        InputError: if there is none of that name, or nothing says which of several is meant.
    """
    if wanted is not None:
        named = [tensor for tensor in declared if tensor.name == wanted]
        # A server may give more than its metadata tells: MLServer's predict_proba is such.
        return named[0] if named else Tensor(wanted, "")
    if len(declared) < 2:
        return declared[0] if declared else None
    scores = [t for t in declared if t.datatype in FLOATS and len(t.shape) == 2]
    if len(scores) != 1:
        raise InputError(
            f"the model has {len(declared)} outputs: say ?outputs=NAME "
            f"({', '.join(map(str, declared))})"
        )
    return scores[0]


def kind_of(given: str | None, output: Tensor | None, task: Task) -> str:
    """Returns what the output holds: one of `KINDS`.

    Raises:
        InputError: if that is not what the data asks for, or the datatype can't hold it.
    """
    regression = task.one_number
    number = output is None or output.datatype in FLOATS | {""}
    kind = given or ("values" if regression else "probabilities" if number else "labels")
    if (kind == "values") != regression:
        raise InputError(f"output={kind}: the data asks for {task.kind}")
    if kind in {"probabilities", "logits"} and not number:
        raise InputError(f"output={kind}: the model's output {output} holds no such numbers")
    return kind


class OutputReader:
    """Reads the answers of one model."""

    def __init__(
        self, kind: str, output: Tensor | None, opening: Opening, labels: Sequence[str], what: str
    ) -> None:
        """Takes what is known before anything is asked.

        Args:
            kind: one of `KINDS`.
            output: the one that is read; None where the server does not say.
            opening: tells the data, and what the spec says of classes.
            labels: the model's classes in its own order, empty where the server does not say.
            what: how messages call the model.

        Raises:
            InputError: if the model's classes don't match the data's.
        """
        self._kind = kind
        self._name = None if output is None else output.name
        self._task = opening.data.task
        self.notes: tuple[str, ...] = ()
        self._labels: LabelMap | None = None
        self._classes: ClassMap | None = None
        if kind == "labels":
            known = bool(labels) or opening.classes is not None
            # Numbers that name the data's classes are no positions: 1 of (1, 2, 3) is the first.
            named = all(entry.lstrip("-").isdigit() for entry in self._task.classes)
            self._labels = LabelMap(
                self._task,
                what,
                names=labels or None,
                declared=opening.classes,
                numbers_are_names=named and not known,
            )
        elif kind != "values":
            self._classes = ClassMap.match(
                labels or None,
                self._task,
                what,
                declared=opening.classes,
                width=_width(output, self._task),
            )
            self.notes = (self._classes.note,) if self._classes.note else ()

    @property
    def score_kind(self) -> ScoreKind:
        """What the scores are."""
        return "logits" if self._kind == "logits" else "probabilities"

    def pick(
        self, outputs: Mapping[str, tuple[str, NDArray[Any]]], rows: int
    ) -> tuple[str, NDArray[Any]]:
        """Returns datatype and content of the output that is read, `rows` rows.

        Raises:
            OutputError: if it is not there, or has another number of rows.
        """
        if self._name is None and len(outputs) == 1:
            name, (datatype, array) = next(iter(outputs.items()))
        elif self._name in outputs:
            name = str(self._name)
            datatype, array = outputs[name]
        else:
            names = ", ".join(map(name_shown, outputs)) or "none"
            wanted = f"no output {name_shown(self._name)}" if self._name else "several outputs"
            raise OutputError(f"the answer has {wanted} (it has: {names}): say ?outputs=NAME")
        if array.ndim == 0 or len(array) != rows:
            raise OutputError(
                f"output {name_shown(name)}: {rows} samples were asked about, the answer has shape "
                f"{array.shape}"
            )
        return datatype, array

    def outputs(self, datatype: str, array: NDArray[Any]) -> Answer:
        """Returns the answer to a batch.

        Raises:
            OutputError: if it holds something else than it should.
        """
        if self._labels is not None:
            return Answer(labels=self._labels.indices(self._whole(_flat(array))))
        if datatype not in FLOATS and not (self._kind == "values" and datatype != "BYTES"):
            raise OutputError(
                f"expected {self._kind} as FP16, BF16, FP32 or FP64, got {datatype}; for labels "
                "say ?output=labels, for another output ?outputs=NAME"
            )
        if self._kind == "values":
            return Answer(values=_flat(array).astype(np.float64))
        scores = self._scores(array)
        labels = scores.argmax(axis=1) if scores.ndim == 2 and scores.shape[1] else None
        return Answer(scores=scores, labels=labels)

    def _scores(self, array: NDArray[Any]) -> NDArray[np.floating[Any]]:
        # 16 bits are what the answer had; sums of them are made in more.
        array = array.astype(np.float32) if array.dtype.itemsize < 4 else array
        if array.ndim > 2 and array[0].size == max(array.shape[1:]):
            array = array.reshape(len(array), -1)  # (N, K, 1, 1), as convolutions leave it
        array = two_columns(array, self._kind, self._task)
        if self._classes is None or array.ndim != 2:
            return array  # `predict` tells what is wrong with its shape
        found: NDArray[np.floating[Any]] = self._classes.apply_scores(array, self.score_kind)
        return found

    def _whole(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind == "f":
            raise OutputError(
                "expected labels as whole numbers or BYTES, got floats; ?output=probabilities or "
                "logits says that they are scores"
            )
        names = set(self._task.classes) == {"False", "True"}
        return array.astype(np.int64) if array.dtype.kind == "b" and not names else array


def _width(output: Tensor | None, task: Task) -> int | None:
    """Returns how many columns of scores there will be, or None where nothing says."""
    if output is None or len(output.shape) < 2:
        return None
    width = max(output.shape[1:])
    if width < 1 or -1 in output.shape[1:]:
        return None
    return 2 if width == 1 and task.binary else width


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
