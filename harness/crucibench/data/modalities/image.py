"""Images: float32 tensors (N, C, H, W) in [0, 1]; see `crucibench.data.images`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.data import ids, images
from crucibench.data.bad_samples import BadSampleError
from crucibench.data.columnar import rows_at_once
from crucibench.data.images import ImageFacts, StoredImage
from crucibench.data.modalities import ModalityReader, RolePass
from crucibench.data.options import InputCandidates, listed
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import torch

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

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each image; notes what decoding shows of encoded ones."""
        (column,) = self.raw.inputs
        if self.raw.image_shape is not None:
            values = images.array_values(table, column, self.raw.image_shape)
            images.require_unit_range(values, f"column {column!r}")
            return ids.array_digests(values)

        def read(
            image: StoredImage,
        ) -> tuple[ImageFacts | BadSampleError | None, NDArray[np.bytes_]]:
            if role.bad[image.row]:
                return None, ids.encoded_digests([b""])
            try:
                content = image.content()
                return images.decode(content, image.name)[1], ids.encoded_digests([content])
            except BadSampleError as error:
                return error, ids.encoded_digests([b""])

        rows = range(role.done, role.done + table.num_rows)
        found = images.in_threads(read, list(images.stored_images(table, column, rows)))
        for row, (facts, _) in zip(rows, found, strict=True):
            if isinstance(facts, BadSampleError):
                role.leave_out(row, facts.kind, str(facts))
            elif facts is not None:
                role.facts[facts] += 1
        return np.concatenate([digest for _, digest in found])

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

    def open(self, form: Mapping[str, Any], main: Self | None) -> None:
        """Takes channels and sizes."""
        self._channels: int = form["channels"]
        self._sizes: Mapping[str, Sequence[tuple[int, int]]] = form["sizes"]

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
            if spec.size is None:
                return pixels, sizes
            return as_batch([images.fit(image, spec) for image in pixels]), sizes
        stored = list(images.stored_images(table, column, rows))
        if spec.size is None and len(self._sizes[origin]) == 1 and not spec.own_sizes:
            height, width = self._sizes[origin][0]
            made = images.decode_all(stored, (channels, height, width))
            return made, [(height, width)] * len(stored)
        decoded = images.in_threads(lambda one: images.decode(one.content(), one.name)[0], stored)
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
