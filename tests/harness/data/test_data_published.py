"""Published sets as people have them: ImageNet's trees, ImageNet-C, CIFAR's arrays."""

from __future__ import annotations

import json
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

MAPPING = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn09999999 other\n"
SYNSETS = ["n01440764", "n02012849", "n03126707"]


def save(path: Path, colour: int, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (colour, 0, 0)).save(path, kind)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    for number, synset in enumerate(SYNSETS):
        save(tmp_path / f"ILSVRC/val/{synset}/{number}.JPEG", 50 * number, "JPEG")
    return tmp_path


def test_synsets_get_their_names(imagenet: Path, open_uri: Any, sources: Any) -> None:
    assert open_uri("imagefolder:ILSVRC/val").task.classes == tuple(SYNSETS)
    (imagenet / "LOC_synset_mapping.txt").write_text(MAPPING)
    data = open_uri("imagefolder:ILSVRC/val")
    assert data.task.classes == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert "LOC_synset_mapping.txt" in [path.name for path in sources("imagefolder:ILSVRC").files]


def test_a_file_of_classes_gives_all_of_them_in_its_order(imagenet: Path, open_uri: Any) -> None:
    (imagenet / "names.txt").write_text("n09999999 other\n" + "".join(f"{s}\n" for s in SYNSETS))
    data = open_uri("imagefolder:ILSVRC/val?classes=names.txt")
    assert data.task.classes == ("other", *SYNSETS)
    assert data.samples("test").targets.tolist() == [1, 2, 3]
    index = {str(place): [synset, f"name {place}"] for place, synset in enumerate(SYNSETS)}
    (imagenet / "index.json").write_text(json.dumps(index))
    named = open_uri("imagefolder:ILSVRC/val?classes=index.json")
    assert named.task.classes == ("name 0", "name 1", "name 2")
    (imagenet / "few.txt").write_text("n01440764 tench\nn02012849 crane\n")
    with pytest.raises(InputError, match=r"^classes: there is a folder 'n03126707', which is not"):
        open_uri("imagefolder:ILSVRC/val?classes=few.txt")
    with pytest.raises(InputError, match=r"^option classes: file 'nams\.txt' does not exist; did"):
        open_uri("imagefolder:ILSVRC/val?classes=nams.txt")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for number in range(4):
        save(tmp_path / f"val/ILSVRC2012_val_{number}.JPEG", 50 * number, "JPEG")
    (tmp_path / "names.txt").write_text("tench\ncrane\n")
    return tmp_path


SOLUTION = "ImageId,PredictionString\n" + "".join(
    f"ILSVRC2012_val_{number},{SYNSETS[number % 2]} 1 2 3 4\n" for number in range(4)
)


@pytest.mark.parametrize(
    ("text", "options", "classes"),
    [
        (SOLUTION, "", tuple(SYNSETS[:2])),
        ("1\n2\n1\n2\n", "&classes=names.txt", ("tench", "crane")),
        ("0\n1\n0\n1\n", "&classes=names.txt", ("tench", "crane")),
        ("tench\ncrane\ntench\ncrane\n", "&classes=names.txt", ("tench", "crane")),
        (
            "".join(f"ILSVRC2012_val_{n}.JPEG\t{'ab'[n % 2]}\n" for n in range(4)),
            "",
            ("a", "b"),
        ),
    ],
)
def test_ground_truth_beside_the_images(
    flat: Path, open_uri: Any, text: str, options: str, classes: Any
) -> None:
    (flat / "truth.csv").write_text(text)
    data = open_uri(f"imagefolder:val?labels=truth.csv{options}")
    assert data.task.classes == classes
    assert data.samples("test").targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "option labels: truth.txt has 2 labels for 4 images"),
        (
            "0\n1\n2\n1\n",
            "option labels: truth.txt holds both 0 and 2: expected indices 0 to 1 or 1 to 2",
        ),
        (
            "1\n1\n1\n1\n",
            "option labels: truth.txt holds the indices 1 to 1 of 2 classes: do they count from 0 "
            "or from 1? Write the classes' names instead",
        ),
        (
            "tench\nowl\ncrane\ncrane\n",
            "option labels: truth.txt holds 'owl', which is neither one of the 2 classes (tench, "
            "crane) nor an index of one",
        ),
    ],
)
def test_a_ground_truth_that_does_not_fit(
    flat: Path, open_uri: Any, text: str, message: str, refusal: Any
) -> None:
    (flat / "truth.txt").write_text(text)
    assert (
        refusal(InputError, lambda: open_uri("imagefolder:val?labels=truth.txt&classes=names.txt"))
        == message
    )


def test_images_without_a_label_are_bad_samples(flat: Path, open_uri: Any) -> None:
    lines = "".join(f"ILSVRC2012_val_{number}.JPEG {'ab'[number % 2]}\n" for number in range(3))
    (flat / "truth.txt").write_text(lines + "lost.JPEG a\n")
    with pytest.raises(InputError, match=r"^1 of 4 samples .*val_3\.JPEG' has no label in truth"):
        open_uri("imagefolder:val?labels=truth.txt")
    data = open_uri("imagefolder:val?labels=truth.txt&on_bad_sample=skip")
    assert data.card.counts == {"test": 3}
    assert data.card.notes[0] == "1 label has no image (truth.txt)"


def test_a_link_out_of_the_folder_is_refused(
    imagenet: Path, open_uri: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "secret.png", 9)
    save(elsewhere / "folder/secret.png", 8)
    link = imagenet / "ILSVRC/val" / SYNSETS[0] / "link.png"
    link.symlink_to(elsewhere / "secret.png")
    with pytest.raises(InputError, match=r"^link\.png in .* is a link out of the folder, to "):
        open_uri("imagefolder:ILSVRC/val?on_bad_sample=skip")
    assert open_uri("imagefolder:ILSVRC/val?links=true").card.counts == {"test": 4}
    link.unlink()
    (imagenet / "ILSVRC/val/n02345678").symlink_to(elsewhere / "folder", target_is_directory=True)
    with pytest.raises(InputError, match="is a link out of the folder"):
        open_uri("imagefolder:ILSVRC/val")


def test_a_dead_link_and_an_unreadable_file_are_bad_samples(imagenet: Path, open_uri: Any) -> None:
    folder = imagenet / "ILSVRC/val" / SYNSETS[0]
    (folder / "dead.png").symlink_to(folder / "nowhere.png")
    data = open_uri("imagefolder:ILSVRC/val?on_bad_sample=skip")
    assert data.bad_samples["test"]["kinds"] == {"unreadable image": 1}


def test_folders_by_a_pattern(tmp_path: Path, open_uri: Any) -> None:
    for part in ("p1", "p2"):
        for name in "ab":
            save(tmp_path / f"parts/{part}/{name}/1.png", ord(name) + ord(part[1]))
    data = open_uri("imagefolder:parts/p*")
    assert data.card.counts == {"test": 4} and data.task.classes == ("a", "b")
    assert list(data.samples("test").keys)[:2] == ["p1/a/1.png", "p1/b/1.png"]


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    for place in ("noise/gaussian_noise", "fog"):
        for severity in (1, 3):
            for number, synset in enumerate(SYNSETS):
                path = tmp_path / f"c/{place}/{severity}/{synset}/{number}.JPEG"
                save(path, 10 * severity + 60 * number, "JPEG")
    return tmp_path


def test_imagenet_c(corrupted: Path, open_uri: Any) -> None:
    (corrupted / "LOC_synset_mapping.txt").write_text(MAPPING)
    data = open_uri("imagenet-c:c?corruption=gaussian_noise&severity=3")
    assert data.card.counts == {"test": 3} and data.task.classes[0] == "tench"
    assert data.card.notes == ("corrupted: gaussian_noise, severity 3",)
    assert len(set(data.samples("test").ids)) == 3
    fog = open_uri("imagenet-c:c?corruption=fog&severity=1")
    assert fog.card.counts == {"test": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("severity=3", "option corruption is missing: expected one of fog, gaussian_noise"),
        ("corruption=gausian_noise&severity=3", "did you mean 'gaussian_noise'?"),
        ("corruption=fog&severity=2", "option severity: expected one of 1, 3, got '2'"),
        ("corruption=fog", "option severity: expected one of 1, 3, got none"),
    ],
)
def test_imagenet_c_without_such(
    corrupted: Path, open_uri: Any, options: str, message: str, refusal: Any
) -> None:
    assert message in refusal(InputError, lambda: open_uri(f"imagenet-c:c?{options}"))


def test_cifar_arrays(tmp_path: Path, open_uri: Any, sources: Any) -> None:
    images = np.arange(50 * 4 * 4 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 4, 4, 3)
    images[:, 0, 0, 0] = np.arange(50)
    labels = np.tile(np.arange(10), 5)
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "once.npy", labels[:10])
    whole = open_uri("cifar-npy:fog.npy?labels=labels.npy")
    assert whole.card.counts == {"test": 50}
    for name in ("labels", "once"):
        data = open_uri(f"cifar-npy:fog.npy?labels={name}.npy&severity=3")
        assert data.card.counts == {"test": 10}
        assert data.card.notes == ("severity 3: images 20 to 29 of fog.npy",)
        reds = data.batch("test", range(10), InputSpec()).inputs[:, 0, 0, 0] * 255
        assert reds.round().tolist() == list(range(20, 30))
        assert data.samples("test").targets.tolist() == list(range(10))
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    named = open_uri("cifar-npy:fog.npy?labels=labels.npy&severity=1&classes=names.txt")
    assert named.task.classes == tuple("abcdefghij")
    assert len(sources("cifar-npy:fog.npy?labels=labels.npy").files) == 2


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("cifar-npy:a.npy", "option labels is missing"),
        ("cifar-npy:a.npy?labels=b.npy", "b.npy has 3 labels for 10 images"),
        ("cifar-npy:a.npy?labels=b.npy&severity=6", "option severity: expected 1 to 5, got '6'"),
        ("cifar-npy:b.npy?labels=b.npy", "expected images, got an array of shape (3,)"),
        ("cifar-npy:short.npy?labels=b.npy", "short.npy: expected a .npy file, got "),
        ("cifar-npy:objects.npy?labels=b.npy", "objects.npy: expected a .npy file, got "),
    ],
)
def test_arrays_that_do_not_fit(
    tmp_path: Path, open_uri: Any, uri: str, message: str, refusal: Any
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((10, 4, 4, 3), dtype=np.uint8))
    np.save(tmp_path / "b.npy", np.arange(3))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:200])
    assert message in refusal(InputError, lambda: open_uri(uri))


RNG = np.random.default_rng(0)


def saved_image(path: Any, shape: Any = (6, 6, 3)) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))
    image.save(path)
    return np.asarray(image)


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    """Two classes of two images each."""
    pixels = {}
    for name in ("dog/b.png", "dog/a.png", "cat/deep/a.png", "cat/a.png"):
        pixels[name] = saved_image(tmp_path / "photos" / name)
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
    saved_image(path)
    path.write_bytes(path.read_bytes()[: len(content)].ljust(len(content), b"\0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = dict(zip(*_named(open_uri("imagefolder:photos")), strict=True))
    assert {key for key in before if before[key] != after[key]} == {"dog/a.png"}


def _named(data: Any) -> Any:
    samples = data.samples("test")
    return list(samples.keys), list(samples.ids)


def test_roles_are_folders(tmp_path: Path, open_uri: Any) -> None:
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "test/a/1.png", "test/b/2.png"):
        saved_image(tmp_path / "data" / name)
    data = open_uri("imagefolder:data")
    assert data.card.counts == {"test": 2, "train": 2}
    assert data.card.split == "as given: test, train"
    assert data.card.notes == ("val is left out",)
    for name in ("1.png", "2.png"):
        saved_image(tmp_path / "other/val" / name[0] / name)
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
    saved_image(tmp_path / "photos/cat/large.png", (9, 12, 3))
    data = open_uri("imagefolder:photos")
    assert data.card.features == {"image": "3x6x6 to 3x9x12"}
    assert refusal(InputError, lambda: data.batch("test", [0], InputSpec())) == (
        "the images of 'data' differ in size (height x width: 6x6 to 9x12), so the model must say "
        "which it takes (size under the spec's input)"
    )
    batch = data.batch("test", range(5), InputSpec(size=(6, 6)))
    assert batch.inputs.shape == (5, 3, 6, 6)


def test_grey_and_colour_together_are_colour(photos: Any, open_uri: Any, tmp_path: Path) -> None:
    grey = saved_image(tmp_path / "photos/cat/grey.png", (6, 6))
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
