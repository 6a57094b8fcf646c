"""The bundled models: they open from their spec, keep the contract and do what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import crucibench_adapters
from crucibench.contracts.adapter import Adapter, Opening
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import EvalSet
from crucibench.contracts.lists import Lists
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.registry import adapters, sources
from crucibench.spec.check import parse_spec
from crucibench.tasks.detection.precision import DetectionView
from crucibench.testing import check_adapter

DEMO = Path(crucibench_adapters.__file__).parent / "demo"
SPEC = yaml.safe_load((DEMO / "demo.yaml").read_text())
MODELS = {model["name"]: model for model in SPEC["models"]}
DATA = {model: track["data"] for track in SPEC["tracks"] for model in track["models"]}
AT_LEAST = {
    "cnn": 0.97,
    "cnn-fp32": 0.97,
    "cnn-adversarial": 0.96,
    "mlp": 0.95,
    "shapes-shortcut": 0.97,
    "shapes-untied": 0.99,
    "logistic": 0.65,
    "forest": 0.65,
    "tabular-mlp": 0.65,
    "gru": 0.87,
    "gru-gender": 0.4,  # it goes by gender, which tells nothing here
    "transformer": 0.85,
    "detector": 0.85,  # of each image's objects, in the mean
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EvalSet]:
    scratch = tmp_path_factory.mktemp("scratch")
    opened: dict[str, EvalSet] = {}
    for entry in SPEC["data"]:
        uri = parse_uri(entry["uri"])
        opening = DataOpening(name=entry["name"], uri=uri, base=DEMO, scratch=scratch)
        opened[entry["name"]] = open_data(sources().get(uri.scheme)(), opening)
    return opened


def needed(name: str) -> None:
    if MODELS[name]["uri"].startswith("hf:"):
        pytest.importorskip("transformers", reason="transformers is not installed")


def opened(name: str, data: dict[str, EvalSet]) -> Adapter:
    uri = parse_uri(MODELS[name]["uri"])
    card = data[DATA[name]].card
    return adapters().get(uri.scheme).open(Opening(name=name, uri=uri, base=DEMO, data=card))


def test_the_spec_is_sound() -> None:
    spec = parse_spec(SPEC, "demo.yaml")
    assert [model.name for model in spec.models] == list(MODELS)


def test_the_spec_has_a_track_for_each_data_set_and_two_more() -> None:
    assert {track["name"]: len(track["models"]) for track in SPEC["tracks"]} == {
        "digits": 3,
        "digits in fewer bits": 1,
        "shapes": 2,
        "diabetes": 3,
        "diabetes under attack": 2,
        "reviews": 3,
        "drawn shapes": 1,
    }
    assert set(MODELS) == set(DATA) == set(AT_LEAST)


def test_the_files_are_small_and_named_by_the_spec() -> None:
    files = {
        file for file in DEMO.rglob("*") if file.is_file() and file.parent.name != "__pycache__"
    }
    assert sum(file.stat().st_size for file in files) < 2_000_000
    named = {
        file
        for model in MODELS.values()
        for file in adapters()
        .get(parse_uri(model["uri"]).scheme)
        .sources(parse_uri(model["uri"]), DEMO)
        .files
    }
    assert {file.name for file in files} == {file.name for file in named} | {"demo.yaml"}


@pytest.mark.parametrize("name", sorted(AT_LEAST))
def test_a_model_has_a_fingerprint(data: dict[str, EvalSet], name: str) -> None:
    needed(name)
    adapter = opened(name, data)
    assert adapter.fingerprint(), adapter.unidentified()
    assert adapter.unidentified() == ""
    for variant in MODELS[name].get("variants", []):
        assert adapter.with_variant(variant).fingerprint() not in [None, adapter.fingerprint()]


@pytest.mark.parametrize("name", sorted(AT_LEAST))
def test_a_model_keeps_the_contract_and_its_accuracy(data: dict[str, EvalSet], name: str) -> None:
    needed(name)
    adapter = opened(name, data)
    evalset = data[DATA[name]]
    samples = evalset.samples("test")
    batch = evalset.batch("test", range(len(samples)), adapter.input_spec)
    answer = adapter.predict(batch, frozenset({"scores"}))
    if isinstance(samples.targets, Lists):
        held = evalset.task.definition.judged(answer, samples.targets, adapter.score_kind)
        view = DetectionView(samples.ids, evalset.task.classes, held["matches"], held["objects"])
        assert np.mean(view.shares) >= AT_LEAST[name]
        return
    assert answer.scores is not None
    assert np.mean(answer.scores.argmax(axis=1) == samples.targets) >= AT_LEAST[name]
    check_adapter(lambda: opened(name, data), batch.take(range(32)))


def test_the_capabilities_of_the_bundled_models(data: dict[str, EvalSet]) -> None:
    def extra(name: str) -> set[Any]:
        common = {Capability.LABELS, Capability.SCORES, Capability.ANY_INPUT}
        return set(opened(name, data).capabilities) - common

    torch_extra = {
        Capability.LOGITS,
        Capability.GRADIENTS,
        Capability.FEATURES,
        Capability.HEAD,
    }
    assert extra("cnn") == extra("mlp") == torch_extra
    assert extra("shapes-shortcut") == extra("shapes-untied") == torch_extra
    assert extra("tabular-mlp") == torch_extra | {Capability.MISSING_VALUES}
    # Which words a text has is no number that a gradient could come back to.
    assert extra("gru") == torch_extra - {Capability.GRADIENTS}
    assert extra("logistic") == set()
    assert extra("forest") == {Capability.MISSING_VALUES}


def test_the_transformer_is_asked_with_embeddings(data: dict[str, EvalSet]) -> None:
    needed("transformer")
    adapter = opened("transformer", data)
    assert {Capability.EMBEDDINGS, Capability.GRADIENTS, Capability.HEAD} <= adapter.capabilities
