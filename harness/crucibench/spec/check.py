"""All mistakes of a spec at once, each with its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from crucibench.contracts.rows import RECIPE
from crucibench.spec.models import ModelSpec, Spec, Track
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
    recipes = _recipes(spec, mistakes)
    mistakes.report()
    models = [
        model.model_copy(update={"group": recipe})
        for model, recipe in zip(spec.models, recipes, strict=True)
    ]
    return spec.model_copy(update={"models": models})


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
    for position, name in enumerate(models):
        if name.endswith(RECIPE):
            mistakes.add(f"models[{position}].name", f"{RECIPE!r} is how a recipe's numbers end")
    for position, track in enumerate(spec.tracks):
        for name in track.models:
            if name not in models:
                mistakes.add(f"tracks[{position}].models", unknown("model", name, models))
        if track.data not in data:
            mistakes.add(f"tracks[{position}].data", unknown("data set", track.data, data))
    mistakes.attempt("", lambda: tracks_of(spec))


def _recipes(spec: Spec, mistakes: Mistakes) -> list[str | None]:
    """Returns the recipe of each model, or None: of trainings that say so, and of a seed alone."""
    known = {model.name: model for model in spec.models}
    named = {model.replicate_of for model in spec.models}
    recipes: list[str | None] = []
    seeds: dict[tuple[str, int], str] = {}
    for position, model in enumerate(spec.models):
        path = f"models[{position}]"
        recipe = model.replicate_of
        if recipe is not None and _is_replicate(model, known, path, mistakes):
            _check_data(spec, model.name, recipe, path, mistakes)
        if recipe is None and (model.name in named or (model.seed is not None and not model.group)):
            recipe = model.name
        if recipe is not None and model.group not in {None, recipe}:
            mistakes.add(f"{path}.group", f"the recipe is {recipe!r} already, got {model.group!r}")
        recipes.append(recipe or model.group)
        if recipes[-1] and model.seed is not None:
            other = seeds.setdefault((recipes[-1], model.seed), model.name)
            if other != model.name:
                mistakes.add(
                    f"{path}.seed",
                    f"{model.name!r} and {other!r} of recipe {recipes[-1]!r} have one seed, "
                    f"{model.seed}: they are one training",
                )
    return recipes


def _is_replicate(
    model: ModelSpec, known: Mapping[str, ModelSpec], path: str, mistakes: Mistakes
) -> bool:
    name = model.replicate_of or ""
    if name not in known:
        mistakes.add(f"{path}.replicate_of", unknown("model", name, known))
    elif name == model.name:
        mistakes.add(f"{path}.replicate_of", "a model is no replicate of itself")
    elif first := known[name].replicate_of:
        mistakes.add(
            f"{path}.replicate_of", f"{name!r} is a replicate itself: say replicate_of: {first}"
        )
    else:
        return True
    return False


def _check_data(spec: Spec, name: str, first: str, path: str, mistakes: Mistakes) -> None:
    """Holds trainings of a recipe to the same data, and so to the same task."""
    own, other = (
        sorted({track.data for track in spec.tracks if one in track.models})
        for one in (name, first)
    )
    if own != other:
        mistakes.add(
            f"{path}.replicate_of",
            f"trainings of a recipe answer the same task: {name!r} meets "
            f"{' and '.join(own) or 'no data'}, {first!r} {' and '.join(other) or 'no data'}",
        )


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
