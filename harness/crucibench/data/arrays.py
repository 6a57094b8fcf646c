"""Arrays of samples as Arrow columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.source import RawData
from crucibench.contracts.task import Modality
from crucibench.data.columnar import Conversion, rows_at_once, storable
from crucibench.data.columns import Columns
from crucibench.data.images import require_unit_range
from crucibench.data.options import DataOptions, require_unique
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

LAYOUTS = ("nchw", "nhwc", "nhw")
IMAGE = "image"
TARGET = "target"

Layout = Literal["nchw", "nhwc", "nhw"]


@dataclass(frozen=True, kw_only=True)
class ArrayForm:
    """How the samples of an array lie in columns.

    Attributes:
        modality: of one sample.
        columns: the columns' names.
        kind: the Arrow type of each.
        image_shape: (C, H, W) of images.
        layout: of images, in the array.
    """

    modality: Modality
    columns: tuple[str, ...]
    kind: Any
    image_shape: tuple[int, int, int] | None = None
    layout: Layout = "nchw"

    def encode(self, values: NDArray[Any], what: str) -> list[Any]:
        """Returns some samples as one Arrow array per column.

        Raises:
            InputError: if pixels are out of range.
        """
        if self.image_shape is None:
            matrix = values.reshape(len(values), len(self.columns))
            columns = [np.ascontiguousarray(matrix[:, number]) for number in range(matrix.shape[1])]
            return [pa.array(column, self.kind, from_pandas=True) for column in columns]
        if self.layout == "nhwc":
            values = np.moveaxis(values, -1, 1)
        pixels = np.ascontiguousarray(_pixels(values, what)).reshape(-1)
        return [pa.FixedSizeListArray.from_arrays(pa.array(pixels), type=self.kind)]


def array_form(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    what: str,
    *,
    layout: str = "",
    names: Sequence[str] = (),
) -> ArrayForm:
    """Decides what an array of samples holds.

    One dimension of strings is text; two dimensions, or one of numbers, are a table; three are grey
    images (N, H, W); four are images, (N, C, H, W) or (N, H, W, C) according to which dimension is
    1 or 3 long. Pixels are uint8, or floats in [0, 1], which become float32; booleans are 0 and 1.

    Args:
        shape: of the array.
        dtype: of the array.
        what: names the array in an error.
        layout: overrules the rule for images.
        names: of a table's columns.

    Raises:
        InputError: if it is ambiguous, or the array is none of these.
    """
    dimensions = len(shape)
    if dtype.kind not in "biufUT":
        raise InputError(f"{what}: expected numbers or strings, got an array of {dtype}")
    if dimensions == 1 and dtype.kind in "UT":
        return ArrayForm(modality=Modality.TEXT, columns=("text",), kind=pa.large_string())
    if dimensions in {1, 2}:
        count = shape[1] if dimensions == 2 else 1
        columns = tuple(names) or tuple(f"x{number}" for number in range(count))
        if len(columns) != count or not count:
            raise InputError(f"{what}: expected {len(columns)} columns, got {count}")
        kind = pa.large_string() if dtype.kind in "UT" else pa.from_numpy_dtype(dtype)
        return ArrayForm(modality=Modality.TABLE, columns=columns, kind=kind)
    if dimensions not in {3, 4} or dtype.kind in "UT":
        raise InputError(
            f"{what}: expected a table (2 dimensions) or images (3 or 4), got shape {tuple(shape)}"
        )
    chosen, image_shape = _image_layout(shape, what, layout)
    value = pa.uint8() if dtype.kind in "iu" else pa.float32()
    size = int(np.prod(image_shape))
    return ArrayForm(
        modality=Modality.IMAGE,
        columns=(IMAGE,),
        kind=pa.list_(value, size),
        image_shape=image_shape,
        layout=chosen,
    )


def write_arrays(
    conversion: Conversion,
    role: str,
    form: ArrayForm,
    chunks: Iterable[NDArray[Any]],
    *,
    others: Mapping[str, Any],
    what: str,
) -> None:
    """Writes the samples in `chunks` beside the Arrow arrays `others`.

    Raises:
        InputError: if there is no sample, or pixels are out of range.
    """
    columns = dict.fromkeys(form.columns, form.kind)
    columns |= {name: array.type for name, array in others.items()}
    require_unique([*form.columns, *others])
    schema = storable(pa.schema(list(columns.items())))

    def batches() -> Iterator[Any]:
        start = 0
        for chunk in chunks:
            rest = [array.slice(start, len(chunk)) for array in others.values()]
            yield pa.record_batch([*form.encode(chunk, what), *rest], schema=schema)
            start += len(chunk)

    conversion.write(role, schema, batches())


def chunked(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yields the rows of an array in pieces of a few MiB."""
    row = values.itemsize * int(np.prod(values.shape[1:], dtype=np.int64))
    step = rows_at_once(row)
    for start in range(0, len(values), step):
        yield values[start : start + step]


def column_array(values: Any, rows: int, what: str, beside: str) -> Any:
    """Returns a target or a group column as an Arrow array.

    Raises:
        InputError: if it is no column of `rows` classes or numbers.
    """
    array = to_numpy(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{what}: expected one value per sample, got shape {array.shape}")
    if len(array) != rows:
        raise InputError(f"{what} has {len(array)} values for the {rows} samples of {beside}")
    try:
        return pa.array(array, from_pandas=True)
    except pa.ArrowException:
        raise InputError(f"{what}: expected values of one type, got a mixture") from None


def to_numpy(values: Any) -> NDArray[Any]:
    """Returns a tensor, a sequence or an array as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return np.asarray(values.numpy())
    return np.asarray(values)


def array_raw(
    form: ArrayForm, roles: Mapping[str, Any], options: DataOptions, **more: Any
) -> RawData:
    """Returns converted arrays as a source returns them."""
    columns = Columns(
        modality=form.modality,
        inputs=form.columns,
        target=options.target or ("" if options.main else TARGET),
        groups=options.groups,
        cluster=options.cluster,
        id=options.id,
    )
    return columns.raw(roles, options, image_shape=form.image_shape, **more)


def _image_layout(
    shape: Sequence[int], what: str, layout: str
) -> tuple[Layout, tuple[int, int, int]]:
    if layout and layout not in LAYOUTS:
        raise InputError(unknown("layout", layout, LAYOUTS))
    if len(shape) == 3:
        if layout not in {"", "nhw"}:
            raise InputError(f"{what}: layout {layout} needs 4 dimensions, got {tuple(shape)}")
        return "nhw", (1, shape[1], shape[2])
    first, last = shape[1] in {1, 3}, shape[3] in {1, 3}
    if not layout and first and last:
        raise InputError(
            f"{what}: shape {tuple(shape)} can be (N, C, H, W) or (N, H, W, C); "
            "say layout=nchw or layout=nhwc"
        )
    if layout == "nchw" or (not layout and first):
        channels, height, width = shape[1:]
        chosen: Layout = "nchw"
    elif layout == "nhwc" or (not layout and last):
        height, width, channels = shape[1:]
        chosen = "nhwc"
    else:
        channels = 0
    if channels not in {1, 3}:
        raise InputError(f"{what}: expected images of 1 or 3 channels, got shape {tuple(shape)}")
    return chosen, (channels, height, width)


def _pixels(values: NDArray[Any], what: str) -> NDArray[Any]:
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "iu":
        if values.size and not 0 <= values.min() <= values.max() <= 255:
            raise InputError(
                f"{what}: expected images of uint8, or of floats from 0 to 1, "
                f"got {values.min()} to {values.max()}"
            )
        return values.astype(np.uint8)
    if values.size:
        require_unit_range(values, what)
    return values.astype(np.float32)
