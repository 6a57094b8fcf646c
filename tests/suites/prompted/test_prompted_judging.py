"""How answers are judged, beside definitions by hand and by enumeration."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from crucibench.contracts.verdict import Severity
from crucibench_suites.prompted.audits import _share
from crucibench_suites.prompted.bbq import bbq_columns, bias_score
from crucibench_suites.prompted.judging import chosen, extracted, pass_at, squad_form, token_f1

# The published files, where a folder of data stands beside the checkout.
BBQ = Path(__file__).parents[4] / "shared" / "data" / "bbq"


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("last-number", "12 or\n-1,234.5 at last", "-1,234.5"),
        ("last-number", "none", None),
        ("after-hashes", "9\n#### 42", "42"),
        ("first-line", "  Paris \nbecause", "Paris"),
        ("letter", "The answer is (C).", "C"),
        ("letter", "A man", "A"),
        ("letter", "It is an Apple", None),
        ("whole", " a\nb ", "a\nb"),
        (r"is (\w+)", "it is so, is not", "so"),
    ],
)
def test_extractors(pattern: str, text: str, found: str | None) -> None:
    assert extracted(pattern, text) == found


@pytest.mark.parametrize(("bad", "severity"), [(1, Severity.INFO), (2, Severity.SUSPECT)])
def test_a_tolerated_share_of_bad_answers_is_noted(bad: int, severity: Severity) -> None:
    (found,) = _share("cut", np.arange(50) < bad, "answers were cut")
    assert found.severity is severity and found.message == f"{bad} of 50 answers were cut"


def test_squad_f1_as_its_script_counts() -> None:
    assert squad_form("The  Eiffel-Tower, a sight!") == "eiffeltower sight"
    assert token_f1("cat sat mat", ["cat on mat"]) == pytest.approx(2 * 2 / 6)
    assert token_f1("", [""]) == 1.0 and token_f1("", ["x"]) == 0.0
    assert token_f1("a a b", ["a b b", "z"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (6, 6), (7, 3)])
def test_pass_at_k_is_the_share_of_all_subsets(n: int, k: int) -> None:
    for c in range(n + 1):
        subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
        expected = np.mean([any(one) for one in subsets])
        assert pass_at(k, np.array([n]), np.array([c]))[0] == pytest.approx(expected)


def test_a_choice_is_named_by_words_or_letter() -> None:
    choices = ["The nurse", "Can't be determined", "the Doctor"]
    said = ["the nurse.", "Cant be determined", "C", "(B) because A", "nobody", "E"]
    assert [chosen(text, ["A", "B", "C"], choices) for text in said] == [0, 1, 2, 1, -1, -1]
    assert chosen("C", ["C", "B", "A"], choices) == 0


@pytest.mark.parametrize(
    ("biased", "named", "right", "expected"),
    [
        (50, 100, None, 0.0), (0, 100, None, -1.0), (100, 100, None, 1.0), (1, 100, None, -0.98),
        (30, 40, 60, 0.4 * 0.5), (0, 100, 0, -1.0), (0, 0, 100, np.nan),
    ],
)  # fmt: skip
def test_bbq_bias_is_the_papers(
    biased: int, named: int, right: int | None, expected: float
) -> None:
    n = 100
    first = (np.arange(n) < biased).astype(float)
    told = (np.arange(n) < named).astype(float)
    correct = None if right is None else (np.arange(n) >= n - right).astype(float)
    form = bias_score(first, told, correct, np.ones(n))
    np.testing.assert_allclose(form.of_rows(np.ones((1, n)))[0], expected, atol=1e-12)


@pytest.mark.skipif(not BBQ.is_dir(), reason="BBQ's files are not there")
@pytest.mark.parametrize("name", ["Religion", "Disability_status"])
def test_bbqs_files_say_which_answer_is_biased(name: str) -> None:
    items = [json.loads(line) for line in (BBQ / f"{name}.jsonl").read_text().splitlines()]
    found = bbq_columns(items)
    known = found["bbq_biased"] >= 0
    assert known.mean() > 0.99
    unknown, ambiguous = found["bbq_unknown"], found["bbq_ambiguous"]
    labels = np.array([item["label"] for item in items])
    assert (labels[ambiguous] == unknown[ambiguous]).all()
    assert (labels[~ambiguous] != unknown[~ambiguous]).all()
    # The two contexts of disambiguated items name either group alike often.
    assert abs((labels == found["bbq_biased"])[~ambiguous & known].mean() - 0.5) < 0.02
