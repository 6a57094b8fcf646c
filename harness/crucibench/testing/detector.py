"""The conformance kit: whether an OOD detector keeps the promises that the ood suite builds on."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Detector, DetectorExample


def check_detector(detector: Detector) -> None:
    """Checks that a detector keeps the contract, on the example of all known answers.

    It is fitted and asked as in a cell of the suite.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    name = f"detector {detector.name!r}"
    assert detector.title and detector.source, f"{name}: expected a title and a source"
    assert detector.definition.endswith("."), f"{name}: expected a definition, a sentence or two"
    assert Capability.SCORES in detector.requires, f"{name}: `requires` must list SCORES"
    declared = bool(detector.values) == bool(detector.setting)
    assert declared, f"{name}: expected a setting and its values, or neither"
    assert not detector.values or detector.default in detector.values, (
        f"{name}: the default {detector.default} is none of its values {detector.values}"
    )
    assert ("head" in detector.uses) <= (Capability.HEAD in detector.requires), (
        f"{name}: it uses the head, so `requires` must list HEAD"
    )
    assert detector.asks <= (Capability.ANY_INPUT in detector.requires), (
        f"{name}: it asks the model itself, so `requires` must list ANY_INPUT"
    )
    wrong = detector.self_test()
    assert not wrong, f"{name} misses its known answer: {wrong}"
    _check_scores(detector, name)


def _check_scores(detector: Detector, name: str) -> None:
    example, values = DetectorExample.make(), detector.values or (detector.default,)
    answers = detector.example_answers(example, example.asked, values)
    material = example.material(detector.uses)
    score = detector.fitted(material)
    found = score(answers, values)
    assert np.array_equal(found, score(answers, values)), f"{name}: asked again it scores otherwise"
    again = detector.fitted(example.material(detector.uses, block=7))(answers, values)
    assert np.allclose(found, again, atol=1e-6), f"{name}: scores depend on how train is read"
    order = np.arange(len(found))[::-1]
    for rows in (order, order[:1]):
        some = score(answers.take(rows), values)
        assert np.allclose(some, found[rows], atol=1e-6), (
            f"{name}: a sample's score depends on the other samples of its block"
        )
    for place, value in enumerate(values):
        alone = score(answers, (value,))[:, 0]
        assert np.allclose(alone, found[:, place], atol=1e-6), (
            f"{name}: the scores at {detector.setting} {value} depend on the values beside it"
        )
