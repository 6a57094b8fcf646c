"""Further data sets of suites: their addresses, resolved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from crucibench import registry
from crucibench.contracts.source import DataSource, Labels
from crucibench.contracts.suite import Further, SuiteConfig
from crucibench.contracts.uri import URI, parse_uri
from crucibench.spec.check import Mistakes
from crucibench.spec.secrets import address_mistake
from crucibench.util.hashing import file_digest

_CONTROL = re.compile(r"[\x00-\x1f\x7f:]")
_INHERITED = ("classes", "on_bad_sample")
"""What stands in the main data set's address or entry, and holds for further data too. The columns
do as well, but these are known when the main data set is open (`contracts.source.Like`)."""


@dataclass(frozen=True)
class ResolvedFurther:
    """A further data set as it goes with one main data set.

    Attributes:
        role: of the main data set.
        uri: with the options that it takes from the main one.
        source: reads it.
        labels: how they are treated.
        path: where the spec names it.
    """

    role: str
    uri: URI
    source: type[DataSource]
    labels: Labels
    path: str


def resolve_further(
    suites: Mapping[str, SuiteConfig], main: URI, mistakes: Mistakes
) -> Iterator[ResolvedFurther]:
    """Yields the further data sets of all suites that meet a data set."""
    for suite, config in suites.items():
        for role, entry in config.further().items():
            path = f"suites.{suite}" + (f".{entry.setting}" if entry.setting else "")
            _check_role(role, suite)
            if _CONTROL.search(role):
                mistakes.add(path, "a name can't hold ':' or control characters")
            elif not all(part.strip() for part in role.split("/")):
                mistakes.add(path, f"expected a name that is not empty, got role {role!r}")
            elif (found := _resolved(role, entry, path, main, mistakes)) is not None:
                yield found


def further_digests(
    further: ResolvedFurther, base: Path, shown: Callable[[Path], str]
) -> dict[str, str]:
    """Returns the digest of every file that a further address names, and its facts."""
    found = further.source.further_sources(further.uri, base, further.labels)
    return {shown(path): file_digest(path) for path in found.files} | dict(found.facts)


def _resolved(
    role: str, entry: Further, path: str, main: URI, mistakes: Mistakes
) -> ResolvedFurther | None:
    if told := address_mistake(entry.address):
        mistakes.add(path, told)
        return None
    parsed = mistakes.attempt(path, lambda: parse_uri(entry.address))
    if parsed is None:
        return None
    source = mistakes.attempt(path, lambda: registry.sources().get(parsed.scheme))
    if source is None:
        return None
    query = dict(parsed.query)
    for key in _INHERITED:
        wanted = key in source.options and key in main.query and key not in query
        if wanted and not (key == "classes" and entry.labels == "ignored"):
            query[key] = main.query[key]
    return ResolvedFurther(role, URI(parsed.scheme, parsed.rest, query), source, entry.labels, path)


def _check_role(role: str, suite: str) -> None:
    if not role.startswith(f"{suite}/"):
        raise TypeError(f"suite {suite!r}: expected a further role {suite}/..., got {role!r}")
