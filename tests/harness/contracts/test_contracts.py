from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucibench.contracts.adapter import Adapter, Answer, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Address, Row, parse_address
from crucibench.contracts.task import Modality, NonFiniteError, OutputError, Task
from crucibench.contracts.verdict import Finding, Severity, Verdict, verdict_of

names = st.text("abc-._ 0", min_size=1, max_size=8)


@given(
    names, names, names, st.sampled_from(["", "eps=0.1", "severity=3"]), names, names | st.just("")
)
def test_an_address_survives_its_text(
    model: str, suite: str, scenario: str, point: str, metric: str, group: str
) -> None:
    address = Address(model, suite, scenario, point, metric, group)
    assert parse_address(str(address)) == address


def test_a_scenario_may_hold_slashes() -> None:
    found = parse_address("cnn@bf16:pass/ood/near/x[p=1]/top-1@3")
    assert found == Address("cnn@bf16", "pass", "ood/near/x", "p=1", "top-1", "3")


@pytest.mark.parametrize("text", ["", "cnn", "cnn:accuracy", "cnn:accuracy/clean"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected MODEL:SUITE/SCENARIO"):
        parse_address(text)


def test_a_row_without_value_or_interval_needs_its_reason() -> None:
    Row(metric="m", value=None, n=0, reason="no sample")
    with pytest.raises(ValueError, match="needs its reason"):
        Row(metric="m", value=0.5, n=3)
    with pytest.raises(ValueError, match="value is NaN"):
        Row(metric="m", value=float("nan"), lower=0.0, upper=1.0, n=3)


def test_a_metric_has_a_direction() -> None:
    with pytest.raises(ValueError, match="expected higher, lower, none or target=X, got 'up'"):
        MetricInfo(id="m", name="m", direction="up", definition="d")
    assert MetricInfo(id="m", name="m", direction="target=0.5", definition="d").version == 1


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [([], "valid"), (["info"], "valid"), (["info", "suspect"], "suspect"),
     (["suspect", "invalid"], "invalid")],
)  # fmt: skip
def test_the_verdict_is_the_worst_finding(severities: list[str], verdict: str) -> None:
    findings = [Finding(code="c", severity=Severity(s), message="m") for s in severities]
    assert verdict_of(findings) is Verdict(verdict)


def test_records_keep_vectors_and_types() -> None:
    table = to_table(
        {
            "id": ["a", "b"],
            "prediction": np.array([1, 0], dtype=np.int32),
            "scores": np.array([[0.1, 0.9], [0.8, 0.2]], dtype=np.float32),
        }
    )
    records = Records(table)
    assert table.column_names == ["id", "point", "prediction", "scores"]
    assert table.schema.field("scores").type == pa.list_(pa.float32(), 2)
    assert np.array_equal(records.array("scores"), np.float32([[0.1, 0.9], [0.8, 0.2]]))
    # Vector columns come back whole from chunks and slices too.
    joined = Records(pa.concat_tables([table, table.slice(1)]))
    assert joined.array("scores").shape == (3, 2)
    assert np.array_equal(joined.array("scores")[2], np.float32([0.8, 0.2]))


def test_records_align_by_id_and_refuse_what_is_missing() -> None:
    records = Records(to_table({"id": ["a", "b", "c"], "x": np.arange(3)}))
    ordered = records.aligned(np.array(["c", "a"], dtype=object))
    assert ordered.array("x").tolist() == [2, 0]
    with pytest.raises(ValueError, match="1 of 2 ids have no record"):
        records.aligned(np.array(["a", "z"], dtype=object))
    twice = Records(to_table({"id": ["a", "a"], "point": ["p=1", "p=2"], "x": np.arange(2)}))
    with pytest.raises(ValueError, match="pick a point first"):
        twice.aligned(np.array(["a"], dtype=object))
    assert twice.at("p=2").array("x").tolist() == [1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1]}, "expected a column 'id'"),
        ({"id": ["a"], "x": [1, 2]}, "expected 1 rows, got 2"),
    ],
)
def test_bad_records_are_refused(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_table(columns)


class _Scripted(Adapter):
    input_spec = InputSpec(modality=Modality.IMAGE)
    capabilities = frozenset({Capability.SCORES})
    task = Task(kind="classification", modality=Modality.IMAGE, classes=("a", "b"))

    def __init__(self, outputs: Answer) -> None:
        self.outputs = outputs

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise AssertionError("not opened by address")

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (Answer(), OutputError, "the model was asked for scores and returned none"),
        (Answer(scores=np.zeros((3, 2))), OutputError, r"expected shape \(2, ...\), got \(3, 2\)"),
        (Answer(scores=np.zeros((2, 5))), OutputError, "has 2 classes, the model returned 5"),
        (Answer(scores=np.zeros(2)), OutputError, r"expected shape \(2, ...\), got \(2,\)"),
        (
            Answer(scores=np.array([[0.0, np.nan], [0.0, 1.0]])),
            NonFiniteError,
            "scores: 1 of 2 rows in a batch are not finite",
        ),
        (
            Answer(scores=np.zeros((2, 2)), labels=np.array([0, 2])),
            OutputError,
            "expected class indices 0 to 1, got 0 to 2",
        ),
    ],
)
def test_the_base_class_checks_what_a_model_answers(
    outputs: Answer, error: type[Exception], message: str
) -> None:
    batch = Batch(("x", "y"), torch.zeros(2, 1, 2, 2))
    with pytest.raises(error, match=message):
        _Scripted(outputs).predict(batch, frozenset({"scores"}))


@pytest.mark.parametrize(
    "inputs",
    [torch.arange(12.0).reshape(3, 1, 2, 2), ["a", "b", "c"], pd.DataFrame({"x": [1, 2, 3]})],
)
def test_a_batch_can_be_cut(inputs: object) -> None:
    part = Batch(("i", "j", "k"), inputs, "test", (7, 8, 9), ("p", "q", "r")).take([2, 0])
    assert part.ids == ("k", "i") and part.rows == (9, 7) and part.keys == ("r", "p")
    again = Batch(("i", "j", "k"), inputs).take([2]).inputs
    assert len(again) == 1
