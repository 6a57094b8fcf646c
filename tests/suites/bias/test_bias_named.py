"""fairlearn's metrics by name: its values, our intervals, null where it says 0."""

from __future__ import annotations

import sys
from typing import Any

import fairlearn.metrics as fm
import numpy as np
import pytest
from pydantic import ValidationError

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.rows import Row, parse_address
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench.util.errors import InputError
from crucibench_suites.bias import BiasConfig, BiasSuite
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN
from crucibench_suites.bias.scenario import FairlearnMetrics

A, B = (60, 20, 10, 30), (50, 10, 20, 20)


def scored(evidence: Any, *names: str) -> dict[tuple[str, str], Row]:
    parameters = {"columns": list(evidence.data.groups), "edges": {}, "reference": {}}
    rows = FairlearnMetrics.of("bias", names, parameters).score(evidence).rows
    assert {row.metric for row in rows} <= {info.id for info in FairlearnMetrics.metrics}
    return {(row.metric.removeprefix("fairlearn:"), row.group): row for row in rows}


def test_every_name_is_one_of_fairlearn_and_all_of_them_are_known() -> None:
    theirs = {
        name
        for name in fm.__all__
        if not name.startswith(("MetricFrame", "make_", "plot_")) and name != "count"
    }
    assert set(FAIRLEARN) == theirs


def test_values_are_fairlearn_s_with_an_interval(build: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B)
    scores = np.stack([0.9 - 0.8 * said, 0.1 + 0.8 * said], axis=1)
    evidence = build(truth, {"g": groups}, scores=scores, replicates=2)
    names = [name for name, asked in FAIRLEARN.items() if asked.of != "values"]
    rows = scored(evidence, *names)
    for name in names:
        asked, theirs = FAIRLEARN[name], getattr(fm, name)
        given = scores[:, 1].astype(np.float32) if asked.of == "scores" else said
        if asked.by_groups:
            expected = {"g": theirs(truth, given, sensitive_features=groups)}
        else:
            inside = {k: np.array(groups) == k for k in "ab"}
            expected = {f"g={k}": theirs(truth[m], given[m]) for k, m in inside.items()}
        for group, value in expected.items():
            row = rows[name, group]
            assert row.value == pytest.approx(value, abs=1e-6)
            assert row.lower is not None and row.upper is not None
            assert row.lower <= row.value <= row.upper
            assert row.method == "basic-and-percentile-bootstrap-2; rows within groups"
    assert str(parse_address("m:bias/fairlearn/fairlearn:selection_rate@g=a")).endswith("@g=a")


def test_alike_groups_have_an_interval_that_reaches_zero(build: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=A)
    evidence = build(truth, {"g": groups}, predictions=said, replicates=30)
    row = scored(evidence, "demographic_parity_difference")
    assert row["demographic_parity_difference", "g"].lower == 0.0


def test_the_interval_is_the_same_again(build: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=B)
    evidence = build(truth, {"g": groups}, predictions=said, replicates=4)
    assert scored(evidence, "selection_rate_ratio") == scored(evidence, "selection_rate_ratio")


@pytest.mark.parametrize(("across", "how"), [(False, "clusters within groups"), (True, "clusters")])
def test_clusters_are_drawn_whole(build: Any, across: bool, how: str) -> None:
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(40), 10)
    # Each cluster gets one answer: 400 samples say what 40 say.
    said = rng.integers(0, 2, 40)[clusters]
    groups = np.where((np.arange(400) if across else clusters) % 2 == 0, "a", "b")
    truth = np.ones(400, dtype=int)
    names = [f"c{i}" for i in clusters]
    widths = []
    for given in (None, names):
        evidence = build(
            truth, {"g": groups}, predictions=said, clusters=given, classes=["n", "y"],
            replicates=20,
        )  # fmt: skip
        row = scored(evidence, "selection_rate")["selection_rate", "g=a"]
        widths.append(row.upper - row.lower)
        row = scored(evidence, "selection_rate_difference")["selection_rate_difference", "g"]
        assert given is None or row.method.endswith(f"; {how}")
    assert widths[1] > 2 * widths[0]
    few = build(
        truth, {"g": groups}, predictions=said, classes=["n", "y"],
        clusters=[f"c{i % 4}" for i in clusters],
    )  # fmt: skip
    row = scored(few, "selection_rate_difference")["selection_rate_difference", "g"]
    assert row.lower is None and "fewer than 5 clusters" in row.reason


def test_what_fairlearn_calls_0_is_null_with_its_reason(build: Any, drawn: Any) -> None:
    truth, said, groups = drawn(a=A, b=(40, 20, 0, 0))
    theirs = fm.true_positive_rate_difference(truth, said, sensitive_features=groups)
    assert theirs == pytest.approx(0.75)
    rows = scored(
        build(truth, {"g": groups}, predictions=said, replicates=4),
        "true_positive_rate_difference", "true_positive_rate", "log_loss_group_max",
        "mean_absolute_error_group_max",
    )  # fmt: skip
    row = rows["true_positive_rate_difference", "g"]
    assert row.value is None and row.reason == "'g=b' has no positive samples"
    assert rows["true_positive_rate", "g=b"].value is None
    assert rows["true_positive_rate", "g=a"].value == pytest.approx(0.75)
    assert rows["log_loss_group_max", "g"].reason == "the model gives labels only"
    assert "it is of numbers" in rows["mean_absolute_error_group_max", "g"].reason


def test_regression_classes_and_small_groups(build: Any) -> None:
    rng = np.random.default_rng(0)
    truth, groups = rng.normal(0, 1, 100), ["a", "b"] * 50
    evidence = build(truth, {"g": groups}, predictions=truth + 1, replicates=4)
    rows = scored(evidence, "mean_absolute_error_group_max", "selection_rate", "mean_prediction")
    assert rows["mean_absolute_error_group_max", "g"].value == pytest.approx(1.0)
    assert rows["selection_rate", "g"].value is None
    assert rows["mean_prediction", "g=a"].value == pytest.approx((truth[::2] + 1).mean())
    many = rng.integers(0, 3, 100)
    rows = scored(build(many, {"g": groups}, predictions=many), "selection_rate_difference")
    assert "two classes, the data has 3" in rows["selection_rate_difference", "g"].reason
    few = build(many, {"g": ["a"] * 95 + ["b"] * 5}, predictions=many)
    assert (
        "'g=a' has at least 30"
        in scored(few, "zero_one_loss_ratio")["zero_one_loss_ratio", "g"].reason
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match=r"did you mean 'selection_rate'"):
        BiasConfig.model_validate({"metrics": ["fairlearn:selection_rat"]})
    with pytest.raises(ValidationError, match=r"expected fairlearn:NAME, got 'tpr'"):
        BiasConfig.model_validate({"metrics": ["tpr"]})


def test_without_fairlearn_it_is_one_sentence(
    build: Any, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, said, groups = drawn(a=A, b=B)
    monkeypatch.setitem(sys.modules, "fairlearn", None)
    with pytest.raises(InputError, match="fairlearn is not installed"):
        scored(build(truth, {"g": groups}, predictions=said), "selection_rate")


def test_without_fairlearn_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(kind="classification", modality=Modality.TABLE, classes=("n", "y"))
    model = ModelInfo(
        name="m", uri="t:m", capabilities=frozenset(), score_kind="probabilities", geometry={},
        fingerprint=None,
    )  # fmt: skip
    card = DataCard(name="people", uri="t:d", task=task, groups=("sex",), counts={"test": 10})

    def plan(**settings: Any) -> Any:
        config = BiasConfig.model_validate(settings)
        request = SuiteRequest(model=model, data=card, config=config, preset="quick")
        return BiasSuite().scenarios(request)

    asked = {"metrics": ["fairlearn:selection_rate"]}
    assert [one.name for one in plan(**asked)] == ["groups", "fairlearn"]
    monkeypatch.setitem(sys.modules, "fairlearn", None)
    with pytest.raises(InputError, match='fairlearn is not installed: pip install "crucibench"'):
        plan(**asked)
    assert len(plan()) == 1
