"""Every corruption of texts: its name, family, scope, and what its severities mean."""

from __future__ import annotations

from collections.abc import Mapping

from crucibench.contracts.corruption import Corruption, Level, each

_LATIN, _CASED = "Latin letters", "scripts with capitals"
_ALPHABETIC = "any script but Han, whose characters are words"
_LOOK_ALIKES = "Latin, Greek and Cyrillic letters"
_ENGLISH = "English; texts with less than half of their letters Latin stay as they are"

_CHARACTERS = each(0.02, 0.05, 0.1, 0.15, 0.2)
_WORDS = each(0.05, 0.1, 0.2, 0.3, 0.4)
_LETTERS = each(0.05, 0.1, 0.2, 0.35, 0.5)
_ALL = each(0.2, 0.4, 0.6, 0.8, 1.0)

_HERE = "crucibench_suites.shift.corruptions"


def _text(
    name: str, family: str, unit: str, levels: tuple[Level, ...], scope: str = "any script"
) -> Corruption:  # fmt: skip
    """Returns a corruption, a level of which is the share of `unit` that is touched."""
    module = "text_letters" if unit == "characters" else "text_words"
    return Corruption(
        name=name, family=family, modality="text", function=f"{_HERE}.{module}:{name}",
        levels=levels, known_answer=f"{_HERE}.known_answers:TEXTS", unit=f"share of {unit}",
        scope=scope, random=True, per_sample=True,
    )  # fmt: skip


keyboard_typo = _text("keyboard_typo", "typing", "characters", _CHARACTERS, _LATIN)
letter_swap = _text("letter_swap", "typing", "characters", _CHARACTERS, _ALPHABETIC)
letter_deletion = _text("letter_deletion", "typing", "characters", _CHARACTERS, _ALPHABETIC)
letter_insertion = _text("letter_insertion", "typing", "characters", _CHARACTERS, _ALPHABETIC)
ocr_confusion = _text("ocr_confusion", "reading", "characters", _CHARACTERS, _LATIN)
homoglyph = _text("homoglyph", "reading", "characters", _LETTERS, _LOOK_ALIKES)
casing = _text("casing", "form", "characters", _LETTERS, _CASED)
punctuation = _text("punctuation", "form", "words", _WORDS)
white_space = _text("white_space", "form", "words", _WORDS)
contraction = _text("contraction", "form", "places", _ALL, _ENGLISH)
emoji_noise = _text("emoji_noise", "distraction", "words", _CHARACTERS)
url_noise = _text("url_noise", "distraction", "words", _CHARACTERS)
leading_distractor = _text("leading_distractor", "distraction", "five sentences", _ALL, _ENGLISH)
trailing_distractor = _text("trailing_distractor", "distraction", "five sentences", _ALL, _ENGLISH)

TEXTS: Mapping[str, Corruption] = {
    one.name: one
    for one in (
        keyboard_typo, letter_swap, letter_deletion, letter_insertion, ocr_confusion, homoglyph,
        casing, punctuation, white_space, contraction, emoji_noise, url_noise, leading_distractor,
        trailing_distractor,
    )
}  # fmt: skip
"""The suite's own corruptions of texts by name, in the order of reports."""
