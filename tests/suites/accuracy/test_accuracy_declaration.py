"""The suite as the engine and the registry see it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench_suites.accuracy import AccuracyConfig, AccuracySuite


def request(counts: dict[str, int], config: AccuracyConfig, classes: int = 2) -> SuiteRequest:
    names = tuple(f"c{k}" for k in range(classes))
    task = Task(kind="classification", modality=Modality.TABLE, classes=names)
    model = ModelInfo(
        name="m",
        uri="test:m",
        capabilities=frozenset({Capability.SCORES}),
        score_kind="logits",
        geometry={},
        fingerprint=None,
    )
    card = DataCard(name="d", uri="test:d", task=task, counts=counts)
    return SuiteRequest(model=model, data=card, config=config, preset="quick")


def needs(counts: dict[str, int], config: AccuracyConfig) -> dict[str, bool]:
    found = AccuracySuite().scenarios(request(counts, config))
    assert not isinstance(found, str)
    (clean,) = found
    assert clean.address == "accuracy/clean"
    return {need.cell: need.optional for need in clean.needs}


def test_the_train_pass_is_asked_for_only_where_there_is_train() -> None:
    both = {"test": 10, "train": 20}
    assert needs({"test": 10}, AccuracyConfig()) == {"pass/test": False}
    assert needs(both, AccuracyConfig()) == {"pass/test": False, "pass/train": True}
    assert needs(both, AccuracyConfig(train_gap=False)) == {"pass/test": False}


def test_one_class_is_no_classification() -> None:
    reason = AccuracySuite().scenarios(request({"test": 10}, AccuracyConfig(), classes=1))
    assert reason == "accuracy needs at least two classes, the data has 1"


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="bins"):
        AccuracyConfig.model_validate({"bins": 10})
