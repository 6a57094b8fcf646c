"""The options that data addresses share, and the choice of columns that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from crucibench.contracts.source import Like, RawData
from crucibench.contracts.task import Modality, task_name
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import nearest, unknown

SPLIT = ("split", "licence", "citation", "on_bad_sample")
LABELLED = ("classes", "task", *SPLIT)
Kind = Literal["image", "string", "other"]
"""What a column holds, as far as the choice of columns depends on it."""

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
        groups: the columns that tell groups apart; not features where `features` leaves them out.
        cluster: the column that names what samples are drawn together.
        id: the column by which the user names samples.
        classes: the class names in index order.
        task: overrules what the target's type suggests.
        split: the share of the samples that becomes ``test``.
        licence: of the data.
        citation: how its authors want it cited.
        on_bad_sample: whether samples that can't be used are an error or are left out.
        like: the main data set, where this is a further one.
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
    like: Like | None = None

    @classmethod
    def parse(cls, uri: URI, *known: str, like: Like | None = None) -> DataOptions:
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
            task=_task(uri),
            split=_share(uri),
            licence=query.get("licence", ""),
            citation=query.get("citation", ""),
            on_bad_sample=_on_bad_sample(uri),
            like=like,
        )

    def beside(self, names: Sequence[str]) -> DataOptions:
        """Returns these options with what the main data set fills in, of the columns `names`."""
        like = self.like
        if like is None:
            return self
        filled = replace(
            self,
            groups=self.groups or tuple(name for name in like.groups if name in names),
            cluster=self.cluster or (like.cluster if like.cluster in names else ""),
            id=self.id or (like.id if like.id in names else ""),
        )
        if like.labels == "ignored":
            return replace(filled, target="")
        return replace(filled, target=self.target or (like.target if like.target in names else ""))

    def choice(self) -> dict[str, Any]:
        """Returns, as plain data, what decides the columns: it goes into a conversion's key."""
        return {
            "target": self.target,
            "features": list(self.features),
            "input": list(self.input),
            "groups": list(self.groups),
            "cluster": self.cluster,
            "id": self.id,
            **({} if self.like is None else {"like": self.like.as_dict()}),
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


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table and what each is for.

    Attributes:
        modality: of one sample.
        inputs: what the model is asked about, in order.
        target: the target.
        groups: what tells groups apart.
        cluster: what is drawn together, or "".
        id: the user's own name, or "".
    """

    modality: Modality
    inputs: tuple[str, ...]
    target: str
    groups: tuple[str, ...] = ()
    cluster: str = ""
    id: str = ""

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that is needed, once."""
        rest = (self.target, *self.groups, self.cluster, self.id)
        return tuple(dict.fromkeys(name for name in (*self.inputs, *rest) if name))

    def raw(self, roles: Mapping[str, Any], options: DataOptions, **more: Any) -> RawData:
        """Returns these columns of `roles` as a source returns them."""
        return RawData(roles=roles, **(options.shared() | self.__dict__ | more))

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as a conversion keeps it."""
        return self.__dict__ | {"modality": str(self.modality)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Columns:
        """The inverse of `as_dict`."""
        return cls(
            **{
                **data,
                "modality": Modality(data["modality"]),
                "inputs": tuple(data["inputs"]),
                "groups": tuple(data["groups"]),
            }
        )


def choose_columns(
    kinds: Mapping[str, Kind],
    options: DataOptions,
    sample: Callable[[str], Sequence[str | None]],
    leave_out: Sequence[str] = (),
) -> Columns:
    """Decides what each column is for.

    Samples are texts where `input` says so, or where the only feature that is no group is a column
    of strings that read like texts (see `reads_like_text`); they are images where a feature is.

    Args:
        kinds: what each column holds, in the order of the data.
        options: what the user says.
        sample: returns the first values of a column of strings.
        leave_out: columns that are features only where the user names them.

    Raises:
        InputError: if a column that is named does not exist, none is left as a feature, or the
            features don't go together.
    """
    names = list(kinds)
    require_unique(names)
    options = _like_main(names, options)
    target = "" if options.like and not options.target else _target(names, options)
    named = {"cluster": options.cluster, "id": options.id}
    for option, columns in (
        ("features", options.features),
        ("input", options.input),
        ("groups", options.groups),
        *((option, (name,)) for option, name in named.items() if name),
    ):
        for name in columns:
            _require(option, name, names)
    inputs = options.input or options.features
    if target in inputs:
        option = "input" if options.input else "features"
        raise InputError(f"option {option}: column {target!r} is the target")
    if not inputs:
        without = {target, options.cluster, options.id, *leave_out}
        inputs = tuple(name for name in names if name not in without)
    modality = Modality.TEXT if options.input else Modality.TABLE
    if not options.input and not (options.like and options.like.modality is Modality.TABLE):
        modality, inputs = _guess(inputs, kinds, options, sample)
    if any(kinds[name] == "image" for name in inputs):
        modality = Modality.IMAGE
    if not inputs:
        raise InputError(
            f"no column is left as a feature (columns: {_listed(names)}; target: {target})"
        )
    if modality is Modality.IMAGE and len(inputs) > 1:
        raise InputError(
            f"features: expected one image column or no image column, got {_listed(inputs)}; "
            "choose with features="
        )
    if options.input and (bad := [name for name in inputs if kinds[name] != "string"]):
        raise InputError(f"option input: expected columns of text, but {bad[0]!r} holds none")
    return Columns(modality=modality, inputs=inputs, target=target, groups=options.groups, **named)


def _like_main(names: Sequence[str], options: DataOptions) -> DataOptions:
    """Returns the options with the columns of the main data set, where there is one."""
    like = options.like
    options = options.beside(names)
    if like is None or options.features or options.input or like.modality is Modality.IMAGE:
        return options
    for name in like.inputs:
        if name not in names:
            guess = nearest(name, names)
            hint = f"; is it {guess!r}?" if guess else ""
            raise InputError(
                f"there is no column {name!r}, which is a feature of {like.name!r}{hint} "
                f"({_known(names)})"
            )
    if like.modality is Modality.TEXT:
        return replace(options, input=like.inputs)
    return replace(options, features=like.inputs)


def reads_like_text(values: Sequence[str | None]) -> bool:
    """Whether strings are texts, not categories.

    They are where most are unlike, most hold a space, and they are 16 characters long on average.
    """
    texts = [value for value in values if value]
    if not texts:
        return False
    return (
        sum(map(len, texts)) >= 16 * len(texts)
        and 2 * len(set(texts)) > len(texts)
        and 2 * sum(" " in text.strip() for text in texts) > len(texts)
    )


def require_unique(names: Sequence[str]) -> None:
    """Raises InputError if a column name is there twice."""
    for name in names:
        if (count := names.count(name)) > 1:
            raise InputError(
                f"column {name!r} is there {count} times; rename one"
                if name
                else f"{count} columns have no name; name them"
            )


def _guess(
    inputs: tuple[str, ...],
    kinds: Mapping[str, Kind],
    options: DataOptions,
    sample: Callable[[str], Sequence[str | None]],
) -> tuple[Modality, tuple[str, ...]]:
    """Returns the modality, and the inputs narrowed to what it can use."""
    images = tuple(name for name in inputs if kinds[name] == "image")
    if len(images) == 1 and not options.features:
        return Modality.IMAGE, images
    own = tuple(name for name in inputs if name not in options.groups)
    if len(own) == 1 and kinds[own[0]] == "string" and reads_like_text(sample(own[0])):
        return Modality.TEXT, own
    return Modality.TABLE, inputs


def _target(names: Sequence[str], options: DataOptions) -> str:
    if not options.target:
        guess = next((name for name in ("target", "label", "y") if name in names), None)
        hint = f"; is it {guess!r}?" if guess else ""
        raise InputError(f"option target is missing: which column is it{hint} ({_known(names)})")
    return _require("target", options.target, names)


def _require(option: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        guess = nearest(name, names)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise InputError(f"option {option}: there is no column {name!r}{hint} ({_known(names)})")
    return name


def _known(names: Sequence[str]) -> str:
    return f"columns: {_listed(names)}"


def _listed(names: Sequence[str], most: int = 30) -> str:
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
            f"{uri.scheme}: option classes: expected at least 2 unlike names, "
            f"got {uri.query['classes']!r}"
        )
    return classes


def _task(uri: URI) -> str | None:
    name = uri.query.get("task")
    return None if name is None else task_name(name)


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
