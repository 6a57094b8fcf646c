"""Settings of a suite that hold in one track: over those of the spec, under the command line's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crucibench.contracts.section import Section
from crucibench.engine.resolve.resolve import Overrides, Resolved, resolve
from crucibench.spec.check import settings_of
from crucibench.util.errors import InputError
from crucibench_suites.accuracy import AccuracySuite

MODELS = ("a", "b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text("def make(batch):\n    return batch\n")
    for name in ("home", "week", "other"):
        (tmp_path / f"{name}.csv").write_text("x,y\n1,yes\n2,no\n3,yes\n")
    return tmp_path


def resolved(
    folder: Path, first: Any = None, second: Any = None, data: str = "two", **more: Any
) -> Resolved:
    """Two data sets, a track each; `first` and `second` are the tracks' settings."""
    document = {
        "models": [{"name": name, "uri": "python:model.py:make"} for name in MODELS],
        "data": [{"name": name, "uri": "csv:home.csv?target=y"} for name in ("one", "two")],
        "suites": {"shift": {"samples": 10, "data": {"week": "csv:week.csv"}}},
        "tracks": [
            {"name": "left", "models": ["a"], "data": "one", "suites": ["shift"]},
            {"name": "right", "models": ["a", "b"], "data": data, "suites": ["shift"]},
        ],
    }
    for track, settings in zip(document["tracks"], (first, second), strict=True):
        if settings is not None:
            track["settings"] = {"shift": settings}
    return resolve(document, folder, "spec", Overrides(**more))


def test_a_track_s_key_goes_before_the_spec_s(folder: Path) -> None:
    found = resolved(folder, second={"data": {"other": "csv:other.csv"}})
    left, right = (found.suites["shift"].of(track) for track in ("left", "right"))
    assert left.data_sets().keys() == {"shift/week"}
    assert right.data_sets().keys() == {"shift/other"}
    assert right.model_dump()["samples"] == 10
    roles = {name: [one.role for one in entry.suite_data] for name, entry in found.data.items()}
    assert roles == {"one": ["shift/week"], "two": ["shift/other"]}
    assert found.data["two"].suite_data[0].path == "tracks[1].settings.shift.data.other"
    assert settings_of(found.spec, found.spec.tracks[1], "shift")["samples"] == 10


def test_none_of_the_others(folder: Path) -> None:
    found = resolved(folder, second={"data": {}})
    assert [len(found.data[name].suite_data) for name in ("one", "two")] == [1, 0]


def test_it_tells_runs_apart(folder: Path) -> None:
    runs = {resolved(folder, second=own).run_id for own in (None, {"samples": 9}, {"samples": 8})}
    assert len(runs) == 3


def test_the_command_line_goes_before_both(folder: Path) -> None:
    own = {"samples": 9, "data": {}}
    found = resolved(folder, second=own, settings={"shift.samples": 7, "shift.severities": [2]})
    for track in ("left", "right"):
        config = found.suites["shift"].of(track).model_dump()
        assert (config["samples"], config["severities"]) == (7, (2,))
    assert own == {"samples": 9, "data": {}}
    found = resolved(folder, second=own, settings={"shift.data.other": "csv:other.csv"})
    assert found.suites["shift"].of("right").data_sets().keys() == {"shift/other"}


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"samples": 0}, "two", "tracks[1].settings.shift.samples: expected at least 1"),
        ({"sampls": 1}, "two", "tracks[1].settings.shift.sampls: unknown key; did you mean 'samp"),
        ({"data": {"v": "csv:no.csv"}}, "two", "tracks[1].settings.shift.data.v: "),
        (
            {"samples": 9},
            "one",
            "tracks[1].settings.shift: expected the settings of track 'left', in which model 'a'",
        ),
        (
            {"data": {"week": "csv:other.csv"}},
            "one",
            "tracks[1].settings.shift.data.week: expected 'csv:week.csv', as suites.shift.data",
        ),
    ],
)
def test_mistakes_with_their_paths(
    folder: Path, settings: Any, data: str, message: str, refusal: Any
) -> None:
    assert message in refusal(InputError, lambda: resolved(folder, second=settings, data=data))


def test_a_section_of_a_kind_that_nobody_registers_is_refused_before_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = Section(title="Three dimensions", kind="histograms")
    monkeypatch.setattr(AccuracySuite, "sections", (section,))
    document = {
        "models": [{"name": "a", "uri": "python:model.py:make"}],
        "data": [{"name": "one", "uri": "csv:home.csv?target=y"}],
        "tracks": [{"name": "t", "models": ["a"], "data": "one", "suites": ["accuracy"]}],
    }
    with pytest.raises(
        InputError,
        match=r"suites\.accuracy: section 'Three dimensions': unknown section kind 'histograms'; "
        "did you mean 'histogram'",
    ):
        resolve(document, folder, "spec", Overrides())


def test_an_unknown_suite_and_a_name_that_stands_twice(folder: Path) -> None:
    document = {
        "models": [{"name": "a", "uri": "python:model.py:make"}],
        "data": [{"name": "one", "uri": "csv:home.csv?target=y"}],
        "tracks": [
            {"name": "t", "models": ["a"], "data": "one", "settings": {"shfit": {}}},
        ],
    }  # fmt: skip
    with pytest.raises(InputError, match=r"tracks\[0\]\.settings: .*did you mean 'shift'"):
        resolve(document, folder, "spec", Overrides())
    document["tracks"] *= 2
    with pytest.raises(InputError, match=r"tracks: the name 't' stands twice"):
        resolve(document, folder, "spec", Overrides())
