"""Each audit catches what was planted, and is silent where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crucibench.contracts.verdict import Severity

SUSPECT, INFO = Severity.SUSPECT, Severity.INFO


@pytest.fixture
def clean(build: Any) -> Any:
    """Two alike groups of a thousand, answered well: evidence, with something changed."""

    def make(**changed: Any) -> Any:
        rng = np.random.default_rng(0)
        n = 2000
        truth = rng.integers(0, 2, n)
        given: dict[str, Any] = {
            "truth": truth,
            "said": np.where(rng.random(n) < 0.9, truth, 1 - truth),
            "groups": np.array(["a", "b"], dtype=object)[np.arange(n) % 2],
        } | {name: changed.pop(name) for name in ("truth", "said", "groups") if name in changed}
        columns = {"g": given["groups"]} | changed.pop("more", {})
        return build(given["truth"], columns, predictions=given["said"], **changed)

    return make


def test_ids_by_mistake(clean: Any, audit: Any) -> None:
    found = audit(clean(more={"id": [f"u{i}" for i in range(2000)]}))
    assert set(found) == {"too-many-groups"}
    finding = found["too-many-groups"]
    assert finding.severity is SUSPECT and finding.evidence == {"column": "id", "groups": 2000}
    assert "'id' has 2000 groups in 2000 samples" in finding.message


@pytest.mark.parametrize(
    ("name", "says"), [("same", "'more=same' alone"), ("(missing)", "no known group")]
)
def test_one_group(clean: Any, audit: Any, name: str, says: str) -> None:
    finding = audit(clean(more={"more": [name] * 2000}))["single-group"]
    assert finding.severity is SUSPECT and says in finding.message


def test_a_reference_that_is_not_there(clean: Any, audit: Any) -> None:
    found = audit(clean(), reference={"g": "bb"})
    assert found["reference-group"].severity is SUSPECT
    assert found["reference-group"].message.startswith(
        "unknown reference group 'g=bb'; did you mean 'g=b'?"
    )
    assert audit(clean(), reference={"g": "b"}) == {}
    groups = np.array(["b"] * 10 + ["a", "c"] * 995, dtype=object)
    small = audit(clean(groups=groups), reference={"g": "b"})["reference-group"]
    assert small.message == "the reference group 'g=b' has 10 samples only"


def test_a_column_that_is_the_target(clean: Any, audit: Any) -> None:
    truth = np.random.default_rng(0).integers(0, 2, 2000)
    found = audit(clean(more={"label": np.where(truth == 1, "yes", "no")}), depth=1)
    assert found["group-tells-target"].severity is SUSPECT
    assert found["group-tells-target"].evidence == {"column": "label"}
    mixed = np.where(truth == 1, "yes", "no").astype(object)
    mixed[:50] = "yes"
    assert "group-tells-target" not in audit(clean(more={"label": mixed}), depth=1)


def test_a_column_that_the_model_is_shown(clean: Any, audit: Any) -> None:
    found = audit(clean(features={"g": "string", "x": "float64"}))
    assert set(found) == {"group-is-input"} and found["group-is-input"].severity is INFO
    assert audit(clean(features={"x": "float64"})) == {}
    # What whoever gave logged answers was shown, nobody knows.
    assert audit(clean(features={"g": "string"}, logged=True)) == {}


@pytest.mark.parametrize(("count", "severity"), [(100, INFO), (600, SUSPECT)])
def test_unknown_groups(clean: Any, audit: Any, count: int, severity: Severity) -> None:
    groups = np.array(["a", "b"] * 1000, dtype=object)
    groups[:count] = "(missing)"
    finding = audit(clean(groups=groups))["unknown-groups"]
    assert finding.severity is severity and finding.evidence["count"] == count


def test_small_groups(clean: Any, audit: Any) -> None:
    groups = np.array(["a", "b"] * 1000, dtype=object)
    groups[:20] = "c"
    finding = audit(clean(groups=groups))["small-groups"]
    assert finding.severity is INFO and finding.evidence["groups"] == {"g=c": 20}
    assert finding.message.endswith("not compared: 'g=c' (20)")
    groups[20:60] = np.repeat(["d", "e", "f", "h"], 10)
    assert audit(clean(groups=groups))["small-groups"].message.endswith("'g=e' (10) and 2 more")
    assert "small-groups" not in audit(clean(groups=groups, least=10))


@pytest.mark.parametrize(("n", "severity"), [(200, INFO), (70, SUSPECT)])
def test_samples_that_show_no_gap(build: Any, audit: Any, n: int, severity: Severity) -> None:
    rng = np.random.default_rng(1)
    truth = np.tile([0, 0, 1, 1], n)[:n]
    said = np.where(rng.random(n) < 0.7, truth, 1 - truth)
    groups = [["a", "b"][i % 2] for i in range(n)]
    found = audit(build(truth, {"g": groups}, predictions=said))
    assert found["gap-not-detectable"].severity is severity
    assert min(found["gap-not-detectable"].evidence["detectable"].values()) >= 0.1


def test_a_group_that_gets_one_answer(clean: Any, audit: Any) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    said = np.where(np.arange(2000) % 2 == 0, 0, np.where(rng.random(2000) < 0.9, truth, 0))
    found = audit(clean(truth=truth, said=said))
    finding = found["constant-in-group"]
    assert finding.severity is SUSPECT and finding.evidence["group"] == "g=a"
    assert finding.evidence["label"] == "c0"
    # One answer for everybody is another audit's; one target needs but one answer.
    assert "constant-in-group" not in audit(clean(said=np.zeros(2000, dtype=int)))
    alone = np.where(np.arange(2000) % 2 == 0, 0, truth)
    assert "constant-in-group" not in audit(clean(truth=alone, said=said))


def test_a_group_without_positives(clean: Any, audit: Any) -> None:
    truth = np.random.default_rng(0).integers(0, 2, 2000)
    truth[::2] = 0
    found = audit(clean(truth=truth))
    assert found["undefined-rate"].message.startswith("'g=a' has no positive samples")
    assert found["undefined-rate"].severity is INFO


def test_base_rates_that_differ(clean: Any, audit: Any) -> None:
    rng = np.random.default_rng(2)
    share = np.where(np.arange(2000) % 2 == 0, 0.6, 0.45)
    truth = (rng.random(2000) < share).astype(int)
    found = audit(clean(truth=truth, said=np.where(rng.random(2000) < 0.9, truth, 1 - truth)))
    assert found["base-rates-differ"].severity is INFO
    assert "'g=a' the highest, 'g=b' the lowest" in found["base-rates-differ"].message


def test_four_fifths_is_a_note_with_its_caveat(clean: Any, audit: Any) -> None:
    rng = np.random.default_rng(3)
    said = (rng.random(2000) < np.where(np.arange(2000) % 2 == 0, 0.6, 0.3)).astype(int)
    finding = audit(clean(said=said))["four-fifths"]
    assert finding.severity is INFO and finding.evidence["ratio"] < 0.8
    assert "neither shows nor rules out discrimination" in finding.message
    assert "reaches above it" not in finding.message
    few = clean(truth=said[:100], said=said[:100], groups=["a", "b"] * 50)
    assert "reaches above it" in audit(few)["four-fifths"].message


def test_no_samples(build: Any, audit: Any) -> None:
    empty = np.zeros(0, dtype=int)
    found = audit(build(empty, {"g": []}, predictions=empty, classes=["n", "y"]))
    assert found["no-samples"].severity is Severity.INVALID


def test_regression_is_audited_too(build: Any, audit: Any) -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 1, 300)
    groups = ["a"] * 150 + ["b"] * 140 + ["c"] * 10
    found = audit(build(truth, {"g": groups}, predictions=truth + rng.normal(0, 1, 300)))
    assert set(found) == {"small-groups"}
