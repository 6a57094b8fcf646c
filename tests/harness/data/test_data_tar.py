"""Tar shards: samples, and archives that nobody vouches for."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.util.errors import InputError
from crucibench.util.untrusted import archive as tar_stream


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
