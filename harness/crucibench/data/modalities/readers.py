"""The readers of modalities: table rows, texts and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import MainData, RawData
from crucibench.data import ids, images
from crucibench.data.bad_samples import BadSampleError
from crucibench.data.columnar import rows_at_once, type_family
from crucibench.data.frames import frame_hints, to_frame
from crucibench.data.images import ImageFacts, StoredImage
from crucibench.data.modalities import ModalityReader, RolePass
from crucibench.data.options import InputCandidates, listed
from crucibench.data.pixels import Kept, KeptPixels, keeping, may_be_kept
from crucibench.data.texts import reads_like_text, text_values
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import torch

_FAMILY_NAMES = {
    "number": "numbers", "text": "strings", "bool": "true and false", "time": "dates or times",
}  # fmt: skip


class TableReader(ModalityReader):
    """Reads rows of feature columns."""

    name: ClassVar[str] = "table"
    rank: ClassVar[int] = 3
    column_option: ClassVar[str] = "features"

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns all columns, unless one holds images or they are named as texts."""
        held = {found.kinds[name] for name in found.inputs}
        return None if found.options.input or "image" in held else found.inputs

    @classmethod
    def matching_inputs(cls, raw: RawData, main: MainData) -> tuple[str, ...]:
        """Returns the main data set's features."""
        for name in main.inputs:
            if name not in raw.inputs:
                raise InputError(
                    f"there is no column {name!r}, which is a feature of {main.name!r} "
                    f"(columns: {', '.join(raw.inputs)})"
                )
        return main.inputs

    @classmethod
    def casts(cls, main: MainData, schema: Any) -> dict[str, Any]:
        """Returns the main data set's type of each column that has another.

        Fractions stay fractions where the main data set has whole numbers.
        """
        found: dict[str, Any] = {}
        for name, wanted in main.types.items():
            have = schema.field(name).type
            if have == wanted or pa.types.is_null(wanted):
                continue
            families = type_family(have), type_family(wanted)
            if pa.types.is_null(have):
                found[name] = wanted
            elif families[0] != families[1]:
                raise InputError(
                    f"column {name!r} holds {_FAMILY_NAMES.get(families[0], have)}, and "
                    f"{_FAMILY_NAMES.get(families[1], wanted)} in {main.name!r}"
                )
            elif not pa.types.is_integer(wanted) or _holds_all(wanted, have):
                found[name] = wanted
        return found

    def input_types(self) -> dict[str, Any]:
        """Returns the Arrow type of each feature."""
        schema = self.raw.roles["test"].data.schema
        return {name: schema.field(name).type for name in self.raw.inputs}

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        # Each column has its price a batch: of very wide rows, too, many are read at once.
        return max(64, rows_at_once(ids.CELL * len(self.raw.inputs)))

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each row; notes the columns with a missing value."""
        table = _cast(table, casts)
        for name in self.raw.inputs:
            if pc.any(table.column(name).is_null(nan_is_null=True)).as_py():
                role.facts[name] += 1
        return ids.table_digests(table, self.raw.inputs)

    def form(self, passes: Mapping[str, RolePass]) -> dict[str, Any]:
        """Returns the columns with a missing value in any role."""
        return {"missing": sorted({str(name) for part in passes.values() for name in part.facts})}

    def open(self, form: Mapping[str, Any], folder: Path, main: Self | None) -> None:
        """Fixes the dtypes of data frames, which are the main data set's where there is one."""
        self._casts: dict[str, Any] = {}
        self._missing: Sequence[str] = form["missing"]
        self._hints = {
            role: frame_hints(dataset.data.schema) for role, dataset in self.raw.roles.items()
        }
        if main is None:
            return
        dataset = self.raw.roles["test"]
        types, theirs = main.input_types(), main._hints["test"]
        form_of_main = MainData(
            name="", modality=self.raw.modality, inputs=self.raw.inputs, types=types
        )
        self._casts = self.casts(form_of_main, dataset.data.schema)
        self._missing = sorted({*self._missing, *main._missing})
        hints: dict[str, dict[str, Any]] = {}
        for name in self.raw.inputs:
            hint = theirs.get(name)
            same = name in self._casts or dataset.data.schema.field(name).type == types[name]
            if hint and "categories" in hint:
                hint = _with_new_categories(hint, dataset.data.column(name).chunks)
            elif not same:
                hint = self._hints["test"].get(name)
            if hint:
                hints[name] = hint
        self._hints = {"test": hints}

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a data frame, whose dtypes are the same whatever the rows."""
        columns = _cast(table.select(list(self.raw.inputs)), self._casts)
        return to_frame(columns, self._missing, self._hints[origin]), ()


def _cast(table: Any, types: Mapping[str, Any]) -> Any:
    for name, kind in types.items():
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.set_column(position, name, pc.cast(table.column(name), kind, safe=False))
    return table


def _with_new_categories(hint: Mapping[str, Any], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns the main data set's categories, whose codes stay what they are, and new ones."""
    known = list(hint["categories"])
    new = {value for column in columns for value in pc.unique(column).to_pylist()}
    return {**hint, "categories": known + sorted(new - {None, *known}, key=str)}


def _holds_all(wanted: Any, have: Any) -> bool:
    """Whether every number of type `have` is a whole number of type `wanted`."""
    if not pa.types.is_integer(have):
        return False
    bits, signed = have.bit_width, pa.types.is_signed_integer(have)
    if pa.types.is_signed_integer(wanted):
        return bool(bits <= wanted.bit_width if signed else bits < wanted.bit_width)
    return not signed and bool(bits <= wanted.bit_width)


# Texts: `str`, or tuples of as many strings as there are text columns.


class TextReader(ModalityReader):
    """Reads one or several columns of texts."""

    name: ClassVar[str] = "text"
    rank: ClassVar[int] = 2
    column_option: ClassVar[str] = "input"
    verbatim: ClassVar[bool] = True

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns the columns that `input` names, or the only one, if it reads like texts.

        Group columns beside it don't count.
        """
        if found.options.input:
            if bad := [name for name in found.inputs if found.kinds[name] != "string"]:
                raise InputError(
                    f"option input: expected columns of text, but {bad[0]!r} holds none"
                )
            return found.inputs
        own = tuple(name for name in found.inputs if name not in found.options.groups)
        if len(own) != 1 or found.kinds[own[0]] != "string":
            return None
        return own if reads_like_text(found.sample(own[0])) else None

    @classmethod
    def matching_inputs(cls, raw: RawData, main: MainData) -> tuple[str, ...]:
        """Returns the text columns; as many as the main data set has."""
        if len(raw.inputs) != len(main.inputs):
            raise InputError(
                f"its texts have {len(raw.inputs)} columns, those of {main.name!r} "
                f"{len(main.inputs)}"
            )
        return raw.inputs

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        return 1024

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each text; one with a missing column is bad."""
        columns = []
        for name in self.raw.inputs:
            column = pc.cast(table.column(name), pa.large_string())
            for at in np.flatnonzero(column.is_null()).tolist() if column.null_count else ():
                row = role.done + at
                if not role.bad[row]:
                    role.leave_out(
                        row, "text missing", f"row {row:,}: the text {name!r} is missing"
                    )
            columns.append(text_values(pc.fill_null(column, "")))
        return ids.text_digests(columns)

    def check(self, spec: InputSpec, origin: str, name: str) -> None:
        """Raises InputError if the model takes another number of columns."""
        columns = len(self.raw.inputs)
        if spec.modality is not None and spec.columns != columns:
            raise InputError(
                f"the model takes texts of {spec.columns} columns, the data {name!r} has "
                f"{columns}: {', '.join(self.raw.inputs)}"
            )

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a list of `str`, or of tuples where there are several columns."""
        columns = [text_values(table.column(name)) for name in self.raw.inputs]
        return (columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))), ()


# Images: float32 tensors (N, C, H, W) in [0, 1]; see `crucibench.data.images`.

_ENCODED_AT_ONCE = 64


class ImageReader(ModalityReader):
    """Reads one column of images, encoded or as arrays of one shape."""

    name: ClassVar[str] = "image"
    rank: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns the only column of images; the columns beside it are no inputs."""
        inputs = found.inputs
        own = tuple(name for name in inputs if found.kinds[name] == "image")
        if found.options.input or not own:
            return None
        if len(own) == 1 and not found.options.features:
            return own
        if len(inputs) > 1:
            raise InputError(
                f"features: expected one image column or no image column, got {listed(inputs)}; "
                "choose with features="
            )
        return inputs

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        shape = self.raw.image_shape
        return rows_at_once(4 * int(np.prod(shape))) if shape else _ENCODED_AT_ONCE

    @contextmanager
    def keeping(self, folder: Path) -> Iterator[None]:
        """Keeps the pixels of encoded images."""
        if self.raw.image_shape is not None:
            yield
            return
        with keeping(folder) as self._keep:
            yield

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each image; notes what decoding shows of encoded ones."""
        (column,) = self.raw.inputs
        if self.raw.image_shape is not None:
            values = images.array_values(table, column, self.raw.image_shape)
            images.require_unit_range(values, f"column {column!r}")
            return ids.array_digests(values)

        def read(
            image: StoredImage,
        ) -> tuple[ImageFacts | BadSampleError | None, NDArray[np.bytes_], Kept]:
            if role.bad[image.row]:
                return None, ids.encoded_digests([b""]), None
            try:
                content = image.content()
                pixels, facts = images.decode(content, image.name)
            except BadSampleError as error:
                return error, ids.encoded_digests([b""]), None
            return facts, ids.encoded_digests([content]), pixels if may_be_kept(pixels) else None

        rows = range(role.done, role.done + table.num_rows)
        stored = images.stored_images(table, column, rows, [None] * table.num_rows)
        found = images.in_threads(read, list(stored))
        for row, (facts, _, _) in zip(rows, found, strict=True):
            if isinstance(facts, BadSampleError):
                role.leave_out(row, facts.kind, str(facts))
            elif facts is not None:
                role.facts[facts] += 1
        self._keep([pixels for _, _, pixels in found])
        return np.concatenate([digest for _, digest, _ in found])

    def form(self, passes: Mapping[str, RolePass]) -> dict[str, Any]:
        """Returns the channels, and the sizes of each role: the smallest and the largest."""
        if self.raw.image_shape is not None:
            channels, *size = self.raw.image_shape
            return {"channels": channels, "sizes": {role: [size] for role in passes}}
        sizes = {}
        for role, part in passes.items():
            known = sorted((facts.height, facts.width) for facts in _facts([part]))
            sizes[role] = [list(size) for size in dict.fromkeys((known[0], known[-1]))]
        channels = max(facts.channels for facts in _facts(passes.values()))
        return {"channels": channels, "sizes": sizes}

    def features(self, form: Mapping[str, Any]) -> dict[str, str]:
        """Returns the shapes, smallest and largest."""
        sizes = [tuple(size) for role in form["sizes"].values() for size in role]
        shapes = dict.fromkeys(
            f"{form['channels']}x{height}x{width}" for height, width in (min(sizes), max(sizes))
        )
        return {"image": " to ".join(shapes)}

    def notes(self, passes: Mapping[str, RolePass]) -> list[str]:
        """Returns how many encoded images were changed by decoding."""
        found = _facts(passes.values())
        changes = {
            "turned upright as EXIF says": sum(n for one, n in found.items() if one.turned),
            "transparent and laid over white": sum(
                n for one, n in found.items() if one.transparent
            ),
        }
        return [
            f"{count} of {found.total()} images {'is' if count == 1 else 'are'} {what}"
            for what, count in changes.items()
            if count
        ]

    def open(self, form: Mapping[str, Any], folder: Path, main: Self | None) -> None:
        """Takes channels and sizes, and the pixels that were kept."""
        self._channels: int = form["channels"]
        self._sizes: Mapping[str, Sequence[tuple[int, int]]] = form["sizes"]
        if self.raw.image_shape is None:
            lengths = {role: len(dataset) for role, dataset in self.raw.roles.items()}
            self._kept = KeptPixels(folder, lengths)

    def check(self, spec: InputSpec, origin: str, name: str) -> None:
        """Raises InputError if sizes differ and the model says none, nor takes them as they are."""
        if spec.own_sizes:
            if spec.size is not None:
                raise InputError("a model that takes images in their own sizes says no size")
            return
        sizes = self._sizes[origin]
        if spec.size is None and len(sizes) > 1:
            small, large = (f"{height}x{width}" for height, width in sizes)
            raise InputError(
                f"the images of {name!r} differ in size (height x width: {small} to {large}), "
                "so the model must say which it takes (size under the spec's input)"
            )

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a tensor, or a list of tensors if they differ in size; and the stored sizes."""
        (column,) = self.raw.inputs
        channels, shape = spec.channels or self._channels, self.raw.image_shape
        if shape is not None:
            values = images.array_values(table, column, shape)
            pixels = images.to_tensor(np.moveaxis(values, 1, -1), channels)
            sizes = [shape[1:]] * len(pixels)
            if spec.own_sizes:
                return list(pixels), sizes
            if spec.size is None or (spec.size == shape[1:] and spec.crop == 1.0):
                return pixels, sizes
            return as_batch([images.fit(image, spec) for image in pixels]), sizes
        kept = self._kept.at(origin, rows)
        stored = list(images.stored_images(table, column, rows, kept))
        if spec.size is None and len(self._sizes[origin]) == 1 and not spec.own_sizes:
            height, width = self._sizes[origin][0]
            made = images.decode_all(stored, (channels, height, width))
            return made, [(height, width)] * len(stored)
        decoded = images.in_threads(StoredImage.pixels, stored)
        fitted = [images.fit(images.to_tensor(array, channels), spec) for array in decoded]
        canonical = fitted if spec.own_sizes else as_batch(fitted)
        return canonical, [(len(array), array.shape[1]) for array in decoded]

    def same_form(self, spec: InputSpec) -> InputSpec:
        """Returns `spec` with the channels of these images, and the size of all of role test.

        What `spec` itself says comes first; a size is left open where images differ in size.
        """
        sizes = self._sizes["test"]
        alike = len(sizes) == 1 and not spec.own_sizes
        size = (sizes[0][0], sizes[0][1]) if alike else None
        return replace(spec, channels=spec.channels or self._channels, size=spec.size or size)


def as_batch(pixels: Sequence[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    """Returns images (C, H, W) as one tensor (N, C, H, W) where all have one shape, else a list."""
    import torch

    one_shape = len({image.shape for image in pixels}) == 1
    return torch.stack(list(pixels)) if one_shape else list(pixels)


def _facts(passes: Any) -> Counter[ImageFacts]:
    found: Counter[ImageFacts] = Counter()
    for part in passes:
        found.update(part.facts)
    return found
