"""The suites of a spec with their settings, for the whole run and track by track."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from crucibench import registry
from crucibench.contracts.suite import Suite, SuiteConfig
from crucibench.spec.check import Mistakes, add_validation_errors, settings_of
from crucibench.spec.models import Spec, Track
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
        mistakes: where unknown suites are told.
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


def _validated(
    suite: Suite, settings: Mapping[str, object], path: str, mistakes: Mistakes
) -> SuiteConfig | None:
    try:
        return suite.config.model_validate(settings)
    except ValidationError as error:
        add_validation_errors(mistakes, error, path, list(suite.config.model_fields))
        return None
