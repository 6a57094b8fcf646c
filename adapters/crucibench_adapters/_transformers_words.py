"""The words of a tokenizer, and which are near in a model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

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
