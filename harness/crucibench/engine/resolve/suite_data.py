"""Further data sets of suites: their addresses, resolved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from crucibench import registry
from crucibench.contracts.source import DataSource, Labels
from crucibench.contracts.suite import Further
from crucibench.contracts.uri import URI, parse_uri
from crucibench.engine.resolve.suites import TrackSettings
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
    suites: Iterable[TrackSettings], main: URI, base: Path, mistakes: Mistakes
) -> Iterator[ResolvedFurther]:
    """Yields the further data sets of suites that meet a data set, each role once.

    Args:
        suites: their settings in each track.
        main: the data set's address.
        base: the folder that relative paths are relative to.
        mistakes: where mistakes are told.
    """
    known: dict[str, ResolvedFurther] = {}
    for settings in suites:
        for role, entry in settings.config.further().items():
            path = settings.path(entry.setting)
            _check_role(role, settings.suite)
            whole = _resolved(role, entry, path, main, mistakes)
            for found in () if whole is None else _parts(whole, entry.parts, base, mistakes):
                first = known.setdefault(found.role, found)
                if (first.uri, first.labels) != (found.uri, found.labels):
                    mistakes.add(
                        path,
                        f"expected {str(first.uri)!r}, as {first.path} calls so with the same data "
                        f"set, got {str(found.uri)!r}",
                    )
                elif first is found and not _role_mistake(found, mistakes):
                    yield found


def further_digests(
    further: ResolvedFurther, base: Path, shown: Callable[[Path], str], known: dict[Path, str]
) -> dict[str, str]:
    """Returns the digest of every file that a further address names, and its facts.

    Files in `known` are not read again, and those that are read are added to it: the parts of an
    address may share files.
    """
    found = further.source.further_sources(further.uri, base, further.labels)
    known |= {path: file_digest(path) for path in found.files if path not in known}
    return {shown(path): known[path] for path in found.files} | dict(found.facts)


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


def _parts(
    whole: ResolvedFurther, patterns: Sequence[str], base: Path, mistakes: Mistakes
) -> list[ResolvedFurther]:
    """Returns the data sets that an address stands for: itself, unless there are patterns."""
    if not patterns:
        return [whole]
    there: Mapping[str, URI] | None = mistakes.attempt(
        whole.path, lambda: whole.source.parts(whole.uri, base)
    )
    if there is None:
        return []
    wanted = [name for name in there if any(fnmatchcase(name, one) for one in patterns)]
    if not wanted:
        mistakes.add(
            whole.path,
            f"{str(whole.uri)!r} holds nothing like {' or '.join(patterns)} "
            f"(it holds: {', '.join(there)})",
        )
    return [replace(whole, role=f"{whole.role}/{name}", uri=there[name]) for name in wanted]


def _role_mistake(found: ResolvedFurther, mistakes: Mistakes) -> bool:
    """Whether a role can't be called as it is, which is told."""
    if _CONTROL.search(found.role):
        mistakes.add(found.path, "a name can't hold ':' or control characters")
    elif not all(part.strip() for part in found.role.split("/")):
        mistakes.add(found.path, f"expected a name that is not empty, got role {found.role!r}")
    else:
        return False
    return True


def _check_role(role: str, suite: str) -> None:
    if not role.startswith(f"{suite}/"):
        raise TypeError(f"suite {suite!r}: expected a further role {suite}/..., got {role!r}")
