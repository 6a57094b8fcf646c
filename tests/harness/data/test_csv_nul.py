"""A NUL byte in a CSV file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.data.sources.csv import CsvFiles
from crucibench.util.errors import InputError


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,x\n2,y\0z\n", "column 'b' holds a NUL byte"),
        (b"a,b\n\0,x\n", "column 'a' holds a NUL byte"),
        (b"a,b\0\n1,x\n", "its header holds a NUL byte"),
        (b"a,b\n1,x\n", None),
    ],
)
def test_a_nul_byte(tmp_path: Path, content: bytes, expected: str | None) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    table = CsvFiles((path,), ",", "utf-8", ("",))
    if expected is None:
        assert table.kinds() == {"a": "int64", "b": "string"}
        return
    with pytest.raises(InputError, match=expected):
        table.kinds()
