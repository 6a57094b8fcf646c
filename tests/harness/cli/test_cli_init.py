"""The spec that `init` writes runs as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

MODELS = '''
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def people():
    """Fitted on every second row."""
    frame = pd.read_csv(Path(__file__).parent / "people.csv").iloc[::2]
    columns = make_column_transformer((StandardScaler(), ["age", "height"]))
    features = frame.drop(columns=["person_id", "bought"])
    return make_pipeline(columns, LogisticRegression()).fit(features, frame["bought"])


def other():
    return LogisticRegression()
'''


def test_from_two_files_to_a_report(call: Callable[..., Result], folder: Path) -> None:
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    written = call("init", "--model", "models.py", "--data", "people.csv")
    assert written.exit_code == 0, written.stderr
    assert "more models, commented out: other" in written.stderr
    result = call("run", "crucibench.yaml", "--suite", "accuracy", "--format", "json")
    assert result.exit_code == 0, result.stderr
    (board,) = json.loads(result.stdout)["boards"]
    assert board["data"] == "people"
    assert board["order"] == ["people"]
    numbers = {entry["metric"]: entry["value"] for entry in board["numbers"]}
    assert 0.7 < numbers["top-1"] < 1
    (run,) = (folder / "results").iterdir()
    assert (run / "report.html").is_file()
    card = json.loads(call("show", "--data", "people", "--format", "json").stdout)
    assert (card["target"], card["groups"]) == ("bought", ["sex"])


def test_a_pickle_is_run_with_its_flag(call: Callable[..., Result], folder: Path) -> None:
    import pickle

    import pandas as pd
    from sklearn.dummy import DummyClassifier

    frame = pd.read_csv("people.csv")
    model = DummyClassifier().fit(frame[["age"]], frame["bought"])
    (folder / "dummy.pkl").write_bytes(pickle.dumps(model))
    written = call("init", "--model", "dummy.pkl", "--data", "people.csv", "-o", "spec.yaml")
    assert written.stderr.endswith("next: crucibench run spec.yaml --allow-pickle\n")
    assert call("run", "spec.yaml").exit_code == 2
    ran = call("run", "spec.yaml", "--suite", "accuracy", "--allow-pickle", "--limit", "50")
    assert ran.exit_code in {0, 4}, ran.stderr


def test_logged_predictions(call: Callable[..., Result], folder: Path) -> None:
    import pandas as pd

    frame = pd.read_csv("people.csv")
    score = frame["bought"].map({"yes": 0.9, "no": 0.2})
    logged = pd.DataFrame(
        {"person_id": frame["person_id"], "pred": frame["bought"], "score": score}
    )
    logged.iloc[::-1].to_csv("logged.csv", index=False)
    written = call("init", "--model", "logged.csv", "--data", "people.csv")
    assert written.exit_code == 0, written.stderr
    assert "(logged predictions, joined by id)" in written.stderr
    result = call("run", "crucibench.yaml", "--suite", "accuracy", "--format", "json")
    assert result.exit_code in {0, 4}, result.stderr
    (board,) = json.loads(result.stdout)["boards"]
    numbers = {entry["metric"]: entry["value"] for entry in board["numbers"]}
    assert numbers["top-1"] == 1
