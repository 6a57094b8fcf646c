"""What an image processor of `transformers` does, split into geometry and normalisation."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crucibench.contracts.adapter import Opening
from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line
from crucibench_adapters._quiet import quiet
from crucibench_adapters._torch_zoo import stretching

_RESIZES = ("nearest", "bilinear", "bicubic")
_WARPED_FROM = 384
_SLACK = 2.0


class ImageClassifier(nn.Module):
    """An image classifier of `transformers`, asked with pixels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns the model's logits, (N, K)."""
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits


def image_inputs(
    processor: Any, channels: int, opening: Opening, what: str
) -> tuple[dict[str, Any], list[str]]:
    """Returns what a processor does to an image, as a module declares it, and notes.

    What its settings say is tried out: the processor itself is given made-up images of two
    proportions, whose answer follows from the settings without resizing.

    Raises:
        InputError: if the harness can't do what it does.
    """
    declared = _normalisation(processor) | {"channels": channels}
    inner, size, whole = _geometry(processor, what)
    notes: list[str] = []
    if size is not None and inner is not None:
        declared |= {
            "size": list(size),
            "crop": size[0] / inner[0],
            "resize": _resize(processor, what),
        }
        if whole:
            fit, notes = stretching(opening, inner)
            declared |= fit
            if fit and round(size[1] / declared["crop"]) != inner[1]:
                raise _other(what, f"crops {inner[0]} x {inner[1]} to {size[0]} x {size[1]}")
    _try_out(processor, declared, inner, what, whole=whole)
    return declared, notes


def _geometry(
    processor: Any, what: str
) -> tuple[tuple[int, int] | None, tuple[int, int] | None, bool]:
    """Returns the size before cropping and after it, and whether images are stretched to it."""
    cropped = _sides(processor, "crop_size") if _does(processor, "do_center_crop") else None
    if _does(processor, "do_pad"):
        raise _other(what, "pads images")
    if not _does(processor, "do_resize"):
        if cropped is not None:
            raise _other(what, "crops images without resizing them")
        return None, None, False
    exact, shortest = _sides(processor, "size"), _side(processor, "size", "shortest_edge")
    share = getattr(processor, "crop_pct", None)
    if exact is not None:
        return exact, cropped or exact, True
    if shortest is None or _side(processor, "size", "longest_edge") is not None:
        raise _other(what, f"resizes to {getattr(processor, 'size', None)}")
    square = (shortest, shortest)
    if share is not None:  # ConvNeXt's: small images are cropped, larger ones are stretched
        if shortest >= _WARPED_FROM:
            return square, square, True
        return (int(shortest / share),) * 2, square, False
    if cropped is None:
        raise _other(what, "keeps the proportions of images and crops none")
    if cropped[0] != cropped[1]:
        raise _other(what, f"crops to {cropped[0]} x {cropped[1]} after resizing the shorter side")
    return square, cropped, False


def _normalisation(processor: Any) -> dict[str, Any]:
    """Returns range, mean and std: (x * 255 * rescale_factor - mean) / std."""
    full = 255.0 * float(processor.rescale_factor) if _does(processor, "do_rescale") else 255.0
    declared: dict[str, Any] = {"range": [0.0, full], "mean": [0.0], "std": [1.0]}
    if abs(full - 1.0) < 1e-6:
        declared["range"] = [0.0, 1.0]
    if _does(processor, "do_normalize"):
        for key in ("mean", "std"):
            stated = getattr(processor, f"image_{key}")
            declared[key] = [float(part) for part in np.atleast_1d(stated)]
    return declared


def _resize(processor: Any, what: str) -> str:
    from PIL import Image

    resample = getattr(processor, "resample", None)
    kind = Image.Resampling.BILINEAR if resample is None else Image.Resampling(int(resample))
    if kind.name.lower() not in _RESIZES:
        raise _other(what, f"resizes by {kind.name}")
    return kind.name.lower()


def _try_out(
    processor: Any, declared: Mapping[str, Any], inner: Any, what: str, *, whole: bool
) -> None:
    """Raises InputError if the processor does not do to images what `declared` says.

    Images are given whose answer follows without resizing: of the size before cropping, and twice
    as wide and twice as high, which are slopes as even as they were where they are stretched.
    """
    height, width = inner or (32, 32)
    shapes = [(height, width)]
    if inner is not None:
        shapes += [(height, 2 * width), (2 * height, width)]
    for given in shapes:
        rows, columns = (height, width) if whole else given
        channels = int(declared["channels"])
        expected = torch.from_numpy(_ramps(rows, columns, channels).astype(np.float32) / 255.0)
        if inner is not None:
            size = declared["size"]
            top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
            expected = expected[top : top + size[0], left : left + size[1]]
        found = _processed(processor, _ramps(*given, channels), what)
        scale = declared["range"][1] - declared["range"][0]
        mean, std = (torch.tensor(declared[key]) for key in ("mean", "std"))
        # A crop may lie one pixel aside, where halves are rounded in another way.
        slack = (_SLACK * 255 / min(rows, columns) + 1) / 255
        back = (found.permute(1, 2, 0) * std + mean) / scale
        if back.shape != expected.shape or float((back - expected).abs().max()) > slack:
            raise _other(what, "does more than resizing, cropping, rescaling and normalising")


def _processed(processor: Any, pixels: NDArray[np.uint8], what: str) -> torch.Tensor:
    from PIL import Image

    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    try:
        with quiet():
            found = processor(images=image, return_tensors="pt")["pixel_values"][0]
    except Exception as error:
        raise InputError(
            f"{what}: its image processor raised {one_line(error)} on an image of "
            f"{pixels.shape[0]} x {pixels.shape[1]} and {pixels.shape[2]} channels"
        ) from error
    tensor: torch.Tensor = torch.as_tensor(found).float()
    return tensor


def _ramps(rows: int, columns: int, channels: int) -> NDArray[np.uint8]:
    """Returns an image whose channels differ, and whose every place shows where it was."""
    down = np.linspace(0, 255, rows)[:, None] * np.ones(columns)
    across = np.ones(rows)[:, None] * np.linspace(0, 255, columns)
    planes = [(down + across) / 2] if channels == 1 else [down, across, 255 - across]
    return np.stack(planes, axis=2).round().astype(np.uint8)


def _does(processor: Any, name: str) -> bool:
    return bool(getattr(processor, name, False))


def _sides(processor: Any, name: str) -> tuple[int, int] | None:
    height, width = _side(processor, name, "height"), _side(processor, name, "width")
    return None if height is None or width is None else (height, width)


def _side(processor: Any, name: str, key: str) -> int | None:
    size = getattr(processor, name, None)
    found = size.get(key) if isinstance(size, Mapping) else getattr(size, key, None)
    return None if found is None else int(found)


def _other(what: str, does: str) -> InputError:
    return InputError(
        f"{what}: its image processor {does}: expected resizing with an optional central crop, "
        "rescaling and normalising"
    )


# Texts as tokens and as embeddings, for a sequence classifier of `transformers`; near words.

_UNLIMITED = 1_000_000
_PROBES = ["a", "some words, and then more words than the others have", "1 2 3", "?"]
_NOISE = 1e-3


@dataclass
class Tokens:
    """A tokenizer, how it is used, and what it met. Copies of a model share it.

    Attributes:
        tokenizer: of `transformers`.
        limit: how many tokens a text is cut to, None for no limit.
        pad: the id of the token that fills up a batch.
        names: the inputs that the tokenizer makes and the model takes.
        asked: texts so far.
        cut: texts that were longer than the limit.
        empty: texts without a token, which were given one (the first of the tokenizer's special
            tokens that does not fill up).
    """

    tokenizer: Any
    limit: int | None
    pad: int
    names: tuple[str, ...]
    asked: int = 0
    cut: int = 0
    empty: int = 0

    def __deepcopy__(self, memo: object) -> Tokens:
        return self

    def of(self, texts: Sequence[Any]) -> torch.Tensor:
        """Returns (N, L, 3): ids, attention mask and segments, filled up to the longest."""
        pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
        columns = [[_encodable(part) for part in column] for column in zip(*pairs, strict=True)]
        found = self.tokenizer(
            *columns,
            padding=True,
            truncation=self.limit is not None,
            max_length=self.limit,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = found["input_ids"].long(), found["attention_mask"].long()
        segments = found.get("token_type_ids")
        segments = torch.zeros_like(ids) if segments is None else segments.long()
        stacked = torch.stack([ids, mask, segments], dim=2)
        self.asked += len(texts)
        self.cut += self._cut(found.encodings, mask)
        return self._filled(stacked)

    def _cut(self, encodings: Any, mask: torch.Tensor) -> int:
        if self.limit is None:
            return 0
        if encodings is None:  # a tokenizer in Python does not tell: texts that reach the limit
            return int((mask.sum(dim=1) >= self.limit).sum())
        return sum(bool(encoding.overflowing) for encoding in encodings)

    def _filled(self, stacked: torch.Tensor) -> torch.Tensor:
        """Gives texts without a token one to attend to: a decoder's answer is that at a token."""
        if stacked.shape[1] == 0:
            stacked = torch.tensor([self.pad, 0, 0]).expand(len(stacked), 1, 3).clone()
        bare = stacked[:, :, 1].sum(dim=1) == 0
        self.empty += int(bare.sum())
        at = -1 if self.tokenizer.padding_side == "left" else 0
        stacked[bare, at, 0] = self._stand_in()
        stacked[bare, at, 1] = 1
        return stacked

    def _stand_in(self) -> int:
        kinds = ("bos_token_id", "cls_token_id", "eos_token_id", "unk_token_id")
        known = [getattr(self.tokenizer, kind, None) for kind in kinds]
        found = [at for at in known if at is not None and at != self.pad]
        return found[0] if found else _other_than(self.pad)


class TextClassifier(nn.Module):
    """A sequence classifier, asked with tokens or with embeddings.

    Tokens are int64, (N, L, 3): id, attention mask, segment. Embeddings are floating,
    (N, L, E + 1): what the model's embedding layer makes of a token, and one last number that
    carries what is no embedding: mask + 2 * (the token fills up) + 4 * segment. It is rounded, so
    that its gradient is zero. The layer's output is replaced within the model, which therefore
    sees positions, segments and the end of a text as it does with tokens.

    Attributes:
        embeds: whether `encode` gives embeddings; False for a model that answers them otherwise.
        positions: whether the model is told the positions, which it would count wrongly where
            texts are filled up on the left.
    """

    def __init__(self, model: nn.Module, tokens: Tokens) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens
        self.embeds = False
        self.positions = False
        takes = tuple(inspect.signature(model.forward).parameters)
        # A forward of the files' own code may hand on whatever it is given.
        self._takes = takes if "input_ids" in takes else (*takes, *tokens.names)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the model's logits, (N, K)."""
        if not inputs.is_floating_point():
            ids, mask, segments = inputs.unbind(dim=2)
            return self._logits(ids, mask, segments)
        code = inputs[..., -1].detach().round().long().clamp_min(0)
        mask, fills, segments = code & 1, (code >> 1) & 1, code >> 2
        pad = self.tokens.pad
        # Models look at ids to see which tokens fill up; any other id stands for the rest.
        ids = torch.where(fills > 0, pad, _other_than(pad))
        with self._replaced(inputs[..., :-1]):
            return self._logits(ids, mask, segments)

    def encode(self, texts: Sequence[Any]) -> torch.Tensor:
        """Returns texts as embeddings, or as tokens where `embeds` is False."""
        tokens = self.tokens.of(texts).to(self._device())
        return self.embedded(tokens) if self.embeds else tokens

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Returns tokens, (N, L, 3), as embeddings, (N, L, E + 1)."""
        ids, mask, segments = tokens.unbind(dim=2)
        embeddings: torch.Tensor = self._layer()(ids)
        code = mask + 2 * (ids == self.tokens.pad) + 4 * segments
        return torch.cat([embeddings, code.unsqueeze(2).to(embeddings.dtype)], dim=2)

    def vocabulary(self) -> torch.Tensor:
        """Returns the embedding of each token by its id, (V, E)."""
        layer = self._layer()
        count = len(layer.weight)  # type: ignore[arg-type]
        with torch.no_grad():
            found: torch.Tensor = layer(torch.arange(count, device=self._device()))
        return found

    def probe(self) -> list[str]:
        """Finds out how the model is best asked; returns notes."""
        notes: list[str] = []
        with torch.no_grad():
            tokens = self.tokens.of(_PROBES).to(self._device())
            if not self._companionable(tokens):
                self.positions = "position_ids" in self._takes
                if not self.positions or not self._companionable(tokens):
                    self.positions = False
                    notes.append("its answers depend on which texts share a batch")
            self.embeds = self._answers_embeddings(tokens)
        if not self.embeds:
            notes.append("it can't be asked with embeddings: no gradients")
        self.tokens.asked -= len(_PROBES)
        return notes

    def _companionable(self, tokens: torch.Tensor) -> bool:
        """Whether a text is answered alike alone and in company."""
        alone = []
        for row in tokens:
            kept = row[row[:, 1] > 0]
            alone.append(self(kept.unsqueeze(0)))
        return _alike(self(tokens), torch.cat(alone))

    def _answers_embeddings(self, tokens: torch.Tensor) -> bool:
        try:
            return _alike(self(self.embedded(tokens)), self(tokens))
        except Exception:
            return False  # a model without one layer of embeddings

    def _logits(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> torch.Tensor:
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
        asked = {name: given[name] for name in self.tokens.names if name in self._takes}
        if self.positions:
            asked["position_ids"] = (mask.cumsum(dim=1) - 1).clamp_min(0)
        logits: torch.Tensor = self.model(**asked).logits
        return logits

    @contextlib.contextmanager
    def _replaced(self, embeddings: torch.Tensor) -> Iterator[None]:
        """Makes the embedding layer answer `embeddings`.

        The hook lives for one call: a copy of the model would keep the original's.
        """
        hook = self._layer().register_forward_hook(lambda *_: embeddings)
        try:
            yield
        finally:
            hook.remove()

    def _layer(self) -> nn.Module:
        layer: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]
        return layer

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def tokens_for(
    model: Any, tokenizer: Any, asked: str | None, what: str
) -> tuple[Tokens, list[str]]:
    """Returns how texts become a model's tokens, and notes.

    Args:
        model: of `transformers`.
        tokenizer: that belongs to it.
        asked: option ``max_length``.
        what: how messages call the model.

    Raises:
        InputError: if there is no token to fill up with, or `asked` is no fitting number.
    """
    notes: list[str] = []
    config = model.config
    pad = config.pad_token_id if config.pad_token_id is not None else tokenizer.pad_token_id
    if pad is None:
        pad = tokenizer.eos_token_id
        if pad is None:
            raise InputError(f"{what}: neither tokenizer nor config names a padding token")
        notes.append(f"texts are filled up with {tokenizer.eos_token!r}: no padding token is named")
    if tokenizer.pad_token_id != pad:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    config.pad_token_id = pad
    limit = _limit(model, tokenizer)
    if asked is not None:
        if not (asked.isascii() and asked.isdigit() and 1 <= int(asked) <= (limit or _UNLIMITED)):
            most = f"1 to {limit}" if limit else "1 or more"
            raise InputError(f"{what}: option max_length: expected {most}, got {asked!r}")
        limit = int(asked)
    return Tokens(tokenizer, limit, pad, tuple(tokenizer.model_input_names)), notes


def _limit(model: Any, tokenizer: Any) -> int | None:
    """Returns how many tokens the model takes: what the tokenizer says, and its positions."""
    limits = [int(min(tokenizer.model_max_length, _UNLIMITED))]
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # Where positions count from the padding token's id, as in RoBERTa, so many are lost.
        own = [getattr(part, "padding_idx", None) for name, part in model.named_modules()
               if name.endswith("position_embeddings")]  # fmt: skip
        lost = [at + 1 for at in own if at is not None]
        limits.append(positions - max(lost, default=0))
    limit = min(limits)
    return None if limit >= _UNLIMITED else limit


def _other_than(pad: int) -> int:
    return 0 if pad else 1


def _encodable(text: str) -> str:
    """Returns `text`, or half of a surrogate pair in it as the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a.float(), b.float(), rtol=_NOISE, atol=_NOISE))


Near = list[tuple[str, float]]
"""Words with their cosines, nearest first."""

_SHORTEST = 2


class Words:
    """The whole words that a model has an embedding of.

    A word is a token of letters alone that a tokenizer gives back where it stands by itself, or
    after a space: pieces of words are none.
    """

    def __init__(self, tokenizer: Any, vectors: torch.Tensor) -> None:
        """Finds the words of a vocabulary.

        Args:
            tokenizer: of `transformers`.
            vectors: the embedding of each token by its id, shape (V, E).
        """
        self._tokenizer = tokenizer
        self._table = nn.functional.normalize(vectors.detach().float().cpu(), dim=1)
        self._vectors = vectors.detach().float().cpu()
        special = set(tokenizer.all_special_ids)
        count = min(len(tokenizer), len(vectors))
        texts = [
            "" if token in special else tokenizer.decode([token]).strip() for token in range(count)
        ]
        kept = [
            token for token, text in enumerate(texts) if text.isalpha() and len(text) >= _SHORTEST
        ]
        found: dict[str, int] = {}
        # As a word within a sentence first: tokenizers that keep spaces have another token for it.
        for spaced in (" ", ""):
            asked = [f"{spaced}{texts[token]}" for token in kept]
            for token, ids in zip(kept, self._ids(asked), strict=True):
                if ids == [token]:
                    found.setdefault(texts[token], token)
        self._words = list(found)
        self._rows = self._table[list(found.values())]

    def near(self, words: Sequence[str], count: int) -> list[Near]:
        """Returns for each word up to `count` others, by the cosine of embeddings.

        A word of several tokens is where the mean of these is; one that the tokenizer doesn't know
        has no neighbours.
        """
        unknown = self._tokenizer.unk_token_id
        found: list[Near] = []
        for word, ids in zip(words, self._ids([f" {word}" for word in words]), strict=True):
            if not ids or unknown in ids or not self._words:
                found.append([])
                continue
            place = nn.functional.normalize(self._vectors[ids].mean(dim=0), dim=0)
            cosines = self._rows @ place
            best = torch.sort(cosines, descending=True, stable=True).indices[: count + 2].tolist()
            others = [
                (self._words[at], float(cosines[at]))
                for at in best
                if self._words[at].casefold() != word.casefold()
            ]
            found.append(others[:count])
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encodable = [text.encode("utf-8", "replace").decode() for text in texts]
        found: list[list[int]] = self._tokenizer(encodable, add_special_tokens=False)["input_ids"]
        return found
