"""Modalities and capabilities are open sets: what nothing declares is refused with the nearest."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError


@pytest.mark.parametrize(
    ("kind", "wrong", "nearest"),
    [(Modality, "imgae", "image"), (Capability, "any_input", "any-input")],
)
def test_an_unknown_name_is_refused_with_the_nearest(kind: type, wrong: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown .* {wrong!r}; did you mean {nearest!r}"):
        kind(wrong)


def test_equal_names_are_one_object() -> None:
    text = Modality("text")
    assert text is Modality.TEXT and text == "text" and str(text) == "text"
    for same in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert same is text
    assert json.dumps({text: Capability.LABELS}) == '{"text": "labels"}'


def test_a_package_declares_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Modality, "_known", dict(Modality._known))
    monkeypatch.setattr(Modality, "added", lambda: ["sound"])
    sound = Modality("sound")
    assert sound is Modality("sound") and isinstance(sound, Modality)
    monkeypatch.setattr(Capability, "_known", dict(Capability._known))
    with pytest.raises(InputError, match="unknown capability 'spectrum'"):
        Capability("spectrum")
    assert Capability.declare("spectrum") is Capability("spectrum")
