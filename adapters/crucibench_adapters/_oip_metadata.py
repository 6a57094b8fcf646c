"""What an Open Inference Protocol server says of itself and of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, RemoteError, Reply
from crucibench.util.suggest import hint
from crucibench_adapters._oip_address import ServerAddress
from crucibench_adapters._oip_tensors import DATATYPES, Tensor, name_shown

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
