"""Fluent sentences on weather, cooking, traffic and leases, made from templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice
from string import Formatter
from types import MappingProxyType

_WEATHER = (
    "Expect {sky} over the {region} by {time}, with winds from the {wind}.",
    "A front from the {wind} brings {sky} to the {region} until {time}.",
    "Temperatures in the {region} fall to {number} degrees by {time}.",
    "The {region} stays under {sky} while pressure rises from the {wind}.",
)
_COOKING = (
    "Stir the {food} into the {vessel} and simmer for {number} minutes.",
    "Chop the {food}, add the {other} and cover the {vessel}.",
    "Preheat the oven, then layer {food} and {other} in the {vessel}.",
    "Season the {food} to taste and leave the {vessel} to rest for {number} minutes.",
)
_TRAFFIC = (
    "Turn at the {place}, follow the {road} for {number} miles and keep to the right.",
    "The {road} is closed between the {place} and the {mark} until {time}.",
    "Trains to the {place} leave from platform {number} every hour until {time}.",
    "From the {mark} take the {road}; the {place} is on the left.",
)
_LEASE = (
    "The tenant shall return the {item} to the {party} within {number} days.",
    "Neither {party} may assign this lease without the written consent of the {other_party}.",
    "Any notice about the {item} is to be served on the {party} by {time}.",
    "The {party} bears the cost of the {item} for a term of {number} months.",
)
DOMAINS = (_WEATHER, _COOKING, _TRAFFIC, _LEASE)

SLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sky": ("light rain", "low cloud", "scattered showers", "thick fog", "clear skies"),
        "region": ("coast", "valley", "northern plain", "islands", "highlands"),
        "time": ("noon", "midnight", "Tuesday", "early evening", "the end of the month"),
        "wind": ("north", "south", "east", "west"),
        "number": ("four", "seven", "twelve", "twenty", "thirty"),
        "food": ("onions", "lentils", "carrots", "flour", "chickpeas", "spinach"),
        "other": ("butter", "garlic", "stock", "lemon juice", "parsley"),
        "vessel": ("pan", "pot", "dish", "bowl"),
        "place": ("station", "harbour", "town hall", "airport", "old mill"),
        "road": ("ring road", "river lane", "motorway", "coastal road"),
        "mark": ("second bridge", "fire station", "roundabout", "quarry"),
        "item": ("deposit", "boiler", "inventory", "garden fence", "spare keys"),
        "party": ("landlord", "tenant", "agent"),
        "other_party": ("guarantor", "owner", "managing agent"),
    }
)

_PARTS = tuple(
    tuple(tuple(Formatter().parse(template)) for template in templates) for templates in DOMAINS
)
MOST_DRAWS = 1 + max(sum(bool(part[1]) for part in parts) for domain in _PARTS for parts in domain)
"""Most draws that a sentence takes."""
SHORTEST = min(len(template.split()) for templates in DOMAINS for template in templates)
"""Fewest words of a sentence."""


def text_of(words: int, drawn: Iterator[int]) -> str:
    """Returns the first so many words of sentences of one domain.

    Args:
        words: how many, at least 1.
        drawn: draws: one for the domain, and at most `MOST_DRAWS` for each sentence, which has
            `SHORTEST` words at least.
    """
    domain = _PARTS[next(drawn) % len(_PARTS)]
    return " ".join(islice(_words(domain, drawn), words))


def _words(
    domain: tuple[tuple[tuple[str, str | None, str | None, str | None], ...], ...],
    drawn: Iterator[int],
) -> Iterator[str]:
    for _ in count():
        sentence = ""
        for literal, slot, _, _ in domain[next(drawn) % len(domain)]:
            sentence += literal
            if slot:
                choices = SLOTS[slot]
                sentence += choices[next(drawn) % len(choices)]
        yield from sentence.split()
