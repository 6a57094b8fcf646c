"""A small Open Inference Protocol server of the tests' own: a process, real sockets, bad manners.

``python server.py [CERTIFICATE KEY]`` prints its port. ``POST /control`` with a JSON object sets
how it behaves, ``GET /seen`` tells what it was asked. The model is a softmax regression over all
inputs side by side; of texts it sees the length and whether they hold an ``e``.
"""

from __future__ import annotations

import json
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

HEADER = "Inference-Header-Content-Length"
KINDS = {
    "BOOL": "?", "UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4",
    "FP64": "<f8",
}  # fmt: skip

lock = threading.Lock()
release = threading.Event()
config: dict[str, Any] = {}
seen: dict[str, Any] = {}


def reset(new: dict[str, Any]) -> None:
    release.set()
    with lock:
        config.clear()
        config.update(
            {
                "name": "cnn",
                "extensions": [],
                "inputs": [],
                "outputs": [],
                "weights": [],
                "bias": [],
            }
            | new
        )
        seen.clear()
        seen.update({"requests": 0, "answered": 0, "rows": [], "bodies": [], "headers": []})
    release.clear()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.rstrip("/")
        if path == "/seen":
            with lock:
                return self.tell(200, dict(seen))
        if self.barred():
            return None
        model = f"/v2/models/{config['name']}"
        if path == "/v2":
            if config.get("server_text") is not None:
                return self.raw(200, config["server_text"].encode())
            return self.tell(
                200, {"name": "tests", "version": "1", "extensions": config["extensions"]}
            )
        if path == model:
            return self.tell(
                200,
                {key: config[key] for key in ("name", "inputs", "outputs")}
                | {"platform": "numpy", "parameters": config.get("parameters", {})},
            )
        if path == f"{model}/ready":
            return self.tell(config.get("ready", 200), config.get("ready_body", {}))
        if path == f"{model}/config":
            return self.tell(200, {"max_batch_size": config.get("max_batch_size", 0)})
        return self.tell(404, {"error": "there is no such model here"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/control":
            reset(json.loads(body))
            return self.tell(200, {})
        if self.barred():
            return None
        if self.path == "/v2/repository/index":
            if "models" not in config:
                return self.tell(404, {"error": "no index"})
            return self.tell(200, [{"name": name} for name in config["models"]])
        return self.infer(body)

    def barred(self) -> bool:
        """Deals with what concerns every path; whether that was all."""
        wanted = config.get("authorization")
        got = self.headers.get("Authorization")
        if wanted is not None and got != wanted:
            self.tell(401, {"error": f"who are you? you said {got!r}"})
            return True
        if "redirect" in config:
            self.raw(307, b"", {"Location": config["redirect"]})
            return True
        return False

    def infer(self, body: bytes) -> None:
        with lock:
            seen["requests"] += 1
            number = seen["requests"]
            seen["headers"].append(dict(self.headers.items()))
        if config.get("drop_every") and number % config["drop_every"] == 0:
            return self.drop()
        if config.get("hang"):
            release.wait(60)
            return self.drop()
        refuse = config.get("refuse")
        if refuse and refuse.get("after_requests", 0) < number <= refuse["times"]:
            headers = {"Retry-After": refuse["after"]} if "after" in refuse else {}
            return self.raw(refuse["status"], json.dumps(refuse["body"]).encode(), headers)
        if "not_http" in config:
            self.wfile.write(config["not_http"].encode())
            self.close_connection = True
            return None
        inputs = self.inputs(body)
        rows = len(next(iter(inputs.values())))
        with lock:
            seen["rows"].append(rows)
            seen["bodies"].append(body.decode(errors="replace")[:20_000])
        if rows > config.get("max_rows", rows):
            return self.tell(400, {"error": f"at most {config['max_rows']} rows\x1b[31m, please"})
        if config.get("delays"):  # the later a request, the sooner its answer
            time.sleep(0.05 / number)
        with lock:
            seen["answered"] += 1
            late = seen["answered"] > config.get("change_after", 1 << 30)
        return self.answer(self.outputs(inputs, -1.0 if late else 1.0))

    def inputs(self, body: bytes) -> dict[str, np.ndarray]:
        size = int(self.headers.get(HEADER, len(body)))
        rest = body[size:]
        found = {}
        for entry in json.loads(body[:size])["inputs"]:
            shape = entry["shape"]
            if "data" in entry:
                kind = KINDS.get(entry["datatype"], "<f4" if entry["datatype"] == "BF16" else "O")
                found[entry["name"]] = np.array(entry["data"], dtype=kind).reshape(shape)
                continue
            length = entry["parameters"]["binary_data_size"]
            blob, rest = rest[:length], rest[length:]
            found[entry["name"]] = from_bytes(entry["datatype"], blob).reshape(shape)
        assert not rest
        return found

    def outputs(self, inputs: dict[str, np.ndarray], sign: float) -> list[tuple[str, str, Any]]:
        parts = []
        for array in inputs.values():
            if array.dtype == object:
                texts = [str(text) for text in array.ravel()]
                parts += [np.array([[len(text), "e" in text] for text in texts], dtype=float)]
            else:
                parts.append(array.reshape(len(array), -1).astype(np.float64))
        features = np.concatenate(parts, axis=1) * config.get("scale", 1.0)
        logits = sign * (features @ np.array(config["weights"]).T + np.array(config["bias"]))
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponents / exponents.sum(axis=1, keepdims=True)
        if config.get("nan"):
            probabilities[0, 0] = np.nan
        if config.get("columns"):
            probabilities = probabilities[:, : config["columns"]]
        names = np.array(config.get("names", []), dtype=object)
        labels = logits.argmax(axis=1)
        known = {
            "probabilities": probabilities, "logits": logits, "labels": labels,
            "second": probabilities[:, 1:2], "value": logits[:, 0],
            "other": probabilities, "deep": probabilities[:, :, None, None],
            "names": names[labels] if len(names) else labels,
        }  # fmt: skip
        shown = config.get("answers", [["probabilities", "FP32"]])
        return [(name, datatype, known[name]) for name, datatype in shown]

    def answer(self, outputs: list[tuple[str, str, Any]]) -> None:
        if "garbage" in config:
            return self.raw(200, config["garbage"].encode())
        binary = HEADER in self.headers and not config.get("json_only")
        entries: list[dict[str, Any]] = []
        blobs = []
        for name, datatype, array in outputs:
            entry = {"name": name, "datatype": datatype, "shape": list(array.shape)}
            if config.get("extra_rows"):
                entry["shape"][0] += config["extra_rows"]
            if binary:
                blobs.append(to_bytes(datatype, array) + b"\0" * config.get("extra_bytes", 0))
                entry["parameters"] = {"binary_data_size": len(blobs[-1])}
            elif datatype == "BYTES":
                entry["data"] = [str(value) for value in array.ravel()]
            else:
                flat = array.astype(KINDS.get(datatype, "<f4")).ravel()
                entry["data"] = flat.tolist()
            entries.append(entry | config.get("entry", {}))
        head = json.dumps({"model_name": config["name"], "outputs": entries}).encode()
        if not binary:
            return self.raw(200, head)
        cut = config.get("cut_bytes", 0)
        body = b"".join(blobs)
        return self.raw(200, head + body[: len(body) - cut], {HEADER: str(len(head))})

    def drop(self) -> None:
        self.close_connection = True

    def tell(self, status: int, document: Any) -> None:
        self.raw(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def raw(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def from_bytes(datatype: str, blob: bytes) -> np.ndarray:
    if datatype == "BF16":
        return (np.frombuffer(blob, "<u2").astype(np.uint32) << 16).view(np.float32)
    if datatype != "BYTES":
        return np.frombuffer(blob, KINDS[datatype])
    texts, at = [], 0
    while at < len(blob):
        (size,) = struct.unpack_from("<I", blob, at)
        texts.append(blob[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return np.array(texts, dtype=object)


def to_bytes(datatype: str, array: np.ndarray) -> bytes:
    if datatype == "BF16":
        bits = np.ascontiguousarray(array.astype("<f4")).view(np.uint32)
        return (bits >> 16).astype("<u2").tobytes()
    if datatype != "BYTES":
        return array.astype(KINDS[datatype]).tobytes()
    encoded = [str(value).encode() for value in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def main() -> None:
    reset({})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if len(sys.argv) == 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    # The parent's end closes when it is gone, however it went.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
