"""From a batch in canonical form to the tensors that a served model takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation, Opening
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality, OutputError
from crucibench.util.errors import InputError
from crucibench_adapters._form import stored_form
from crucibench_adapters._oip_tensors import FLOATS, Filled, Tensor, name_shown
from crucibench_adapters._preprocessing import normalised

LAYOUTS = ("nchw", "nhwc", "nhw", "flat")


class RequestInputs(ABC):
    """How a model is fed.

    Attributes:
        spec: the canonical form that it needs.
        fixed: samples to a request, where the shape allows one number alone.
        notes: what a reader must know, one sentence each.
    """

    spec: InputSpec
    fixed: int | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def filled(self, inputs: Any) -> list[Filled]:
        """Returns the tensors of a batch's inputs, whole."""


def inputs_of(declared: Sequence[Tensor], opening: Opening, layout: str | None) -> RequestInputs:
    """Returns how a model that declares these inputs is fed with the data set's samples.

    Args:
        declared: from the metadata, or what the URI says.
        opening: tells the data, and size and normalisation of the spec.
        layout: one of `LAYOUTS`, or None to tell it by the shape.

    Raises:
        InputError: if model and data don't go together.
    """
    modality = opening.data.task.modality
    if modality is not Modality.IMAGE:
        for name, given in (
            ("layout", layout), ("input.size", opening.size),
            ("input.range, mean and std", opening.normalisation),
        ):  # fmt: skip
            if given is not None:
                raise InputError(f"{name}: it is for images, and the data holds {modality}s")
    found: RequestInputs
    if modality is Modality.IMAGE:
        found = _images(declared, opening, layout)
    elif modality is Modality.TABLE:
        found = _table(declared, opening)
    elif modality is Modality.TEXT:
        found = _texts(declared, opening)
    else:
        raise InputError(f"expected images, a table or texts, the data holds {modality}s")
    sizes = {tensor.shape[0] for tensor in declared if tensor.shape} - {-1}
    if sizes - {1}:
        wrong = next(
            tensor for tensor in declared if tensor.shape and tensor.shape[0] not in {-1, 1}
        )
        raise InputError(
            f"the model's input {wrong}: expected -1 or 1 as its first dimension, the samples of a "
            "request"
        )
    found.fixed = 1 if sizes else None
    return found


class _Images(RequestInputs):
    def __init__(
        self, tensor: Tensor, spec: InputSpec, layout: str, normalisation: Normalisation | None
    ) -> None:
        self.tensor = tensor
        self.spec = spec
        self.layout = layout
        self.normalisation = normalisation
        if tensor.datatype == "UINT8":
            self.notes = ("images are sent as whole numbers from 0 to 255, rounded",)

    def filled(self, inputs: Any) -> list[Filled]:
        images: NDArray[Any] = inputs.detach().cpu().numpy()
        if self.normalisation is not None:
            images = normalised(images, self.normalisation)
        elif self.tensor.datatype == "UINT8":
            images = images * np.float32(255)
        if self.tensor.datatype == "UINT8":
            images = images.round().clip(0, 255)
        return [(self.tensor, self._arranged(images))]

    def _arranged(self, images: NDArray[Any]) -> NDArray[Any]:
        arranged = {
            "nchw": images,
            "nhwc": images.transpose(0, 2, 3, 1),
            "nhw": images[:, 0],
            "flat": images.reshape(len(images), -1),
        }[self.layout]
        wanted = self.tensor.shape[1:]
        fits = not wanted or (
            len(wanted) == arranged.ndim - 1
            and all(side in {-1, own} for side, own in zip(wanted, arranged.shape[1:], strict=True))
        )
        if not fits:
            raise InputError(
                f"the model's input {self.tensor} does not take images of shape "
                f"{list(images.shape[1:])} as {self.layout}"
            )
        return np.ascontiguousarray(arranged)


def _images(declared: Sequence[Tensor], opening: Opening, layout: str | None) -> RequestInputs:
    tensor = _only(declared, "images")
    if tensor.datatype not in FLOATS | {"UINT8"}:
        raise InputError(
            f"the model's input {tensor}: expected FP16, BF16, FP32, FP64 or UINT8 for images"
        )
    layout = layout or _layout(tensor)
    sides = tensor.shape[1:]
    channels: int | None = None
    height = width = -1
    if layout == "nchw" and len(sides) == 3:
        channels, height, width = sides
    elif layout == "nhwc" and len(sides) == 3:
        height, width, channels = sides
    elif layout == "nhw":
        channels = 1
        if len(sides) == 2:
            height, width = sides
    channels = None if channels == -1 else channels
    if channels not in {None, 1, 3}:
        raise InputError(
            f"the model's input {tensor}: expected 1 or 3 channels as {layout}, got {channels}; "
            "?layout=nchw or nhwc says where they stand"
        )
    size = (height, width) if min(height, width) > 0 else None
    if size is not None and opening.size is not None and opening.size != size:
        raise InputError(
            f"input.size: the spec says {list(opening.size)}, the model's input {tensor} "
            f"takes {list(size)}"
        )
    spec = InputSpec(modality=Modality.IMAGE, channels=channels, size=size or opening.size)
    return _Images(tensor, spec, layout, opening.normalisation)


def _layout(tensor: Tensor) -> str:
    sides = tensor.shape[1:]
    if len(sides) == 1:
        return "flat"
    if len(sides) == 2:
        return "nhw"
    if tensor.shape and len(sides) != 3:
        raise InputError(
            f"the model's input {tensor}: expected 2, 3 or 4 dimensions for images, the samples of "
            "a request first"
        )
    return "nhwc" if sides and sides[2] in {1, 3} and sides[0] not in {1, 3} else "nchw"


class _Matrix(RequestInputs):
    """All columns of a table as one tensor, in the data's order."""

    def __init__(self, tensor: Tensor, opening: Opening) -> None:
        self.tensor = tensor
        self.spec = stored_form(opening.data)
        columns = list(opening.data.features)
        width = tensor.shape[1] if len(tensor.shape) == 2 else -1
        if len(tensor.shape) not in {0, 2} or (columns and width not in {-1, len(columns)}):
            raise InputError(
                f"the model's input {tensor} does not take the data's {len(columns)} columns: "
                f"{', '.join(columns)}"
            )
        self.notes = (
            f"the columns go into one tensor in the data's order: {', '.join(columns[:20])}",
        )

    def filled(self, inputs: Any) -> list[Filled]:
        columns = [_column(self.tensor, str(name), inputs[name]) for name in inputs.columns]
        return [(self.tensor, np.stack(columns, axis=1))]


class _Columns(RequestInputs):
    """A tensor a column, by name."""

    def __init__(self, tensors: Sequence[Tensor], opening: Opening) -> None:
        self.tensors = tuple(tensors)
        self.spec = stored_form(opening.data)
        columns = list(opening.data.features)
        missing = [tensor.name for tensor in tensors if columns and tensor.name not in columns]
        if missing:
            raise InputError(
                f"the data lacks {len(missing)} of the model's {len(tensors)} inputs: "
                f"{', '.join(map(name_shown, missing[:20]))} (the data has: {', '.join(columns)})"
            )
        wide = [tensor for tensor in tensors if tensor.shape[1:] not in {(), (1,), (-1,)}]
        if wide:
            raise InputError(f"the model's input {wide[0]} is no single column")

    def filled(self, inputs: Any) -> list[Filled]:
        return [
            (tensor, _upright(tensor, _column(tensor, tensor.name, inputs[tensor.name])))
            for tensor in self.tensors
        ]


def _table(declared: Sequence[Tensor], opening: Opening) -> RequestInputs:
    columns = list(opening.data.features)
    if len(declared) == 1 and declared[0].name not in columns:
        return _Matrix(declared[0], opening)
    return _Columns(declared, opening)


class _Texts(RequestInputs):
    """A BYTES tensor a text column."""

    def __init__(self, tensors: Sequence[Tensor], spec: InputSpec) -> None:
        self.tensors = tuple(tensors)
        self.spec = spec

    def filled(self, inputs: Any) -> list[Filled]:
        rows = [(text,) if isinstance(text, str) else text for text in inputs]
        found: list[Filled] = []
        for place, tensor in enumerate(self.tensors):
            column = np.empty(len(rows), dtype=object)
            column[:] = [row[place] for row in rows]
            found.append((tensor, _upright(tensor, column)))
        return found


def _texts(declared: Sequence[Tensor], opening: Opening) -> RequestInputs:
    spec = stored_form(opening.data)
    for tensor in declared:
        if tensor.datatype != "BYTES" or tensor.shape[1:] not in {(), (1,), (-1,)}:
            raise InputError(
                f"the model's input {tensor}: expected BYTES of shape [-1] or [-1, 1] for texts; "
                "?input=NAME chooses one of several"
            )
    if len(declared) != spec.columns:
        raise InputError(
            f"the model takes {len(declared)} texts, the data has {spec.columns} text columns; "
            "?input=NAME,NAME chooses some"
        )
    order = list(opening.data.features)
    by_name = {tensor.name: tensor for tensor in declared}
    if set(order) == set(by_name):
        declared = [by_name[name] for name in order]
    return _Texts(declared, spec)


def _only(declared: Sequence[Tensor], what: str) -> Tensor:
    if len(declared) != 1:
        raise InputError(
            f"the model has {len(declared)} inputs, and one is needed for {what}: say ?input=NAME "
            f"({', '.join(map(str, declared))})"
        )
    return declared[0]


def _upright(tensor: Tensor, column: NDArray[Any]) -> NDArray[Any]:
    return column[:, None] if len(tensor.shape) == 2 else column


def _column(tensor: Tensor, name: str, column: Any) -> NDArray[Any]:
    """Returns a column of a table as a tensor's datatype can hold it."""
    if tensor.datatype == "BYTES":
        if column.isna().any():
            raise OutputError(f"column {name!r} has missing values, which BYTES can't say")
        texts = np.empty(len(column), dtype=object)
        texts[:] = [str(value) for value in column]
        return texts
    try:
        numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"column {name!r} holds {column.dtype}, the model's input {tensor} takes numbers"
        ) from error
    if tensor.datatype in FLOATS:
        return numbers
    whole = column.to_numpy() if column.dtype.kind in "biu" else numbers
    lowest, highest = _limits(tensor.datatype)
    if not np.isfinite(numbers).all() or not (numbers == np.round(numbers)).all():
        raise OutputError(
            f"column {name!r} has values that are missing or no whole numbers, the model's input "
            f"{tensor} takes whole ones"
        )
    if len(numbers) and (whole.min() < lowest or whole.max() > highest):
        raise OutputError(
            f"column {name!r} reaches from {whole.min()} to {whole.max()}, the model's input "
            f"{tensor} takes {lowest} to {highest}"
        )
    return whole


def _limits(datatype: str) -> tuple[int, int]:
    if datatype == "BOOL":
        return 0, 1
    found = np.iinfo(np.dtype(datatype.lower()))
    return int(found.min), int(found.max)
