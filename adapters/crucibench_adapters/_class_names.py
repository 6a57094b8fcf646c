"""A library's class names, brought to a data set's: WordNet ids, case, one of several names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucibench.contracts.task import Task

_TABLE = Path(__file__).with_name("_imagenet_synsets.txt")


def imagenet_synsets(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the WordNet ids of the ImageNet-1k classes, empty where `names` are not these.

    The classes are numbered in the order of their ids, which is the same in every library.
    """
    first, last = ("tench", "toilet tissue")
    if len(names) != 1000 or not (names[0].startswith(first) and names[-1].startswith(last)):
        return ()
    return tuple(_TABLE.read_text(encoding="ascii").split())


def named_for(
    task: Task, names: Sequence[str], synsets: Sequence[str] = ()
) -> tuple[list[str], str]:
    """Returns names for a model's classes under which the data's are found, and how that was done.

    Names that are the data's stand. Otherwise synset ids, if all of the data's classes are such;
    otherwise case and underscores are passed over, and a name may be one of several between
    commas ("tench, Tinca tinca"), if that finds each class of the data once. Otherwise the names
    come back as they are.

    Args:
        task: what the data asks.
        names: the model's own, in the order of its scores.
        synsets: their WordNet ids, or none.
    """
    own = list(names)
    if not set(task.classes) - set(own):
        return own, ""
    if synsets and not set(task.classes) - set(synsets):
        return list(synsets), "the data's classes are WordNet ids: so are the model's"
    places: dict[str, set[int]] = {}
    for at, name in enumerate(own):
        for alias in {name, *name.split(","), *synsets[at : at + 1]}:
            places.setdefault(_plain(alias), set()).add(at)
    found = [places.get(_plain(name), set()) for name in task.classes]
    taken = {at for of_class in found for at in of_class}
    if any(len(of_class) != 1 for of_class in found) or len(taken) < len(task.classes):
        return own, ""
    for name, of_class in zip(task.classes, found, strict=True):
        own[next(iter(of_class))] = name
    return own, "classes are matched by name, whatever the case, or by one of a class's names"


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
