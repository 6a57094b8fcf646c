"""Did you mean: the nearest valid spelling of a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SPOKEN = {
    "accuracy": "top-1", "acc": "top-1", "auc": "auroc", "roc-auc": "auroc", "roc_auc": "auroc",
    "logloss": "log-loss", "cross-entropy": "log-loss", "nll": "log-loss", "pr-auc":
    "average-precision", "ap": "average-precision", "sensitivity": "recall", "tpr": "recall",
    "r2-score": "r2", "mean-absolute-error": "mae", "robustness": "adversarial", "attack":
    "adversarial", "fairness": "bias", "speed": "throughput", "latency": "throughput",
}  # fmt: skip
"""What people call a thing, and its name here."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Returns the entry of `valid` that `name` most likely meant, or None."""
    lowered = {entry.lower(): entry for entry in valid}
    name = name.lower()
    if name in lowered:
        return lowered[name]
    # Before spellings: `accurcy` looks like `balanced-accuracy` and means `top-1`. Of an address,
    # only the end has another name.
    head, slash, tail = name.rpartition("/")
    for spoken in difflib.get_close_matches(tail, _SPOKEN, n=1, cutoff=0.8):
        meant = f"{head}{slash}{_SPOKEN[spoken]}"
        if meant in lowered:
            return lowered[meant]
    matches = difflib.get_close_matches(name, lowered, n=1, cutoff=0.55)
    return lowered[matches[0]] if matches else None


def hint(name: str, valid: Iterable[str]) -> str:
    """Returns the end of a sentence: which entry of `valid` was meant, "" where none is near."""
    guess = nearest(name, valid)
    return f"; did you mean {guess!r}?" if guess else ""


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """Returns a sentence: `what` `name` is unknown, the nearest spelling, and what there is."""
    names = sorted(valid)
    known = ", ".join(names) if names else "none"
    return f"unknown {what} {name!r}{hint(name, names)} (known: {known})"
