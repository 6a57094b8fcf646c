"""The board of texts: which of 150 intents a query has, and whether it has any.

    python examples/boards/clinc150.py FOLDER [--attacked 500] [--preset standard]

FOLDER holds `data_full.json` of https://github.com/clinc/oos-eval (Larson et al. 2019, CC BY 3.0).
Models are trained on its 15,000 training queries and tested on its 4,500 test queries; the 1,000
queries out of scope are a near out-of-distribution set, and no model is trained on any of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _board import TABLES, Recipe, arguments, finished, publish, train, work_folder
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn import functional

import crucibench as cb
from crucibench.contracts.verdict import Verdict
from crucibench.store.run import Run
from crucibench_suites.ood.sets import kept_apart

NETWORKS = {
    "mean": (12, 6e-3, 3), "gru": (7, 4e-3, 1), "transformer": (10, 2e-3, 1),
}  # fmt: skip
"""By factory: epochs, the rate of learning, and how many seeds are trained."""


def linear() -> dict[str, Any]:
    """Returns the models of scikit-learn."""
    words = {"ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True}
    return {
        "words-logistic": make_pipeline(
            TfidfVectorizer(**words), LogisticRegression(C=20, max_iter=200)
        ),
        "words-bayes": make_pipeline(TfidfVectorizer(**words), MultinomialNB(alpha=0.05)),
        "characters-linear": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True),
            SGDClassifier(loss="log_loss", alpha=2e-6, max_iter=12, tol=None, random_state=0),
        ),
    }


def entries(
    texts: Sequence[str], labels: Sequence[str], folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the entries of all models, trained where they are not in the folder yet.

    Those of the board, and the recurrent network as it was first made.
    """
    classes = sorted(set(labels))
    (folder / "classes.json").write_text(json.dumps(classes))
    targets = torch.tensor([classes.index(label) for label in labels])
    recipes = {
        name: Recipe(
            name, seeds, partial(fit, texts=texts, targets=targets, epochs=epochs, rate=rate)
        )
        for name, (epochs, rate, seeds) in NETWORKS.items()
    }
    estimators = {
        name: lambda model=model: model.fit(list(texts), list(labels))
        for name, model in linear().items()
    }
    here = Path(__file__)
    return (
        train(folder, estimators, here.with_name("clinc_models.py"), recipes),
        train(folder, {}, here.with_name("clinc_first.py"), {"gru-first": recipes["gru"]}),
    )


def fit(
    network: Any, texts: Sequence[str], targets: torch.Tensor, epochs: int, rate: float
) -> None:
    """Trains a network in place, with a rate that falls to 0."""
    steps = epochs * -(-len(texts) // 64)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(texts)).split(64):
            logits = network(network.encode([texts[row] for row in rows.tolist()]))
            optimiser.zero_grad()
            functional.cross_entropy(logits, targets[rows]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            falling.step()
    network.eval()


def main() -> None:
    """Reads the command line, trains, runs and publishes."""
    args = arguments(__doc__)
    torch.set_num_threads(1)
    folder = work_folder("clinc150")
    full = json.loads((args.source / "data_full.json").read_text())
    _csv(folder / "test.csv", full["test"])
    _csv(folder / "out_of_scope.csv", full["oos_test"])
    texts, labels = zip(*full["train"], strict=True)
    models, first = entries(texts, labels, folder)
    began = cb.load(finished(folder, "first", spec(first, "quick", args.attacked)))
    invalid = sum(cell.verdict is Verdict.INVALID for cell in began.cells.values())
    run = publish(
        "clinc150",
        spec(models, args.preset, args.attacked),
        command="python examples/boards/clinc150.py FOLDER",
        source="CLINC150, Larson et al. 2019, CC BY 3.0",
        facts={"gru_first_cells": len(began.cells), "gru_first_invalid_cells": invalid},
    )
    check(run)


def spec(models: list[dict[str, Any]], preset: str, attacked: int) -> dict[str, Any]:
    """Returns the spec of a run of models."""
    return {
        "schema_version": 1,
        "defaults": {"preset": preset},
        "models": models,
        "data": [
            {"name": "clinc150", "uri": "csv:test.csv", "target": "intent", "input": ["text"]}
        ],
        "tracks": [
            {
                "name": "clinc150", "data": "clinc150",
                "models": [one["name"] for one in models],
                "suites": ["accuracy", "shift", "ood", "adversarial"],
            }
        ],
        "suites": {
            "ood": {
                "near": {"out-of-scope": "csv:out_of_scope.csv"},
                "generators": ["random-letters", "shuffled-words", "reversed-text"],
                "detectors": ["msp", "entropy", "max-logit", "energy"],
            },
            "adversarial": {
                "words": [0.1, 0.2, 0.3], "texts": "characters", "limit": attacked,
                "queries": 200,
            },
        },
    }  # fmt: skip


def check(run: Run) -> None:
    """Holds the AUROC of out-of-scope queries against scikit-learn's, of the answers as recorded.

    Raises:
        SystemExit: if one differs in the fifth digit.
    """
    samples = run.samples("clinc150", "test")
    scored = set(samples.ids[~kept_apart(samples, 0.2)])
    cells = {(cell.model, cell.suite, cell.scenario): name for name, cell in run.cells.items()}
    held = 0
    with (TABLES / "clinc150" / "numbers.csv").open() as stream:
        for row in csv.DictReader(stream):
            if (row["scenario"], row["point"], row["metric"]) != (
                "msp", "near/out-of-scope", "ood-auroc",
            ):  # fmt: skip
                continue
            known, out = (
                run.records(cells[row["model"], "pass", role])
                for role in ("test", "ood/near/out-of-scope")
            )
            known = known[known["id"].isin(scored)]
            sure = np.concatenate([_surest(known["scores"]), _surest(out["scores"])])
            strange = np.repeat([0, 1], [len(known), len(out)])
            expected = roc_auc_score(strange, -sure)
            held += 1
            if abs(float(row["value"]) - expected) > 1e-5:
                raise SystemExit(f"{row['model']}: {row['value']}, scikit-learn {expected}")
    if not held:
        raise SystemExit("there is no AUROC of the queries out of scope")


def _surest(scores: pd.Series) -> NDArray[np.float64]:
    """Returns the largest probability of each sample, of probabilities or logits."""
    rows = np.stack(scores.to_list()).astype(np.float64)
    if np.abs(rows.sum(axis=1) - 1).max() > 1e-3:
        rows = softmax(rows, axis=1)
    largest: NDArray[np.float64] = rows.max(axis=1)
    return largest


def _csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("text", "intent"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
