"""A small language model behind an OpenAI-compatible server, whose probabilities are known.

``python mock_language_model.py`` prints its port. A token is a printable ASCII character or a line
break, and the next one depends on the last alone: its log-probability is that of `next_token`. So
what an evaluation should find can be computed. ``POST /control`` with a JSON object sets its
manners, ``GET /seen`` tells what it was asked:

- ``says``: text in the prompt to what it answers, before anything else;
- ``refuse``: ``[{"status": 429, "every": 3}]``: every so many requests are answered so, once each;
- ``reject``: text in the prompt of questions that are answered by status 400, with the prompt;
- ``drop_every``: every so many answers break off half-way, and are not seen as answered;
- ``alter``: the share of answers that another model gives;
- ``apologise``: the share of answers that are refusals;
- ``delay``: seconds before an answer;
- ``noise``: what log-probabilities are moved by, up and down;
- ``swap_after``: requests after which another model answers, under the same name;
- ``echo_header``: a header that it repeats in what it writes;
- ``name``: the model's name that it reports.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np

TOKENS = "\n" + "".join(map(chr, range(32, 127)))
_PLACE = {token: at for at, token in enumerate(TOKENS)}
_LOCK = threading.Lock()
_config: dict[str, Any] = {}
_seen: dict[str, Any] = {}


def _table(sign: float) -> np.ndarray:
    places = np.arange(len(TOKENS))
    scores = sign * 3.0 * np.cos(0.7 * np.outer(places + 1, places + 2))
    logs: np.ndarray = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return logs


TABLE = _table(1.0)
"""Log-probability of each token (column) after each (row)."""
OTHER = _table(-1.0)


def next_token(last: str, table: np.ndarray = TABLE) -> np.ndarray:
    """Returns the log-probabilities of all tokens after a character; unknown ones count as "?"."""
    logs: np.ndarray = table[_PLACE.get(last, _PLACE["?"])]
    return logs


def loglikelihood(context: str, continuation: str, table: np.ndarray = TABLE) -> float:
    """Returns the log-probability of a continuation, in nats."""
    text = context[-1] + continuation
    return float(sum(next_token(a, table)[_PLACE.get(b, _PLACE["?"])] for a, b in pairwise(text)))


def reset(new: dict[str, Any]) -> None:
    """Sets manners, and forgets what was seen."""
    with _LOCK:
        _config.clear()
        _config.update({"name": "mock"} | new)
        _seen.clear()
        _seen.update({"requests": 0, "answered": 0, "prompts": 0, "bodies": []})


class Handler(BaseHTTPRequestHandler):
    """Answers completions and chats."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Tells what it was asked."""
        with _LOCK:
            self.tell(200, dict(_seen))

    def do_POST(self) -> None:
        """Answers."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            reset(body)
            return self.tell(200, {})
        with _LOCK:
            _seen["requests"] += 1
            number = _seen["requests"]
        for refuse in _config.get("refuse", []):
            if number % refuse["every"] == 0:
                secret = self.headers.get("Authorization", "")
                return self.tell(
                    refuse["status"], {"error": f"not now, {secret}"}, {"Retry-After": "0"}
                )
        time.sleep(_config.get("delay", 0.0))
        chat = "messages" in body
        prompts = [body["messages"][-1]["content"]] if chat else body["prompt"]
        prompts = [prompts] if isinstance(prompts, str) else prompts
        if any(text in prompt for text in _config.get("reject", []) for prompt in prompts):
            return self.tell(400, {"error": f"not allowed: {prompts[0]}"})
        drop = _config.get("drop_every")
        cut = bool(drop) and number % drop == 0
        with _LOCK:
            if not cut:
                _seen["answered"] += 1
                _seen["prompts"] += len(prompts)
                _seen["bodies"].append(body)
            late = _seen["answered"] > _config.get("swap_after", 1 << 40)
        late |= random.random() < _config.get("alter", 0.0)
        table = OTHER if late else TABLE
        choices = [
            self.choice(prompt, body, table, chat=chat)
            for prompt in prompts
            for _ in range(body.get("n", 1))
        ]
        for index, choice in enumerate(choices):
            choice["index"] = index
        usage = {
            "prompt_tokens": sum(map(len, prompts)),
            "completion_tokens": sum(choice.pop("made") for choice in choices),
        }
        document = {"model": _config["name"], "choices": choices, "usage": usage}
        return self.tell(200, document, cut=cut)

    def choice(
        self, prompt: str, body: dict[str, Any], table: Any, *, chat: bool
    ) -> dict[str, Any]:
        if body.get("echo"):
            return self.echo(prompt, table)
        said = next((text for key, text in _config.get("says", {}).items() if key in prompt), None)
        if said is None and random.random() < _config.get("apologise", 0.0):
            said = "I'm sorry, I can't help with that."
        text = self.written(prompt, body, table) if said is None else said
        if header := _config.get("echo_header"):
            text = f"{text} {self.headers.get(header)}"
        end = "stop"
        for stop in body.get("stop", []):
            text = text.split(stop)[0]
        if len(text) >= body["max_tokens"] and said is None:
            end = "length"
        part = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        logs = [loglikelihood(a, b, table) for a, b in pairwise((prompt[-1:] or "?") + text)]
        told = {"content": [{"logprob": one} for one in logs]} if chat else {"token_logprobs": logs}
        more = {"logprobs": told} if body.get("logprobs") else {}
        return {**part, **more, "finish_reason": end, "made": len(text)}

    def written(self, prompt: str, body: dict[str, Any], table: Any) -> str:
        text = prompt[-1:] or "?"
        draw = random.Random(body.get("seed"))
        for _ in range(body["max_tokens"]):
            logs = next_token(text[-1], table)
            if body.get("temperature"):
                weights = np.exp(logs / body["temperature"])
                text += draw.choices(TOKENS, weights.tolist())[0]
            else:
                text += TOKENS[int(logs.argmax())]
        return text[len(prompt[-1:] or "?") :]

    def echo(self, prompt: str, table: Any) -> dict[str, Any]:
        noise = _config.get("noise", 0.0)
        logs: list[float | None] = [None]
        tops: list[dict[str, float] | None] = [None]
        for last, token in pairwise(prompt):
            after = next_token(last, table)
            best = int(after.argmax())
            moved = random.uniform(-noise, noise)
            logs.append(min(0.0, float(after[_PLACE.get(token, _PLACE["?"])]) + moved))
            tops.append({TOKENS[best]: float(after[best]) + min(0.0, moved)})
        return {
            "text": prompt + "!", "finish_reason": "length", "made": 1,
            "logprobs": {
                "tokens": [*prompt, "!"], "token_logprobs": [*logs, -1.0],
                "top_logprobs": [*tops, {"!": -1.0}], "text_offset": list(range(len(prompt) + 1)),
            },
        }  # fmt: skip

    def tell(
        self,
        status: int,
        document: Any,
        headers: dict[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut


class Server(ThreadingHTTPServer):
    """Says nothing of clients that go away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Leaves it at that."""


def main() -> None:
    """Serves until its input ends."""
    reset({})
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)

    def wait() -> None:
        sys.stdin.read()
        server.shutdown()

    threading.Thread(target=wait, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
