from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.util.errors import InputError
from crucibench.util.optional import need


def test_what_is_absent_is_one_sentence_with_the_install_line() -> None:
    with pytest.raises(InputError) as caught:
        need("no_such_package", "vision")
    assert str(caught.value) == (
        'no_such_package is not installed: pip install "crucibench[vision]"'
    )
    with pytest.raises(InputError) as caught:
        need("no_such_package")
    assert str(caught.value) == 'no_such_package is not installed: pip install "crucibench"'


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
