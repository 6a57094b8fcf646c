"""Sealed ids: they pair with one another and can't be matched to guessed content.

A sample id is a hash of its content, so a reader who guesses the content knows the id. A pack holds
a keyed hash instead (HMAC-SHA-256). The key derives from the data set's fingerprint, a digest of
all ids, targets and groups, which only the owner of the whole data set knows; the pack holds a
digest of the fingerprint, and of the key nothing. Two packs of one data set pair with each other,
and the owner of a run on it can seal its ids and so read the pack's.

What it does not hide: that two packs are of the same data, targets, predictions, scores, and, from
someone who has all of the data but one sample, that sample.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_ID = re.compile(r"([0-9a-f]{32})(-[0-9]+)?")
_DIGITS = 32
MARK = "sealed-"


class Seal:
    """The seal of one data set."""

    def __init__(self, fingerprint: str) -> None:
        """Takes the fingerprint of the data set's card."""
        self._key = hashlib.sha256(f"crucibench pack key\x1f{fingerprint}".encode()).digest()
        digest = hashlib.sha256(f"crucibench pack data\x1f{fingerprint}".encode()).hexdigest()
        self.data = f"{MARK}{digest[:_DIGITS]}"
        """What stands for the fingerprint."""

    def digest(self, text: str) -> str:
        """Returns what stands for a digest of the data, or of a part of it."""
        return f"{MARK}{self._keyed('digest', text)}"

    def identity(self, identity: str) -> str:
        """Returns what stands for a sample id.

        It has the form of an id; samples of equal content still show that they are.
        """
        match = _ID.fullmatch(identity)
        head, suffix = (match[1], match[2] or "") if match else (identity, "")
        return self._keyed("id", head) + suffix

    def identities(self, ids: Iterable[str]) -> NDArray[np.object_]:
        """Returns what stands for several ids."""
        return np.array([self.identity(identity) for identity in ids], dtype=object)

    def _keyed(self, what: str, text: str) -> str:
        return hmac.digest(self._key, f"{what}\x1f{text}".encode(), "sha256").hex()[:_DIGITS]
