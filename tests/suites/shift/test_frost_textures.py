from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from crucibench_suites.shift.corruptions import _frost

Textures = Callable[[], np.ndarray]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Textures]:
    """Asks for a texture as a new process does, with a cache folder of the test's own."""
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(tmp_path / "cache"))
    made = _frost._made(0)
    monkeypatch.setattr(_frost, "_made", lambda number: made)

    def ask() -> np.ndarray:
        _frost.texture.cache_clear()
        return _frost.texture(0)

    yield ask
    _frost.texture.cache_clear()


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "made").iterdir())


def test_a_texture_is_made_once_and_is_the_same_afterwards(
    anew: Textures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = anew()
    assert len(kept(tmp_path)) == 1
    monkeypatch.setattr(_frost, "_made", lambda number: 1 / 0)
    assert np.array_equal(anew(), first)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_one_is_made_again(anew: Textures, tmp_path: Path, damage: str) -> None:
    first = anew()
    (path,) = kept(tmp_path)
    content = path.read_bytes()
    changed = {"cut": content[:-1], "empty": b"", "flipped": content[:-1] + b"\x00\x01"[:1]}[damage]
    path.write_bytes(changed if changed != content else content[:-1] + b"\x01")
    assert np.array_equal(anew(), first)
    assert path.read_bytes() == content


def test_without_a_folder_it_is_made_each_time(anew: Textures, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands in the way")
    assert anew().shape == (_frost.SIDE, _frost.SIDE, 3)


def test_pictures_of_frost_stay_what_they_were() -> None:
    # Another texture under the same version would make new numbers that pass for comparable ones.
    reds = [[35, 85, 147, 133], [255, 184, 26, 149], [111, 33, 180, 255], [142, 7, 13, 141]]
    made = _frost._made(0).astype(int)
    assert np.abs(made[::160, ::160, 0] - reds).max() <= 1  # an FFT may round another way
    assert made[160, 480].tolist() == pytest.approx([149, 154, 157], abs=1)
