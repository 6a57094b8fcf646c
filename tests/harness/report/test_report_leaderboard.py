import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from rich.console import Console

from crucibench.comparing.claims import Claims
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report import leaderboard_text
from crucibench.report.decision import standouts
from crucibench.report.findings import findings_of, verdict_summary
from crucibench.report.leaderboard import Board, leaderboard
from crucibench.report.terminal import print_findings, print_leaderboard
from crucibench.store.run import Run
from crucibench.util.errors import InputError

MakeBuilder = Callable[[str], Any]
MakeClaims = Callable[..., Claims]
MakeRun = Callable[..., Run]

TOP1 = "accuracy/clean/top-1"


def _order(board: Board) -> list[str]:
    return [line.label for line in board.lines]


def test_rows_are_models_and_columns_headlines_with_rows(showcase_run: Run) -> None:
    digits, diabetes = leaderboard([showcase_run]).boards
    assert digits.data == "digits"
    assert _order(digits) == ["cnn", "cnn-robust", "mlp"]
    assert [column.place for column in digits.columns] == [
        TOP1,
        "accuracy/clean/log-loss",
        "accuracy/clean/ece-15-equal-width-top-label",
        "noise/gaussian[severity=3]/accuracy",
    ]
    assert digits.axes == [("accuracy", 3), ("robustness", 1)]
    # No cell of the second axis ended well on the second data set: it has no column there.
    assert diabetes.axes == [("accuracy", 3)]
    missing = digits.lines[2].entries["noise/gaussian[severity=3]/accuracy"]
    assert missing.number is None
    assert missing.shown.reason == "skipped: its forward pass is invalid"


def test_best_first_in_the_column_s_direction_and_doubted_ones_after_all_others(
    two_models: MakeRun,
) -> None:
    run = two_models("r", {"a": 195, "b": 190, "c": 199, "d": None, "e": 170},
                     verdicts={"c": "invalid", "a": "suspect"})  # fmt: skip
    (board,) = leaderboard([run]).boards
    assert _order(board) == ["b", "e", "a", "c", "d"]
    assert board.sorted_by == TOP1
    text = leaderboard_text.markdown(leaderboard([run]))
    assert "| c | 99.5 \\[97.2, 99.9\\] ✗ **invalid** <sub>n 200</sub> |" in text
    assert "| a | 97.5 \\[94.3, 98.9\\] ? **suspect** <sub>n 200</sub> |" in text
    assert "| d | \u2013 |" in text
    assert "- d, Accuracy: no value: the model gives no label" in text
    assert "✗ invalid: an audit found that the number does not measure what it says" in text
    assert "- c ✗ Accuracy: double-softmax: no probability leaves" in text


def test_sort_and_columns_take_addresses_and_their_ends(showcase_run: Run) -> None:
    (board,) = leaderboard([showcase_run], sort="log-loss", data=["diabetes"]).boards
    losses = [line.entries["accuracy/clean/log-loss"].number for line in board.lines]
    order = [(one.verdict is not Verdict.VALID, one.value) for one in losses]
    assert order == sorted(order)
    (board,) = leaderboard(
        [showcase_run], columns=["accuracy/clean/recall@seven", TOP1], data=["digits"]
    ).boards
    assert [column.place for column in board.columns] == ["accuracy/clean/recall@seven", TOP1]
    (board,) = leaderboard(
        [showcase_run], data=["digits"],
        columns=[f"noise/gaussian[severity={level}]/accuracy" for level in (1, 5)],
    ).boards  # fmt: skip
    assert [column.title for column in board.columns] == [
        "Accuracy under noise (severity=1)",
        "Accuracy under noise (severity=5)",
    ]
    # A target: the nearest to it is the best.
    (board,) = leaderboard(
        [showcase_run], columns=["accuracy/clean/temperature"], data=["digits"]
    ).boards
    assert len(board.lines) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "top-2"}, "unknown column 'top-2'; did you mean 'top-1'?"),
        ({"columns": ["accuracy/clean/top1"]}, "did you mean 'accuracy/clean/top-1'"),
        ({"columns": ["top-1"]}, "expected SUITE/SCENARIO"),
        ({"data": ["digit"]}, "did you mean 'digits'"),
        ({"columns": ["noise/gaussian[severity=1]/accuracy", "noise/gaussian[severity=2]/accuracy"],
          "sort": "accuracy"}, "fits several"),
    ],
)  # fmt: skip
def test_mistakes_are_sentences(showcase_run: Run, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        leaderboard([showcase_run], **options)


def test_rows_of_other_keys_are_not_joined_and_the_field_is_named(two_models: MakeRun) -> None:
    same = {"data": "f", "scenario": {"parameters": {"limit": None}, "version": 1}}
    other = {"data": "f", "scenario": {"parameters": {"limit": 100}, "version": 1}}
    first = two_models("first", {"a": 150, "b": 160}, comparisons={"a": same, "b": same})
    second = two_models("second", {"c": 190}, comparisons={"c": other})
    joined = leaderboard([first, second])
    (board,) = joined.boards
    assert _order(board) == ["b", "a"]
    (apart,) = board.apart
    assert apart.label == "c"
    assert apart.reason == "differs in scenario.parameters.limit"
    text = leaderboard_text.markdown(joined)
    assert "| c | Accuracy | 95.0 \\[91.0, 97.3\\] | differs in scenario.parameters.limit |" in text
    rows = list(csv.DictReader(io.StringIO(leaderboard_text.csv(joined))))
    assert [(row["model"], row["joined"]) for row in rows] == [
        ("b", "true"), ("a", "true"), ("c", "false"),
    ]  # fmt: skip
    assert rows[2]["reason"] == "differs in scenario.parameters.limit"


def test_equal_keys_of_several_runs_are_joined(two_models: MakeRun) -> None:
    first = two_models("first", {"a": 150})
    second = two_models("second", {"b": 160})
    (board,) = leaderboard([first, second]).boards
    assert _order(board) == ["b", "a"]
    assert not board.apart
    assert [line.runs for line in board.lines] == [("second",), ("first",)]


def test_one_model_in_two_runs(two_models: MakeRun) -> None:
    # The same weights and the same number: one line.
    again = leaderboard([two_models("r1", {"a": 150}), two_models("r2", {"a": 150})])
    assert _order(again.boards[0]) == ["a"]
    assert again.boards[0].lines[0].runs == ("r1", "r2")
    # Other weights under the same name, and a model that can't be recognised: two lines.
    changed = two_models("r3", {"a": 151}, fingerprints={"a": {"weights": "other"}})
    assert _order(leaderboard([two_models("r4", {"a": 150}), changed]).boards[0]) == [
        "a (r3)", "a (r4)",
    ]  # fmt: skip


def test_csv_and_json_hold_raw_numbers(showcase_run: Run) -> None:
    board = leaderboard([showcase_run])
    rows = list(csv.DictReader(io.StringIO(leaderboard_text.csv(board))))
    frame = showcase_run.metrics().set_index(["model", "metric"])
    first = rows[0]
    assert (first["model"], first["address"]) == ("cnn", TOP1)
    assert float(first["value"]) == frame.loc[("cnn", "top-1"), "value"]
    assert float(first["lower"]) == frame.loc[("cnn", "top-1"), "lower"]
    assert first["n"] == "540"
    document = json.loads(leaderboard_text.json_text(board))
    assert document["runs"] == ["3f2ab91c04d7"]
    assert document["boards"][0]["order"] == ["cnn", "cnn-robust", "mlp"]
    numbers = document["boards"][0]["numbers"]
    assert numbers[0]["value"] == float(first["value"])
    assert numbers[-1]["value"] is None
    assert numbers[-1]["reason"] == "skipped: its forward pass is invalid"


def test_hostile_names_stay_text(hostile_run: Run) -> None:
    board = leaderboard([hostile_run])
    text = leaderboard_text.markdown(board)
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>" not in text
    assert "\u202e" not in text
    assert "://" not in text
    assert "@team" not in text
    assert max(map(len, text.splitlines())) < 2000
    # Each table row has as many places as its head, pipes in names notwithstanding.
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        rows = table.splitlines()
        assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    for row in csv.reader(io.StringIO(leaderboard_text.csv(board))):
        for field in row:
            assert field[:1] not in set("=+-@\t\r")
    json.loads(leaderboard_text.json_text(board))


def _printed(run: Run, *, styled: bool = False) -> str:
    stream = io.StringIO()
    system = "truecolor" if styled else None
    console = Console(file=stream, width=110, force_terminal=styled, color_system=system)
    print_leaderboard(console, leaderboard([run]))
    print_findings(console, run)
    return stream.getvalue()


def test_terminal_shows_values_intervals_marks_and_reasons(showcase_run: Run) -> None:
    text = _printed(showcase_run)
    assert "85.0 [81.7, 87.8]" in text
    assert "71.1 [67.1, 74.8] ✗" in text
    assert "mlp, Accuracy under noise: skipped: its forward pass is invalid" in text
    assert "double-softmax: no probability leaves" in text
    assert text.count("Brackets hold the 95 % interval") == 1


def test_terminal_has_colour_unless_no_color_is_set(
    showcase_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    colour = re.compile(r"\x1b\[(\d;)?3[0-7]m")
    assert colour.search(_printed(showcase_run, styled=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(_printed(showcase_run, styled=True))


def test_terminal_takes_names_as_text(hostile_run: Run) -> None:
    text = _printed(hostile_run)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<script>alert(1)</script>" in text


def test_findings_stand_once_with_all_cells_that_inherit_them(showcase_run: Run) -> None:
    found = findings_of(showcase_run)
    assert [entry.severity for entry in found] == ["invalid", "suspect", "info", "info", "info"]
    invalid = found[0]
    assert (invalid.model, invalid.data, invalid.scenario) == ("mlp", "digits", "pass/test")
    assert invalid.cells[0] == invalid.origin
    assert len(invalid.cells) == 2


def test_summary_counts_every_outcome(showcase_run: Run, two_models: MakeRun) -> None:
    text = verdict_summary(showcase_run)
    assert "11 of 13 planned cells ran to the end." in text
    assert "(mlp) are invalid" in text
    assert "(forest) are suspect" in text
    assert "1 cell failed (table-mlp)." in text
    assert verdict_summary(two_models("r", {"a": 1})) == (
        "1 of 1 planned cell ran to the end. No audit found a fault in their numbers."
    )


def test_an_order_is_stated_only_where_it_is_claimed(
    two_models: MakeRun, claims_about: MakeClaims
) -> None:
    (board,) = leaderboard([two_models("r", {"a": 190, "b": 185, "c": 100})]).boards
    (column,) = board.columns

    def sentences(pairs: Mapping[tuple[str, str], float], tested: str = "abc") -> list[str]:
        return standouts(board, claims_about(board.data, column.place, pairs, tested))

    assert sentences({("a", "b"): 0.025, ("a", "c"): 0.45}) == [
        "Accuracy: a has the highest value (95.0 %). It is better than b by 2.5 points [1.5, 3.5] "
        "and c by 45.0 points [44.0, 46.0]."
    ]
    assert sentences({("a", "c"): 0.45}) == [
        "Accuracy: a has the highest value (95.0 %); whether b is behind is open. It is better "
        "than c by 45.0 points [44.0, 46.0]."
    ]
    assert sentences({}) == [
        "No model is shown to be behind the best in Accuracy: paired tests of all models, "
        "corrected for their number, leave the order there open."
    ]
    assert sentences({("a", "b"): 0.025}, "ab")[-1] == (
        "c is left out of these sentences where a number is not valid, is marked, or can't be "
        "compared sample by sample."
    )
    assert sentences({}, "") == []
    note = Claims(note="models are not compared: a suite is not installed")
    assert standouts(board, note) == ["Models are not compared: a suite is not installed."]


def test_a_run_without_a_headline_number(builder: MakeBuilder) -> None:
    made = builder("empty")
    made.suite("accuracy", "accuracy", ("clean/top-1",), ())
    made.data("digits", ("a", "b"), 10)
    made.model("m", "digits")
    made.cell("m", "digits", "accuracy", "clean", Status.FAILED, reason="no", n=0)
    run = made.finish()
    (board,) = leaderboard([run]).boards
    assert board.columns == ()
    assert _order(board) == ["m"]
    assert "No number of a headline metric was measured." in leaderboard_text.markdown(
        leaderboard([run])
    )
    assert leaderboard_text.csv(leaderboard([run])).count("\n") == 1
    assert "no number of a headline metric" in _printed(run)


def test_a_board_too_wide_for_the_terminal_is_a_table_an_axis(showcase_run: Run) -> None:
    board = leaderboard([showcase_run])
    texts = {}
    for width in (60, 500):
        console = Console(file=io.StringIO(), width=width, record=True)
        print_leaderboard(console, board)
        texts[width] = console.export_text()
    heads = {width: [line for line in text.splitlines() if line.startswith(" model ")]
             for width, text in texts.items()}  # fmt: skip
    for one in board.boards:
        axes = {column.axis for column in one.columns}
        numbers = [n for n in one.numbers() if n.value is not None]
        assert axes and numbers
    axes_in_all = sum(len({column.axis for column in one.columns}) for one in board.boards)
    assert len(heads[60]) >= axes_in_all > len(board.boards)
    # A value and its interval stay on one line, whatever the width.
    for value in re.findall(r"\d[\d.,]* \[[-\d., ]+\]", texts[500]):
        assert value in texts[60]
    assert "…" not in texts[60].partition("Sorted by")[0]
