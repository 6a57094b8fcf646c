"""The board of tables: who earns more than 50,000 dollars, by sex, race and age.

    python examples/boards/adult.py FOLDER [--attacked 500] [--preset standard]

FOLDER holds `adult-train.csv` and `adult-test.csv`: adult.data and adult.test of the UCI Machine
Learning Repository (Becker and Kohavi 1996, CC BY 4.0). Models are trained on the former and tested
on the 16,281 rows of the latter. `fnlwgt`, a weight of the census, is read by no model; it tells
persons apart who are alike in all else, so that they are not taken for one person asked twice.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from _board import TABLES, arguments, publish, work_folder
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
]
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
WORDS = [
    "workclass", "education", "marital_status", "occupation", "relationship", "race", "sex",
    "native_country",
]  # fmt: skip
GROUPS = ["sex", "race", "age_band"]
TELLING = ["sex", "race", "age", "relationship", "marital_status"]
"""The group columns, and those that say the sex (Husband, Wife) or follow it closely."""


def read(path: Path) -> pd.DataFrame:
    """Returns one file's rows with named columns, its groups, and one spelling of the target."""
    frame = pd.read_csv(path, names=COLUMNS, skipinitialspace=True, keep_default_na=False)
    frame["income"] = frame["income"].str.rstrip(".")
    frame["age_band"] = pd.cut(
        frame["age"], [0, 29, 49, 200], labels=["below 30", "30 to 49", "50 and above"]
    ).astype(str)
    return frame


def pipeline(model: Any, *, without: list[str] | None = None) -> Any:
    """Returns a model behind one-hot columns and numbers of unit spread."""
    left = without or []
    words = OneHotEncoder(handle_unknown="ignore", min_frequency=20, sparse_output=False)
    encode = make_column_transformer(
        (StandardScaler(), [name for name in NUMBERS if name not in left]),
        (words, [name for name in WORDS if name not in left]),
    )
    return make_pipeline(encode, model)


def reweighed(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Returns weights under which sex and income are independent (Kamiran and Calders 2012)."""
    pairs = frame.groupby(["sex", "income"])["age"].transform("size")
    sexes = frame.groupby("sex")["age"].transform("size")
    incomes = frame.groupby("income")["age"].transform("size")
    weights: NDArray[np.float64] = (sexes * incomes / (len(frame) * pairs)).to_numpy()
    return weights


def boosting(seed: int) -> HistGradientBoostingClassifier:
    """Returns boosted trees whose splits see half of the columns each, so that seeds matter."""
    return HistGradientBoostingClassifier(
        max_iter=120, max_features=0.5, early_stopping=False, random_state=seed
    )


def train(frame: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """Trains all models that are not in the folder yet, and returns their entries of the spec."""
    features, target = frame[NUMBERS + WORDS], frame["income"]
    forest = {"n_estimators": 60, "min_samples_leaf": 4, "n_jobs": 1}
    logistic = {"C": 1.0, "max_iter": 500}
    recipes: dict[str, tuple[Any, list[str], NDArray[np.float64] | None]] = {
        "logistic": (LogisticRegression(**logistic), [], None),
        "logistic-no-sex-race": (LogisticRegression(**logistic), ["sex", "race"], None),
        "logistic-no-telling": (LogisticRegression(**logistic), TELLING, None),
        "logistic-reweighed": (LogisticRegression(**logistic), [], reweighed(frame)),
        **{
            f"forest{mark}": (RandomForestClassifier(**forest, random_state=seed), [], None)
            for seed, mark in enumerate(["", "-1", "-2"])
        },
        **{
            f"boosting{mark}": (boosting(seed), [], None)
            for seed, mark in enumerate(["", "-1", "-2"])
        },
        "mlp": (
            MLPClassifier((48,), alpha=1e-3, batch_size=256, max_iter=12, random_state=0), [], None
        ),
    }  # fmt: skip
    entries: list[dict[str, Any]] = []
    for name, (model, without, weights) in recipes.items():
        path = folder / f"{name}.skops"
        if not path.is_file():
            last = type(model).__name__.lower()
            given = {} if weights is None else {f"{last}__sample_weight": weights}
            skops.io.dump(pipeline(model, without=without).fit(features, target, **given), path)
        entry: dict[str, Any] = {"name": name, "uri": f"sklearn:{name}.skops"}
        recipe, _, seed = name.rpartition("-")
        if name in {"forest", "boosting"}:
            entry["seed"] = 0
        elif seed.isdigit():
            entry |= {"replicate_of": recipe, "seed": int(seed)}
        entries.append(entry)
    _thresholds(frame, folder)
    entries.append(
        {"name": "boosting-parity", "uri": "sklearn:adult_models.py:boosting_parity"}
    )  # fmt: skip
    return entries


def _thresholds(frame: pd.DataFrame, folder: Path) -> None:
    """Writes the thresholds under which both sexes are selected as often as all are at 0.5.

    They are those of a model that saw three quarters of the training set, on the last quarter.
    """
    seen, kept = train_test_split(frame, test_size=0.25, random_state=0)
    columns = NUMBERS + WORDS
    model = pipeline(boosting(0)).fit(seen[columns], seen["income"])
    p = model.predict_proba(kept[columns])[:, 1]
    rate = float(np.mean(p >= 0.5))
    cuts = {
        sex: float(np.quantile(p[(kept["sex"] == sex).to_numpy()], 1 - rate))
        for sex in ("Female", "Male")
    }
    (folder / "thresholds.json").write_text(json.dumps(cuts))
    shutil.copy(Path(__file__).with_name("adult_models.py"), folder)


def main() -> None:
    """Reads the command line, trains, runs and publishes."""
    args = arguments(__doc__)
    folder = work_folder("adult")
    test = read(args.source / "adult-test.csv")
    test.to_csv(folder / "test.csv", index=False)
    entries = train(read(args.source / "adult-train.csv"), folder)
    publish(
        "adult",
        {
            "schema_version": 1,
            "defaults": {"preset": args.preset},
            "models": entries,
            "data": [
                {
                    "name": "adult", "uri": "csv:test.csv", "target": "income", "groups": GROUPS,
                    "features": [*NUMBERS, *WORDS, "fnlwgt"],
                }
            ],
            "tracks": [
                {
                    "name": "adult", "data": "adult", "models": [one["name"] for one in entries],
                    "suites": ["accuracy", "bias", "shift", "ood", "adversarial"],
                }
            ],
            "suites": {
                "bias": {"depth": 1},
                # Those that every model can be asked about: not all take missing values.
                "shift": {
                    "tables": ["feature_noise", "unit_times_10", "category_swap"],
                    "samples": 2000,
                    "protect": ["fnlwgt"],
                },
                # The other generators change floating-point numbers, of which there are none.
                "ood": {"detectors": ["msp"], "generators": ["column-mixture"]},
                "adversarial": {
                    "eps": [0.1, 0.25, 0.5],
                    "limit": args.attacked,
                    "queries": 150,
                    # What somebody could write otherwise on a form; not age, sex or race.
                    "constraints": {
                        "mutable": [
                            "education_num", "capital_gain", "capital_loss", "hours_per_week",
                        ],
                        "bounds": {"capital_gain": [0, 99999], "hours_per_week": [1, 99]},
                    },
                },
            },
        },
        command="python examples/boards/adult.py FOLDER",
        source="Adult, Becker and Kohavi 1996, UCI Machine Learning Repository, CC BY 4.0",
        facts=facts(test),
    )  # fmt: skip
    check(test)


def facts(test: pd.DataFrame) -> dict[str, int]:
    """Returns how many rows there are, and how many repeat another but for the census's weight."""
    return {"rows": len(test), "repeats": int(test[NUMBERS + WORDS].duplicated().sum())}


def check(test: pd.DataFrame) -> None:
    """Holds the board's rates of the census against plain counts.

    Raises:
        SystemExit: if one differs in the sixth digit.
    """
    counted = {
        f"{column}={group}": (len(rows), float((rows["income"] == ">50K").mean()))
        for column in GROUPS
        for group, rows in test.groupby(column)
    }
    held = 0
    with (TABLES / "adult" / "numbers.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["scenario"] == "groups" and row["metric"] == "base-rate" and row["value"]:
                n, rate = counted[row["group"]]
                held += 1
                if int(row["n"]) != n or abs(float(row["value"]) - rate) > 1e-6:
                    raise SystemExit(f"{row['group']}: {row['value']} of {row['n']}, not {rate}")
    if held < len(counted):
        raise SystemExit(f"only {held} rates were found")


if __name__ == "__main__":
    main()
