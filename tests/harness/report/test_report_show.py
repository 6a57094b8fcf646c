import json
import math

import pytest

from crucibench.report.facts import show_cells, show_data, show_model, show_run
from crucibench.report.format import (
    counted,
    direction_mark,
    in_percent,
    listed,
    show_count,
    show_level,
    show_number,
    show_plain,
)
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible


def test_cells_with_status_and_verdict(showcase_run: Run) -> None:
    cells = show_cells(showcase_run)
    assert len(cells) == 13
    mlp = next(c for c in cells if (c["model"], c["scenario"]) == ("mlp", "accuracy/clean"))
    assert (mlp["status"], mlp["verdict"], mlp["n"]) == ("ok", "invalid", 540)
    assert mlp["findings"] == "batch-noise, double-softmax"
    failed = next(c for c in cells if c["status"] == "failed")
    assert failed["verdict"] == ""
    assert failed["reason"].startswith("ValueError")
    json.dumps(cells)


def test_cards_say_what_is_unknown(showcase_run: Run) -> None:
    digits = show_data(showcase_run, "digits")
    assert digits["task"] == "image classification"
    assert digits["samples"] == "test 540"
    assert digits["licence"] == "CC BY 4.0"
    assert show_data(showcase_run, "diabetes")["licence"] == "not stated"
    with pytest.raises(InputError, match="did you mean 'digits'"):
        show_data(showcase_run, "digit")


def test_model_facts_by_data_set(showcase_run: Run) -> None:
    facts = show_model(showcase_run, "cnn")["digits"]
    assert facts["parameters"] == "12,345"
    assert facts["scores are"] == "logits"
    assert facts["fingerprint.weights"]
    assert facts["input.size"] == "8, 8"
    with pytest.raises(InputError, match="unknown model 'cn'"):
        show_model(showcase_run, "cn")


def test_run_facts(showcase_run: Run) -> None:
    facts = show_run(showcase_run)
    assert facts["models"] == "cnn, cnn-robust, mlp, logistic, forest, table-mlp"
    assert facts["data"] == "digits, diabetes"
    assert facts["preset"] == "quick"
    assert facts["cells"] == "13"


@pytest.mark.parametrize(
    ("value", "lower", "upper", "percent", "shown"),
    [
        # Two significant digits of the half-width: 1.9 points, 0.45 points, 12 points.
        (0.967, 0.943, 0.981, True, "96.7 [94.3, 98.1]"),
        (0.9912, 0.9855, 0.9945, True, "99.12 [98.55, 99.45]"),
        (0.87, 0.72, 0.96, True, "87 [72, 96]"),
        (1.0, 0.9905, 1.0, True, "100.00 [99.05, 100.00]"),
        (0.0, 0.0, 0.0951, True, "0.0 [0.0, 9.5]"),
        (0.1234, 0.1101, 0.1399, False, "0.123 [0.110, 0.140]"),
        (-0.02, -0.06, 0.02, False, "\u22120.020 [\u22120.060, 0.020]"),
        (123456.0, 121000.0, 126000.0, False, "123,500 [121,000, 126,000]"),
        (3e-8, 2e-8, 4e-8, False, "3.0e\u221208 [2.0e\u221208, 4.0e\u221208]"),
        (0.967, None, None, True, "96.7"),
        (1.3149, None, None, False, "1.31"),
        (12345.6, None, None, False, "12,346"),
        (0.0, None, None, False, "0.00"),
        (0.5, 0.5, 0.5, True, "50.0 [50.0, 50.0]"),
        (math.inf, None, None, False, "∞"),
    ],
)
def test_interval_decides_the_digits(
    value: float, lower: float | None, upper: float | None, percent: bool, shown: str
) -> None:
    assert str(show_number(value, lower, upper, percent=percent)) == shown


def test_rounding_to_zero_has_no_sign() -> None:
    assert show_number(-0.0001, -1.0, 1.0).value == "0.0"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(3.0, "3"), (-1.0, "\u22121"), (0.25, "0.25"), (1 / 3, "0.3333"), (1234.5678, "1,235"),
     (0.0, "0"), (math.inf, "∞"), (math.nan, "\u2013"), (2.5e-9, "2.500e\u221209")],
)  # fmt: skip
def test_plain_numbers(number: float, shown: str) -> None:
    assert show_plain(number) == shown


def test_only_unitless_metrics_from_0_to_1_are_in_percent() -> None:
    assert in_percent(0.0, 1.0, "")
    assert not in_percent(0.0, 1.0, "s")
    assert not in_percent(-1.0, 1.0, "")
    assert not in_percent(0.0, None, "")


def test_words() -> None:
    assert show_count(1234567) == "1,234,567"
    assert show_level(0.95) == "95 %"
    assert show_level(0.999) == "99.9 %"
    assert direction_mark("higher") == "↑"
    assert direction_mark("target=1") == "→ 1"
    assert direction_mark("none") == ""
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed("abcdefghij", most=3) == "a, b and 8 more"
    assert counted(1, "class", "classes") == "1 class"
    assert counted(2, "class", "classes") == "2 classes"


def test_what_could_hide_or_reorder_is_made_visible() -> None:
    assert visible("abc\u202egnp.exe") == "abc\\u202egnp.exe"
    assert visible("a\x1b[31mb\r\n\tc", keep="\n\t") == "a\\u001b[31mb\\u000d\n\tc"
    assert visible("\ud800") == "\\ud800"
    assert visible("naïve 👩\u200d🔬 שלום") == "naïve 👩\u200d🔬 שלום"


def test_shorten_keeps_both_ends() -> None:
    assert shorten("x" * 60) == "x" * 60
    assert shorten("a" * 50 + "z" * 50, 20) == "a" * 14 + "…" + "z" * 5
