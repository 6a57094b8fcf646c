from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.util import atomic
from crucibench.util.hashing import canonical_json, data_digest, differing_fields, file_digest
from crucibench.util.numbers import parse_duration, parse_number
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
