"""A leaderboard as LaTeX: booktabs tables to paste into a paper.

What a user named is escaped, character by character: no name is a command. Characters that the
common fonts lack are written as their code points, so that pdflatex sets every name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from crucibench.report.format import show_count
from crucibench.report.leaderboard import Board, Entry, Leaderboard
from crucibench.report.leaderboard_about import (
    SEED_HEADS,
    card_heads,
    card_rows,
    label_text,
    notes_on_rows,
    seed_rows,
)
from crucibench.report.leaderboard_ranks import (
    STANDING_HEADS,
    notes_on_ranks,
    rank_text,
    shows_ranks,
    standing_rows,
)
from crucibench.report.leaderboard_text import (
    column_title,
    entry_text,
    footnotes,
    sorting,
    writing,
)
from crucibench.util.text import shorten, visible

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "^": r"\textasciicircum{}", "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "-": "{-}",
    "\u2013": r"\textendash{}", "\u2014": r"\textemdash{}", "\u2212": r"$-$", "±": r"$\pm$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "\u00d7": r"$\times$", "†": r"$\dagger$", "‡": r"$\ddagger$", "✗": r"$\times$",
    "…": r"\ldots{}", "\u00a0": "~", "\n": " ", "µ": r"$\mu$",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c",
    "\u030c": "v", "\u030a": "r",
}  # fmt: skip

PREAMBLE = "% \\usepackage{booktabs,textcomp}\n% \\usepackage[T1]{fontenc}\n"


def latex(board: Leaderboard) -> str:
    """Renders a leaderboard as LaTeX: a table environment a data set.

    It needs the packages booktabs, textcomp and fontenc with T1, and nothing else.
    """
    return PREAMBLE + "\n".join(_board(one) for one in board.boards)


def latex_text(text: str, limit: int = 80) -> str:
    """Escapes text for LaTeX."""
    return "".join(_character(char) for char in shorten(visible(text, keep="\n"), limit))


def _character(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    if char.isascii():
        return char if char.isprintable() else " "
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[1] in _ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"\\texttt{{U+{ord(char):04X}}}"


def _board(board: Board) -> str:
    title = latex_text(board.data)
    if not board.columns:
        said = [
            "no number of a headline metric was measured",
            *(latex_text(note, 400) for note in board.left_out),
        ]
        return "".join(f"% {title}: {text}\n" for text in said)
    ranked = shows_ranks(board)
    heads = [f"{column.axis}: {column_title(column)}" for column in board.columns]
    rows = [
        [
            *([rank_text(board, line.label)] if ranked else []),
            label_text(line),
            *(_with_n(entry_text(c, line.entries[c.place]), line.entries[c.place])
              for c in board.columns),
        ]
        for line in board.lines
    ]  # fmt: skip
    parts = [_table([*(["rank"] if ranked else []), "model", *heads], rows, ranked + 1)]
    notes = [*notes_on_ranks(board), *notes_on_rows(board), *footnotes(board)]
    notes += [
        f"† {apart.label}, {apart.column.title}: "
        f"{entry_text(apart.column, Entry(number=apart.number))}, not joined: {apart.reason}"
        for apart in board.apart
    ]
    if standings := standing_rows(board):
        parts.append(_table(STANDING_HEADS, standings, 1))
    if board.spreads:
        parts.append(_table(SEED_HEADS, seed_rows(board), 2))
    if card_rows(board):
        heads = list(card_heads(board))
        parts.append(_table(heads, card_rows(board), len(heads)))
    said = [latex_text(f"{writing(board)} {sorting(board)}", 1000)]
    said += [latex_text(note, 400) for note in notes]
    body = "\n\n\\smallskip\n".join(parts)
    told = "\n\n".join(said)
    return (
        f"\\begin{{table}}\n\\centering\\footnotesize\n\\caption{{{title}}}\n{body}\n\n"
        f"\\smallskip\n\\parbox{{\\linewidth}}{{\\scriptsize {told}}}\n\\end{{table}}\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """Returns a tabular whose first `texts` columns stand to the left."""
    form = "l" * texts + "r" * (len(heads) - texts)
    lines = [" & ".join(latex_text(head) for head in heads)]
    lines += [" & ".join(latex_text(text) for text in row) for row in rows]
    head, *body = (f"{line} \\\\" for line in lines)
    inner = "\n".join([r"\toprule", head, r"\midrule", *body, r"\bottomrule"])
    return f"\\begin{{tabular}}{{{form}}}\n{inner}\n\\end{{tabular}}"


def _with_n(text: str, entry: Entry) -> str:
    if entry.number is None or entry.number.value is None:
        return text
    return f"{text} (n {show_count(entry.number.n)})"
