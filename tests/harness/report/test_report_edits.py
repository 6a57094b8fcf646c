"""Edits of texts and rows: what is marked, put together again, is the text before and after."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.report.page import Piece
from crucibench.report.sections.gallery import GAP, cells_of, changed_columns, edited, whole

_TEXT = st.text(st.sampled_from("ab c,.\u202e<"), max_size=11)


def _joined(pieces: list[Piece], without: str) -> str:
    return "".join(piece.text for piece in pieces if piece.kind != without)


@settings(deadline=None)
@given(_TEXT, _TEXT)
def test_pieces_make_up_both_texts(before: str, after: str) -> None:
    pieces = edited(before, after)
    assert _joined(pieces, "put-in") == before
    assert _joined(pieces, "taken-out") == after
    assert edited(before, before) == [Piece(text=before)]


def test_a_changed_word_is_marked_and_what_is_far_from_it_left_out() -> None:
    assert edited("a fine film", "a flne film") == [
        Piece(text="a "), Piece(text="fine", kind="taken-out"), Piece(text="flne", kind="put-in"),
        Piece(text=" film"),
    ]  # fmt: skip
    words = [f"w{at}" for at in range(400)]
    pieces = edited(" ".join(words), " ".join([*words[:200], "NEW", *words[200:]]))
    assert [piece.kind for piece in pieces] == ["gap", "same", "put-in", "same", "gap"]
    assert pieces[0] == GAP and "w195" in pieces[1].text and "w205" in pieces[3].text
    assert sum(len(piece.text) for piece in pieces) < 200


def test_missing_texts_and_endless_words_are_shown_short() -> None:
    assert edited(None, None) == []
    assert [piece.kind for piece in edited("a", None)] == ["taken-out"]
    assert [piece.kind for piece in edited(None, "a")] == ["put-in"]
    assert whole(None) == [Piece(text="missing", kind="gap")]
    pieces = [*edited("x" * 10_000, "y" * 10_000), *whole("z" * 10_000), *whole("z " * 5_000)]
    assert all(len(piece.text) < 1500 for piece in pieces)
    many = edited(" ".join("ab" * 400), " ".join("ba" * 400))
    assert len(many) <= 81


def test_cells_of_rows_that_differ_from_the_first_are_marked() -> None:
    rows = [{"age": 41, "sex": "f", "bp": None}, {"age": 41, "sex": "f", "bp": 0.25},
            {"age": None, "sex": "f", "bp": None}]  # fmt: skip
    assert changed_columns(rows) == ["age", "bp"]
    assert cells_of("age", rows) == [
        Piece(text="41"), Piece(text="41"), Piece(text="missing", kind="put-in")
    ]  # fmt: skip
    assert cells_of("bp", rows) == [
        Piece(text="missing"), Piece(text="0.25", kind="put-in"), Piece(text="missing")
    ]  # fmt: skip
