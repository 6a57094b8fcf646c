"""The roles that the names of splits, folders and keys stand for."""

from __future__ import annotations

from collections.abc import Iterable

TEST = ("test", "validation", "valid", "val", "dev")
"""Names of the role ``test``, the best first."""


def roles_of(names: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the name that each role goes by, ``test`` first, and the names that are no role's.

    ``train`` and ``ood/...`` are themselves; ``test`` is the first there is of `TEST`.
    """
    there = list(names)
    best = next((name for name in TEST if name in there), None)
    chosen = {"test": best} if best else {}
    chosen |= {name: name for name in there if name == "train" or name.startswith("ood/")}
    return chosen, tuple(name for name in there if name not in chosen.values())


def split_note(chosen: dict[str, str], left: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Returns how the roles came about, for the card, and what a reader should know of it."""
    notes = [f"{name} is left out" for name in left]
    if chosen["test"] != "test":
        notes.append(f"test is what the data calls {chosen['test']}")
    split = f"all {chosen['test']}" if len(chosen) == 1 else f"as given: {', '.join(chosen)}"
    return split, tuple(notes)
