"""The columns of a table: which are inputs, which is the target, and of what modality a row is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crucibench.contracts.source import RawData
from crucibench.contracts.task import Modality
from crucibench.data.modalities import modalities, reader_of
from crucibench.data.options import (
    ColumnKind,
    DataOptions,
    InputCandidates,
    Sampler,
    listed,
    require_unique,
)
from crucibench.util.errors import InputError
from crucibench.util.suggest import hint


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table and what each is for.

    Attributes:
        modality: of one sample.
        inputs: what the model is asked about, in order.
        target: the target; the names of several, with commas between.
        labels: the columns that make up a target of several: one each label; else none.
        groups: the columns by which samples are grouped.
        cluster: what is drawn together, or "".
        id: the user's own name, or "".
    """

    modality: Modality
    inputs: tuple[str, ...]
    target: str
    labels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    cluster: str = ""
    id: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that hold the target."""
        return self.labels or ((self.target,) if self.target else ())

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that is needed, once."""
        rest = (*self.targets, *self.groups, self.cluster, self.id)
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
                "labels": tuple(data["labels"]),
                "groups": tuple(data["groups"]),
            }
        )


def choose_columns(
    kinds: Mapping[str, ColumnKind],
    options: DataOptions,
    sample: Sampler = lambda name: (),
    leave_out: Sequence[str] = (),
) -> Columns:
    """Decides what each column is for.

    The first modality that claims the inputs has them; see `ModalityReader.claim`.

    Args:
        kinds: what each column holds, in the order of the data.
        options: what the user says.
        sample: returns the first values of a column of strings; without it none is looked at.
        leave_out: columns that are features only where the user names them.

    Raises:
        InputError: if a column that is named does not exist, none is left as a feature, or the
            features don't go together.
    """
    names = list(kinds)
    require_unique(names)
    options = _with_main_columns(names, options)
    target = "" if options.main and not options.target else _target(names, options)
    labels = () if not target or target in names else tuple(target.split(","))
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
    for name in labels or (target,):
        if name in inputs:
            option = "input" if options.input else "features"
            raise InputError(f"option {option}: column {name!r} is the target")
    if not inputs:
        without = {target, *labels, options.cluster, options.id, *leave_out}
        inputs = tuple(name for name in names if name not in without)
    if not inputs:
        raise InputError(
            f"no column is left as a feature (columns: {listed(names)}; target: {target})"
        )
    modality, inputs = _claimed(InputCandidates(inputs, kinds, options, sample))
    return Columns(
        modality=modality, inputs=inputs, target=target, labels=labels, groups=options.groups,
        **named,
    )  # fmt: skip


def _claimed(found: InputCandidates) -> tuple[Modality, tuple[str, ...]]:
    """Returns the modality, and the inputs narrowed to what it can use."""
    readers = sorted(map(reader_of, modalities().names()), key=lambda reader: reader.rank)
    if found.options.main is not None:
        # A table with a single column of long strings is no text where the main data is a table.
        readers.insert(0, reader_of(found.options.main.modality))
    for reader in readers:
        claimed = reader.claim(found)
        if claimed is not None:
            return Modality(reader.name), claimed
    raise InputError(f"features: no modality can use the columns {listed(found.inputs)}")


def _with_main_columns(names: Sequence[str], options: DataOptions) -> DataOptions:
    """Returns the options with the columns of the main data set, where there is one."""
    main = options.main
    options = options.beside(names)
    if main is None or options.features or options.input:
        return options
    option = reader_of(main.modality).column_option
    if not option:
        return options
    for name in main.inputs:
        if name not in names:
            raise InputError(
                f"there is no column {name!r}, which is a feature of {main.name!r}"
                f"{hint(name, names)} ({_known(names)})"
            )
    return replace(options, **{option: main.inputs})  # type: ignore[arg-type]


def _target(names: Sequence[str], options: DataOptions) -> str:
    if not options.target:
        guess = next((name for name in ("target", "label", "y") if name in names), None)
        meant = f"; is it {guess!r}?" if guess else ""
        raise InputError(f"option target is missing: which column is it{meant} ({_known(names)})")
    if options.target in names or "," not in options.target:
        return _require("target", options.target, names)
    for name in options.target.split(","):
        _require("target", name, names)
    return options.target


def _require(option: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise InputError(
            f"option {option}: there is no column {name!r}{hint(name, names)} ({_known(names)})"
        )
    return name


def _known(names: Sequence[str]) -> str:
    return f"columns: {listed(names)}"
