from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError

RNG = np.random.default_rng(0)


def save(path: Any, shape: Any = (6, 6, 3)) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))
    image.save(path)
    return np.asarray(image)


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    """Two classes of two images each."""
    pixels = {}
    for name in ("dog/b.png", "dog/a.png", "cat/deep/a.png", "cat/a.png"):
        pixels[name] = save(tmp_path / "photos" / name)
    return pixels


def test_a_folder_per_class(photos: Any, open_uri: Any, sources: Any, tmp_path: Path) -> None:
    data = open_uri("imagefolder:photos")
    assert data.task.modality is Modality.IMAGE
    assert data.task.classes == ("cat", "dog")
    assert data.card.features == {"image": "3x6x6"}
    samples = data.samples("test")
    assert list(samples.keys) == ["cat/a.png", "cat/deep/a.png", "dog/a.png", "dog/b.png"]
    assert samples.targets.tolist() == [0, 0, 1, 1]
    batch = data.batch("test", [3, 0, 1, 2, 3], InputSpec())
    for image, key in zip(batch.inputs, batch.keys, strict=True):
        expected = photos[key].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        assert np.array_equal(image.numpy(), expected)
    one = data.batch("test", [2], InputSpec())
    assert torch.equal(one.inputs[0], batch.inputs[3])
    files = sources("imagefolder:photos").files
    assert sorted(path.name for path in files) == ["a.png", "a.png", "a.png", "b.png"]


def test_ids_are_of_the_stored_bytes(photos: Any, open_uri: Any, tmp_path: Path) -> None:
    before = dict(zip(*_named(open_uri("imagefolder:photos")), strict=True))
    path = tmp_path / "photos/dog/a.png"
    stamp = path.stat()
    content = bytearray(path.read_bytes())
    save(path)
    path.write_bytes(path.read_bytes()[: len(content)].ljust(len(content), b"\0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = dict(zip(*_named(open_uri("imagefolder:photos")), strict=True))
    assert {key for key in before if before[key] != after[key]} == {"dog/a.png"}


def _named(data: Any) -> Any:
    samples = data.samples("test")
    return list(samples.keys), list(samples.ids)


def test_roles_are_folders(tmp_path: Path, open_uri: Any) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "test/a/1.png", "test/b/2.png"):
        save(tmp_path / "data" / name)
    data = open_uri("imagefolder:data")
    assert data.card.counts == {"test": 2, "train": 2}
    assert data.card.split == "as given: test, train"
    assert data.card.notes == ("val is left out",)
    for name in ("1.png", "2.png"):
        save(tmp_path / "other/val" / name[0] / name)
    other = open_uri("imagefolder:other")
    assert other.card.split == "all val"
    assert other.card.notes == ("test is what the data calls val",)


def test_classes_can_be_ordered(photos: Any, open_uri: Any) -> None:
    data = open_uri("imagefolder:photos?classes=dog,owl,cat")
    assert data.task.classes == ("dog", "owl", "cat")
    assert data.samples("test").targets.tolist() == [2, 2, 0, 0]


def test_other_files_are_counted_and_hidden_ones_passed_over(
    photos: Any, open_uri: Any, tmp_path: Path
) -> None:
    (tmp_path / "photos/cat/notes.txt").write_text("x")
    (tmp_path / "photos/cat/.hidden.png").write_text("x")
    (tmp_path / "photos/.git").mkdir()
    data = open_uri("imagefolder:photos")
    assert data.card.counts == {"test": 4}
    assert data.card.notes == ("1 file is no image",)


def test_a_link_back_is_not_followed(photos: Any, open_uri: Any, tmp_path: Path) -> None:
    (tmp_path / "photos/cat/again").symlink_to(tmp_path / "photos/cat", target_is_directory=True)
    assert open_uri("imagefolder:photos").card.counts == {"test": 4}


def test_images_of_unlike_sizes_need_a_size(
    photos: Any, open_uri: Any, tmp_path: Path, refusal: Any
) -> None:
    save(tmp_path / "photos/cat/large.png", (9, 12, 3))
    data = open_uri("imagefolder:photos")
    assert data.card.features == {"image": "3x6x6 to 3x9x12"}
    assert refusal(InputError, lambda: data.batch("test", [0], InputSpec())) == (
        "the images of 'data' differ in size (height x width: 6x6 to 9x12), so the model must say "
        "which it takes (size under the spec's input)"
    )
    batch = data.batch("test", range(5), InputSpec(size=(6, 6)))
    assert batch.inputs.shape == (5, 3, 6, 6)


def test_grey_and_colour_together_are_colour(photos: Any, open_uri: Any, tmp_path: Path) -> None:
    grey = save(tmp_path / "photos/cat/grey.png", (6, 6))
    data = open_uri("imagefolder:photos")
    row = list(data.samples("test").keys).index("cat/grey.png")
    image = data.batch("test", [row], InputSpec()).inputs[0]
    assert image.shape == (3, 6, 6)
    assert np.array_equal((image[1] * 255).numpy(), grey.astype(np.float32))
    assert data.batch("test", range(5), InputSpec(channels=1)).inputs.shape == (5, 1, 6, 6)


def test_turned_and_transparent_images_are_noted(
    photos: Any, open_uri: Any, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image.save(tmp_path / "photos/cat/turned.png", exif=exif)
    Image.new("RGBA", (6, 6)).save(tmp_path / "photos/cat/clear.png")
    assert open_uri("imagefolder:photos").card.notes == (
        "1 of 6 images is turned upright as EXIF says",
        "1 of 6 images is transparent and laid over white",
    )


def test_a_corrupt_image_is_named(photos: Any, open_uri: Any, tmp_path: Path) -> None:
    path = tmp_path / "photos/dog/a.png"
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(
        InputError, match=r"^1 of 4 samples of test can't be used: image 'dog/a\.png' is damaged: "
    ):
        open_uri("imagefolder:photos")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("imagefolder:fotos", "image folder 'fotos' does not exist; did you mean 'photos'?"),
        (
            "imagefolder:photos/dog",
            "image folder 'photos/dog' holds no folder: expected one per class",
        ),
        (
            "imagefolder:empty",
            "image folder '{base}/empty' holds no images: expected empty/CLASS/FILE",
        ),
        (
            "imagefolder:photos?classes=cat,owl",
            "classes: there is a folder 'dog', which is not among cat, owl",
        ),
        (
            "imagefolder:photos?target=x",
            "unknown option of imagefolder: 'target' (known: citation, classes, labels, licence, "
            "links, on_bad_sample, split)",
        ),
        (
            "imagefolder:photos/cat",
            "target 'label': expected at least 2 classes, got only 'deep'",
        ),
    ],
)
def test_bad_folders(
    photos: Any, open_uri: Any, tmp_path: Path, uri: str, message: str, refusal: Any
) -> None:
    (tmp_path / "empty/cat").mkdir(parents=True)
    assert refusal(InputError, lambda: open_uri(uri)) == message.format(base=tmp_path)
