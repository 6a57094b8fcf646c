"""The options that data addresses share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from crucibench.contracts.source import MainData
from crucibench.contracts.task import task_name
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

SPLIT = ("split", "licence", "citation", "on_bad_sample")
LABELLED = ("classes", "task", *SPLIT)
ColumnKind = Literal["image", "string", "other"]
"""What a column holds, as far as the choice of columns depends on it."""

Sampler = Callable[[str], Sequence[str | None]]
"""Returns the first values of a column of strings."""

TABULAR = ("target", "features", "input", "groups", "cluster", "id", *LABELLED)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What an address says about its columns.

    Attributes:
        target: the target column.
        features: the columns that the model is asked about, in the order given. Without it these
            are all columns but target, id and cluster: a group column is one of them, because the
            models that users bring were trained with it more often than not.
        input: the text columns; the modality is then text, and there are no other features.
        groups: the columns by which samples are grouped; they are features too, unless `features`
            leaves them out.
        cluster: the column that names what samples are drawn together.
        id: the column by which the user names samples.
        classes: the class names in index order.
        task: overrules what the target's type suggests.
        split: the share of the samples that becomes ``test``.
        licence: of the data.
        citation: how its authors want it cited.
        on_bad_sample: whether samples that can't be used are an error or are left out.
        main: the main data set, where this is a suite's own.
    """

    target: str = ""
    features: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    cluster: str = ""
    id: str = ""
    classes: tuple[str, ...] | None = None
    task: str | None = None
    split: float | None = None
    licence: str = ""
    citation: str = ""
    on_bad_sample: Literal["error", "skip"] = "error"
    main: MainData | None = None

    @classmethod
    def parse(cls, uri: URI, *known: str, main: MainData | None = None) -> DataOptions:
        """Reads the options of `uri`; `known` are those that its scheme has.

        Raises:
            InputError: if one is unknown, or its value is.
        """
        uri.only(*known)
        query = uri.query
        if "features" in query and "input" in query:
            raise InputError(f"{uri.scheme}: options features and input exclude each other")
        return cls(
            target=query.get("target", ""),
            features=_names(uri, "features"),
            input=_names(uri, "input"),
            groups=_names(uri, "groups"),
            cluster=query.get("cluster", ""),
            id=query.get("id", ""),
            classes=_classes(uri),
            task=task_name(query["task"]) if "task" in query else None,
            split=_share(uri),
            licence=query.get("licence", ""),
            citation=query.get("citation", ""),
            on_bad_sample=_on_bad_sample(uri),
            main=main,
        )

    def beside(self, names: Sequence[str]) -> DataOptions:
        """Returns these options with what the main data set fills in, of the columns `names`."""
        main = self.main
        if main is None:
            return self
        filled = replace(
            self,
            groups=self.groups or tuple(name for name in main.groups if name in names),
            cluster=self.cluster or (main.cluster if main.cluster in names else ""),
            id=self.id or (main.id if main.id in names else ""),
        )
        if main.labels == "ignored":
            return replace(filled, target="")
        return replace(filled, target=self.target or (main.target if main.target in names else ""))

    def choice(self) -> dict[str, Any]:
        """Returns, as plain data, what decides the columns: it goes into a conversion's key."""
        return {
            "target": self.target,
            "features": list(self.features),
            "input": list(self.input),
            "groups": list(self.groups),
            "cluster": self.cluster,
            "id": self.id,
            **({} if self.main is None else {"like": self.main.as_dict()}),
        }

    def shared(self) -> dict[str, Any]:
        """Returns the fields of `RawData` that the options set whatever the source."""
        return {
            "classes": self.classes,
            "kind": self.task,
            "test_share": self.split,
            "licence": self.licence,
            "citation": self.citation,
            "on_bad_sample": self.on_bad_sample,
        }


@dataclass(frozen=True)
class InputCandidates:
    """The columns among which the inputs are.

    Attributes:
        inputs: those that may be inputs, at least one.
        kinds: what each column of the data holds.
        options: of the address.
        sample: returns the first values of a column of strings.
    """

    inputs: tuple[str, ...]
    kinds: Mapping[str, ColumnKind]
    options: DataOptions
    sample: Sampler


def require_unique(names: Sequence[str]) -> None:
    """Raises InputError if a column name is there twice."""
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                f"column {name!r} is there {count} times; rename one"
                if name
                else f"{count} columns have no name; name them"
            )


def listed(names: Sequence[str], most: int = 30) -> str:
    """Returns names for a sentence, the first `most` of them."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _names(uri: URI, option: str) -> tuple[str, ...]:
    names = uri.names(option)
    if option in uri.query and not names:
        raise InputError(f"{uri.scheme}: option {option}: expected column names, got none")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{uri.scheme}: option {option}: {name!r} is named twice")
    return names


def _classes(uri: URI) -> tuple[str, ...] | None:
    if "classes" not in uri.query:
        return None
    classes = uri.names("classes")
    if len(set(classes)) < len(classes) or len(classes) < 2:
        raise InputError(
            f"{uri.scheme}: option classes: expected at least 2 different names, "
            f"got {uri.query['classes']!r}"
        )
    return classes


def _on_bad_sample(uri: URI) -> Literal["error", "skip"]:
    match uri.query.get("on_bad_sample", "error"):
        case "error":
            return "error"
        case "skip":
            return "skip"
        case other:
            raise InputError(
                unknown(f"value of {uri.scheme}: option on_bad_sample:", other, ("error", "skip"))
            )


def _share(uri: URI) -> float | None:
    if "split" not in uri.query:
        return None
    share = parse_number(uri.query["split"])
    if not isinstance(share, float) or not 0.0 < share < 1.0:
        raise InputError(
            f"{uri.scheme}: option split: expected a number between 0 and 1, the share that "
            f"becomes test, got {uri.query['split']!r}"
        )
    return share


# The roles that the names of splits, folders and keys stand for.

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
