"""Multi-label: how targets are read, and whole runs beside scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy.sparse import csr_matrix
from sklearn import metrics
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

import crucibench as cb
from crucibench.comparing.runs import compare_runs
from crucibench.contracts.adapter import Answer
from crucibench.contracts.lists import Lists, to_arrow
from crucibench.contracts.task import Modality, Target
from crucibench.engine.packing import pack_run
from crucibench.integrity.verify import verify
from crucibench.store.pack import open_pack
from crucibench.tasks.multilabel.kind import MultiLabel
from crucibench.testing import check_task_kind
from crucibench.util.errors import InputError

LABELS = ("art", "news", "sport")
TAGS = Lists.of([2, 0, 1], np.array(["sport", "art", "news"], dtype=object))
FLAGS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
FEATURES = [f"x{k}" for k in range(6)]


def read(values: Any, **more: Any) -> Any:
    target = Target(name="y", modality=Modality.TABLE, **more)
    classes, found = MultiLabel().read_targets(target, {"test": to_arrow(values)})
    return classes, [row.tolist() for row in np.split(found["test"].values, found["test"].offsets)][
        1:-1
    ]


@pytest.mark.parametrize("targets", [TAGS, FLAGS])
def test_the_kind_keeps_the_contract(targets: Any) -> None:
    answer = Answer(scores=np.abs(FLAGS - 0.2))
    check_task_kind(MultiLabel(), answer, targets, classes=LABELS)


def test_targets_are_lists_of_names_or_a_column_of_flags_a_label() -> None:
    assert read(TAGS) == (LABELS, [[0, 2], [], [1]])
    assert read(TAGS, classes=("sport", "news", "art"))[1] == [[0, 2], [], [1]]
    assert read(FLAGS) == (("0", "1", "2"), [[0, 2], [], [1]])
    assert read(FLAGS, known=LABELS)[0] == LABELS


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        (np.array(["art", "news"], dtype=object), {}, "expected a list of labels"),
        (TAGS, {"classes": ("art", "spart", "news")}, "unknown label 'sport'"),
        (FLAGS + 1, {"known": LABELS}, "expected 0 or 1 for each label, got 2"),
        (FLAGS, {"classes": ("a", "b")}, "2 labels are named, it has 3"),
        (Lists.of([2], np.array(["art", "art"], dtype=object)), {}, "at least two labels"),
        (Lists.of([3], np.array(["art", "news", "art"], dtype=object)), {}, "row 0 has a"),
    ],
)  # fmt: skip
def test_targets_that_are_none_are_refused(
    values: Any, more: dict[str, Any], message: str, refusal: Any
) -> None:
    assert message in refusal(InputError, lambda: read(values, **more))


class Made:
    """Files of multi-label data, and of two models' answers to it."""

    def __init__(self, folder: Path) -> None:
        X, self.Y = make_multilabel_classification(
            700, 6, n_classes=3, n_labels=1, random_state=0, allow_unlabeled=True
        )
        self.frame = pd.DataFrame(X, columns=FEATURES)
        train = slice(0, 300)
        self.models = {
            "linear": OneVsRestClassifier(LogisticRegression(max_iter=500)),
            "forest": RandomForestClassifier(10, random_state=0),
        }
        self.folder, self.test = folder, slice(300, None)
        table = self.frame.iloc[self.test].assign(id=[f"r{k}" for k in range(400)])
        for name, model in self.models.items():
            model.fit(self.frame[train], self.Y[train])
            skops.io.dump(model, folder / f"{name}.skops")
            logged = pd.DataFrame(self.scores(name), columns=[f"proba_{one}" for one in LABELS])
            logged.assign(id=table["id"].to_numpy()).to_csv(folder / f"{name}.csv", index=False)
        lists = [[name for name, has in zip(LABELS, row, strict=True) if has]
                 for row in self.Y[self.test]]  # fmt: skip
        table.assign(tags=lists).to_parquet(folder / "lists.parquet")
        flags = pd.DataFrame(self.Y[self.test], columns=LABELS, index=table.index)
        pd.concat([table, flags], axis=1).to_csv(folder / "flags.csv", index=False)

    def scores(self, name: str) -> np.ndarray:
        found = self.models[name].predict_proba(self.frame[self.test])
        return np.stack([one[:, 1] for one in found], 1) if isinstance(found, list) else found

    def run(self, models: dict[str, str], data: str, out: str, **more: Any) -> cb.Run:
        return cb.run(
            models={name: uri.format(self.folder) for name, uri in models.items()},
            data=data.format(self.folder), suites=["accuracy"], out=self.folder / out, **more,
        )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("labels"))


CSV = "csv:{}/flags.csv?target=art,news,sport&id=id&features=" + ",".join(FEATURES)
LISTS = "parquet:{}/lists.parquet?target=tags&task=multilabel&id=id&features=" + ",".join(FEATURES)


def numbers(run: cb.Run) -> dict[tuple[str, str, str], float]:
    rows = run.metrics()
    rows = rows[rows["suite"] == "accuracy"].fillna({"group": ""})
    keys = zip(rows["model"], rows["metric"], rows["group"], strict=True)
    return dict(zip(keys, rows["value"], strict=True))


def test_logged_answers_and_estimators_give_what_scikit_learn_gives(made: Made) -> None:
    logged = made.run(
        {name: f"predictions:{{}}/{name}.csv?id=id" for name in made.models}, CSV, "logged"
    )
    asked = made.run({name: f"sklearn:{{}}/{name}.skops" for name in made.models}, LISTS, "asked")
    found = numbers(logged)
    assert found == pytest.approx(numbers(asked), nan_ok=True)
    truth = made.Y[made.test]
    for name in made.models:
        scores = made.scores(name)
        expected = {
            "subset-accuracy": metrics.accuracy_score(truth, scores >= 0.5),
            "hamming-loss": metrics.hamming_loss(truth, scores >= 0.5),
            "f1-micro-labels": metrics.f1_score(truth, scores >= 0.5, average="micro"),
            "average-precision-macro-labels": metrics.average_precision_score(truth, scores),
            "auroc-macro-labels": metrics.roc_auc_score(truth, scores),
        }
        for metric, value in expected.items():
            assert found[name, metric, ""] == pytest.approx(value, abs=1e-12)
        each = metrics.average_precision_score(truth, scores, average=None)
        for label, value in zip(LABELS, each, strict=True):
            assert found[name, "average-precision-label", label] == pytest.approx(value)
    rows = logged.metrics()
    rows = rows[(rows["suite"] == "accuracy") & rows["value"].notna()]
    assert (rows["lower"] <= rows["value"]).all() and (rows["value"] <= rows["upper"]).all()


def test_two_models_are_compared_and_gated_from_a_pack(made: Made) -> None:
    first = made.run({"m": "predictions:{}/linear.csv?id=id"}, CSV, "first")
    second = made.run({"m": "predictions:{}/forest.csv?id=id"}, CSV, "second")
    pack = made.folder / "first.cbz"
    pack_run(first, pack)
    whole, packed = (
        {str(one.address): (one.delta, one.interval) for one in compare_runs(a, second).differences}
        for a in (first, open_pack(pack))
    )
    assert whole == packed
    truth = made.Y[made.test]
    right = [((made.scores(name) >= 0.5) == truth).all(1).mean() for name in ("forest", "linear")]
    delta, interval = whole["m:accuracy/clean/subset-accuracy"]
    assert delta == pytest.approx(right[0] - right[1])
    assert interval.lower < delta < interval.upper


def test_a_declared_threshold_decides_and_leaves_the_ranking(made: Made) -> None:
    uri = f"predictions:{made.folder}/linear.csv?id=id"
    spec = {
        "models": [
            {"name": "half", "uri": uri},
            {"name": "low", "uri": uri, "decision": {"threshold": 0.2}},
            {
                "name": "each",
                "uri": uri,
                "decision": {"threshold": 0.4, "thresholds": {"news": 0.2, "art": 0.7}},
            },
        ],
        "data": [{"name": "d", "uri": CSV.format(made.folder)}],
        "suites": {"accuracy": {}},
    }
    found = numbers(cb.run(spec, out=made.folder / "threshold"))
    truth, scores = made.Y[made.test], made.scores("linear")
    for name, threshold in (("half", 0.5), ("low", 0.2), ("each", np.array([0.7, 0.2, 0.4]))):
        expected = metrics.f1_score(truth, scores >= threshold, average="micro")
        assert found[name, "f1-micro-labels", ""] == pytest.approx(expected)
    wrong = {**spec["models"][2], "decision": {"thresholds": {"nws": 0.2}}}
    with pytest.raises(InputError, match=r"decision\.thresholds: unknown label 'nws'.*'news'"):
        cb.run({**spec, "models": [wrong]}, out=made.folder / "threshold")
    auroc = [found[name, "auroc-macro-labels", ""] for name in ("half", "low")]
    assert auroc[0] == auroc[1]


def test_thresholds_are_chosen_on_another_role_and_never_on_test(made: Made) -> None:
    flags = pd.read_csv(made.folder / "flags.csv")
    for name, part in (("known", flags[:200]), ("asked", flags[200:])):
        part.to_csv(made.folder / f"{name}.csv", index=False)
    address = CSV.format(made.folder).replace("flags", "{}").format
    chosen = {"decision": {"chosen_on": "accuracy/validation"}}
    models = [{"name": name, "uri": f"sklearn:{made.folder}/{name}.skops", **chosen}
              for name in made.models]  # fmt: skip
    spec = {
        "models": [*models, {**models[0], "name": "half", "decision": None}],
        "data": [{"name": "d", "uri": address("asked")}],
        "suites": {"accuracy": {"validation": address("known")}},
    }
    run = cb.run(spec, suites=["accuracy"], out=made.folder / "chosen")
    found = numbers(run)
    for name in made.models:
        scores = made.scores(name)
        (cell,) = (key for key, one in run.cells.items()
                   if one.scenario == "clean" and one.model == name)  # fmt: skip
        table = run.table(cell, "per-label")
        assert table is not None
        thresholds = table["threshold"].to_numpy()
        for k in range(len(LABELS)):
            truth, known = made.Y[300:500, k], scores[:200, k]
            best = max(metrics.f1_score(truth, known >= one) for one in np.unique(known))
            assert metrics.f1_score(truth, known >= thresholds[k]) == pytest.approx(best)
        expected = metrics.f1_score(made.Y[500:], scores[200:] >= thresholds, average="macro")
        assert found[name, "f1-macro-labels", ""] == pytest.approx(expected)
    assert found["linear", "f1-macro-labels", ""] != found["half", "f1-macro-labels", ""]
    assert verify(run) == []
    pack = made.folder / "chosen.cbz"
    pack_run(run, pack)
    how = {"models": {"linear": "half"}}
    whole, packed = (
        {str(one.address): one.delta for one in compare_runs(run, other, **how).differences}
        for other in (run, open_pack(pack))
    )
    assert whole == packed
    for decision, sentence in (
        ({"chosen_on": "test"}, "never chosen on test"),
        ({"chosen_on": "accuracy/validatio"}, "did you mean 'accuracy/validation'"),
        ({"chosen_on": "train", "thresholds": {"art": 0.2}}, "declared or chosen"),
    ):
        with pytest.raises(InputError, match=sentence):
            cb.run(
                {**spec, "models": [{**models[0], "decision": decision}]}, out=made.folder / "no"
            )


@pytest.mark.parametrize(
    "form", [np.asarray, csr_matrix, lambda y: pd.DataFrame(y, columns=LABELS)]
)
def test_live_pairs_with_a_column_a_label(made: Made, form: Any, tmp_path: Path) -> None:
    X, Y = made.frame[made.test].reset_index(drop=True), made.Y[made.test]
    run = cb.run(
        models={"m": made.models["forest"]}, data=(X, form(Y)), suites=["accuracy"], out=tmp_path
    )
    assert numbers(run)["m", "subset-accuracy", ""] == pytest.approx(
        ((made.scores("forest") >= 0.5) == Y).all(1).mean()
    )


def test_suites_that_need_classes_or_numbers_say_so(made: Made, tmp_path: Path) -> None:
    asked = ["adversarial", "bias", "ood"]
    run = cb.run(
        models={"m": made.models["linear"]}, data=CSV.format(made.folder), suites=asked,
        out=tmp_path,
    )  # fmt: skip
    assert not run.cells
    refused = {suite: info["not_applicable"] for suite, info in run.suites.items()}
    assert sorted(refused) == asked
    assert all(entry["reason"] for entries in refused.values() for entry in entries)
    assert all(refused.values())
