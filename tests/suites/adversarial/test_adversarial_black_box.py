"""Attacks without gradients: known answers, budgets, records, audits with planted defects."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import crucibench as cb
from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.attack import Norm, Search, attacks
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import to_table
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.plan.plan import Plan
from crucibench.engine.plan.requests import planned_requests
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.integrity.verify import verify
from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError
from crucibench_adapters.python_function import FunctionAdapter
from crucibench_suites.adversarial.attacked import self_tested
from crucibench_suites.adversarial.audits.queries import label_only_beats
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.blackbox.scenario import BlackBox, scenarios

_SPEC = importlib.util.spec_from_file_location("exact", Path(__file__).parent / "exact.py")
assert _SPEC is not None and _SPEC.loader is not None
exact = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(exact)

GRID = (0.02, 0.08, 0.3)
METHODS = [("square", "linf"), ("square", "l2"), ("hopskipjump", "linf"), ("hopskipjump", "l2")]
METHODS += [("restore", "linf"), ("restore", "l2"), ("boundary", "l2")]


class Counted(Adapter):
    """Scores, or labels alone, without gradients; counts what it is asked about."""

    input_spec = InputSpec(modality=Modality.IMAGE)
    score_kind = "logits"

    def __init__(self, module: nn.Module, classes: int, *, labels: bool = False) -> None:
        self._module, self._labels, self.asked = module.eval(), labels, 0
        answers = Capability.LABELS if labels else Capability.SCORES
        self.capabilities = frozenset({answers, Capability.ANY_INPUT})
        names = tuple(f"c{k}" for k in range(classes))
        self.task = Task(kind="classification", modality=Modality.IMAGE, classes=names)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        self.asked += len(batch)
        with torch.no_grad():
            scores = self._module(batch.inputs).numpy()
        return Answer(labels=scores.argmax(1)) if self._labels else Answer(scores=scores)


def cell(method: Any, norm: Norm, *, queries: int = 300, eps: tuple[float, ...] = GRID) -> BlackBox:
    (found,) = scenarios("adversarial", (method,), (norm, eps, None), queries=queries, limit=None)
    return found


@pytest.mark.parametrize(("method", "norm"), METHODS)
def test_each_attack_solves_what_is_known(method: str, norm: Norm) -> None:
    (row,) = to_table(cell(method, norm).probe(None, None)["self-test"]).to_pylist()  # type: ignore[arg-type]
    assert row["passed"]
    assert 1 <= row["ratio"] < 5
    assert row["found"] == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_surrogates_attack_solves_what_is_known(norm: Norm) -> None:
    (result,) = self_tested(["momentum"], norm)
    assert result.ratio <= 1.2


@pytest.mark.parametrize(("method", "norm"), METHODS)
def test_no_example_is_nearer_than_any_can_be(
    drive: Any, linear: Any, method: str, norm: Norm
) -> None:
    model, x, y = linear(3, boxed=True, n=40)
    weight, bias = (one.detach().double().numpy() for one in (model.weight, model.bias))
    least = exact.distances(weight, bias, x.flatten(1).numpy(), y, norm, boxed=True)
    adapter = Counted(model, 3, labels=method != "square")
    scenario = cell(method, norm, eps=(0.0, *GRID) if norm == "linf" else (0.1, 0.4, 1.5))
    evidence = drive(scenario, adapter, x, y)
    records = evidence.own.records
    rows = [int(one.removeprefix("id")) for one in records.ids]
    found = records.array(f"distance_{norm}")
    seen = ~np.isnan(found)
    assert seen.sum() > 20
    assert (found[seen] >= least[rows][seen] * (1 - 1e-4)).all()
    # The first radius that is no smaller: a level says what the distance says.
    eps = np.asarray(scenario.threat.eps)
    np.testing.assert_array_equal(
        records.array("level")[seen], np.searchsorted(eps, found[seen], side="left")
    )
    queries_to = records.array("queries_to")
    broken = records.array("level")[:, None] <= np.arange(len(eps))
    assert np.isnan(queries_to[~broken]).all()
    assert np.nanmax(queries_to) <= scenario.threat.queries
    assert records.array("queries").max() <= scenario.most_questions
    assert adapter.asked <= len(x) * ((scenario.most_questions or 0) + 1)  # and once as they are
    if method != "square":  # of one search: what is within a radius is within a larger one
        filled = np.where(np.isnan(queries_to), 1e9, queries_to)
        assert (np.diff(filled[:, eps > 0], axis=1) <= 0).all()
    rows_by = {(row.metric, row.point): row for row in score(scenario, evidence).rows}
    point = scenario.points[-1]
    n = len(records)
    assert rows_by["success-within-budget", point].value == broken[:, -1].sum() / n


@pytest.mark.parametrize(("method", "norm"), METHODS)
def test_batches_and_order_change_nothing(drive: Any, linear: Any, method: str, norm: Norm) -> None:
    model, x, y = linear(3, boxed=False, n=20)
    scenario = cell(method, norm, queries=120, eps=(0.05, 0.2))
    tables = []
    for size, order in ((64, np.arange(20)), (3, np.random.default_rng(1).permutation(20))):
        evidence = drive(scenario, Counted(model, 3), x, y, batch_size=size, order=order)
        tables.append(evidence.own.records.frame().sort_values("id").reset_index(drop=True))
    same = ["id", "level", "prediction"]
    pd.testing.assert_frame_equal(tables[0][same], tables[1][same])
    # How many steps Square tries at once depends on the room in the batch, and so does which of
    # them it is spared.
    free = ["forwards", "queries", "queries_to"] if method == "square" else []
    left, right = (table.drop(columns=free) for table in tables)
    pd.testing.assert_frame_equal(left, right, atol=1e-6, check_exact=False)


class _Line:
    """One coordinate in [0, 1]; a point is wrong beyond a half."""

    def __init__(self, n: int) -> None:
        self.clean, self.low, self.high = (np.full((n, 1), value) for value in (0.0, 0.0, 1.0))

    def allowed(self, rows: Any, points: Any) -> Any:
        return np.clip(points, 0, 1)

    def distance(self, rows: Any, points: Any) -> Any:
        return np.abs(points - self.clean[rows])[:, 0]


asked = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 2)), min_size=1, max_size=12), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(asked, st.integers(1, 15))
def test_questions_are_counted_and_the_nearest_example_is_kept(calls: Any, budget: int) -> None:
    radii = np.array([0.55, 0.8])
    questions = BudgetedQuestions(_Line(4), lambda rows, points: points[:, 0] - 0.5, radii, budget)
    paid: dict[int, list[float]] = {row: [] for row in range(4)}
    for call in calls:
        rows = np.array([row for row, _ in call])
        lead = questions.lead(rows, np.array([[place] for _, place in call]))
        for (row, place), said in zip(call, lead, strict=True):
            if len(paid[row]) < budget:
                paid[row].append(min(max(place, 0.0), 1.0))
                assert said == paid[row][-1] - 0.5
            else:
                assert said == -np.inf
    for row, places in paid.items():
        assert questions.queries[row] == len(places)
        wrong = [place for place in places if place > 0.5]
        assert questions.distance[row] == min(wrong, default=np.inf)
        for at, radius in enumerate(radii):
            numbers = [k + 1 for k, place in enumerate(places) if 0.5 < place <= radius]
            expected = min(numbers, default=None)
            found = questions.queries_to[row, at]
            assert (np.isnan(found) and expected is None) or found == expected


class _Rounded(nn.Module):
    """Says 1 of its class and 0 of the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.model(x)
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


class _Bubble(nn.Module):
    """Says class 0 to whatever lies within 2.3 of grey, and class 1 beyond."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beyond = (x - 0.5).flatten(1).norm(dim=1) > 2.3
        return nn.functional.one_hot(beyond.long(), 3).float()


def codes(scenario: BlackBox, evidence: Evidence) -> set[str]:
    return {one.code for one in scenario.audit(evidence)}


def both(drive: Any, module: nn.Module, x: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """Returns Square's cell, and its evidence with HopSkipJump's as a need."""
    labels, scores = scenarios(
        "adversarial", ("square", "hopskipjump"), ("linf", (0.05, 0.3), None), limit=None, **options
    )
    adapter = Counted(module, 3)
    other, own = drive(labels, adapter, x, y), drive(scores, adapter, x, y)
    needs: Mapping[str, Any] = {**own.needs, "label-only": other.own}
    return scores, Evidence(own=own.own, needs=needs, data=own.data, options=own.options)


def test_scores_that_mislead_are_told(drive: Any, linear: Any) -> None:
    model, x, y = linear(3, boxed=False, n=80, side=8)
    scenario, evidence = both(drive, model, x, y, queries=600)
    assert codes(scenario, evidence) == set()
    scenario, evidence = both(drive, _Rounded(model), x, y, queries=600)
    assert "labels-beat-scores" in codes(scenario, evidence)


def test_scores_and_labels_are_compared_where_they_differ_most() -> None:
    series: Any = SimpleNamespace(threat=SimpleNamespace(eps=(0.1, 0.3)))
    # Labels alone break the first ten at 0.1, scores alone the others at 0.3.
    ten = np.repeat([0, 1], 10)
    (found,) = label_only_beats(series, 2 - ten, 2 * ten, np.ones(20, dtype=bool))
    assert found.evidence["eps"] == 0.1 and found.evidence["labels_alone"] == 10


def test_questions_that_gain_nothing_are_told(drive: Any, linear: Any) -> None:
    model, x, y = linear(3, boxed=False, n=60, side=8)
    scenario = cell("hopskipjump", "l2", queries=400, eps=(0.01,))
    assert codes(scenario, drive(scenario, Counted(model, 3), x, y)) == set()
    grey = 0.5 + (x - x.mean()) / 100
    evidence = drive(scenario, Counted(_Bubble(), 3), grey, np.zeros(len(x), dtype=np.int64))
    assert codes(scenario, evidence) == {"queries-gain-nothing"}


class _Gate(nn.Module):
    """Wrong where the first pixel leaves its place, for every third sample; nowhere else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        third = x[:, 0, 1, 1] > 0.7
        moved = (x[:, 0, 0, 0] - 0.5).abs() > 0.01
        answer = torch.zeros(len(x), 3)
        answer[:, 0] = 1.0
        answer[third & moved, 1] = 2.0
        return answer


def test_a_search_whose_first_question_is_all_is_told(drive: Any) -> None:
    x = torch.full((30, 1, 8, 8), 0.5)
    x[::3, 0, 1, 1] = 0.9
    y = np.zeros(30, dtype=np.int64)
    scenario = cell("square", "linf", queries=1000, eps=(0.05,))
    assert "queries-gain-nothing" in codes(scenario, drive(scenario, Counted(_Gate(), 3), x, y))


MODELS = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

X, Y = load_digits(return_X_y=True)
MEANS = np.stack([X[Y == k].mean(0) / 16 for k in range(10)])


class Centroids(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.means = torch.nn.Parameter(torch.tensor(MEANS, dtype=torch.float32))

    def forward(self, x):
        return -4 * torch.cdist(x.flatten(1), self.means) ** 2


def centroids():
    return Centroids()


def answers(x):
    flat = np.asarray(x).reshape(len(x), -1)
    return -((flat[:, None] - MEANS) ** 2).sum(2)


def named(x):
    return answers(x).argmax(1)
"""


def folder_with(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(MODELS, encoding="utf-8")
    return tmp_path


def test_a_surrogates_examples_are_tried_on_the_others(tmp_path: Path) -> None:
    nets = folder_with(tmp_path) / "nets.py"
    run = cb.run(
        models={"box": f"python:{nets}:answers", "net": f"torch:{nets}:centroids"},
        data="sklearn:digits", suites=["adversarial"], out=tmp_path / "out", workers=0, cache=False,
        settings={"adversarial.surrogate": "net", "adversarial.eps": (0.05, 0.3),
                  "adversarial.queries": 20, "adversarial.blackbox": "hopskipjump"},
        defaults={"limit": 12, "replicates": 100},
    )  # fmt: skip
    assert verify(run) == []
    table = run.metrics()
    robust = table[(table.metric == "robust-accuracy") & (table.scenario == "surrogate-linf")]
    assert set(robust.model) == {"box"}  # nobody is his own surrogate
    small, large = robust.sort_values("point").value
    assert large < 0.3 < small  # the same function, so that its examples are this one's
    found = {(file.model, file.scenario): file.status for file in run.cells.values()}
    assert found["net", "surrogate-source-linf"] is Status.OK
    assert found["box", "worst-case-linf"] is Status.OK
    told = r"adversarial.surrogate: unknown model 'nett'; did you mean 'net'\?"
    with pytest.raises(InputError, match=told):
        cb.run(
            models={"net": f"torch:{nets}:centroids"}, data="sklearn:digits", out=tmp_path / "no",
            suites=["adversarial"], settings={"adversarial.surrogate": "nett"}, workers=0,
        )  # fmt: skip
    assert not (tmp_path / "no").exists()


def centroids_onnx(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Writes nearest centroids of digits, a linear model, as ONNX; returns weights and bias."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    x, y = load_digits(return_X_y=True)
    means = np.stack([x[y == k].mean(0) / 16 for k in range(10)])
    weight, bias = 2 * means, -(means**2).sum(1)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
        ],
        "centroids",
        [helper.make_tensor_value_info("image", kind, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", kind, ["n", 10])],
        [
            onnx.numpy_helper.from_array(weight.astype(np.float32), "weight"),
            onnx.numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return weight, bias


def test_onnx_files_and_functions_that_name_classes_are_attacked(tmp_path: Path) -> None:
    nets = folder_with(tmp_path) / "nets.py"
    weight, bias = centroids_onnx(tmp_path / "model.onnx")
    images, y = load_digits().data[:10] / 16, load_digits().target[:10]
    np.savez(tmp_path / "digits.npz", images=images.reshape(-1, 8, 8).astype(np.float32), labels=y)
    run = cb.run(
        models={
            "file": f"onnx:{tmp_path / 'model.onnx'}",
            "named": f"python:{nets}:named?output=labels",
        },
        data=f"npz:{tmp_path}/digits.npz", suites=["adversarial"], out=tmp_path / "out",
        workers=0, cache=False,
        settings={"adversarial.norm": "l2", "adversarial.eps": (0.5, 3.0),
                  "adversarial.queries": 120},
        defaults={"replicates": 100},
    )  # fmt: skip
    assert verify(run) == []
    found = {(file.model, file.scenario): file for file in run.cells.values()}
    assert found["file", "square-l2"].status is found["file", "hopskipjump-l2"].status is Status.OK
    assert found["named", "hopskipjump-l2"].status is Status.OK
    assert ("named", "square-l2") not in found
    assert found["file", "autoattack-quick-l2"].status is Status.SKIPPED
    rows = {name: at for at, name in enumerate(run.samples("digits", "test").ids)}
    for key in (("file", "square-l2"), ("file", "hopskipjump-l2"), ("named", "hopskipjump-l2")):
        records = run.cell_records(found[key].cell)
        distance = records.array("distance_l2")
        seen = ~np.isnan(distance)
        assert seen.sum() > 3
        assert records.array("queries").max() <= 240
        at = np.array([rows[name] for name in records.ids])[seen]
        least = exact.distances(weight, bias, images[at], y[at], "l2", boxed=False)
        # No example of a linear model is nearer than its boundary.
        assert (distance[seen] >= least * (1 - 1e-4)).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"blackbox": "boundary"}, "'boundary' is an attack in l2, not in linf"),
        ({"blackbox": ["square", "square"]}, "expected each once"),
        ({"queries": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, given: Any, told: str) -> None:
    nets = folder_with(tmp_path) / "nets.py"
    with pytest.raises(InputError, match=told):
        cb.run(
            models={"box": f"python:{nets}:answers"}, data="sklearn:digits", workers=0,
            out=tmp_path / "no", suites=["adversarial"],
            settings={f"adversarial.{key}": value for key, value in given.items()},
        )  # fmt: skip
    assert not (tmp_path / "no").exists()


class _Planned(Listener):
    plan: Plan | None = None

    def planned(self, plan: Plan, inspection: Any) -> None:
        self.plan = plan


def test_a_served_model_is_attacked_within_what_the_plan_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = FunctionAdapter._predict

    def counting(self: Any, batch: Batch, want: Request) -> Answer:
        calls.append(len(batch))
        return original(self, batch, want)

    monkeypatch.setattr(FunctionAdapter, "remote", True)
    monkeypatch.setattr(FunctionAdapter, "_predict", counting)
    nets = folder_with(tmp_path) / "nets.py"

    def asked(**remote: Any) -> tuple[int, int, set[Any]]:
        document = {
            "models": [{"name": "box", "uri": f"python:{nets}:answers", "remote": remote}],
            "data": [{"name": "digits", "uri": "sklearn:digits"}],
            "suites": {"adversarial": {"eps": [0.05, 0.1], "queries": 25}},
            "defaults": {"limit": 5},
        }
        resolved = resolve(document, tmp_path, "spec", Overrides(suites=("adversarial",)))
        options = RunOptions(
            out=tmp_path / "out", scratch=tmp_path / "scratch", workers=0, cache=False
        )
        listener = _Planned()
        calls.clear()
        run = execute(resolved, options, listener)
        assert run is not None and listener.plan is not None
        (entry,) = planned_requests(resolved, listener.plan)
        files = [file for file in run.cells.values() if file.scenario.endswith("p-linf")]
        files += [file for file in run.cells.values() if file.scenario == "square-linf"]
        return entry.requests, sum(calls), {file.status for file in files}

    planned, sent, status = asked()
    assert status == {Status.SKIPPED}
    allowed, sent, status = asked(intensive=True)
    assert status == {Status.OK}
    assert planned < sent <= allowed
    calls.clear()
    with pytest.raises(InputError, match="the plan needs about"):
        asked(intensive=True, max_requests=allowed - 1)
    assert sum(calls) < 64  # it was inspected


@pytest.mark.parametrize(("norm", "most"), [("l2", 0.45), ("linf", 0.8)])
def test_steps_are_restored_where_samples_of_gradients_say_nothing(norm: Norm, most: float) -> None:
    data = load_digits()
    x, y = data.data / 16, data.target
    forest = RandomForestClassifier(30, random_state=0).fit(x[900:], y[900:])
    rows = np.flatnonzero(forest.predict(x[:40]) == y[:40])[:20]

    def median(attack: str) -> float:
        space = Pixels(torch.from_numpy(x[rows]).float().view(-1, 1, 8, 8), norm)

        def answer(at: Any, points: Any) -> Any:
            return np.where(forest.predict(points) != y[rows][at], 1.0, -1.0)

        questions = BudgetedQuestions(space, answer, np.array([1e-9]), 200)
        ids = [str(row) for row in rows]
        attacks().get(attack).run(
            Search(
                questions=questions, ids=ids, draws=Draws(0, "steps"), radii=np.array([1e-9]),
                targets=y[rows],
            )
        )  # fmt: skip
        assert (questions.queries <= 200).all()
        return float(np.median(questions.distance))

    assert median("restore") <= most * median("hopskipjump")
