"""YAML that can't be read: one sentence with the line, whatever Python raises."""

from __future__ import annotations

import datetime

import pytest

from crucibench.util.errors import InputError
from crucibench.util.untrusted.yaml_text import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nuntil: 2026-02-30\n",
            "line 2: expected a value of type timestamp, got '2026-",
        ),
        ("a: !!timestamp x\n", "line 1: expected a value of type timestamp, got 'x'"),
        ("[1, 2]: a\n", "line 1: expected a key that is text or a number, got a list"),
        ("? {a: 1}\n: b\n", "line 1: expected a key that is text or a number"),
        ("- &a [1]\n- {*a : 1}", "line 2: expected a key that is text or a number"),
        ("a: !!omap x\n", "the tag omap"),
        ("a: !!omap [x: 1]\n", "the tag omap"),
        ("a: !!set {x, y}\n", "the tag set"),
        ("a: " + "9" * 6000, "of at most 64 bits"),
        ("a: 0x" + "f" * 17, "of at most 64 bits"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested at most 64 deep"),
        ("a: !!int x\n", "line 1: expected a value of type int of at most 64 bits, got 'x'"),
        ("a: *b", "expected an anchor that stands before, got *b"),
        ("&a [*a]", "expected an anchor that stands before, got *a"),
        ("a: 1\n--- \nb: 2", "line 2: expected one document"),
        ("a: \0", "expected YAML"),
        (
            "- &a0 [x, x]\n"
            + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)),
            "at most 1,000,000 values",
        ),
    ],
    ids=lambda value: value[:12],
)
def test_what_no_value_can_be_made_of(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "spec.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("spec.yaml: ")
    assert expected in sentence
    assert "\n" not in sentence
    assert len(sentence) < 200


def test_a_date_that_there_is() -> None:
    assert parse_yaml("until: 2028-02-29", "policy.yaml") == {"until": datetime.date(2028, 2, 29)}


def test_plain_text_stays_text_when_it_is_written_and_read() -> None:
    data = {"a": ["1e-3", "no", "=", "<<", "1.5", "0x1", "2026-01-01", "~", ""], "b": 1e-05}
    assert parse_yaml(dump_yaml(data), "spec.yaml") == data
