"""Train roles that a detector can't be fitted on: it has no numbers, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crucibench as cb
from crucibench.contracts.detector import Head, UnfitError
from crucibench.contracts.verdict import Status
from crucibench_suites.ood.detectors import detector, detectors

RNG = np.random.default_rng(4)
HEAD = Head(weight=RNG.normal(size=(3, 6)), bias=RNG.normal(size=3))
FEATURES = np.maximum(RNG.normal(0.5, 1.0, (30, 6)), 0.0)
TARGETS = np.arange(30) % 3

CASES: dict[str, tuple[np.ndarray, np.ndarray, set[str]]] = {
    "one sample": (FEATURES[:1], TARGETS[:1], {"mahalanobis", "relative-mahalanobis", "vim"}),
    "one of each class": (FEATURES[:3], TARGETS[:3], {"mahalanobis", "relative-mahalanobis"}),
    "one of each class, far from 0": (
        1e4 + FEATURES[:3], TARGETS[:3], {"mahalanobis", "relative-mahalanobis"},
    ),
    "constant features": (
        np.full((30, 6), 0.1), TARGETS, {"mahalanobis", "relative-mahalanobis", "vim"},
    ),
    "one of a class": (np.r_[FEATURES[TARGETS < 2], FEATURES[2:3]],
                       np.r_[TARGETS[TARGETS < 2], 2], set()),
    "a class without a sample": (FEATURES[TARGETS < 2], TARGETS[TARGETS < 2], set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_who_can_be_fitted(case: str, bench: Any) -> None:
    features, targets, expected = CASES[case]
    material = bench.material(features, targets, HEAD)
    asked = bench.answers(RNG.normal(size=(8, 6)), HEAD)
    unfit = set()
    for name in set(detectors().names()) - {"odin"}:
        entry = detector(name)
        try:
            scores = entry.fit(material)(asked, (entry.default,))
        except UnfitError:
            unfit.add(name)
        else:
            assert np.isfinite(scores).all(), name
    # Of three samples the residual may be rounding or not: it depends on the origin.
    assert unfit - {"vim"} == expected - {"vim"}
    assert len(features) == 3 or ("vim" in unfit) == ("vim" in expected)


def test_the_other_detectors_go_on(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)
    )
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.fill_(0.1)
    run = cb.run(
        models={"dead": net.eval()}, data="sklearn:digits?split=0.3", suites=["ood"],
        out=tmp_path, workers=0, cache=False, defaults={"limit": 60, "replicates": 100},
        settings={
            "ood.detectors": ["msp", "mahalanobis", "knn"], "ood.headline": "mahalanobis",
            "ood.generators": ["uniform-noise"],
        },
    )  # fmt: skip
    assert run.exit_code == 0
    found = {file.scenario: file for file in run.cells.values() if file.suite == "ood"}
    assert {file.status for file in found.values()} == {Status.OK}
    (finding,) = found["mahalanobis"].findings
    assert finding.code == "unfit-detector" and "do not vary within classes" in finding.message
    rows = run.metrics()
    rows = rows[rows.suite == "ood"]
    for scenario in ("mahalanobis", "headline", "detectors"):
        mine = rows[rows.scenario == scenario]
        assert len(mine) and mine.value.isna().all()
        assert mine.reason.str.startswith("it can't be fitted: the features").all()
    knn = rows[(rows.scenario == "knn") & (rows.metric == "ood-auroc")]
    assert (knn.value == 0.5).all()  # all features are equal: every distance ties
    table = run.table(found["detectors"].cell, "detectors")
    assert table is not None
    assert table.set_index("detector")["setting"]["Mahalanobis (headline)"] == "can't be fitted"
    assert "Mahalanobis" in (run.root / "report.html").read_text()
    again = cb.compare(run, run, models={"dead": "dead"})
    none = [one for one in again.differences if "ood/mahalanobis" in str(one.address)]
    assert none and all(one.delta is None for one in none)
