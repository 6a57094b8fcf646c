"""A leaderboard as LaTeX: booktabs tables to paste into a paper.

What a user named is escaped, character by character: no name is a command. Characters that the
common fonts lack are written as their code points, so that pdflatex sets every name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from crucibench.report.leaderboard import Leaderboard
from crucibench.report.leaderboard.shown import ShownBoard, shown_board
from crucibench.report.numbers import ShownNumber
from crucibench.util.text import shorten, visible

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "^": r"\textasciicircum{}", "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "-": "{-}",
    "\u2013": r"\textendash{}", "\u2014": r"\textemdash{}", "\u2212": r"$-$", "±": r"$\pm$",
    "≈": r"$\approx$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "\u00d7": r"$\times$", "†": r"$\dagger$", "‡": r"$\ddagger$", "✗": r"$\times$",
    "…": r"\ldots{}", "↳": r"$\hookrightarrow$", "\u00a0": "~", "\n": " ", "µ": r"$\mu$",
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
    return PREAMBLE + "\n".join(_board(shown_board(one)) for one in board.boards)


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


def _board(board: ShownBoard) -> str:
    title = latex_text(board.data)
    if not board.columns:
        sentences = [
            "no number of a headline metric was measured",
            *(latex_text(note, 400) for note in board.left_out),
        ]
        return "".join(f"% {title}: {text}\n" for text in sentences)
    heads = [f"{column.axis}: {column.heading}" for column in board.columns]
    rows = [
        [*([line.rank] if board.ranked else []), line.name, *map(_with_n, line.cells)]
        for line in board.lines
    ]
    first = ["rank"] if board.ranked else []
    parts = [_table([*first, "model", *heads], rows, len(first) + 1)]
    notes = [*board.rank_notes, *board.row_notes, *board.footnotes]
    notes += [f"† {what}: {text}, not joined: {why}" for what, text, why in board.apart]
    standings, seeds, cards = board.tables
    for table, texts in ((standings, 1), (seeds, 2), (cards, len(cards.heads))):
        if table.rows:
            parts.append(_table(table.heads, table.rows, texts))
    sentences = [latex_text(f"{board.writing} {board.sorting}", 1000)]
    sentences += [latex_text(note, 400) for note in notes]
    body = "\n\n\\smallskip\n".join(parts)
    below = "\n\n".join(sentences)
    return (
        f"\\begin{{table}}\n\\centering\\footnotesize\n\\caption{{{title}}}\n{body}\n\n"
        f"\\smallskip\n\\parbox{{\\linewidth}}{{\\scriptsize {below}}}\n\\end{{table}}\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """Returns a tabular whose first `texts` columns stand to the left."""
    form = "l" * texts + "r" * (len(heads) - texts)
    lines = [" & ".join(latex_text(head) for head in heads)]
    lines += [" & ".join(latex_text(text) for text in row) for row in rows]
    head, *body = (f"{line} \\\\" for line in lines)
    inner = "\n".join([r"\toprule", head, r"\midrule", *body, r"\bottomrule"])
    return f"\\begin{{tabular}}{{{form}}}\n{inner}\n\\end{{tabular}}"


def _with_n(cell: ShownNumber) -> str:
    return f"{cell.text} (n {cell.n})" if cell.value else cell.text
