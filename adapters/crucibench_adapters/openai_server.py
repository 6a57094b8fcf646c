"""``openai:https://HOST/v1?model=NAME``: a language model behind an OpenAI-compatible server.

Options: ``model=NAME``; ``api=chat`` (the default, which writes) or ``api=completions``, which also
says how probable a continuation is where the server echoes the prompt with log-probabilities;
``logprobs=true`` asks for those of tokens that are written, too; ``batch=N``, prompts to a request
of completions at most (16); ``price_in`` and ``price_out``, for 1,000,000 tokens of prompts and
answers, which `remote.max_cost` is held against; ``prompt=FILE``, of texts in classes:
``template``, ``verbalisers`` and ``unparsed``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from crucibench.contracts.adapter import Adapter, Opening, Sources
from crucibench.contracts.asking import Asking, Question, Reply
from crucibench.contracts.capability import Capability, InputSpec, ScoreKind
from crucibench.contracts.task import OutputError
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.http.client import Client, RemoteError
from crucibench.util.http.client import Reply as HttpReply
from crucibench.util.http.limits import WaitingClock, budget_of
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.json_text import parse_json
from crucibench_adapters._class_prompts import OPTION, class_prompt, prompt_files
from crucibench_adapters._servers import server_address

_OPTIONS = ("model", "api", "batch", "logprobs", "price_in", "price_out", OPTION)
_FORM = "openai:https://HOST/v1?model=NAME"
_APIS = ("chat", "completions")
_BATCH = 16
_MILLION = 1e6
_MOST_BYTES = 1 << 28
_REFUSALS = frozenset({400, 413, 422})
"""Statuses that speak of the question: another one may well be answered."""
_ENDS = {"content_filter": "refused", "max_tokens": "length"}


class OpenAIAdapter(Asking):
    """A served language model."""

    remote: ClassVar[bool] = True
    clock: ClassVar[WaitingClock] = WaitingClock()
    score_kind: ScoreKind = "logits"

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        server_address("openai", uri.rest, _FORM, "/v1")
        if not uri.query.get("model"):
            raise InputError(f"option model is missing: expected {_FORM}")
        if uri.query.get("api", "chat") not in _APIS:
            raise InputError(unknown("api of openai:", uri.query["api"], _APIS))
        batch = uri.query.get("batch", "1")
        if not (batch.isascii() and batch.isdigit() and int(batch[:10]) > 0):
            raise InputError(f"option batch: expected a whole number from 1 up, got {batch!r}")
        for name in ("price_in", "price_out"):
            _price(uri, name)
        uri.flag("logprobs")
        return Sources(prompt_files(uri, base))

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        cls.sources(opening.uri, opening.base)
        return cls(opening)

    def __init__(self, opening: Opening) -> None:
        uri = opening.uri
        self.task = opening.data.task
        self.class_prompt = class_prompt(opening)
        self.columns = tuple(opening.data.features)
        self.input_spec = InputSpec(columns=max(1, len(self.columns)))
        self._model = uri.query["model"]
        self._chat = uri.query.get("api", "chat") == "chat"
        self._batch = int(uri.query.get("batch", _BATCH))
        self._logs = uri.flag("logprobs")
        self._prices = _price(uri, "price_in"), _price(uri, "price_out")
        asks = {Capability.TEXTS} if self._chat else {Capability.TEXTS, Capability.LOGLIKELIHOODS}
        if self.class_prompt is not None:
            asks.add(Capability.LABELS)
            # A chat writes a class's name; how probable it is, completions tell.
            asks |= set() if self._chat else {Capability.SCORES, Capability.LOGITS}
        self.capabilities = frozenset({*asks, Capability.ANY_INPUT})
        self._url = uri.rest.rstrip("/")
        self._client = Client(
            self._url, opening.remote, budget_of(opening.name, opening.remote), self.clock
        )

    def _ask(self, questions: Sequence[Question]) -> Sequence[Reply]:
        pieces = self._pieces(questions)
        found = self._client.each(self._answers, [piece for piece, _ in pieces])
        replies: dict[int, Reply] = {}
        for (_, places), part in zip(pieces, found, strict=True):
            replies |= dict(zip(places, part, strict=True))
        return [replies[at] for at in range(len(questions))]

    def _pieces(self, questions: Sequence[Question]) -> list[tuple[list[Question], list[int]]]:
        """Returns questions that one request may hold, and their places."""
        alike: dict[Any, list[int]] = {}
        for at, question in enumerate(questions):
            key = at if self._chat else (question.continuation is None, question.sampling)
            alike.setdefault(key, []).append(at)
        return [
            ([questions[at] for at in places[start : start + self._batch]],
             places[start : start + self._batch])
            for places in alike.values()
            for start in range(0, len(places), self._batch)
        ]  # fmt: skip

    def _answers(self, questions: list[Question], stop: threading.Event) -> list[Reply]:
        begun = time.perf_counter()
        if self._chat:
            path, body = "chat/completions", self._chat_body(questions[0])
        else:
            path, body = "completions", self._body(questions)
        content = json.dumps({"model": self._model, **body}).encode()
        try:
            answer = self._client.post(
                f"{self._url}/{path}", content, {"Content-Type": "application/json"}, stop
            )
        except RemoteError as error:
            # Of several questions nothing says which is meant, and a likelihood has no substitute.
            (asked, *others) = questions
            if error.status not in _REFUSALS or others or asked.continuation is not None:
                raise
            none = ("",) * asked.sampling.n
            replies = [Reply(texts=none, finish=none, error=str(error))]
            self.came(asked, replies[0])
            return replies
        try:
            document = parse_json(answer.content, self._url, most=_MOST_BYTES, values=_MOST_BYTES)
            choices = sorted(document["choices"], key=lambda one: one.get("index", 0))
            beside = self._beside(document, answer, len(questions))
            per = -(-len(choices) // len(questions))
            parts = [choices[at * per :][:per] for at in range(len(questions))]
            made = [self._reply(one, part) for one, part in zip(questions, parts, strict=True)]
        except OutputError as error:
            raise OutputError(self._client.headers.shown(f"{self._url}: {error}", 500)) from error
        except (RefusedError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{self._url}: its answer is none of the API's: {type(error).__name__}"
            ) from error
        seconds = time.perf_counter() - begun
        replies = [Reply(**{**beside, **one}, seconds=seconds) for one in made]
        for question, reply in zip(questions, replies, strict=True):
            self.came(question, reply)
        return replies

    def _chat_body(self, question: Question) -> dict[str, Any]:
        more = {"logprobs": True} if self._logs else {}
        return {"messages": question.messages, **_sampled(question), **more}

    def _body(self, questions: Sequence[Question]) -> dict[str, Any]:
        if any(len(question.messages) > 1 for question in questions):
            raise InputError("system and turns: completions take no messages: api=chat does")
        if questions[0].continuation is None:
            more = {"logprobs": 1} if self._logs else {}
            prompts = [one.prompt for one in questions]
            return {"prompt": prompts, **_sampled(questions[0]), **more}
        # One token more is asked for: some servers refuse to write none.
        return {
            "prompt": [one.prompt + str(one.continuation) for one in questions],
            "max_tokens": 1, "temperature": 0.0, "logprobs": 1, "echo": True,
        }  # fmt: skip

    def _beside(self, document: Any, answer: HttpReply, questions: int) -> dict[str, Any]:
        """Returns what a server says of a whole request; tokens of one with several are shared."""
        usage = document.get("usage") or {}
        sent, made = (int(usage.get(f"{name}_tokens") or 0) for name in ("prompt", "completion"))
        price_in, price_out = self._prices
        cost = None
        if price_in is not None or price_out is not None:
            cost = (sent * (price_in or 0.0) + made * (price_out or 0.0)) / _MILLION
        self._client.used(sent + made, cost or 0.0)
        known = usage and questions == 1
        return {
            "prompt_tokens": sent if known else None, "tokens": made if known else None,
            "cost": None if cost is None else cost / questions, "attempts": answer.attempts,
            "model": self._client.headers.shown(
                "|".join(
                    str(document[key]) for key in ("model", "system_fingerprint")
                    if document.get(key)
                ), 200,
            ),
        }  # fmt: skip

    def _reply(self, question: Question, choices: Sequence[Any]) -> dict[str, Any]:
        if question.continuation is not None:
            return _likelihood(question, choices[0])
        texts, ends = [], []
        logs: list[float] = []
        for choice in choices:
            message = choice["message"] if self._chat else {"content": choice["text"]}
            refusal = message.get("refusal")
            end = str(choice.get("finish_reason") or "stop")
            # Records are kept: what a server echoes of a header must not be among them.
            texts.append(self._client.headers.scrub(str(refusal or message.get("content") or "")))
            ends.append("refused" if refusal else _ENDS.get(end, end))
            logged = choice.get("logprobs") or {}
            logs += logged.get("token_logprobs") or (
                one["logprob"] for one in logged.get("content") or ()
            )
        return {"texts": tuple(texts), "finish": tuple(ends), "logprobs": tuple(logs) or None}

    def unidentified(self) -> str:
        return "it is a server, which may answer for another model tomorrow"

    def diagnostics(self) -> Mapping[str, Any]:
        # A sample of a classification is a question for each class.
        asked = 1 if self.class_prompt is None else len(self.class_prompt.verbalisers)
        return {
            "request_batch": 1 if self._chat else max(1, self._batch // asked),
            "notes": ["a server's answers have no fingerprint: they are not cached across runs"],
        }

    def numerics(self) -> Mapping[str, str]:
        return {"server": self._url, "api": "chat" if self._chat else "completions"}

    def close(self) -> None:
        self._client.close()


def _sampled(question: Question) -> dict[str, Any]:
    how = question.sampling
    return {
        "max_tokens": how.max_tokens, "temperature": how.temperature, "top_p": how.top_p,
        "n": how.n, **({"stop": list(how.stop)} if how.stop else {}),
        **({} if how.seed is None else {"seed": how.seed}),
    }  # fmt: skip


def _likelihood(question: Question, choice: Any) -> dict[str, Any]:
    """Returns the continuation's log-likelihood from the echo of prompt and continuation."""
    found = choice.get("logprobs")
    if not found or found.get("token_logprobs") is None or "text_offset" not in found:
        raise OutputError(
            "it echoes no log-probabilities: choices by log-likelihood need a server that does "
            "(echo with logprobs); by: text asks for what it writes"
        )
    start = len(question.prompt)
    end = start + len(str(question.continuation))
    own = [at for at, offset in enumerate(found["text_offset"]) if start <= offset < end]
    if not own or found["text_offset"][own[0]] != start:
        raise OutputError(
            f"a token spans the end of the prompt and the continuation "
            f"{question.continuation!r}: their probabilities can't be separated; another "
            "delimiter may help"
        )
    logs = [found["token_logprobs"][at] for at in own]
    if any(value is None for value in logs):
        raise OutputError("it gives no log-probability of a continuation without a prompt")
    tops = found.get("top_logprobs")
    greedy = None
    if tops:
        greedy = all(
            value >= max((tops[at] or {}).values(), default=value)
            for at, value in zip(own, logs, strict=True)
        )
    return {
        "loglikelihood": float(sum(logs)), "greedy": greedy, "tokens": len(own),
        "logprobs": tuple(logs),
    }  # fmt: skip


def _price(uri: URI, name: str) -> float | None:
    if name not in uri.query:
        return None
    value = parse_number(uri.query[name])
    if not isinstance(value, float) or not 0 <= value < float("inf"):
        raise InputError(f"option {name}: expected a price, got {uri.query[name]!r}")
    return value
