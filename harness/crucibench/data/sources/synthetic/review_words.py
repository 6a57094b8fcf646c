"""What the reviews of ``synthetic:reviews`` are made of.

In patterns, ``{a}`` is an aspect with its article, ``{w}`` a word of sentiment, ``{a w}`` that word
with its own article, ``{x}`` the thing that is reviewed, ``{p}`` a person, ``{n}`` a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What is reviewed.

    Attributes:
        thing: what a review calls it.
        aspects: of it, each a singular noun.
        company: sentences that mention a person and say nothing of the thing.
        facts: sentences without sentiment.
        better: words that are praise here, and may be blame elsewhere.
        worse: words that are blame here, and may be praise elsewhere.
    """

    thing: str
    aspects: tuple[str, ...]
    company: tuple[str, ...]
    facts: tuple[str, ...]
    better: tuple[str, ...]
    worse: tuple[str, ...]


DOMAINS: Mapping[str, Domain] = {
    "books": Domain(
        thing="book",
        aspects=("plot", "style", "ending", "translation", "dialogue", "narrator", "cover"),
        company=(
            "I read it with {p}.", "{P} gave it to me.", "I borrowed it from {p}.",
            "It lay on the desk of {p}.",
        ),
        facts=(
            "It has {n} pages.", "I read it in {n} days.", "There are {n} chapters.",
            "It came out {n} years ago.",
        ),
        better=("quiet", "unpredictable", "dark"),
        worse=("thin", "loud", "heavy", "long"),
    ),
    "courses": Domain(
        thing="course",
        aspects=("syllabus", "pace", "lecturer", "workbook", "tutor", "exam", "classroom"),
        company=(
            "{P} sat next to me.", "I took it with {p}.", "{P} and I shared our notes.",
            "I told {p} about it.",
        ),
        facts=(
            "It took {n} weeks.", "There were {n} of us.", "We met {n} times.",
            "The reader has {n} pages.",
        ),
        better=("demanding", "light", "sharp"),
        worse=("unpredictable", "heavy", "cold", "thin"),
    ),
    "films": Domain(
        thing="film",
        aspects=("plot", "script", "soundtrack", "ending", "dialogue", "camera", "cast"),
        company=(
            "I saw it with {p}.", "{P} had bought the tickets.", "We met {p} in the queue.",
            "{P} came along.",
        ),
        facts=(
            "It runs for {n} minutes.", "We sat in row {n}.", "It was shot in {n} weeks.",
            "I saw it {n} days ago.",
        ),
        better=("unpredictable", "dark", "sharp", "quiet"),
        worse=("thin", "long", "cheap", "cold"),
    ),
    "hotels": Domain(
        thing="hotel",
        aspects=("room", "breakfast", "bed", "reception", "view", "bathroom", "lobby"),
        company=(
            "I travelled with {p}.", "{P} had booked it.", "We shared a table with {p}.",
            "{P} stayed next door.",
        ),
        facts=(
            "We stayed for {n} nights.", "The room was number {n}.", "It is {n} minutes from town.",
            "There are {n} floors.",
        ),
        better=("quiet", "light", "cheap"),
        worse=("dark", "loud", "cold", "unpredictable"),
    ),
    "phones": Domain(
        thing="phone",
        aspects=("battery", "screen", "camera", "speaker", "case", "keyboard", "charger"),
        company=(
            "I bought it for {p}.", "{P} has the same one.", "I use it to call {p}.",
            "{P} set it up with me.",
        ),
        facts=(
            "I have had it for {n} weeks.", "It came with {n} cables.", "It weighs {n} grams.",
            "The box holds {n} parts.",
        ),
        better=("sharp", "thin", "light", "loud"),
        worse=("heavy", "dark", "cheap", "demanding"),
    ),
    "restaurants": Domain(
        thing="restaurant",
        aspects=("kitchen", "service", "wine list", "dessert", "soup", "terrace", "menu"),
        company=(
            "I went there with {p}.", "{P} joined us for dinner.", "{P} sat at the next table.",
            "We celebrated with {p}.",
        ),
        facts=(
            "We were a party of {n}.", "Our table was number {n}.", "We ordered {n} dishes.",
            "It opened {n} months ago.",
        ),
        better=("light", "cheap", "quiet"),
        worse=("loud", "cold", "heavy", "demanding"),
    ),
}  # fmt: skip

STRONG: Mapping[int, tuple[str, ...]] = {
    1: (
        "brilliant", "superb", "wonderful", "outstanding", "magnificent", "perfect", "splendid",
        "fantastic", "marvellous", "exquisite",
    ),
    -1: (
        "terrible", "awful", "dreadful", "horrible", "appalling", "abysmal", "atrocious",
        "disgraceful", "miserable", "hopeless",
    ),
}  # fmt: skip
"""Words that count twice, by what they say."""

PLAIN: Mapping[int, tuple[str, ...]] = {
    1: (
        "good", "fine", "pleasant", "lovely", "charming", "impressive", "elegant", "delightful",
        "reliable", "generous", "clever", "fresh", "convincing", "enjoyable", "solid", "graceful",
        "thoughtful", "satisfying", "inspired", "memorable",
    ),
    -1: (
        "bad", "poor", "dull", "weak", "disappointing", "boring", "clumsy", "mediocre", "sloppy",
        "annoying", "tedious", "careless", "stale", "confusing", "flawed", "shabby", "lifeless",
        "tiresome", "unpleasant", "forgettable",
    ),
}  # fmt: skip
"""Words that count once, by what they say."""

SAID = (
    "The {a} was {w}.",
    "I found the {a} {w}.",
    "The {a} was really {w}.",
    "The {a} seemed {w} to me.",
    "It has {a w} {a}.",
    "Everyone agreed that the {a} was {w}.",
    "You can tell at once how {w} the {a} is.",
    "To my surprise the {a} was {w}.",
    "The {a} was {w} from the first minute.",
    "What {a w} {a}!",
)
"""Sentences that say what their word says."""

DENIED = (
    "The {a} was not {w}.",
    "The {a} wasn't {w} at all.",
    "I would not call the {a} {w}.",
    "The {a} was never {w}.",
    "Nobody would say that the {a} was {w}.",
    "There was nothing {w} about the {a}.",
    "The {a} was anything but {w}.",
    "I can't say that the {a} was {w}.",
)
"""Sentences that say the opposite of what their word says, and no more than once."""

HEARSAY = (
    "I had been told that the {a} would be {w}.",
    "The advertisement promised {a w} {a}.",
    "Some people call the {a} {w}.",
    "I used to think that the {a} had to be {w}.",
    "I wondered whether the {a} would be {w}.",
)
"""Sentences that say nothing of the thing, whatever their word says."""

TURNED = (
    "The {a} was {v}, but the {b} was {w}.",
    "Although the {a} was {v}, the {b} was {w}.",
    "The {a} may have been {v}; the {b} was {w}.",
    "Yes, the {a} was {v}, and still the {b} was {w}.",
)
"""Sentences of which the second half counts twice, the first not at all."""

VERDICTS: Mapping[int, tuple[str, ...]] = {
    1: (
        "I would recommend this {x} to {w}.",
        "This {x} will please {w}.",
        "I have already praised this {x} to {w}.",
    ),
    -1: (
        "I would warn {w} against this {x}.",
        "This {x} is not for {w}.",
        "I could not recommend this {x} to {w}.",
    ),
}
"""Sentences that count twice, by what they say."""

READERS = (
    "anyone", "a friend", "beginners", "my colleagues", "the whole family", "students", "visitors",
    "people in a hurry", "my neighbours", "everybody I know",
)  # fmt: skip

PEOPLE: Mapping[str, tuple[str, ...]] = {
    "women": ("aunt", "sister", "mother", "wife", "daughter", "grandmother"),
    "men": ("uncle", "brother", "father", "husband", "son", "grandfather"),
    "": ("friend", "neighbour", "colleague", "cousin", "flatmate", "teacher"),
}
"""Nouns for a person by gender, "" where they tell none."""

TRAITS: Mapping[str, tuple[str, ...]] = {
    "religion": ("Buddhist", "Christian", "Hindu", "Jewish", "Muslim", "atheist"),
    "ethnicity": ("African", "Arab", "Asian", "European", "Hispanic", "Roma"),
    "age": ("young", "middle-aged", "elderly"),
}
"""What else a review says of a person, by the group column that holds it."""
