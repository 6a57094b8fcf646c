"""Sizes as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crucibench.util.numbers import Size, parse_size, size_text


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
