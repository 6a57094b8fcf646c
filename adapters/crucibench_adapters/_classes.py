"""Matching a model's classes to a data set's: by name, of scores and of labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.task import OutputError, Task
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import hint, nearest, unknown

if TYPE_CHECKING:
    import torch

Declared = tuple[str, ...] | Mapping[str, str] | None
"""What the spec says: the model's names in the order of its scores, or its names to the data's."""

_GENERIC = re.compile(r"(?:label|class|output)?[ _-]?(\d+)", re.IGNORECASE)
_ALL = 12
_FIRST = 3


def plain_name(value: Any) -> str:
    """Returns a class label as text; 1.0 is "1"."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def shown(names: Sequence[str]) -> str:
    """Writes class names for a message: all of a few, the first of many and their number."""
    if len(names) <= _ALL:
        return ", ".join(names)
    return f"{len(names)} ({', '.join(names[:_FIRST])}, ...)"


@dataclass(frozen=True)
class ClassMap:
    """How a model's answers become answers about the data's classes.

    A model that knows more classes than the data is restricted to the data's: its logits to their
    columns, its probabilities to their columns renormalised. Where several of its classes are one
    of the data's, their probabilities add.

    Attributes:
        columns: for each class of the data, the model's columns that speak for it.
        width: how many columns the model has.
        note: what is noteworthy about how they were matched, or "".
        names: the model's own, empty where it has none.
    """

    columns: tuple[tuple[int, ...], ...]
    width: int
    note: str = ""
    names: tuple[str, ...] = ()

    @classmethod
    def by_position(cls, count: int, note: str = "") -> ClassMap:
        """Returns the map that changes nothing."""
        return cls(tuple((at,) for at in range(count)), count, note)

    @classmethod
    def match(
        cls,
        names: Sequence[Any] | None,
        task: Task,
        what: str,
        *,
        declared: Declared = None,
        width: int | None = None,
    ) -> ClassMap:
        """Matches a model's classes to those of `task`.

        Args:
            names: the model's own, in the order of its scores, or None where it names none.
            task: what the data asks.
            what: how messages call the model.
            declared: what the spec says: a tuple goes before `names`; of a mapping, names that it
                leaves out stand for themselves.
            width: how many scores the model gives, or None where that is not known yet.

        Raises:
            InputError: if a class of the data is not among the model's, showing both, or nameless
                classes are not as many as the data's.
        """
        own = None if names is None else tuple(plain_name(entry) for entry in names)
        mapping = declared if isinstance(declared, Mapping) else {}
        if isinstance(declared, tuple):
            own = declared
        if own is None and mapping:
            own = _numbered(width, what)
        if own is not None and width not in {None, len(own)}:
            raise InputError(
                f"{what}: classes: expected one name for each of its {width} scores, "
                f"got {shown(own)}"
            )
        generic = own is None or (declared is None and _is_generic(own))
        if own is None or (generic and set(own) != set(task.classes)):
            return cls._nameless(own, task, what, width)
        strange = [key for key in mapping if key not in own]
        if strange:
            raise InputError(f"{what}: classes: it has no class {_closest(strange[0], own)}")
        return cls._named(own, mapping, task, what)

    @classmethod
    def _nameless(
        cls, own: tuple[str, ...] | None, task: Task, what: str, width: int | None
    ) -> ClassMap:
        count = len(own) if own is not None else width
        if count not in {None, len(task.classes)}:
            named = f" ({shown(own)})" if own is not None else ""
            raise InputError(
                f"{what}: it has {count} classes without names of their own{named}, the data has "
                f"{len(task.classes)} ({shown(task.classes)}): name the model's with classes"
            )
        note = "classes are matched by position: the model does not name them"
        if own is not None:
            note = f"classes are matched by index: {own[0]} is {task.classes[0]!r}, and so on"
        return cls.by_position(len(task.classes), note)

    @classmethod
    def _named(
        cls, own: tuple[str, ...], mapping: Mapping[str, str], task: Task, what: str
    ) -> ClassMap:
        places: dict[str, list[int]] = {}
        for column, name in enumerate(own):
            places.setdefault(mapping.get(name, name), []).append(column)
        missing = [name for name in task.classes if name not in places]
        if missing:
            raise InputError(_unmatched(own, mapping, task, what, missing))
        columns = tuple(tuple(places[name]) for name in task.classes)
        if not task.one_class and len(own) > len(columns):
            # The rest of one class's probability is the others'; of a label it is nobody's.
            raise InputError(
                f"{what}: expected one score for each label of the data ({shown(task.classes)}), "
                f"got {shown(own)}"
            )
        for of_class in columns:
            if len({own[column] for column in of_class}) < len(of_class):
                raise InputError(
                    f"{what}: {len(of_class)} of its classes are called {own[of_class[0]]!r}: "
                    "give each a name of its own with classes"
                )
        return cls(columns, len(own), _note(own, mapping, task, columns), own)

    @cached_property
    def identity(self) -> bool:
        """Whether nothing changes."""
        return self.columns == tuple((at,) for at in range(self.width))

    @cached_property
    def merging(self) -> bool:
        """Whether several of the model's classes are one of the data's."""
        return any(len(of_class) > 1 for of_class in self.columns)

    @cached_property
    def narrowing(self) -> bool:
        """Whether the model knows classes that the data has not."""
        return sum(map(len, self.columns)) < self.width

    def fingerprint(self) -> dict[str, str]:
        """Returns the map's part of a model's fingerprint: none where it changes nothing."""
        return {} if self.identity else {"classes": self.digest()}

    def diagnostics(self) -> dict[str, str]:
        """Returns how the classes were matched, for `Adapter.diagnostics`."""
        return {"classes": self.note or "matched by name"} if self.columns else {}

    def digest(self) -> str:
        """Returns a digest of which column speaks for which class."""
        return data_digest([self.width, *(list(of_class) for of_class in self.columns)])

    def apply_scores(self, scores: NDArray[Any], kind: ScoreKind) -> NDArray[Any]:
        """Returns scores, (N, K), of the data's classes from the model's, (N, `width`).

        Raises:
            OutputError: if there are not `width` columns, or a row of probabilities has none left
                for the data's classes.
        """
        if self.identity:
            return scores  # its shape is checked by `Adapter.predict`
        self._check(scores.shape)
        if not self.merging:
            found = scores[:, [of_class[0] for of_class in self.columns]]
        else:
            join = np.logaddexp.reduce if kind == "logits" else np.add.reduce
            parts = [join(scores[:, list(of_class)], axis=1) for of_class in self.columns]
            found = np.stack(parts, axis=1)
        if kind == "logits" or not self.narrowing:
            return found
        total = found.sum(axis=1, keepdims=True)
        empty = int((total <= 0).sum())
        if empty:
            raise OutputError(
                f"scores: {empty} of {len(scores)} rows give no probability to any of the data's "
                f"{len(self.columns)} classes, of the model's {self.width}"
            )
        return np.asarray(found / total)

    def apply_tensor(self, scores: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
        """Does to a tensor what `apply_scores` does, differentiably.

        A row that has no probability left becomes NaN: to look would make a device wait.

        Raises:
            OutputError: if there are not `width` columns.
        """
        import torch

        if self.identity:
            return scores
        self._check(tuple(scores.shape))
        if not self.merging:
            found = scores[:, [of_class[0] for of_class in self.columns]]
        else:
            parts = [scores[:, list(of_class)] for of_class in self.columns]
            joined = [
                part.logsumexp(dim=1) if kind == "logits" else part.sum(dim=1) for part in parts
            ]
            found = torch.stack(joined, dim=1)
        if kind == "logits" or not self.narrowing:
            return found
        return found / found.sum(dim=1, keepdim=True)

    def apply_labels(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Returns class indices of the data from the model's.

        Raises:
            OutputError: if the model answered a class that the data has not: without scores there
                is no saying which of the data's classes it would have chosen.
        """
        places = np.full(self.width, -1, dtype=np.int64)
        for index, of_class in enumerate(self.columns):
            places[list(of_class)] = index
        labels = np.asarray(labels, dtype=np.int64)
        outside = (labels < 0) | (labels >= self.width)
        if outside.any():
            raise OutputError(
                f"labels: expected class indices 0 to {self.width - 1}, got {labels[outside][0]}"
            )
        found = places[labels]
        strange = labels[found < 0]
        if len(strange):
            name = self.names[strange[0]] if self.names else str(strange[0])
            raise OutputError(
                f"labels: {len(strange)} of {len(labels)} are classes that the data has not, "
                f"e.g. {name!r}"
            )
        return np.asarray(found)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1] != self.width:
            raise OutputError(f"scores: expected shape (N, {self.width}), got {shape}")


def _numbered(width: int | None, what: str) -> tuple[str, ...]:
    if width is None:
        raise InputError(
            f"{what}: classes: the model does not name its classes, so they can't be mapped by "
            "name: list them in the order of its scores"
        )
    return tuple(str(at) for at in range(width))


def _is_generic(names: tuple[str, ...]) -> bool:
    """Whether names say no more than a position: 0, 1, ..., LABEL_0, class_0, False and True."""
    if names == ("False", "True"):
        return True
    found = [_GENERIC.fullmatch(name) for name in names]
    return all(match and match[1] == str(at) for at, match in enumerate(found))


def _closest(name: str, names: Sequence[str]) -> str:
    return f"{name!r}{hint(name, names)} (has: {shown(names)})"


def _unmatched(
    own: tuple[str, ...], mapping: Mapping[str, str], task: Task, what: str, missing: list[str]
) -> str:
    message = (
        f"{what}: its classes are not the data's: the model has {shown(own)}; "
        f"the data has {shown(task.classes)}"
    )
    if mapping:
        message += " (after the mapping of classes)"
    if len(missing) < len(task.classes) or len(missing) > _ALL:
        guess = nearest(missing[0], own)
        message += f"; the model lacks {shown(missing)}"
        message += f"; is {missing[0]!r} the model's {guess!r}? Map it with classes" * bool(guess)
    return message


def _note(
    own: tuple[str, ...],
    mapping: Mapping[str, str],
    task: Task,
    columns: tuple[tuple[int, ...], ...],
) -> str:
    notes: list[str] = []
    used = sum(map(len, columns))
    if used < len(own):
        kept = f"{used} of the model's {len(own)} classes"
        notes.append(f"{kept} speak for the data's {len(columns)}")
    elif used > len(columns):
        notes.append(f"the model's {used} classes are joined to the data's {len(columns)}")
    lost = [name for name in mapping.values() if name not in task.classes]
    if lost:
        notes.append(f"mapped to what the data has not: {shown(list(dict.fromkeys(lost)))}")
    return "; ".join(notes)


class LabelMap:
    """Reads labels of a model that gives nothing else, or names its classes in its answers.

    Names are the model's, which the spec's ``classes`` may map to the data's. Whole numbers are
    names where `numbers_are_names` or the spec maps numbers; otherwise positions: in the list of
    the model's names where there is one, else in the data's.
    """

    def __init__(
        self,
        task: Task,
        what: str,
        *,
        names: Sequence[Any] | None = None,
        declared: Declared = None,
        numbers_are_names: bool = False,
    ) -> None:
        self.task = task
        self.what = what
        self.classes: ClassMap | None = None
        self.places = {name: index for index, name in enumerate(task.classes)}
        self.by_number = not numbers_are_names
        if isinstance(declared, tuple) or names is not None:
            self.classes = ClassMap.match(names, task, what, declared=declared)
            own = self.classes.names or tuple(plain_name(entry) for entry in names or ())
            if own:
                self.places = {}
                for index, columns in enumerate(self.classes.columns):
                    self.places |= {own[at]: index for at in columns}
        elif isinstance(declared, Mapping):
            known = dict(self.places)
            for name, of_data in declared.items():
                self.places.pop(name, None)
                if of_data in known:
                    self.places[name] = known[of_data]
            self.by_number = self.by_number and not any(name.isdigit() for name in declared)

    def fingerprint(self) -> dict[str, str]:
        """Returns the map's part of a model's fingerprint: none where names are the data's own."""
        if self.classes is not None:
            return self.classes.fingerprint()
        if self.places == {name: index for index, name in enumerate(self.task.classes)}:
            return {}
        return {"classes": data_digest(dict(self.places))}

    def indices(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the data's class indices, shape (N,).

        Raises:
            OutputError: if a label is no class of the data's.
        """
        if np.issubdtype(labels.dtype, np.integer) and self.by_number:
            positions = labels.astype(np.int64)
            return positions if self.classes is None else self.classes.apply_labels(positions)
        names = [plain_name(entry) for entry in labels.tolist()]
        strange = sorted({name for name in names if name not in self.places})
        if strange:
            raise OutputError(f"{self.what}: " + unknown("class", strange[0], self.places))
        return np.array([self.places[name] for name in names], dtype=np.int64)


_SYNSETS = Path(__file__).with_name("_imagenet_synsets.txt")


def imagenet_synsets(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the WordNet ids of the ImageNet-1k classes, empty where `names` are not these.

    The classes are numbered in the order of their ids, which is the same in every library.
    """
    first, last = ("tench", "toilet tissue")
    if len(names) != 1000 or not (names[0].startswith(first) and names[-1].startswith(last)):
        return ()
    return tuple(_SYNSETS.read_text(encoding="ascii").split())


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
            places.setdefault(_folded(alias), set()).add(at)
    found = [places.get(_folded(name), set()) for name in task.classes]
    taken = {at for of_class in found for at in of_class}
    if any(len(of_class) != 1 for of_class in found) or len(taken) < len(task.classes):
        return own, ""
    for name, of_class in zip(task.classes, found, strict=True):
        own[next(iter(of_class))] = name
    return own, "classes are matched by name, whatever the case, or by one of a class's names"


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
