"""The networks of the board of intents; `clinc150.py` trains them beside a copy of this."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

BUCKETS = 4096
WORDS_AT_MOST = 40
_WORD = re.compile(r"\w+|[^\w\s]")


def numbers(text: str) -> list[int]:
    """Returns the hashed number of each word and mark, from 1."""
    found = _WORD.findall(text.lower())[:WORDS_AT_MOST] or [""]
    return [1 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % (BUCKETS - 1) for word in found]


class Reader(nn.Module):
    """An embedding of hashed words and a linear layer over what `summary` makes of them."""

    def __init__(self, width: int, summary: int) -> None:
        super().__init__()
        self.crucibench_classes = json.loads(Path(__file__).with_name("classes.json").read_text())
        self.embedding = nn.Embedding(BUCKETS, width, padding_idx=0)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(summary, len(self.crucibench_classes))

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Returns numbers of words, shape (N, L), filled up with 0."""
        rows = [torch.tensor(numbers(text)) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def summary(self, words: torch.Tensor) -> torch.Tensor:
        """Returns one vector a text."""
        raise NotImplementedError

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, K), of numbers of words, shape (N, L)."""
        logits: torch.Tensor = self.head(self.dropout(self.summary(words)))
        return logits


class Mean(Reader):
    """The mean embedding of the words."""

    def __init__(self) -> None:
        super().__init__(96, 96)

    def summary(self, words: torch.Tensor) -> torch.Tensor:
        """Returns the mean over the words of each text."""
        count = (words != 0).sum(dim=1, keepdim=True)
        total: torch.Tensor = self.embedding(words).sum(dim=1)
        return total / count


class Gru(Reader):
    """A gated recurrent unit, read in both directions."""

    def __init__(self) -> None:
        super().__init__(64, 128)
        self.body = nn.GRU(64, 64, batch_first=True, bidirectional=True)

    def summary(self, words: torch.Tensor) -> torch.Tensor:
        """Returns the largest state over the words, by dimension."""
        # Packed, so that the way back begins at a text's last word, not in what fills the batch up.
        lengths = (words != 0).sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(words), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.body(packed)[0], batch_first=True, padding_value=-1.0
        )
        largest: torch.Tensor = states.amax(dim=1)
        return largest


class Transformer(Reader):
    """Two layers of attention with learned places."""

    def __init__(self) -> None:
        super().__init__(64, 64)
        self.places = nn.Embedding(WORDS_AT_MOST, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def summary(self, words: torch.Tensor) -> torch.Tensor:
        """Returns the mean state over the words of each text."""
        padding = words == 0
        places = self.places(torch.arange(words.shape[1], device=words.device))
        states = self.body(self.embedding(words) + places, src_key_padding_mask=padding)
        kept: torch.Tensor = states.masked_fill(padding[..., None], 0.0)
        return kept.sum(dim=1) / (~padding).sum(dim=1, keepdim=True)


def mean() -> nn.Module:
    """Makes the mean of embeddings."""
    return Mean()


def gru() -> nn.Module:
    """Makes the recurrent network."""
    return Gru()


def transformer() -> nn.Module:
    """Makes the transformer."""
    return Transformer()
