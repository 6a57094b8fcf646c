"""YAML that can't be read: one sentence with the line, whatever Python raises."""

from __future__ import annotations

import datetime

import pytest

from crucibench.spec.yaml_file import load_yaml
from crucibench.util.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nuntil: 2026-02-30\n", "line 2: 2026-02-30 can't be read as timestamp"),
        ("a: !!timestamp x\n", "line 1: x can't be read as timestamp"),
        ("[1, 2]: a\n", "line 1: a key can't be a list or a mapping"),
        ("? {a: 1}\n: b\n", "line 1: a key can't be a list or a mapping"),
        ("a: !!omap x\n", "omap"),
        ("a: !!omap [x: 1]\n", "omap"),
        ("a: !!set {x, y}\n", "set"),
        ("a: " + "9" * 6000, "can't be read as int"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: !!int x\n", "line 1: x can't be read as int"),
    ],
    ids=lambda value: value[:12],
)
def test_what_no_value_can_be_made_of(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_yaml(text, "spec.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("spec.yaml: ")
    assert expected in sentence
    assert "\n" not in sentence
    assert len(sentence) < 200


def test_a_date_that_there_is() -> None:
    assert load_yaml("until: 2028-02-29", "policy.yaml") == {"until": datetime.date(2028, 2, 29)}
