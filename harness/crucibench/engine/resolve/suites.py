"""The suites of a spec: their settings, for the run and by track, and their own data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from crucibench import registry
from crucibench.contracts.section import Section
from crucibench.contracts.source import DataSource, Labels
from crucibench.contracts.suite import Suite, SuiteConfig, SuiteData
from crucibench.contracts.uri import URI, parse_uri
from crucibench.spec.check import Mistakes, add_validation_errors, settings_of
from crucibench.spec.models import Spec, Track
from crucibench.spec.secrets import address_mistake
from crucibench.util.hashing import file_digest
from crucibench.util.suggest import unknown


@dataclass(frozen=True)
class ResolvedSuite:
    """A suite with its validated settings.

    Attributes:
        suite: the suite.
        config: its settings where a track has none of its own.
        by_track: the settings of the tracks that have some, by the track's name.
    """

    suite: Suite
    config: SuiteConfig
    by_track: Mapping[str, SuiteConfig] = field(default_factory=dict)

    def of(self, track: str) -> SuiteConfig:
        """Returns the settings that hold in a track."""
        return self.by_track.get(track, self.config)


@dataclass(frozen=True)
class TrackSettings:
    """A suite's settings as they hold in one track, and where the spec has them.

    Attributes:
        suite: its name.
        config: the settings.
        track: its place in the spec.
        own: the keys that the track sets itself.
    """

    suite: str
    config: SuiteConfig
    track: int
    own: frozenset[str]

    def path(self, setting: str) -> str:
        """Returns where the spec has a setting, such as ``data.v2``; "" is the whole section."""
        section = "suites"
        if setting.partition(".")[0] in self.own:
            section = f"tracks[{self.track}].settings"
        return f"{section}.{self.suite}" + (f".{setting}" if setting else "")


def suite_names(spec: Spec, asked: Sequence[str] | None, mistakes: Mistakes) -> list[str]:
    """Returns the suites that some track runs, sorted.

    Args:
        spec: as written.
        asked: by the command line, or None for those of the tracks.
        mistakes: takes the unknown suites.
    """
    known = registry.suites().names()
    if asked is not None:
        named = {"--suite": list(asked)}
    else:
        named = {
            f"tracks[{position}].suites": list(track.suites)
            for position, track in enumerate(spec.tracks)
            if track.suites is not None
        }
    settings = {
        f"tracks[{position}].settings": list(track.settings)
        for position, track in enumerate(spec.tracks)
    }
    for path, names in {**named, "suites": list(spec.suites), **settings}.items():
        for name in names:
            if name not in known:
                mistakes.add(path, unknown("suite", name, known))
    wanted = {name for names in named.values() for name in names}
    if asked is None and (not spec.tracks or any(track.suites is None for track in spec.tracks)):
        wanted |= set(known)
    return sorted(wanted & set(known))


def resolve_suites(
    spec: Spec, names: Sequence[str], mistakes: Mistakes
) -> dict[str, ResolvedSuite]:
    """Returns the suites `names` with their settings; checks those of the others, too."""
    found: dict[str, ResolvedSuite] = {}
    set_up = {*spec.suites, *(name for track in spec.tracks for name in track.settings)}
    for name in sorted({*names, *(set_up & set(registry.suites().names()))}):
        suite = mistakes.attempt(f"suites.{name}", partial(_suite, name))
        if suite is None:
            continue
        if name in names:
            for sentence in unknown_sections(suite.sections):
                mistakes.add(f"suites.{name}", sentence)
        config = _validated(suite, spec.suites.get(name, {}), f"suites.{name}", mistakes)
        if config is None:
            continue
        by_track = {}
        for position, track in enumerate(spec.tracks):
            if name in track.settings:
                path = f"tracks[{position}].settings.{name}"
                own = _validated(suite, settings_of(spec, track, name), path, mistakes)
                by_track[track.name] = config if own is None else own
        if name in names:
            found[name] = ResolvedSuite(suite, config, by_track)
    return found


def settings_of_tracks(
    tracks: Sequence[Track], suites: Mapping[str, ResolvedSuite], data: str
) -> Iterator[TrackSettings]:
    """Yields the settings of every suite that meets a data set, track by track."""
    for position, track in enumerate(tracks):
        for name in track.suites or () if track.data == data else ():
            if name in suites:
                own = frozenset(track.settings.get(name, {}))
                yield TrackSettings(name, suites[name].of(track.name), position, own)


def check_tracks(
    tracks: Sequence[Track], suites: Mapping[str, ResolvedSuite], mistakes: Mistakes
) -> None:
    """Tells of a model that would meet a data set in one suite under two settings."""
    met: dict[tuple[str, str, str], Track] = {}
    for position, track in enumerate(tracks):
        for name in track.suites or ():
            for model in track.models if name in suites else ():
                first = met.setdefault((model, track.data, name), track)
                if suites[name].of(first.name) != suites[name].of(track.name):
                    mistakes.add(
                        f"tracks[{position}].settings.{name}",
                        f"expected the settings of track {first.name!r}, in which model {model!r} "
                        f"meets {track.data!r} in this suite, too, got others",
                    )


def _suite(name: str) -> Suite:
    return registry.suites().get(name)()


def unknown_sections(sections: Sequence[Section]) -> Iterator[str]:
    """Yields a sentence for each report section of a kind that no installed package registers."""
    kinds = [entry.name for entry in registry.KINDS["sections"].entries()]
    for one in sections:
        if one.kind not in kinds:
            yield f"section {one.title!r}: {unknown('section kind', one.kind, kinds)}"


def _validated(
    suite: Suite, settings: Mapping[str, object], path: str, mistakes: Mistakes
) -> SuiteConfig | None:
    try:
        return suite.config.model_validate(settings)
    except ValidationError as error:
        add_validation_errors(mistakes, error, path, list(suite.config.model_fields))
        return None


_CONTROL = re.compile(r"[\x00-\x1f\x7f:]")
_INHERITED = ("classes", "on_bad_sample")
"""What stands in the main data set's address or entry, and holds for data of suites. The columns
do as well, but these are known when the main data set is open (`contracts.source.MainData`)."""


@dataclass(frozen=True)
class ResolvedSuiteData:
    """A data set of a suite as it goes with one main data set.

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


def resolve_suite_data(
    suites: Iterable[TrackSettings], main: URI, base: Path, mistakes: Mistakes
) -> Iterator[ResolvedSuiteData]:
    """Yields the data sets of the suites that meet a data set, each role once.

    Args:
        suites: their settings in each track.
        main: the data set's address.
        base: the folder that relative paths are relative to.
        mistakes: takes what is wrong with them.
    """
    known: dict[str, ResolvedSuiteData] = {}
    for settings in suites:
        for role, entry in settings.config.data_sets().items():
            path = settings.path(entry.setting)
            if not role.startswith(f"{settings.suite}/"):
                raise TypeError(
                    f"suite {settings.suite!r}: expected a role {settings.suite}/..., got {role!r}"
                )
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


def suite_data_digests(
    data: ResolvedSuiteData, base: Path, shown: Callable[[Path], str], known: dict[Path, str]
) -> dict[str, str]:
    """Returns the digest of every file that an address of a suite names, and its facts.

    Files in `known` are not read again, and those that are read are added to it: the parts of an
    address may share files.
    """
    found = data.source.suite_data_sources(data.uri, base, data.labels)
    known |= {path: file_digest(path) for path in found.files if path not in known}
    return {shown(path): known[path] for path in found.files} | dict(found.facts)


def _resolved(
    role: str, entry: SuiteData, path: str, main: URI, mistakes: Mistakes
) -> ResolvedSuiteData | None:
    if mistake := address_mistake(entry.address):
        mistakes.add(path, mistake)
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
    return ResolvedSuiteData(
        role, URI(parsed.scheme, parsed.rest, query), source, entry.labels, path
    )


def _parts(
    whole: ResolvedSuiteData, patterns: Sequence[str], base: Path, mistakes: Mistakes
) -> list[ResolvedSuiteData]:
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


def _role_mistake(found: ResolvedSuiteData, mistakes: Mistakes) -> bool:
    """Adds what is wrong with a role's name to `mistakes`; returns whether anything is."""
    if _CONTROL.search(found.role):
        mistakes.add(found.path, "a name can't hold ':' or control characters")
    elif not all(part.strip() for part in found.role.split("/")):
        mistakes.add(found.path, f"expected a name that is not empty, got role {found.role!r}")
    else:
        return False
    return True
