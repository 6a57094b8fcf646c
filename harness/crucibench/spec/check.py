"""All mistakes of a spec at once, each with its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from crucibench.spec.models import Spec, Track
from crucibench.spec.secrets import address_mistake
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.suggest import hint, unknown


class Mistakes:
    """Collects mistakes, so that the user mends them in one go."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[str] = []

    def add(self, path: str, message: str) -> None:
        """Adds one mistake; `path` is like ``models[0].uri``."""
        line = f"{path}: {message}" if path else message
        if line not in self.found:
            self.found.append(line)

    def attempt(self, path: str, check: Callable[[], Any]) -> Any:
        """Runs `check`; what it complains of becomes a mistake, and None comes back."""
        try:
            return check()
        except CrucibenchError as error:
            self.add(path, str(error))
            return None

    def report(self) -> None:
        """Raises InputError with all that was found; does nothing if that is nothing."""
        if len(self.found) == 1:
            raise InputError(f"{self.where}: {self.found[0]}")
        if self.found:
            lines = "\n".join(f"  {line}" for line in self.found)
            raise InputError(f"{self.where}: {len(self.found)} mistakes:\n{lines}")


def parse_spec(data: Any, where: str) -> Spec:
    """Checks the form of a spec.

    Raises:
        InputError: all mistakes of form at once, with their paths.
    """
    mistakes = Mistakes(where)
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping with models and data, got {_kind(data)}")
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        add_validation_errors(mistakes, error, "")
        mistakes.report()
        raise AssertionError from error  # unreachable: a ValidationError holds an error
    _check_names(spec, mistakes)
    mistakes.report()
    return spec


def add_validation_errors(
    mistakes: Mistakes, error: ValidationError, prefix: str, keys: Sequence[str] = ()
) -> None:
    """Adds what pydantic found, in words; `keys` are the known ones where it is no Spec."""
    for entry in error.errors():
        location: Sequence[int | str] = [part for part in entry["loc"] if part != "constrained-str"]
        path = _path(prefix, location)
        if entry["type"] == "extra_forbidden":
            known = keys or _known_keys(location)
            meant = hint(str(location[-1]), known)
            mistakes.add(path, f"unknown key{meant} (known: {', '.join(sorted(known))})")
        elif entry["type"] == "missing":
            mistakes.add(path, "is missing")
        else:
            message = entry["msg"].removeprefix("Value error, ")
            mistakes.add(path, f"{message[0].lower()}{message[1:]}{_given(entry, location)}")


def tracks_of(spec: Spec) -> list[Track]:
    """Returns the spec's tracks; without any, all models meet the one data set.

    Raises:
        InputError: if there are none and several data sets.
    """
    if spec.tracks:
        return list(spec.tracks)
    if len(spec.data) > 1:
        raise InputError(
            f"tracks: is missing: with {len(spec.data)} data sets it must say which models meet "
            "which"
        )
    return [Track(name="all", models=[model.name for model in spec.models], data=spec.data[0].name)]


def settings_of(spec: Spec, track: Track, suite: str) -> dict[str, Any]:
    """Returns a suite's settings in a track, as written: the track's keys over the spec's."""
    return {**spec.suites.get(suite, {}), **track.settings.get(suite, {})}


def _check_names(spec: Spec, mistakes: Mistakes) -> None:
    models = [model.name for model in spec.models]
    data = [entry.name for entry in spec.data]
    tracks = [track.name for track in spec.tracks]
    for what, names in (("models", models), ("data", data), ("tracks", tracks)):
        for name in _repeated(names):
            mistakes.add(what, f"the name {name!r} stands twice")
    for position, track in enumerate(spec.tracks):
        for name in track.models:
            if name not in models:
                mistakes.add(f"tracks[{position}].models", unknown("model", name, models))
        if track.data not in data:
            mistakes.add(f"tracks[{position}].data", unknown("data set", track.data, data))
    mistakes.attempt("", lambda: tracks_of(spec))


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _path(prefix: str, location: Sequence[int | str]) -> str:
    text = prefix
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _known_keys(location: Sequence[int | str]) -> list[str]:
    # pydantic names the model's title alone; the JSON Schema has the keys of every part.
    schema = Spec.model_json_schema()
    definitions = {
        "models": "ModelSpec", "data": "DataSpec", "tracks": "Track", "defaults": "Defaults",
        "input": "InputSettings", "decision": "DecisionSettings", "remote": "RemoteSettings",
    }  # fmt: skip
    for key in reversed([str(part) for part in location[:-1]]):
        if key in definitions:
            return list(schema["$defs"][definitions[key]]["properties"])
    return list(schema["properties"])


def _given(entry: Any, location: Sequence[int | str]) -> str:
    """Returns what was given, unless that may be a secret."""
    given = repr(entry["input"])
    if "headers" in location or address_mistake(given):
        return ""
    return f", got {given if len(given) <= 60 else given[:57] + '...'}"


def _kind(data: Any) -> str:
    return "nothing" if data is None else type(data).__name__
