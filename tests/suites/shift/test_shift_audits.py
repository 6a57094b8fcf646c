"""Planted defects that each audit must find, and clean cases that it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.corrupted import CorruptedImage
from crucibench_suites.shift.corruptions.images import IMAGES

N = 400
RNG = np.random.default_rng(0)


def audit(
    bench: Any,
    name: str,
    distances: dict[int, Any],
    *,
    clean_wrong: int = 4,
    shifted_wrong: int = 40,
) -> dict[str, Finding]:
    targets = np.arange(N) % 3
    made = bench(targets, 3)
    wrong = (targets + 1) % 3
    points = {
        f"severity={severity}": np.where(np.arange(N) < shifted_wrong, wrong, targets)
        for severity in distances
    }
    cell = made.shifted(
        points, distances={f"severity={severity}": far for severity, far in distances.items()}
    )
    clean = made.clean(np.where(np.arange(N) < clean_wrong, wrong, targets))
    evidence: Evidence = made.evidence(cell, clean=clean)
    scenario = CorruptedImage.of(
        "shift", IMAGES[name], severities=tuple(distances), parameter_set="cifar", limit=None
    )
    return {finding.code: finding for finding in scenario.audit(evidence)}


def test_an_honest_corruption_is_left_alone(bench: Any) -> None:
    far = {severity: 0.02 * severity * (1 + 0.2 * RNG.random(N)) for severity in (1, 2, 3, 4)}
    assert audit(bench, "brightness", far) == {}


def test_a_corruption_that_does_nothing(bench: Any) -> None:
    found = audit(bench, "contrast", {1: 0.0, 5: 0.0})["corruption-did-nothing"]
    assert found.severity is Severity.SUSPECT
    assert "100 % of the images" in found.message
    few = np.where(np.arange(N) < N // 3, 0.0, 0.05)
    assert audit(bench, "contrast", {1: few, 5: 2 * few}) == {}


def test_a_first_severity_too_fine_for_the_images_is_only_said(bench: Any) -> None:
    found = audit(bench, "contrast", {1: 0.0, 5: 0.2})["corruption-did-nothing"]
    assert found.severity is Severity.INFO


@pytest.mark.parametrize("name", ["brightness", "gaussian_noise", "impulse_noise", "fog"])
def test_a_corruption_larger_than_it_states(bench: Any, name: str) -> None:
    stated = [IMAGES[name].most(IMAGES[name].level(severity, "cifar")) for severity in (1, 5)]
    found = audit(bench, name, {1: 0.9 * stated[0], 5: 1.2 * stated[1]})
    assert found["larger-than-stated"].severity is Severity.INVALID
    assert "severity=5" in found["larger-than-stated"].message
    assert "larger-than-stated" not in audit(bench, name, {1: 0.9 * stated[0], 5: stated[1]})


def test_severities_out_of_order(bench: Any) -> None:
    found = audit(bench, "motion_blur", {1: 0.10, 3: 0.08, 5: 0.2})["severity-not-monotone"]
    assert found.severity is Severity.SUSPECT
    assert "severity=3" in found.message and "published levels" not in found.message
    # Where the published levels are in no order, and where draws explain it, nothing is wrong.
    told = audit(bench, "elastic_transform", {1: 0.10, 3: 0.08, 5: 0.2})["severity-not-monotone"]
    assert told.severity is Severity.INFO and "published levels" in told.message
    near = {1: 0.1 + 0.1 * RNG.random(N), 3: 0.099 + 0.1 * RNG.random(N)}
    assert audit(bench, "motion_blur", near) == {}


def test_values_that_are_no_numbers(bench: Any) -> None:
    far = np.full(N, 0.1)
    far[:3] = np.nan
    found = audit(bench, "motion_blur", {1: 0.05, 5: far})
    assert found["non-finite-images"].severity is Severity.INVALID
    assert "3 of 800" in found["non-finite-images"].message
    assert set(found) == {"non-finite-images"}


def test_a_model_that_is_better_on_corrupted_images(bench: Any) -> None:
    distances = {1: 0.05, 5: 0.1}
    found = audit(bench, "motion_blur", distances, clean_wrong=100, shifted_wrong=40)
    assert found["better-when-shifted"].severity is Severity.SUSPECT
    assert "15 points higher" in found["better-when-shifted"].message
    assert audit(bench, "motion_blur", distances, clean_wrong=42, shifted_wrong=40) == {}
    assert audit(bench, "motion_blur", distances, clean_wrong=49, shifted_wrong=40) == {}
