"""A part of benchmarks/fuzz.py, the same inputs each time; and what was found by all of it."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crucibench.data.images import decode
from crucibench.data.sources.tables import MISSING, CsvFiles
from crucibench.util.errors import InputError, UnreadableError

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("tool_fuzz", FOLDER / "fuzz.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        module.SECONDS_AT_MOST = math.inf  # type: ignore[attr-defined]  # here, others run beside
        return module


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.thorough)])
@pytest.mark.filterwarnings("ignore")  # of Pillow and zipfile, on what they are given
@pytest.mark.parametrize(
    "name",
    [
        "YAML", "JSON", "spec", "policy", "cell.json", "data card", "models.json", "manifest",
        "pack", "ZIP archive", "npz", "npy", "tar", "image", "CSV", "Parquet",
        "VOC", "COCO",
    ],
)  # fmt: skip
def test_mutated_files_are_read_or_refused(
    fuzz: ModuleType, name: str, count: int, tmp_path: Path
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    for content in fuzz.PARSERS[name].seeds:
        (folder / "seed").write_bytes(content)
        fuzz.PARSERS[name].read(folder / "seed")
    tally = fuzz.quick(name, count // 15 if name == "pack" else count, folder)
    assert not tally.unhandled
    assert tally.inputs > tally.refused > 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data card", lambda card: card.pop("groups")),
        ("data card", lambda card: card["task"].pop("classes")),
        ("data card", lambda card: card.update({"x" * 5000: 1})),
        ("models.json", lambda models: models[0]["model"].pop("capabilities")),
        ("models.json", lambda models: models[0]["model"]["decision"].update({"x" * 5000: 1})),
        ("models.json", lambda models: models[0]["model"].update(capabilities=["flying"])),
    ],
)
def test_documents_that_were_found(
    fuzz: ModuleType, name: str, change: Callable[[Any], object], tmp_path: Path, refusal: Any
) -> None:
    document = json.loads(fuzz.PARSERS[name].seeds[0])
    change(document)
    (tmp_path / "input").write_text(json.dumps(document))
    sentence = refusal(UnreadableError, lambda: fuzz.PARSERS[name].read(tmp_path / "input"))
    assert ".json' " in sentence and len(sentence) < 500


def test_a_row_of_another_length_that_is_no_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xff,2,3\n")
    with pytest.raises(InputError, match=r"a\.csv"):
        CsvFiles((tmp_path / "a.csv",), ",", "utf-8", MISSING).kinds()
    assert capfd.readouterr().err == ""


CANVAS = (
    "UklGRpwAAABXRUJQVlA4IJAAAAAwAgCdASoAnQEqBwAJAAFAJiWwAnQtG4G9+iuPEgAA+QWfY3P/+riqFY/ne/+S"
    "oa4ltN/0EitMdqO3gzbH/mdgtvzSf3R1+f1jvJ6fE/uTe1hFnR9yJwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAADKPD40qG9C9LP9I/yos10MXb/gfZgA"
)


def test_a_small_file_of_a_huge_picture(refusal: Any) -> None:
    """A WebP of 168 bytes, of which its library makes 300 MB before it looks for a frame."""
    sentence = refusal(InputError, lambda: decode(base64.b64decode(CANVAS), "it"))
    assert sentence == "it: expected at most 134,251,328 bytes of 168, got 319,321,088"
