"""The contracts: batches, answers, records and what they refuse."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crucibench.contracts.adapter import Adapter, Answer, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.examples import (
    EXAMPLES,
    MOST,
    POOL,
    SIDE,
    Showing,
    first_of,
    magnified,
    share_shown,
    small,
)
from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Address, Row, parse_address
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import (
    AnswerField,
    Modality,
    NonFiniteError,
    OutputError,
    Task,
    task_kinds,
    task_name,
)
from crucibench.contracts.verdict import Finding, Severity, Verdict, verdict_of
from crucibench.engine.ask_again import compare_records
from crucibench.registry import suites
from crucibench.store.stored_records import StoredRecords
from crucibench.store.tables import samples_to_table, table_to_samples, write_table
from crucibench.tasks.regression.kind import Regression
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError

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


class Tags(Regression):
    """Several labels a sample: neither one class nor one number."""

    name = "tags"
    one_number = False
    fields = (AnswerField(name="tags", dimensions=2, check=lambda array, _: None),)


class Scorer(Adapter):
    """Answers with scores, whatever is asked."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.capabilities = frozenset()

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        return Answer(scores=np.ones((len(batch), 2)))


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setitem(task_kinds()._loaded, "tags", Tags())
    return Task(kind="tags", modality=Modality.TABLE, classes=("red", "round"))


def test_scores_are_no_answer_to_another_kind(tags: Task) -> None:
    with pytest.raises(OutputError, match="scores: no field of an answer to tags"):
        Scorer(tags).predict(Batch(("a", "b"), [[0], [1]]), frozenset({"tags"}))


@pytest.mark.parametrize("name", ["shift", "ood", "adversarial"])
def test_suites_that_need_classes_or_numbers_say_so(tags: Task, name: str) -> None:
    suite: Any = suites().get(name)()
    model = ModelInfo(
        name="m", uri="test:m", capabilities=frozenset(), score_kind="probabilities", geometry={},
        fingerprint=None,
    )  # fmt: skip
    data = DataCard(name="d", uri="test:d", task=tags, counts={"test": 10}, groups=("sex",))
    reason = suite.scenarios(SuiteRequest(model=model, data=data, config=suite.config(),
                                          preset="quick"))  # fmt: skip
    assert isinstance(reason, str) and reason


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'regression'"):
        task_name("regresion")


class Kept:
    """What a cell's batches kept."""

    def __init__(self, showing: float = 1.0, seed: int = 0) -> None:
        self.tables: list[Any] = []
        self.context = MapContext(
            adapter=None,  # type: ignore[arg-type]
            draws=Draws(seed, "shift/blur"),
            showing=showing,
        )

    def batch(self, ids: Sequence[str], inputs: Any, targets: Sequence[float]) -> Showing:
        samples = Samples(
            np.array(ids, dtype=object), np.array(targets), pd.DataFrame(index=range(len(ids)))
        )
        work = Work(Batch(tuple(ids), inputs), samples, {}, self._keep)
        return Showing(work, self.context)

    def _keep(self, name: str, columns: Any) -> None:
        assert name == EXAMPLES
        self.tables.append(to_table(columns))

    @property
    def frame(self) -> pd.DataFrame:
        return pd.concat([table.to_pandas() for table in self.tables], ignore_index=True)


def _shown(wrong: Sequence[bool], size: int) -> pd.DataFrame:
    """Shows samples 0, 1, ... in batches of some size; those of `wrong` flip at severity 5."""
    kept = Kept()
    for start in range(0, len(wrong), size):
        part = wrong[start : start + size]
        names = [f"sample {start + at}" for at in range(len(part))]
        showing = kept.batch(names, [f"{name}!" for name in names], [0] * len(part))
        right = np.zeros(len(part), dtype=np.int64)
        showing.add("severity=3", names, {"prediction": right}, rank=3)
        showing.add("severity=5", names, {"prediction": right + np.array(part)}, rank=5)
        showing.keep()
    return first_of(kept.frame)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 40), st.integers(1, 40))
def test_the_same_samples_are_chosen_however_they_are_batched(
    wrong: list[bool], one: int, other: int
) -> None:
    frame = _shown(wrong, one)
    pd.testing.assert_frame_equal(frame, _shown(wrong, other))
    ids = list(dict.fromkeys(frame["id"]))
    assert len(ids) == min(MOST, len(wrong))
    flags = [wrong[int(name.split()[1])] for name in ids]
    assert flags == sorted(flags, reverse=True), "wrong ones come first"
    assert sum(flags) == min(MOST, sum(wrong)), "and all of them, as far as there is room"
    for _, rows in frame.groupby("id"):
        assert list(rows["point"]) == ["", "severity=3", "severity=5"]


def test_the_draw_is_of_the_sample_and_the_seed_alone() -> None:
    names = [f"sample {at}" for at in range(200)]
    chosen = []
    for seed in (0, 0, 1):
        kept = Kept(seed=seed)
        showing = kept.batch(names, names, [0] * 200)
        showing.add("eps=1", names, {"prediction": np.zeros(200)}, rank=1)
        showing.keep()
        chosen.append(set(kept.frame["id"]))
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_large_cell_keeps_few_and_one_that_was_not_asked_nothing() -> None:
    names = [f"sample {at}" for at in range(4_000)]
    counts = {}
    for share in (share_shown(len(names)), 0.0):
        kept = Kept(share)
        for start in range(0, len(names), 50):
            part = names[start : start + 50]
            showing = kept.batch(part, part, [0] * 50)
            showing.add("eps=1", part, {"prediction": np.ones(50)}, rank=1)
            assert not showing.first(range(50)) or share
            showing.keep()
        counts[share] = len(set(kept.frame["id"])) if kept.tables else 0
    few, none = counts.values()
    # A binomial count about POOL: six standard deviations.
    assert abs(few - POOL) < 6 * math.sqrt(POOL)
    assert none == 0


def test_an_image_is_kept_as_it_was_with_its_change_magnified() -> None:
    clean = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = clean.clone()
    changed[0, 1, 2, 3] += 0.02
    changed[0, 0, 0, 0] -= 0.01
    kept = Kept()
    showing = kept.batch(["a", "b"], clean, [1, 1])
    answers = {"prediction": np.array([2, 1]), "score": np.array([0.75, 0.5])}
    showing.add(["eps=1", "eps=2"], changed, answers, rank=[1, 2], by="apgd", changes=True)
    showing.keep()
    rows = kept.frame.set_index(["id", "point"])
    assert rows["wrong"].groupby("id").max().to_dict() == {"a": True, "b": False}
    for name, point, images in (("a", "", clean), ("a", "eps=1", changed), ("b", "", clean)):
        pixels = np.asarray(Image.open(io.BytesIO(rows.loc[(name, point), "content"])))
        expected = np.rint(images["ab".index(name)].numpy() * 255).transpose(1, 2, 0)
        assert (pixels == expected.astype(np.uint8)).all()
    hit = rows.loc[("a", "eps=1")]
    assert (hit["prediction"], hit["score"], hit["target"], hit["by"]) == (2.0, 0.75, 1.0, "apgd")
    assert hit["factor"] == pytest.approx(25, rel=1e-4)
    change = np.asarray(Image.open(io.BytesIO(hit["change"])))
    assert change[2, 3, 1] == 255 and change[0, 0, 0] == 64
    assert (change == 128).sum() == 3 * 64 - 2, "grey where nothing was changed"
    assert rows.loc[("b", "eps=2"), "change"] == b"", "nothing differs"
    assert math.isnan(rows.loc[("a", ""), "prediction"]), "the plain pass has it"


def test_large_images_are_made_small_and_odd_values_are_clipped() -> None:
    (picture,) = small(np.full((1, 1, 300, 150), 0.5))
    assert picture.shape == (SIDE, SIDE // 2) and set(np.unique(picture)) == {128}
    (odd,) = small(np.array([[[[math.nan, -1.0, 2.0]]]]))
    assert odd.tolist() == [[0, 0, 255]]
    assert magnified(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))) is None


def test_texts_and_rows_are_kept_as_json() -> None:
    kept = Kept()
    texts = [("a " * 5000, None), ("<script>\ud800", "\u202e")]
    showing = kept.batch(["a", "b"], texts, [0, 0])
    showing.add("p", texts, {"prediction": np.zeros(2)}, rank=1)
    showing.keep()
    first, second = (json.loads(one) for one in kept.frame.drop_duplicates("id")["content"])
    assert sorted([len(first[0]), len(second[0])]) == [9, 2000]
    frame = pd.DataFrame(
        {
            "whole": pd.array([3, None], dtype="Int64"), "real": [0.1, math.inf],
            "flag": [True, False], "when": pd.to_datetime(["2020-01-01", None]),
            "named": pd.Categorical(["x", None]),
        }
    )  # fmt: skip
    kept = Kept()
    showing = kept.batch(["a", "b"], frame, [1.5, 2.5])
    showing.add("p", frame, {"prediction": np.array([1.0, 9.0])}, rank=1)
    showing.keep()
    rows = kept.frame.drop_duplicates("id").set_index("id")["content"].map(json.loads)
    assert rows["a"] == {
        "whole": 3, "real": 0.1, "flag": True, "when": "2020-01-01 00:00:00", "named": "x",
    }  # fmt: skip
    assert rows["b"] == {"whole": None, "real": "inf", "flag": False, "when": None, "named": None}
    assert not kept.frame["wrong"].any(), "a value is neither right nor wrong"


# Records: one row a sample, point and draw; lists of any length.


def drawn(**columns: Any) -> dict[str, Any]:
    keys = {"id": ["a", "b", "a", "b"], "point": "", "draw": np.array([0, 0, 1, 1])}
    return {**keys, "score": np.array([1.0, 2.0, 3.0, 6.0]), **columns}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ([0, 0, 0, 1], "two of one draw"),
        ([0, 0, -1, 1], "from 0"),
        ([0.0, 0.0, 1.0, 1.0], "from 0"),
    ],
)
def test_draws_are_integers_from_0_each_once_a_sample(draw: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_table(drawn(draw=np.array(draw)))


def test_records_asked_again_are_matched_by_draw() -> None:
    turned = {name: list(column)[::-1] for name, column in drawn().items() if name != "point"}
    assert compare_records(to_table(drawn()), to_table(turned)).identical


BOXES = Lists.of([2, 0, 1, 1], np.arange(16, dtype=np.float32).reshape(4, 4))


def test_lists_come_back_from_disk_as_offsets_and_values(tmp_path: Path) -> None:
    columns = drawn(
        boxes=BOXES,
        classes=Lists.of([2, 0, 1, 1], np.array([5, 6, 7, 8])),
        words=Lists.of([1, 0, 0, 1], np.array(["left", "right"], dtype=object)),
    )
    table = to_table(columns)
    assert table.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))
    digests = {write_table(tmp_path / name, to_table(columns)) for name in ("a", "b")}
    assert len(digests) == 1
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    # Shards one after the other, and a slice that begins within one.
    records = StoredRecords([tmp_path / "a", tmp_path / "b"])
    boxes = records.lists("boxes")
    assert boxes.lengths.tolist() == [2, 0, 1, 1] * 2
    np.testing.assert_array_equal(boxes.values, np.tile(BOXES.values, (2, 1)))
    one = Records(records.table.slice(2, 3)).lists("classes")
    assert (one.offsets.tolist(), one.values.tolist()) == ([0, 1, 2, 4], [7, 8, 5, 6])
    assert records.lists("words").values.tolist() == ["left", "right"] * 2
    with pytest.raises(ValueError, match="lists"):
        records.array("boxes")


def test_lists_are_taken_by_row_and_by_mask() -> None:
    taken = BOXES[np.array([3, 1, 0])]
    assert taken.lengths.tolist() == [1, 0, 2]
    assert taken.values[:, 0].tolist() == [12.0, 0.0, 4.0]
    assert BOXES[np.array([False, True, True, False])].values[:, 0].tolist() == [8.0]
    assert len({*map(tuple, BOXES.summary())}) == 4


def test_targets_may_be_lists() -> None:
    ids = np.array(["a", "b", "c", "d"], dtype=object)
    samples = Samples(ids, BOXES, pd.DataFrame(index=range(4)))
    back = table_to_samples(samples_to_table(samples)).take(np.array([2, 1]))
    assert back.labelled
    assert back.targets.values.tolist() == [[8.0, 9.0, 10.0, 11.0]]


def test_a_field_says_whether_it_is_lists() -> None:
    field = AnswerField(name="boxes", dimensions=2, lists=True, check=lambda *_: None)
    task = Task(kind="regression", modality=Modality.IMAGE)
    field.require(BOXES, 4, task)
    for wrong in (BOXES.values, BOXES[np.array([0])], Lists.of([1], np.array([1.0]))):
        with pytest.raises(OutputError, match="boxes"):
            field.require(wrong, 4, task)


def test_lists_asked_again_are_compared_item_by_item() -> None:
    stored = to_table(drawn(boxes=BOXES))
    moved = Lists(BOXES.offsets, BOXES.values + np.float32(0.5))
    assert compare_records(stored, to_table(drawn(boxes=moved))).largest > 0
    shorter = Lists.of([1, 1, 1, 1], BOXES.values)
    assert compare_records(stored, to_table(drawn(boxes=shorter))).flipped == ("boxes",)


def test_groups_are_made_once_something_asks() -> None:
    asked: list[int] = []

    def made() -> pd.DataFrame:
        asked.append(1)
        return pd.DataFrame({"sex": ["f", "m"]}, dtype=object)

    samples = Samples(np.array(["a", "b"], dtype=object), np.zeros(2), made)
    assert samples.ids.tolist() == ["a", "b"]
    assert not asked
    assert samples.take(np.array([1])).groups["sex"].tolist() == ["m"]
    assert samples.groups["sex"].tolist() == ["f", "m"]
    assert len(asked) == 1
