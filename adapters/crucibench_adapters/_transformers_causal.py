"""Language models of `transformers`, causal or sequence to sequence: log-likelihoods and text.

Log-likelihoods are those of the tokens that a continuation adds to its prompt, the prompt's last
spaces counted to the continuation, so that words are tokenised as in running text. Of a model that
encodes its prompt, a continuation is tokenised by itself. Batches are of like length; what several
continuations share is passed through the model once.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from crucibench.contracts.adapter import Adapter, Opening
from crucibench.contracts.asking import Asking, Question, Reply, Sampling
from crucibench.contracts.capability import Capability, InputSpec, ScoreKind
from crucibench.contracts.task import OutputError
from crucibench.util.devices import fix_precision
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.optional import need
from crucibench_adapters._class_prompts import class_prompt, prompt_digest
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import library_version
from crucibench_adapters._transformers_files import Files, find_files, loaded, model_of_kind

OPTIONS = ("revision", "max_length", "chat", "batch", "prompt")
_BATCH = 64
_APART = 1e-4
"""How far log-likelihoods may lie apart that are computed together and alone."""
_PREFIX = 16
"""Tokens from which on it pays to pass alone what contexts begin with."""
_UNLIMITED = 1 << 30
_Logits: TypeAlias = tuple[Any, list[int], list[int]]
"""Logits (rows, columns, vocabulary), and the row and column that tell of each token asked about.
"""


@dataclass(frozen=True)
class _Asked:
    """One continuation as tokens."""

    place: int
    context: tuple[int, ...]
    continuation: tuple[int, ...]
    cut: int
    doubled: bool


class CausalAdapter(Asking):
    """A language model in a folder.

    Options beside those of files: ``max_length=N`` tokens of prompt and answer; ``chat=true``
    applies the tokenizer's chat template; ``batch=N`` sequences at once (64); ``prompt=FILE``.
    """

    score_kind: ScoreKind = "logits"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        return cls.of(find_files(opening), opening)

    @classmethod
    def of(cls, files: Files, opening: Opening) -> CausalAdapter:
        """Loads the model that lies in `files`.

        Raises:
            InputError: if it can't be loaded, or does not fit the data.
        """
        opening.uri.only(*OPTIONS)
        fix_precision()
        with quiet():
            transformers = need("transformers", "text")
        files.tokenizer_digest()  # says whether there is one
        config = loaded(transformers.AutoConfig, files, opening, "configuration")
        tokenizer = loaded(transformers.AutoTokenizer, files, opening, "tokenizer")
        kind = "Seq2SeqLM" if config.is_encoder_decoder else "CausalLM"
        model = model_of_kind(kind, config, files, opening)
        return cls(model.requires_grad_(False), tokenizer, files, opening)

    def __init__(self, model: Any, tokenizer: Any, files: Files, opening: Opening) -> None:
        uri = opening.uri
        self.task = opening.data.task
        self.class_prompt = class_prompt(opening)
        self.columns = tuple(opening.data.features)
        self.input_spec = InputSpec(columns=max(1, len(self.columns)))
        self.device = opening.device
        asks = {Capability.TEXTS, Capability.LOGLIKELIHOODS, Capability.ANY_INPUT}
        if self.class_prompt is not None:
            asks |= {Capability.SCORES, Capability.LABELS, Capability.LOGITS}
        self.capabilities = frozenset(asks)
        self._model, self._tokenizer, self._files = model, tokenizer, files
        self._chat = uri.flag("chat")
        template = getattr(tokenizer, "chat_template", None)
        if self._chat and not template:
            raise InputError(f"{files.what}: option chat: its tokenizer has no chat template")
        self._template = "applied" if self._chat else "unused" if template else "none"
        self._batch = _whole(uri.query.get("batch", str(_BATCH)), "batch")
        most = getattr(model.config, "max_position_embeddings", None) or _UNLIMITED
        asked = uri.query.get("max_length")
        self._limit = min(most, _whole(asked, "max_length") if asked else most)
        self._first = tokenizer.bos_token_id
        self._last = tokenizer.eos_token_id
        self._filling = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (
            self._last if self._last is not None else 0
        )  # fmt: skip
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self._encodes = bool(model.config.is_encoder_decoder)
        self._shares = self._encodes or self._can_share()

    def _ask(self, questions: Sequence[Question]) -> Sequence[Reply]:
        import torch

        replies: dict[int, Reply] = {}
        likely = [at for at, one in enumerate(questions) if one.continuation is not None]
        with torch.inference_mode():
            replies |= self._likelihoods(questions, likely)
            written: dict[Sampling, list[int]] = {}
            for at in sorted(set(range(len(questions))) - set(likely)):
                written.setdefault(questions[at].sampling, []).append(at)
            for sampling, places in written.items():
                replies |= self._texts(questions, places, sampling)
        return [replies[at] for at in range(len(questions))]

    # -- tokens ------------------------------------------------------------------------------

    def _prompt(self, question: Question) -> str:
        if not self._chat:
            if len(question.messages) > 1:
                raise InputError("system and turns: without chat=true there are no messages")
            return question.prompt
        return str(
            self._tokenizer.apply_chat_template(
                question.messages, add_generation_prompt=True, tokenize=False
            )
        )

    def _tokens(self, texts: Iterable[str], *, special: bool = True) -> dict[str, tuple[int, ...]]:
        """Returns the tokens of each text, all encoded at once."""
        once = list(dict.fromkeys(texts))
        if not once:
            return {}
        # A chat template writes the special tokens itself.
        found = self._tokenizer(once, add_special_tokens=special and not self._chat)["input_ids"]
        return {text: tuple(tokens) for text, tokens in zip(once, found, strict=True)}

    def _doubled(self, tokens: Sequence[int]) -> bool:
        return self._first is not None and tuple(tokens[:2]) == (self._first, self._first)

    def _pairs(self, questions: Sequence[Question], places: Sequence[int]) -> Iterator[_Asked]:
        parts: list[tuple[int, str, str]] = []
        for at in places:
            prompt, continuation = self._prompt(questions[at]), str(questions[at].continuation)
            kept = prompt.rstrip()
            parts.append((at, kept, prompt[len(kept) :] + continuation))
        apart = self._encodes
        tokens = self._tokens(
            text for _, a, b in parts if a or apart for text in ((a,) if apart else (a, a + b))
        )
        plain = self._tokens((b for _, a, b in parts if apart or not a), special=False)
        start = self._first if self._first is not None else self._last
        for at, prompt, continuation in parts:
            if apart:
                context, own = tokens[prompt], plain[continuation]
            elif prompt:
                context = tokens[prompt]
                own = tokens[prompt + continuation][len(context) :]
            elif start is None:
                raise InputError(
                    f"{self._files.what}: an empty prompt needs a token of the beginning"
                )
            else:
                context, own = (start,), plain[continuation]
            if not own:
                raise OutputError(f"the continuation {continuation!r} adds no token to its prompt")
            room = self._limit if apart else self._limit + 1 - len(own)
            if room < 1:
                raise OutputError(
                    f"a continuation has {len(own)} tokens, the model takes {self._limit}"
                )
            cut = max(0, len(context) - room)
            yield _Asked(at, context[cut:], own, cut, self._doubled(context))

    # -- log-likelihoods ---------------------------------------------------------------------

    def _likelihoods(
        self, questions: Sequence[Question], places: Sequence[int]
    ) -> dict[int, Reply]:
        groups: dict[Any, list[_Asked]] = {}
        for one in self._pairs(questions, places):
            groups.setdefault(one.context if self._shares else one.place, []).append(one)
        found: dict[int, Reply] = {}
        for part in self._batches(list(groups.values())):
            begun = time.perf_counter()
            values = self._passed(part)
            asked = [one for group in part for one in group]
            seconds = (time.perf_counter() - begun) / len(asked)
            for one, (value, logs, greedy) in zip(asked, values, strict=True):
                found[one.place] = Reply(
                    loglikelihood=value, logprobs=logs, greedy=greedy, tokens=len(one.continuation),
                    prompt_tokens=len(one.context), seconds=seconds, cut=one.cut,
                    doubled_start=one.doubled,
                )  # fmt: skip
                self.came(questions[one.place], found[one.place])
        return found

    def _batches(self, groups: Sequence[list[_Asked]]) -> Iterator[list[list[_Asked]]]:
        """Yields groups of like length, whose contexts and continuations make a batch."""
        batch: list[list[_Asked]] = []
        tokens = longest = 0
        for group in sorted(groups, key=lambda one: (-len(one[0].context), one[0].context)):
            own = len(group[0].context) + sum(len(one.continuation) - 1 for one in group)
            if batch and tokens + own > self._batch * longest:
                yield batch
                batch, tokens = [], 0
            longest = longest if batch else own
            batch.append(group)
            tokens += own
        if batch:
            yield batch

    def _passed(
        self, groups: Sequence[Sequence[_Asked]]
    ) -> list[tuple[float, tuple[float, ...], bool]]:
        """Returns log-likelihood, in all and by token, and whether it is the greedy text, of each
        continuation.
        """
        import torch

        if self._encodes:
            logits, rows, columns = self._decoded(groups)
        elif self._shares:
            logits, rows, columns = self._after_shared(groups)
        else:
            logits, rows, columns = self._whole(groups)
        tokens = [token for group in groups for one in group for token in one.continuation]
        index = torch.tensor([rows, columns], device=logits.device)
        own = torch.tensor(tokens, device=logits.device)
        logs = logits[index[0], index[1]].double().log_softmax(-1)
        picked = logs.gather(-1, own[:, None])[:, 0].cpu().numpy()
        best = (logs.argmax(-1) == own).cpu().numpy()
        lengths = [len(one.continuation) for group in groups for one in group]
        starts = np.cumsum([0, *lengths[:-1]])
        sums = np.minimum(0.0, np.add.reduceat(picked, starts))
        greedy = np.logical_and.reduceat(best, starts)
        logs = (tuple(part.tolist()) for part in np.split(picked, starts[1:]))
        return list(zip(sums.tolist(), logs, greedy.tolist(), strict=True))

    def _after_shared(self, groups: Sequence[Sequence[_Asked]]) -> _Logits:
        """Passes each context once, then all its continuations side by side, blind to each other.

        What all contexts of the batch begin with, as examples before each item, is passed once.
        What fills shorter contexts up comes after them, so that these passes need no mask.
        """
        import torch

        contexts = [group[0].context for group in groups]
        first, last = min(contexts), max(contexts)
        begin = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
                     min(map(len, contexts)))  # fmt: skip
        begin = min(begin, min(map(len, contexts)) - 1) if len(contexts) > 1 else 0
        cache, begin = None, begin if begin >= _PREFIX else 0
        if begin:
            head, _ = self._filled([first[:begin]], left=False)
            cache = self._model(input_ids=head, use_cache=True).past_key_values
            cache.batch_repeat_interleave(len(contexts))
        ids, valid = self._filled([context[begin:] for context in contexts], left=False)
        sizes = valid.sum(dim=1)
        kept, where = torch.unique(sizes - 1, return_inverse=True)
        some = "logits_to_keep" in self._takes
        out = self._model(
            input_ids=ids, use_cache=True, past_key_values=cache,
            position_ids=torch.arange(begin, begin + ids.shape[1], device=ids.device)[None],
            **({"logits_to_keep": kept} if some else {}),
        )  # fmt: skip
        valid = torch.cat([valid.new_ones(len(ids), begin), valid], dim=1)
        firsts = out.logits if some else out.logits[:, kept]
        parts = [firsts[torch.arange(len(ids), device=ids.device), where][:, None]]
        rows, columns, owners, places = [], [], [], []
        for row, group in enumerate(groups):
            owner: list[int] = []
            place: list[int] = []
            for number, one in enumerate(group):
                more = len(one.continuation) - 1
                rows += [row] * (1 + more)
                columns += [0, *range(1 + len(owner), 1 + len(owner) + more)]
                place += range(len(one.context), len(one.context) + more)
                owner += [number + 1] * more
            owners.append(owner)
            places.append(place)
        if any(owners):
            after = [[at for one in group for at in one.continuation[:-1]] for group in groups]
            own, (owner_of, position) = (
                self._filled(after, left=False)[0],
                (self._filled(one, left=False, filling=0)[0] for one in (owners, places)),
            )
            length = own.shape[1]
            before = torch.arange(length, device=ids.device)
            seen = (owner_of[:, :, None] == owner_of[:, None]) & (before[:, None] >= before)
            seen = torch.cat([valid.bool()[:, None].expand(-1, length, -1), seen], dim=2)
            dtype = firsts.dtype
            mask = torch.zeros(seen.shape, dtype=dtype, device=ids.device)
            mask = mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
            parts.append(
                self._model(
                    input_ids=own, attention_mask=mask, position_ids=position,
                    past_key_values=out.past_key_values, use_cache=True,
                ).logits
            )  # fmt: skip
        return torch.cat(parts, dim=1), rows, columns

    def _whole(self, groups: Sequence[Sequence[_Asked]]) -> _Logits:
        """Passes each context with its one continuation."""
        asked = [one for group in groups for one in group]
        ids, _ = self._filled([one.context + one.continuation[:-1] for one in asked], left=False)
        rows: list[int] = []
        columns: list[int] = []
        for row, one in enumerate(asked):
            rows += [row] * len(one.continuation)
            columns += range(len(one.context) - 1, len(one.context) - 1 + len(one.continuation))
        return self._model(input_ids=ids).logits, rows, columns

    def _decoded(self, groups: Sequence[Sequence[_Asked]]) -> _Logits:
        """Encodes each context once, and decodes its continuations after the token of the start."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        ids, mask = self._filled([group[0].context for group in groups], left=False)
        states = self._model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        of = torch.tensor([row for row, group in enumerate(groups) for _ in group])
        asked = [one for group in groups for one in group]
        start = self._model.config.decoder_start_token_id
        written, _ = self._filled([(start, *one.continuation[:-1]) for one in asked], left=False)
        out = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[of]), attention_mask=mask[of],
            decoder_input_ids=written,
        )  # fmt: skip
        rows = [row for row, one in enumerate(asked) for _ in one.continuation]
        columns = [column for one in asked for column in range(len(one.continuation))]
        return out.logits, rows, columns

    def _can_share(self) -> bool:
        """Whether continuations that are passed side by side get what they get alone.

        An architecture may heed neither positions nor a mask of its own for each token.
        """
        import torch

        if "position_ids" not in self._takes:
            return False
        groups = [
            [_Asked(0, context, own, 0, doubled=False) for own in ((6, 7, 1), (2, 5), (3,))]
            for context in ((*range(_PREFIX), 3, 4, 5), (*range(_PREFIX), 4))
        ]
        try:
            with torch.inference_mode():
                self._shares = True
                together = self._passed(groups)
                self._shares = False
                alone = self._passed([[one] for group in groups for one in group])
        except Exception:
            return False
        return bool(np.allclose([a for a, *_ in together], [b for b, *_ in alone], atol=_APART))

    def _filled(
        self, rows: Sequence[Sequence[int]], *, left: bool, filling: int | None = None
    ) -> tuple[Any, Any]:  # fmt: skip
        """Returns tokens and mask, (rows, longest)."""
        import torch

        longest = max(map(len, rows))
        filling = self._filling if filling is None else filling
        ids = np.full((len(rows), longest), filling, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for row, tokens in enumerate(rows):
            at = slice(longest - len(tokens), None) if left else slice(0, len(tokens))
            ids[row, at], mask[row, at] = tokens, 1
        found: tuple[Any, ...] = tuple(
            torch.from_numpy(array).to(self._model.device) for array in (ids, mask)
        )
        return found[0], found[1]

    # -- text --------------------------------------------------------------------------------

    def _texts(
        self, questions: Sequence[Question], places: Sequence[int], sampling: Sampling
    ) -> dict[int, Reply]:
        room = self._limit - (0 if self._encodes else sampling.max_tokens)
        if room < 1:
            raise OutputError(
                f"max_tokens {sampling.max_tokens} leave no room for a prompt: the model takes "
                f"{self._limit} tokens"
            )
        prompts = {at: self._prompt(questions[at]) for at in places}
        tokens = self._tokens(prompts.values())
        whole = {at: tokens[prompt] for at, prompt in prompts.items()}
        drawn = sampling.temperature > 0
        # What is drawn for an item hangs on nothing but the item: it is drawn alone.
        size = 1 if drawn else self._batch
        order = sorted(places, key=lambda at: -len(whole[at]))
        found: dict[int, Reply] = {}
        for start in range(0, len(order), size):
            part = order[start : start + size]
            begun = time.perf_counter()
            if drawn:
                _seed(questions[part[0]])
            made = self._generated([whole[at][-room:] for at in part], sampling)
            seconds = (time.perf_counter() - begun) / len(part)
            for at, reply in zip(part, made, strict=True):
                cut = max(0, len(whole[at]) - room)
                found[at] = replace(
                    reply, seconds=seconds, cut=cut, doubled_start=self._doubled(whole[at]),
                    prompt_tokens=len(whole[at]) - cut,
                )  # fmt: skip
                self.came(questions[at], found[at])
        return found

    def _generated(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Reply]:
        from transformers import GenerationConfig

        left = not self._encodes
        ids, mask = self._filled([tokens or [self._filling] for tokens in prompts], left=left)
        own = getattr(self._model.generation_config, "eos_token_id", None)
        ends = own if isinstance(own, list) else [own if own is not None else self._last]
        how: dict[str, Any] = {
            "max_new_tokens": sampling.max_tokens, "do_sample": sampling.temperature > 0,
            "num_return_sequences": sampling.n, "pad_token_id": self._filling,
            "eos_token_id": [end for end in ends if end is not None] or None,
        }  # fmt: skip
        if sampling.temperature > 0:
            how |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        if sampling.stop:
            how["stop_strings"] = list(sampling.stop)
        beside = {"tokenizer": self._tokenizer} if sampling.stop else {}
        config: Any = GenerationConfig(**how)
        with quiet():
            made = self._model.generate(
                ids, attention_mask=mask, generation_config=config, **beside
            )
        # What is written begins with the token of the start, where the prompt is encoded.
        new = made[:, 1 if self._encodes else ids.shape[1] :].tolist()
        replies = []
        for row in range(len(prompts)):
            decoded = [
                self._decode(one, ends, sampling) for one in new[row * sampling.n :][: sampling.n]
            ]
            texts, finish, counts = zip(*decoded, strict=True)
            replies.append(Reply(texts=texts, finish=finish, tokens=sum(counts)))
        return replies

    def _decode(
        self, tokens: list[int], ends: Sequence[int | None], sampling: Sampling
    ) -> tuple[str, str, int]:
        """Returns what generated tokens say up to their end, why it is there, and their number."""
        stops = [at for at, token in enumerate(tokens) if token in ends]
        own = tokens[: stops[0]] if stops else tokens
        text = self._tokenizer.decode(own, skip_special_tokens=True)
        places = [text.find(stop) for stop in sampling.stop if stop in text]
        if places:
            text = text[: min(places)]
        over = bool(stops or places) or len(own) < sampling.max_tokens
        return text, "stop" if over else "length", len(own)

    # -- identity ----------------------------------------------------------------------------

    def fingerprint(self) -> Mapping[str, str] | None:
        from crucibench_adapters._torch_files import weights_digest

        return {
            "weights": weights_digest(self._model),
            "library": f"transformers {library_version('transformers', 'text')}",
            "architecture": type(self._model).__name__,
            "configuration": data_digest(self._model.config.to_json_string()),
            "tokenizer": self._files.tokenizer_digest(),
            # Either may lie in a file of its own.
            "chat_template": data_digest([getattr(self._tokenizer, "chat_template", None)]),
            "generation": data_digest(self._model.generation_config.to_json_string()),
            "asking": data_digest([prompt_digest(self.class_prompt), self._chat, self._limit]),
            **({"code": self._files.code} if self._files.code else {}),
        }

    def diagnostics(self) -> Mapping[str, Any]:
        return {
            "chat_template": self._template, "notes": list(self._files.notes),
            "preprocessing": {
                "encoding": f"tokens of {type(self._tokenizer).__name__}",
                "truncation": f"to {self._limit} tokens, on the left",
            },
        }  # fmt: skip

    def numerics(self) -> Mapping[str, str]:
        import torch

        return {
            "torch": str(torch.__version__), "device": self.device.partition(":")[0],
            "batch": str(self._batch),
        }  # fmt: skip


def _seed(question: Question) -> None:
    import torch

    key = f"{question.sampling.seed}/{question.id}/{question.prompt}"
    torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big"))


def _whole(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:12]) > 0):
        raise InputError(f"option {option}: expected a whole number from 1 up, got {text!r}")
    return int(text)
