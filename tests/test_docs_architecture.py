"""The architecture page answers a reader's questions, and its answers are true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "harness" / "crucibench"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
QUESTIONS = re.findall(r"^\| ([^|]+\?) \| `([\w./]+)` \| `([\w.]+)` \|$", TEXT, re.M)


def test_there_are_twenty_questions_or_more() -> None:
    assert len(QUESTIONS) >= 20


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS)
def test_the_answer_is_where_the_page_says(question: str, file: str, name: str) -> None:
    body: list[ast.stmt] = ast.parse((PACKAGE / file).read_text()).body
    for part in name.split("."):
        named = [
            node for node in body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        ]  # fmt: skip
        assert named, f"{question} {part} is not in {file}"
        body = named[0].body


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS)
def test_the_answer_is_three_files_from_the_page(question: str, file: str, name: str) -> None:
    """The way through names files; what answers is one of them, or imported by one within two."""
    way = TEXT[: TEXT.index("## Where is it?")]
    near = {path for path in re.findall(r"`([\w/]+\.py)`", way) if (PACKAGE / path).is_file()}
    for _ in range(2):
        near |= {other for path in near for other in _imports(path)}
    assert file in near, f"{question} {file} is more than three files away"


def test_every_file_that_the_page_names_is_there() -> None:
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT):
        assert any((base / path).exists() for base in (PACKAGE, ROOT)), path


def _imports(path: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crucibench."):
            other = Path(*str(node.module).split(".")[1:]).with_suffix(".py")
            if (PACKAGE / other).is_file():
                found.add(other.as_posix())
    return found
