from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality
from crucibench.util import atomic
from crucibench.util.errors import InputError
from crucibench.util.hashing import canonical_json, data_digest, differing_fields, file_digest
from crucibench.util.numbers import Size, parse_duration, parse_number, parse_size, size_text
from crucibench.util.optional import need
from crucibench.util.suggest import nearest, unknown


@pytest.mark.parametrize(
    ("text", "value"),
    [("8/255", 8 / 255), ("1e-3", 0.001), (" 2 / 4 ", 0.5), (3, 3.0), ("-1", -1.0), (0.5, 0.5)],
)
def test_numbers_as_people_write_them(text: object, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["one", "1/0", "8//255", True, None])
def test_what_is_no_number_is_left_for_the_validator(text: object) -> None:
    assert parse_number(text) is text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800.0), ("500ms", 0.5), ("2h", 7200.0), (5, 5.0), ("1.5s", 1.5)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_nearest_finds_the_likely_name() -> None:
    assert nearest("troch", ["torch", "sklearn"]) == "torch"
    assert nearest("TORCH", ["torch", "sklearn"]) == "torch"
    assert nearest("zzz", ["torch", "sklearn"]) is None
    metrics = ["balanced-accuracy", "aurc", "auroc", "top-1", "log-loss"]
    assert [nearest(name, metrics) for name in ("accurcy", "auc", "logloss", "aurc")] == [
        "top-1", "auroc", "log-loss", "aurc"
    ]  # fmt: skip
    assert nearest("accurcy", ["balanced-accuracy"]) == "balanced-accuracy"
    assert nearest("cnn:accuracy/clean/accurcy", [f"cnn:accuracy/clean/{m}" for m in metrics]) == (
        "cnn:accuracy/clean/top-1"
    )
    assert unknown("model scheme", "troch", ["sklearn", "torch"]) == (
        "unknown model scheme 'troch'; did you mean 'torch'? (known: sklearn, torch)"
    )


def test_canonical_json_is_one_text_per_content() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert data_digest({"a": 1, "b": 2}) == data_digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"a": float("nan")})


def test_differing_fields_names_nested_fields() -> None:
    a = {"x": 1, "deep": {"k": 1, "same": 2}, "gone": None}
    b = {"x": 1, "deep": {"k": 3, "same": 2}}
    assert differing_fields(a, b) == ["deep.k", "gone"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    atomic.write_json(path, {"value": 1})
    before = file_digest(path)

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        atomic.write_atomically(path, fail)
    assert file_digest(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_what_is_absent_is_one_sentence_with_the_install_line(refusal: Any) -> None:
    assert refusal(InputError, lambda: need("no_such_package", "vision")) == (
        'no_such_package is not installed: pip install "crucibench[vision]"'
    )
    assert (
        refusal(InputError, lambda: need("no_such_package"))
        == 'no_such_package is not installed: pip install "crucibench"'
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [("import no_such_thing", "No module named 'no_such_thing'"), ("1 / 0", "ZeroDivisionError: ")],
)
def test_what_is_broken_is_told_apart_from_what_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cause: str
) -> None:
    (tmp_path / "broken_package.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=rf"^broken_package can't be imported: {cause}"):
        need("broken_package", "vision")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000), ("2GiB", 2 * 1024**3), ("1.5 GB", 1_500_000_000), ("12", 12),
        (" 7 kB ", 7000), ("7KB", 7000), ("3 KiB", 3072), ("1TB", 10**12), ("1TiB", 1024**4),
        ("0", 0), (0, 0), (123, 123), ("5 B", 5), ("1.3 KiB", 1331), ("0.1GB", 100_000_000),
        ("90071992547409931B", 90071992547409931),
    ],
)  # fmt: skip
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert TypeAdapter(Size).validate_python(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", "GiB", "2G", "2Gi", "2gib", "2Gb", "-1", "-1MB", "+1MB", "1e3", "1,000", "1.5",
        "1..5GB", ".5GB", "5.GB", "2 GiB MB", "0x10", "nan", "inf", "٣MB", "1" * 31, -1, True,
        1.5, None, b"1",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_in_one_sentence(text: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as 500MB, 2GiB .*, got ") as told:
        parse_size(text)
    assert repr(text) in str(told.value)
    with pytest.raises(ValidationError, match="expected a size such as"):
        TypeAdapter(Size).validate_python(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"), (10 * 1024**3, "10.0 GiB"), (5000 * 1024**4, "5000.0 TiB"),
    ],
)  # fmt: skip
def test_sizes_are_shown_short(size: int, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(0, 2**60))
def test_what_is_shown_is_a_size_again(size: int) -> None:
    again = parse_size(size_text(size))
    assert abs(again - size) <= 0.051 * size + 1


@pytest.mark.parametrize(
    ("kind", "wrong", "nearest"),
    [(Modality, "imgae", "image"), (Capability, "any_input", "any-input")],
)
def test_an_unknown_name_is_refused_with_the_nearest(kind: type, wrong: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown .* {wrong!r}; did you mean {nearest!r}"):
        kind(wrong)


def test_equal_names_are_one_object() -> None:
    text = Modality("text")
    assert text is Modality.TEXT and text == "text" and str(text) == "text"
    for same in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert same is text
    assert json.dumps({text: Capability.LABELS}) == '{"text": "labels"}'


def test_a_package_declares_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Modality, "_known", dict(Modality._known))
    monkeypatch.setattr(Modality, "added", lambda: ["sound"])
    sound = Modality("sound")
    assert sound is Modality("sound") and isinstance(sound, Modality)
    monkeypatch.setattr(Capability, "_known", dict(Capability._known))
    with pytest.raises(InputError, match="unknown capability 'spectrum'"):
        Capability("spectrum")
    assert Capability.declare("spectrum") is Capability("spectrum")
