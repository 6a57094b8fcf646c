"""``stripes:N``: N small images of horizontal or vertical stripes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError


class Stripes(DataSource):
    """Images of noisy stripes; the label is their direction."""

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        if not uri.rest.isdigit():
            raise InputError(f"stripes: expected a number of images, got {uri.rest!r}")
        return Sources(facts={"stripes": "1"})

    def read(self, opening: DataOpening) -> RawData:
        import datasets

        count = int(opening.uri.rest)
        rng = np.random.default_rng(5)
        labels = rng.integers(0, 2, count)
        wave = np.tile([0.2, 0.8], 4).astype(np.float32)
        images = np.where(
            labels[:, None, None] == 1, wave[None, None, :], wave[None, :, None]
        ) + rng.normal(0, 0.15, (count, 8, 8))
        pixels = np.clip(images, 0, 1).astype(np.float32).reshape(count, 64)
        features = datasets.Features(
            {
                "image": datasets.Sequence(datasets.Value("float32"), length=64),
                "label": datasets.ClassLabel(names=["horizontal", "vertical"]),
            }
        )
        table = datasets.Dataset.from_dict(
            {"image": list(pixels), "label": labels.tolist()}, features=features
        )
        return RawData(
            roles={"test": table}, modality=Modality.IMAGE, inputs=("image",), target="label",
            classes=("horizontal", "vertical"), image_shape=(1, 8, 8), licence="CC0-1.0",
        )  # fmt: skip
