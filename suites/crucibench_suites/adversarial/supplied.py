"""Adversarial inputs from elsewhere: checked like our own, and counted in the worst case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Norm
from crucibench.contracts.batch import Batch
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench.contracts.suite import NamedFile
from crucibench.util.errors import InputError
from crucibench.util.untrusted.arrays import NpzFile
from crucibench.util.untrusted.json_text import parse_json
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class SuppliedExamples(OneAttack):
    """Inputs of a file: whether each is in ball and box, and what the model says of it."""

    file: NamedFile

    audits: ClassVar[tuple[str, ...]] = ("supplied-examples",)

    @classmethod
    def of(
        cls,
        suite: str,
        file: NamedFile,
        norm: Norm,
        eps: tuple[float, ...],
        *,
        limit: int | None,
    ) -> SuppliedExamples:
        """Returns the scenario of one norm."""
        threat = ThreatModel(norm=norm, eps=eps)
        threat_parameters = {"norm": norm, "eps": list(threat.eps), "targeted": False}
        return cls(
            suite=suite,
            name=f"supplied-{norm}",
            file=file,
            threat=threat,
            parameters={
                "supplied": file.digest,
                "threat": threat_parameters,
                "budget": "not known",
            },
            points=threat.points,
            limit=limit,
        )

    probe = Mapped.probe  # it searches nothing that could be tested

    @property
    def attack(self) -> str:
        """Its name in records and tables."""
        return "supplied"

    def _read(self) -> Supplied:
        return read_supplied(self.file.path, self.file.digest)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right as they are and that the file has an input of."""
        keep = super().select(stage, view).keep
        return Selection(keep & self._read().known(view().samples.ids))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: the smallest eps that its input breaks."""
        import torch

        from crucibench_suites.adversarial.confirm import AttackedBatch

        examples = torch.from_numpy(self._read().of(work.batch))
        attacked = AttackedBatch(self.threat, work, context)
        every = np.arange(len(work.batch))
        near, moved = attacked.snapped(every, examples)
        # As they are, and once more, moved by less than rounding, where that decides.
        for rows, asked in ((every, examples), (np.flatnonzero(moved), near)):
            if len(rows):
                attacked.confirm(rows, asked[torch.from_numpy(rows)])
        boxed = ((examples >= 0) & (examples <= 1)).flatten(1).all(1).numpy()
        return {**self.image_columns(work, context, attacked.ledger), "in_box": boxed}


def checked(file: NamedFile, samples: int) -> NamedFile:
    """Looks into the file, where it is at hand as it was.

    Raises:
        InputError: if it can't be what was supplied for `samples` samples.
    """
    from crucibench.util.hashing import file_digest

    # A run that is only read needs no file: its records say what became of the inputs.
    if file.path.is_file() and file_digest(file.path) == file.digest:
        check_count(read_supplied(file.path, file.digest), samples)
    return replace(file, path=file.path.absolute())


_INPUTS = ("x_adv", "inputs", "examples", "images", "x")
_IDS = ("ids", "id")


@dataclass(frozen=True)
class Supplied:
    """Inputs from elsewhere.

    Attributes:
        name: of the file, for messages.
        inputs: shape (n, ...), float32, or uint8 for 256 levels.
        ids: the sample ids that they are of, shape (n,); None where they stand in data order.
    """

    name: str
    inputs: NDArray[Any]
    ids: tuple[str, ...] | None
    _where: Mapping[str, int] = field(default_factory=dict, repr=False)

    def known(self, ids: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Whether there is an input of each sample.

        Raises:
            InputError: if there is none of any.
        """
        if self.ids is None:
            return np.ones(len(ids), dtype=np.bool_)
        found = np.array([identity in self._where for identity in ids], dtype=np.bool_)
        if len(ids) and not found.any():
            raise InputError(
                f"{self.name}: none of its {len(self.ids)} ids is that of a sample; expected the "
                "ids of this data set (`id` in a run's samples), or no ids and data order"
            )
        return found

    def of(self, batch: Batch) -> NDArray[np.float32]:
        """Returns the inputs of a batch's samples, in the batch's shape."""
        if self.ids is not None:
            rows = [self._where[identity] for identity in batch.ids]
        else:
            rows = list(batch.rows)
        shape = tuple(batch.inputs.shape)
        found = self.inputs[rows]
        one = shape[1:]
        if found.shape[1:] not in {one, one[1:] if one[0] == 1 else one, (int(np.prod(one)),)}:
            raise InputError(
                f"{self.name}: expected inputs of shape {one} (channels first), got "
                f"{found.shape[1:]}"
            )
        scaled = found.astype(np.float32) / (255 if found.dtype == np.uint8 else 1)
        return np.ascontiguousarray(scaled.reshape(shape), dtype=np.float32)


@lru_cache(maxsize=1)
def read_supplied(path: Path, digest: str) -> Supplied:
    """Reads a file; the digest tells one content from another.

    ``.npz`` and ``.safetensors`` hold an array ``x_adv`` (or ``inputs``, ``examples``, ``images``,
    ``x``, or one of any name) and perhaps ``ids``, which safetensors has as JSON in its metadata;
    ``.parquet`` holds a column ``id`` and one of those names, of lists.

    Raises:
        InputError: if it is none of these, or its arrays don't fit one another.
    """
    readers = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    reader = readers.get(path.suffix)
    if reader is None:
        raise InputError(f"{path.name}: expected one of {', '.join(readers)}, got {path.suffix!r}")
    try:
        arrays = reader(path)
    except InputError:
        raise
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path.name}: can't be read: {first}") from error
    ids = next((arrays.pop(name) for name in _IDS if name in arrays), None)
    name = next((name for name in _INPUTS if name in arrays), None)
    if name is None and len(arrays) != 1:
        raise InputError(
            f"{path.name}: expected an array x_adv of inputs, got {sorted(arrays) or 'none'}"
        )
    inputs = arrays[name] if name is not None else next(iter(arrays.values()))
    if inputs.ndim < 2 or (inputs.dtype != np.uint8 and inputs.dtype.kind != "f"):
        raise InputError(
            f"{path.name}: expected inputs of shape (n, channels, height, width), of floats from 0 "
            f"to 1 or of uint8, got {inputs.dtype} of shape {inputs.shape}"
        )
    if ids is None:
        return Supplied(path.name, inputs, None)
    names = tuple(str(identity) for identity in ids)
    if len(names) != len(inputs) or len(set(names)) != len(names):
        raise InputError(
            f"{path.name}: expected one id for each of {len(inputs)} inputs, each once, got "
            f"{len(names)} ids, {len(set(names))} of them different"
        )
    return Supplied(path.name, inputs, names, {one: row for row, one in enumerate(names)})


def check_count(supplied: Supplied, count: int) -> None:
    """Refuses inputs in data order that are not as many as the samples.

    Raises:
        InputError: if they are not as many.
    """
    if supplied.ids is None and len(supplied.inputs) != count:
        raise InputError(
            f"{supplied.name}: without ids its inputs stand in data order: expected {count}, one "
            f"for each sample, got {len(supplied.inputs)}"
        )


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    found = NpzFile(path)
    return {name: found.load(name) for name in found.names}


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as found:
        arrays: dict[str, NDArray[Any]] = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118 - it is no mapping
        stored = (found.metadata() or {}).get("ids")
    return (
        arrays
        if stored is None
        else {**arrays, "ids": np.array(parse_json(stored, f"{path.name}: ids"))}
    )


def _parquet(path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    arrays: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        if name in _IDS:
            arrays[name] = np.array(table[name].to_pylist())
        elif name in _INPUTS:
            rows = table[name].to_numpy()
            if len({len(row) for row in rows}) > 1:
                raise InputError(f"{path.name}: column {name!r}: expected lists of one length")
            stacked = np.stack([np.asarray(row) for row in rows])
            arrays[name] = stacked.astype(np.float32) if stacked.dtype.kind == "f" else stacked
    return arrays
