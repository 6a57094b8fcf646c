"""Every perturbation of texts: its name, family, scope, and what its severities mean."""

from __future__ import annotations

from crucibench_suites.shift.perturbed.kinds import Perturbation

ANY, LATIN, CASED = "any script", "Latin letters", "scripts with capitals"
ALPHABETIC = "any script but Han, whose characters are words"
LOOK_ALIKES = "Latin, Greek and Cyrillic letters"
ENGLISH = "English; texts with less than half of their letters Latin stay as they are"

_CHARACTERS = (0.02, 0.05, 0.1, 0.15, 0.2)
_WORDS = (0.05, 0.1, 0.2, 0.3, 0.4)


def _of(
    name: str, family: str, unit: str, levels: tuple[float, ...], scope: str = ANY
) -> Perturbation:
    first, second, third, fourth, fifth = levels
    return Perturbation(
        name=name, family=family, unit=f"share of {unit}", scope=scope,
        levels=(first, second, third, fourth, fifth),
    )  # fmt: skip


TEXT: tuple[Perturbation, ...] = (
    _of("keyboard_typo", "typing", "characters", _CHARACTERS, LATIN),
    _of("letter_swap", "typing", "characters", _CHARACTERS, ALPHABETIC),
    _of("letter_deletion", "typing", "characters", _CHARACTERS, ALPHABETIC),
    _of("letter_insertion", "typing", "characters", _CHARACTERS, ALPHABETIC),
    _of("ocr_confusion", "reading", "characters", _CHARACTERS, LATIN),
    _of("homoglyph", "reading", "characters", (0.05, 0.1, 0.2, 0.35, 0.5), LOOK_ALIKES),
    _of("casing", "form", "characters", (0.05, 0.1, 0.2, 0.35, 0.5), CASED),
    _of("punctuation", "form", "words", _WORDS),
    _of("white_space", "form", "words", _WORDS),
    _of("contraction", "form", "places", (0.2, 0.4, 0.6, 0.8, 1.0), ENGLISH),
    _of("emoji_noise", "distraction", "words", (0.02, 0.05, 0.1, 0.15, 0.2)),
    _of("url_noise", "distraction", "words", (0.02, 0.05, 0.1, 0.15, 0.2)),
    _of("leading_distractor", "distraction", "five sentences", (0.2, 0.4, 0.6, 0.8, 1.0), ENGLISH),
    _of("trailing_distractor", "distraction", "five sentences", (0.2, 0.4, 0.6, 0.8, 1.0), ENGLISH),
)  # fmt: skip
"""Every perturbation of texts; a level is the share of what `unit` names that is touched."""

TEXT_NAMES = tuple(one.name for one in TEXT)
TEXT_FAMILIES = tuple(dict.fromkeys(one.family for one in TEXT))
