"""Images: decoded, in folders of any kind, in canonical form; and tar shards."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.data.images import decode, fit, to_pnm, to_tensor
from crucibench.data.modalities import modalities, reader_of
from crucibench.data.modalities.readers import as_batch
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digests
from crucibench.util.untrusted import archive as tar_stream
from crucibench.util.untrusted.images import PIXELS_AT_MOST

RNG = np.random.default_rng(0)


def encoded(image: Any, kind: str = "PNG", **more: Any) -> Any:
    stream = io.BytesIO()
    image.save(stream, kind, **more)
    return stream.getvalue()


def noise(*shape: Any) -> Any:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_decoding_is_pillows(kind: str, mode: str) -> None:
    if (kind, mode) == ("WEBP", "L"):
        mode = "RGB"
    content = encoded(Image.fromarray(noise(9, 7, 3)).convert(mode), kind)
    pixels, facts = decode(content, "it")
    plain = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(pixels.squeeze(), plain)
    assert (facts.height, facts.width, facts.channels) == (9, 7, 3 if mode == "RGB" else 1)
    assert not facts.turned
    assert not facts.transparent


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 255), st.sampled_from([1, 3]))
def test_eight_bits_are_divided_by_255_exactly(value: Any, channels: Any) -> None:
    pixels = np.full((2, 2, channels), value, dtype=np.uint8)
    tensor = to_tensor(pixels, channels)
    assert tensor.shape == (channels, 2, 2)
    assert tensor.dtype == torch.float32
    assert bool((tensor == np.float32(value) / np.float32(255)).all())
    assert bool(((tensor * 255).round() == value).all())


def test_channels_are_repeated_or_weighted() -> None:
    grey = noise(5, 5, 1)
    three = to_tensor(grey, 3)
    assert torch.equal(three[0], three[2])
    assert torch.equal(three[:1], to_tensor(grey, 1))
    rgb = noise(32, 32, 3)
    pillow = np.asarray(Image.fromarray(rgb).convert("L"))
    assert torch.equal(to_tensor(rgb, 1)[0] * 255, torch.from_numpy(pillow.astype(np.float32)))
    floats = rgb.astype(np.float32) / np.float32(255)
    assert np.abs(to_tensor(floats, 1)[0].numpy() * 255 - pillow).max() <= 0.51


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: Any) -> None:
    upright = Image.fromarray(noise(4, 6, 3))
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels, facts = decode(encoded(stored, exif=exif), "it")
    assert np.array_equal(pixels, np.asarray(upright))
    assert facts.turned == (orientation > 1)


def test_transparency_is_laid_over_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = (0, 255, 128)
    pixels, facts = decode(encoded(Image.fromarray(rgba)), "it")
    assert pixels[0, :, 0].tolist() == [255, 0, 127]
    assert facts.transparent
    grey = Image.fromarray(rgba).convert("LA")
    pixels, facts = decode(encoded(grey), "it")
    assert pixels[0].tolist() == [[255], [0], [127]]
    rgba[..., 3] = 255
    assert not decode(encoded(Image.fromarray(rgba)), "it")[1].transparent


def test_palettes_bits_and_inks() -> None:
    rgb = Image.fromarray(noise(8, 8, 3))
    palette = rgb.quantize(16)
    pixels, _ = decode(encoded(palette), "it")
    assert np.array_equal(pixels, np.asarray(palette.convert("RGB")))
    clear = palette.copy()
    pixels, facts = decode(encoded(clear, transparency=clear.getpixel((0, 0))), "it")
    assert facts.transparent
    assert pixels[0, 0].tolist() == [255, 255, 255]
    cmyk = rgb.convert("CMYK")
    pixels, _ = decode(encoded(cmyk, "TIFF"), "it")
    assert np.array_equal(pixels, np.asarray(cmyk.convert("RGB")))
    bits = rgb.convert("1")
    pixels, _ = decode(encoded(bits), "it")
    assert set(np.unique(pixels)) <= {0, 255}


def test_sixteen_bits_of_grey_are_divided_by_65535() -> None:
    values = np.array([[0, 1, 65535], [256, 32768, 5]], dtype=np.uint16)
    pixels, facts = decode(encoded(Image.fromarray(values)), "it")
    assert pixels.dtype == np.float32
    assert np.array_equal(pixels[..., 0], (values / 65535).astype(np.float32))
    assert facts.channels == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"no image",
            "it: expected an image in a known format (PNG, JPEG, WEBP, BMP, GIF,",
        ),
        (
            b"",
            "it: expected an image in a known format (PNG, JPEG, WEBP, BMP, GIF,",
        ),
        (encoded(Image.fromarray(noise(64, 64, 3)))[:900], "it is damaged: OSError: "),
        (encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")[:900], "it is damaged: OSError: "),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "it: expected an image in a known format",
        ),
    ],
)
def test_damaged_images(content: bytes, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: decode(content, "it")).startswith(message)


def test_a_decompression_bomb_is_not_decoded() -> None:
    def bomb(width: Any, height: Any) -> Any:
        header = f"P5 {width} {height} 255\n".encode()
        return header + b"\x00" * 10

    side = int(PIXELS_AT_MOST**0.5)
    for width, height in ((side + 1, side + 1), (50_000, 50_000)):
        with pytest.raises(InputError) as caught:
            decode(bomb(width, height), "image 'bomb.pgm'")
        assert str(caught.value).startswith(
            "image 'bomb.pgm': expected at most 89,478,485 pixels, got "
        )
    with pytest.raises(InputError, match="damaged"):
        decode(bomb(side - 1, side - 1), "it")


@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (40, 24), (7, 30)])
def test_resizing_is_torchs(resize: Any, rows: Any, columns: Any) -> None:
    image = to_tensor(noise(rows, columns, 3), 3)
    got = fit(image, InputSpec(size=(12, 12), resize=resize))
    scale = 12 / min(rows, columns)
    inner = (int(rows * scale + 1e-9), int(columns * scale + 1e-9))
    mode = "nearest-exact" if resize == "nearest" else resize
    plain = torch.nn.functional.interpolate(
        image[None], inner, mode=mode, antialias=resize != "nearest"
    ).clamp(0, 1)[0]
    top, left = round((inner[0] - 12) / 2), round((inner[1] - 12) / 2)
    assert torch.equal(got, plain[:, top : top + 12, left : left + 12])
    assert 0.0 <= float(got.min()) <= float(got.max()) <= 1.0


@pytest.mark.parametrize(
    ("resize", "filter_"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (40, 24), (7, 30), (12, 40)])
def test_stretching_is_pillows(resize: Any, filter_: Any, rows: Any, columns: Any) -> None:
    pixels = noise(rows, columns, 3)
    got = fit(to_tensor(pixels, 3), InputSpec(size=(12, 18), resize=resize, fit="stretch"))
    # Channel by channel in floats, where Pillow rounds nothing.
    planes = [
        np.asarray(Image.fromarray(pixels[..., at].astype(np.float32)).resize((18, 12), filter_))
        for at in range(3)
    ]
    expected = np.clip(np.stack(planes) / 255, 0, 1)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


def test_stretching_crops_afterwards() -> None:
    image = to_tensor(noise(20, 60, 3), 3)
    whole = fit(image, InputSpec(size=(40, 30), fit="stretch"))
    got = fit(image, InputSpec(size=(20, 15), crop=0.5, fit="stretch"))
    assert torch.equal(got, whole[:, 10:30, 8:23])  # 7.5 is rounded to even


def test_only_a_stretched_geometry_says_so() -> None:
    # Results made before images could be stretched stay comparable.
    assert "fit" not in InputSpec(size=(4, 4)).as_dict()
    assert InputSpec(size=(4, 4), fit="stretch").as_dict()["fit"] == "stretch"


def test_fitting_is_the_identity_where_nothing_is_asked() -> None:
    image = to_tensor(noise(10, 14, 3), 3)
    assert fit(image, InputSpec()) is image
    assert torch.equal(fit(image, InputSpec(size=(10, 14))), image)
    assert torch.equal(fit(image, InputSpec(size=(10, 10))), image[:, :, 2:12])


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    st.sampled_from([1.0, 0.875, 0.95, 0.5]),
    st.sampled_from(["crop", "stretch"]),
)
def test_fitting_gives_the_size(stored: Any, size: Any, crop: Any, how: Any) -> None:
    image = torch.zeros(1, *stored)
    assert fit(image, InputSpec(size=size, crop=crop, fit=how)).shape == (1, *size)


def test_cropping_is_central() -> None:
    image = torch.zeros(1, 8, 8)
    image[:, 2:6, 2:6] = 1.0
    assert bool((fit(image, InputSpec(size=(4, 4), crop=0.5)) == 1.0).all())
    # 224 of 256, as ImageNet models have it.
    image = to_tensor(noise(256, 300, 3), 3)
    got = fit(image, InputSpec(size=(224, 224), crop=0.875))
    assert torch.equal(got, image[:, 16:240, 38:262])


def test_pnm_keeps_pixels_and_bytes() -> None:
    pixels = noise(5, 4, 3)
    content = to_pnm(Image.fromarray(pixels), "it")
    assert content == b"P6 4 5 255\n" + pixels.tobytes()
    assert np.array_equal(decode(content, "it")[0], pixels)
    grey = to_pnm(Image.fromarray(pixels[..., 0]), "it")
    assert np.array_equal(decode(grey, "it")[0][..., 0], pixels[..., 0])
    with pytest.raises(InputError, match="it: expected images of 8 bits a channel, got mode I;16"):
        to_pnm(Image.fromarray(pixels[..., 0].astype(np.uint16)), "it")


def test_images_of_several_sizes_are_a_list() -> None:
    same = as_batch([torch.zeros(3, 4, 5), torch.ones(3, 4, 5)])
    assert isinstance(same, torch.Tensor) and same.shape == (2, 3, 4, 5)
    ragged = as_batch([torch.zeros(3, 4, 5), torch.zeros(3, 5, 4)])
    assert [tuple(image.shape) for image in ragged] == [(3, 4, 5), (3, 5, 4)]
    taken = Batch(("a", "b"), ragged).take([1])
    assert [tuple(image.shape) for image in taken.inputs] == [(3, 5, 4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of all kinds in two roles; one is damaged."""
    (tmp_path / "f/train/b").mkdir(parents=True)
    (tmp_path / "f/test/a").mkdir(parents=True)
    Image.fromarray(noise(4, 6, 3)).save(tmp_path / "f/train/b/0.png")
    Image.fromarray(noise(5, 5)).save(tmp_path / "f/test/a/grey.png")
    Image.fromarray(noise(8, 5, 4)).save(tmp_path / "f/test/a/rgba.png")
    Image.fromarray(noise(9, 3, 3)).save(tmp_path / "f/test/a/rgb.jpg")
    sixteen = RNG.integers(0, 65536, (3, 3), dtype=np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "f/test/a/sixteen.png")
    Image.fromarray(noise(40, 40, 3)).save(tmp_path / "f/test/a/wide.png")
    (tmp_path / "f/test/a/damaged.png").write_bytes(encoded(Image.fromarray(noise(64, 64)))[:200])
    return tmp_path / "f"


def test_images_are_decoded_once(
    folder: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(content: bytes, what: str) -> Any:
        asked.append(Path(what).name)
        return decode(content, what)

    def read() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        asked.clear()
        data = open_uri("imagefolder:f?on_bad_sample=skip")
        assert set(data.bad_samples) == {"test"}
        test = data.batch("test", [4, 0, 1, 2, 3], InputSpec(own_sizes=True))
        return list(test.inputs), list(data.batch("train", range(1), InputSpec()).inputs)

    monkeypatch.setattr("crucibench.data.images.decode", counted)
    monkeypatch.setattr("crucibench.data.pixels.KEPT_AT_MOST", 0)
    decoded = read()
    assert len(asked) == 7 + 6
    shutil.rmtree(folder.parent / "cache")
    monkeypatch.undo()
    monkeypatch.setattr("crucibench.data.images.decode", counted)
    kept = read()
    for ours, theirs in zip((*kept[0], *kept[1]), (*decoded[0], *decoded[1]), strict=True):
        assert torch.equal(ours, theirs)
    assert len(asked) == 7 + 1
    read()
    assert asked == ["sixteen.png'"]  # it has no 8 bits a channel


def test_an_image_that_changes_while_it_is_read(
    folder: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = folder / "train/b/0.png"

    def meddle(files: Any, base: Path) -> dict[str, str]:
        digests = file_digests(files, base)
        image.write_bytes(image.read_bytes() + b" ")
        return digests

    monkeypatch.setattr("crucibench.data.columnar.file_digests", meddle)
    with pytest.raises(InputError, match=r"^f/train/b/0\.png changed while it was being read; run"):
        open_uri("imagefolder:f?on_bad_sample=skip")
    assert not [one for one in (folder.parent / "cache").rglob("*") if one.is_file()]


@pytest.mark.parametrize("name", ["pixels.bin", "pixels.npy", "index.json", "*.arrow"])
def test_files_of_the_cache_that_were_damaged_are_made_again(
    folder: Path, open_uri: Any, name: str
) -> None:
    def read() -> list[torch.Tensor]:
        data = open_uri("imagefolder:f?on_bad_sample=skip")
        return list(data.batch("test", range(5), InputSpec(own_sizes=True)).inputs)

    whole = read()
    files = {file: file.read_bytes() for file in (folder.parent / "cache").rglob(name)}
    assert files
    for file, content in files.items():
        half = len(content) // 2
        for damaged in (content[:-1], b"", b"?" * half + content[half:]):
            file.write_bytes(damaged)
            assert all(map(torch.equal, read(), whole))
            assert file.read_bytes() == content
        file.unlink()
        assert all(map(torch.equal, read(), whole))


@pytest.mark.parametrize("full", ["the limit", "the largest image", "the disk"])
def test_pixels_are_kept_within_limits(
    folder: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    most = 40 * 40 * 3
    if full == "the limit":
        monkeypatch.setattr("crucibench.data.pixels.KEPT_AT_MOST", most - 1)
    elif full == "the largest image":
        monkeypatch.setattr("crucibench.data.pixels.LARGEST", most - 1)
    else:
        free = SimpleNamespace(free=8 * most - 1)
        monkeypatch.setattr("crucibench.data.pixels.shutil.disk_usage", lambda folder: free)
    data = open_uri("imagefolder:f?on_bad_sample=skip")
    (pixels,) = (folder.parent / "cache").rglob("pixels.bin")
    assert 0 < pixels.stat().st_size < most
    wide = data.batch("test", [4], InputSpec(own_sizes=True)).inputs[0]
    stored = np.asarray(Image.open(folder / "test/a/wide.png"), dtype=np.float32)
    assert torch.equal(wide, torch.from_numpy(stored / np.float32(255)).permute(2, 0, 1))


def test_a_folder_is_read_without_datasets(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "f" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "f" / name / f"{number}.png").write_bytes(png(number))
    code = (
        "import sys, crucibench as cb;"
        "cb.run(models={'m': lambda x: [[.5, .5]] * len(x)}, data='imagefolder:f',"
        "suites=['accuracy']);"
        "assert 'datasets' not in sys.modules"
    )
    home = os.environ | {"CRUCIBENCH_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=home, check=True)


def test_every_modality_is_registered_under_its_name_with_a_rank_of_its_own() -> None:
    readers = {name: reader_of(name) for name in modalities().names()}
    assert readers.keys() >= {Modality.IMAGE, Modality.TEXT, Modality.TABLE}
    assert all(reader.name == name for name, reader in readers.items())
    assert len({reader.rank for reader in readers.values()}) == len(readers)


# Tar shards: samples, and archives that nobody vouches for.


def png(colour: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(stream, "png")
    return stream.getvalue()


def write(path: Path, files: Sequence[tuple[str, bytes]], mode: Any = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def shard(first: int, count: int) -> list[tuple[str, bytes]]:
    files = []
    for number in range(first, first + count):
        files += [(f"d/{number:04}.png", png(number)), (f"d/{number:04}.cls", b"%d" % (number % 3))]
    return files


def reds(data: Any) -> list[int]:
    images = data.batch("test", range(data.card.counts["test"]), InputSpec()).inputs
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize(("end", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")])
def test_shards(tmp_path: Path, open_uri: Any, sources: Any, end: str, mode: str) -> None:
    write(tmp_path / f"a-0.{end}", shard(0, 5), mode)
    write(tmp_path / f"a-1.{end}", shard(5, 4), mode)
    data = open_uri(f"tar:a-*.{end}")
    assert data.card.counts == {"test": 9} and data.task.classes == ("0", "1", "2")
    samples = data.samples("test")
    assert samples.targets.tolist() == [number % 3 for number in range(9)]
    assert list(samples.keys)[:2] == ["d/0000", "d/0001"]
    assert reds(data) == list(range(9))
    assert len(sources(f"tar:a-*.{end}").files) == 2


def test_the_ids_are_those_of_the_same_files_in_a_folder(tmp_path: Path, open_uri: Any) -> None:
    write(tmp_path / "a.tar", shard(0, 6))
    for number in range(6):
        path = tmp_path / f"folder/{number % 3}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    ids = set(open_uri("tar:a.tar").samples("test").ids)
    assert ids == set(open_uri("imagefolder:folder").samples("test").ids)


def test_json_and_text(tmp_path: Path, open_uri: Any) -> None:
    files = []
    for number, text in enumerate(["one", "tw\u00f6", "\ud800 lone", "four"]):
        facts = {"label": "ab"[number % 2], "sex": "fm"[number // 2], "note": text}
        files += [(f"{number}.json", json.dumps(facts).encode()), (f"{number}.png", png(number))]
    write(tmp_path / "a.tar", files)
    data = open_uri("tar:a.tar?target=label&groups=sex")
    assert data.task.classes == ("a", "b")
    assert data.samples("test").groups["sex"].tolist() == ["f", "f", "m", "m"]
    texts = open_uri("tar:a.tar?target=label&input=note")
    assert texts.batch("test", range(4), InputSpec()).inputs == [
        "one", "tw\u00f6", "\ud800 lone", "four",
    ]  # fmt: skip


def test_bad_samples(tmp_path: Path, open_uri: Any) -> None:
    files = shard(0, 4)
    files += [("d/lost.cls", b"1"), ("d/torn.png", png(9)[:50]), ("d/torn.cls", b"1")]
    files += [("d/mute.png", png(8))]
    write(tmp_path / "a.tar", files)
    with pytest.raises(
        InputError, match=r"^1 of 7 samples .* a\.tar: sample 'd/lost' has no image"
    ):
        open_uri("tar:a.tar")
    data = open_uri("tar:a.tar?on_bad_sample=skip")
    assert data.card.counts == {"test": 4}
    assert data.bad_samples["test"]["kinds"] == {
        "no image": 1, "damaged image": 1, "target missing": 1,
    }  # fmt: skip


def test_a_target_unlike_the_first(tmp_path: Path, open_uri: Any, refusal: Any) -> None:
    write(tmp_path / "a.tar", [*shard(0, 2), ("d/x.png", png(7)), ("d/x.cls", b"cat")])
    assert refusal(InputError, lambda: open_uri("tar:a.tar")) == (
        "target 'cls': sample 'd/x' has 'cat', expected a whole number as the first sample has"
    )


def special(kind: bytes, name: str = "x.png") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = "../../secret"
    return member


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (tarfile.TarInfo("../out.png"), "expected names inside the archive"),
        (tarfile.TarInfo("a/../../out.png"), "expected names inside the archive"),
        (tarfile.TarInfo("/etc/out.png"), "expected names inside the archive"),
        (tarfile.TarInfo("C:\\out.png"), "expected names inside the archive"),
        (tarfile.TarInfo("..\\out.png"), "expected names inside the archive"),
        (special(tarfile.SYMTYPE), "got a link"),
        (special(tarfile.LNKTYPE), "got a link"),
        (special(tarfile.CHRTYPE), "expected files and folders"),
        (special(tarfile.FIFOTYPE), "expected files and folders"),
    ],
)
def test_what_leads_out_is_refused(
    tmp_path: Path, open_uri: Any, member: tarfile.TarInfo, why: str
) -> None:
    write(tmp_path / "a.tar", shard(0, 2))
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        archive.addfile(member, io.BytesIO(b""))
    before = sorted(tmp_path.parent.iterdir())
    with pytest.raises(InputError) as caught:
        open_uri("tar:a.tar?on_bad_sample=skip")
    assert why in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(tmp_path.parent.iterdir()) == before


def test_a_bomb_is_not_unpacked(
    tmp_path: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.util.untrusted.archive.FREE", 1 << 20)
    write(tmp_path / "a.tar.gz", [("x.png", b"\0" * (8 << 20)), ("x.cls", b"1")], "w:gz")
    assert (tmp_path / "a.tar.gz").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"expected at most .* bytes of "):
        open_uri("tar:a.tar.gz")


def test_an_absurd_size_is_refused(tmp_path: Path, open_uri: Any) -> None:
    member = tarfile.TarInfo("x.png")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + b"\0" * 1024)
    with pytest.raises(InputError, match=r"at most 268,435,456 bytes, got 1,099,511,627,776"):
        open_uri("tar:a.tar")
    header = tarfile.TarInfo("x.png")
    header.type = tarfile.XHDTYPE  # which tarfile reads whole into memory
    header.size = 1 << 32
    (tmp_path / "b.tar").write_bytes(header.tobuf() + b"\0" * 1024)
    with pytest.raises(InputError, match=r"expected a header of at most .*, got 4,294,967,296"):
        open_uri("tar:b.tar")


@pytest.mark.parametrize("content", [b"", b"no tar", b"\x1f\x8b\x08 no gzip"])
def test_no_archive(tmp_path: Path, open_uri: Any, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"^a\.tar: (there are no samples|expected a tar)"):
        open_uri("tar:a.tar")


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [(f"{number}.txt", bytes(1000)) for number in range(2000)])
    with (tmp_path / "a.tar").open("rb"):
        kept = [len(file.content) for file in tar_stream.tar_files(tmp_path / "a.tar")]
    assert np.sum(kept) == 2_000_000
