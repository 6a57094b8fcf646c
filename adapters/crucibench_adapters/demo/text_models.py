"""The recurrent network of ``crucibench demo``: an example of a torch model that reads texts.

Its weights lie beside this file; ``examples/train_demo_texts.py`` trained them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import nn

BUCKETS = 1024
WORDS_AT_MOST = 256

_WORD = re.compile(r"\w+|[^\w\s]")


class Gru(nn.Module):
    """A gated recurrent unit over hashed words, 53,000 parameters.

    There is no vocabulary: a word's number is its hash, so that any text can be read, and two words
    share an embedding now and then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_classes = ["negative", "positive"]
        self.embedding = nn.Embedding(BUCKETS, 32, padding_idx=0)
        self.body = nn.GRU(32, 64, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(64, 2)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Returns texts as numbers of words, shape (N, L), filled up with 0 to the longest."""
        rows = [torch.tensor(numbers(text)) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 2), of numbers of words, shape (N, L)."""
        states, _ = self.body(self.embedding(words))
        # The state after the last word: what fills a text up comes later, and moves nothing.
        last = (words != 0).sum(dim=1) - 1
        rows = torch.arange(len(words), device=words.device)
        logits: torch.Tensor = self.head(self.dropout(states[rows, last]))
        return logits


def numbers(text: str) -> list[int]:
    """Returns the number of each word and mark, from 1; that of an empty text is one of its own."""
    found = _WORD.findall(text.lower())[:WORDS_AT_MOST] or [""]
    return [1 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % (BUCKETS - 1) for word in found]


def gru() -> nn.Module:
    """Makes the recurrent network."""
    return Gru()
