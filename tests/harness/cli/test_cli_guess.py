"""What `init` makes of files that it only reads."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import Result

from crucibench.cli._guess import guess_data, guess_models, holds_models, is_data, shared_id
from crucibench.util.errors import InputError


def _write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_factories_are_told_apart_by_what_they_use(tmp_path: Path) -> None:
    file = _write(
        tmp_path / "models.py",
        """
        import torch.nn as nn
        from sklearn.linear_model import LogisticRegression as Logistic

        raise RuntimeError("init reads this file and must not run it")

        class Net(nn.Module):
            pass

        def _layers():
            return nn.Linear(2, 2)

        def net(width=8, *, depth=2):
            return Net()

        def layered():
            return _layers()

        def boosted():
            import xgboost
            return xgboost.XGBClassifier()

        def logistic(): return Logistic()
        def needs(width): return Net()
        def load_data(): return Logistic
        def helper(): return 3
        """,
    )
    guesses = guess_models(file, tmp_path)
    assert [(guess.name, guess.uri) for guess in guesses] == [
        ("net", "torch:models.py:net"),
        ("layered", "torch:models.py:layered"),
        ("boosted", "sklearn:models.py:boosted"),
        ("logistic", "sklearn:models.py:logistic"),
    ]
    assert holds_models(file)


def test_weights_beside_the_file(tmp_path: Path) -> None:
    file = _write(tmp_path / "models.py", "import torch\ndef a(): torch\ndef b(): torch\n")
    (tmp_path / "b.safetensors").touch()
    assert [guess.uri for guess in guess_models(file, tmp_path.parent)] == [
        # The only weights there are may be for either.
        f"torch:{tmp_path.name}/models.py:a?weights={tmp_path.name}/b.safetensors",
        f"torch:{tmp_path.name}/models.py:b?weights={tmp_path.name}/b.safetensors",
    ]
    (tmp_path / "c.pt").touch()
    assert [guess.uri for guess in guess_models(file, tmp_path)] == [
        "torch:models.py:a",
        "torch:models.py:b?weights=b.safetensors",
    ]


def test_a_function_of_a_batch(tmp_path: Path) -> None:
    file = _write(tmp_path / "scores.py", "def predict(batch, scale=1):\n    return batch\n")
    (guess,) = guess_models(file, tmp_path)
    assert guess.uri == "python:scores.py:predict"
    assert not holds_models(file)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("w.safetensors", "", "model file 'w.safetensors' holds weights alone"),
        ("m.docx", "", "model file 'm.docx': expected .py, .skops"),
        ("m.py", "def f(a, b): pass", "expected a function without arguments that builds"),
        ("m.py", "def f(:", "model file 'm.py' can't be read as Python"),
    ],
)
def test_no_model(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        guess_models(_write(tmp_path / name, content), tmp_path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "models.py").touch()
    with pytest.raises(InputError, match=r"does not exist; did you mean 'models.py'\?"):
        guess_models(tmp_path / "model.py", tmp_path)
    with pytest.raises(InputError, match=r"does not exist; did you mean 'models.py'\?"):
        guess_data(tmp_path / "modles.py", tmp_path, None)


@pytest.mark.parametrize(
    ("name", "uri", "pickled"),
    [
        ("fraud.skops", "sklearn:fraud.skops", False),
        ("fraud.joblib", "sklearn:fraud.joblib", True),
    ],
)
def test_models_in_files(tmp_path: Path, name: str, uri: str, pickled: bool) -> None:
    (tmp_path / name).touch()
    (guess,) = guess_models(tmp_path / name, tmp_path)
    assert (guess.uri, guess.pickled) == (uri, pickled)


@pytest.mark.parametrize(
    ("columns", "query"),
    [
        (["claim", "decision"], "?id=claim&prediction=decision"),
        (["claim", "no", "yes"], "?id=claim&scores=no,yes"),
        (["claim", "no"], "?id=claim&prediction=no"),
        (["claim", "amount", "decision"], "?id=claim"),
    ],
)
def test_logged_predictions_of_other_names(tmp_path: Path, columns: list[str], query: str) -> None:
    file = tmp_path / "logged.csv"
    pd.DataFrame([[0] * len(columns)], columns=columns).to_csv(file, index=False)
    assert shared_id(file, ["row", "claim"]) == "claim"
    assert shared_id(file, ["row"]) == ""
    assert shared_id(tmp_path / "model.skops", ["claim"]) == ""
    (guess,) = guess_models(file, tmp_path, "claim", ("no", "yes"))
    assert guess.uri == f"predictions:logged.csv{query}"


@pytest.mark.parametrize(
    ("columns", "query"),
    [
        (["prediction"], ""),
        (["claim_id", "prediction"], "?id=claim_id"),
        (["claim_id", "Pred", "Score"], "?id=claim_id&prediction=Pred&score=Score"),
        (["y_pred", "proba_a", "proba_b"], "?prediction=y_pred"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_logged_predictions(tmp_path: Path, columns: list[str], query: str, suffix: str) -> None:
    frame = pd.DataFrame([[0] * len(columns)], columns=columns)
    file = tmp_path / f"logged{suffix}"
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    (guess,) = guess_models(file, tmp_path, "claim_id")
    assert guess.uri == f"predictions:logged{suffix}{query}"
    assert not holds_models(file)


def _frame(rows: int = 60) -> pd.DataFrame:
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "claim_id": [f"c{row}" for row in numbers],
            "Sex": np.where(numbers % 2, "f", "m"),
            "age": numbers + 20,
            "age_band": np.where(numbers > 30, "old", "young"),
            "customerId": [f"k{row // 3}" for row in numbers],
            "note": [f"the customer number {row} said a lot of words" for row in numbers],
            "amount": numbers / 7,
            "is_fraud": numbers % 5 == 0,
        }
    )


def test_columns(tmp_path: Path) -> None:
    _frame().to_csv(tmp_path / "claims.csv", index=False)
    guess = guess_data(tmp_path / "claims.csv", tmp_path, None)
    assert guess.uri == "csv:claims.csv"
    assert (guess.target, guess.target_why) == (
        "is_fraud", "with 2 different values the only column that could be classes"
    )  # fmt: skip
    assert guess.classes == ("False", "True")
    assert guess.groups == ("Sex", "age_band")
    assert guess.id == "claim_id"
    assert guess.advice == {
        "groups": ("age", "60 values: put them in bands first"),
        "cluster": ("customerId", "if samples of one belong together, say so"),
        "input": ("note", "if the model reads this text alone"),
    }


def test_parquet_folders_and_other_delimiters(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    _frame().to_parquet(tmp_path / "parts" / "a.parquet")
    assert guess_data(tmp_path / "parts", tmp_path, "amount").uri == "parquet:parts"
    _frame().to_csv(tmp_path / "semi.csv", index=False, sep=";")
    guess = guess_data(tmp_path / "semi.csv", tmp_path, None)
    assert guess.uri == "csv:semi.csv?delimiter=%3B"
    assert guess.groups == ("Sex", "age_band")


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (["Label", "x"], "Label"),
        (["y", "target", "x"], "target"),
    ],
)
def test_targets(tmp_path: Path, columns: list[str], target: str) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, len(columns))), columns=columns)
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert guess_data(tmp_path / "a.csv", tmp_path, None).target == target


def test_what_is_not_evident_is_asked_for(tmp_path: Path, refusal: Any) -> None:
    frame = _frame().drop(columns="is_fraud").assign(
        country="DE", plan=np.arange(60) % 3, churn=np.arange(60) % 2,
        signed=[f"2024-{1 + row % 12:02}-01" for row in range(60)],
    )  # fmt: skip
    file = tmp_path / "a.csv"
    frame.to_csv(file, index=False)
    assert refusal(InputError, lambda: guess_data(file, tmp_path, None)) == (
        "several columns could be the target: plan (3 values), churn (2 values), amount; say which "
        "with --target"
    )
    assert guess_data(file, tmp_path, "churn").target_why == ""
    frame.drop(columns=["plan"]).to_csv(file, index=False)
    assert guess_data(file, tmp_path, None).target == "churn"


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        ("a,b\n", None, "csv:a.csv: there are no rows"),
        ("a,b\n1,same\n2,same\n", None, r"no column looks like a target \(columns: a, b\)"),
        ("a,bought\n1,2\n", "bougth", "--target: unknown column 'bougth'; did you mean 'bought'?"),
        ("", None, "data file 'a.csv': expected a header, got an empty file"),
    ],
)
def test_no_target(tmp_path: Path, text: str, target: str | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
        guess_data(_write(tmp_path / "a.csv", text), tmp_path, target)


def test_images_and_arrays(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "1.PNG").touch()
    np.savez(tmp_path / "digits.npz", X=np.zeros(3), y=np.zeros(3))
    assert guess_data(tmp_path / "photos", tmp_path, None).uri == "imagefolder:photos"
    arrays = guess_data(tmp_path / "digits.npz", tmp_path, None)
    assert (arrays.uri, arrays.columns) == ("npz:digits.npz", ("X", "y"))
    (tmp_path / "empty").mkdir()
    assert not is_data(tmp_path / "empty")
    with pytest.raises(InputError, match="expected images in a folder a class"):
        guess_data(tmp_path / "empty", tmp_path, None)


def test_init_takes_what_fits_in_the_folder(call: Callable[..., Result], folder: Path) -> None:
    result = call("init")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "crucibench.yaml\n"
    assert "model logistic: sklearn:models.py:logistic" in result.stderr
    assert "target: bought (guessed: with 2 different values the only column" in result.stderr
    assert "groups: sex (guessed by their names)" in result.stderr
    assert "id: person_id" in result.stderr
    assert "perhaps cluster: household" in result.stderr
    assert result.stderr.endswith("next: crucibench run crucibench.yaml\n")


def test_init_and_run_take_files_and_addresses(call: Callable[..., Result], folder: Path) -> None:
    model, data = ("--model", "sklearn:models.py:logistic"), ("--data", "csv:people.csv")
    result = call("init", *model, *data)
    assert result.exit_code == 0, result.stderr
    written = yaml.safe_load((folder / "crucibench.yaml").read_text(encoding="utf-8"))
    assert written["models"][0]["uri"] == "sklearn:models.py:logistic"
    assert written["data"][0]["uri"] == "csv:people.csv"
    other = call("init", "--model", "models.py:nothing", *data, "--force")
    assert (other.exit_code, other.stdout) == (2, "")
    assert other.stderr == "error: models.py has no function 'nothing' that builds a model\n"
    columns = ("--target", "bought", "--suite", "accuracy", "--dry-run", "--format", "json")
    (folder / "even.py").write_text("def even(batch):\n    return [[0.5, 0.5]] * len(batch)\n")
    even = ("--model", "python:even.py:even")
    bare = call("run", *even, "--data", "people.csv", *columns)
    assert bare.exit_code == 0, bare.stderr
    assert bare.stdout == call("run", *even, *data, *columns).stdout
    unclear = call("run", "--model", "models.py:logistic", *data, *columns)
    assert unclear.exit_code == 2
    assert "before it: torch:models.py:logistic, sklearn:models.py:logistic" in unclear.stderr


def test_init_asks_where_several_fit(call: Callable[..., Result], folder: Path) -> None:
    (folder / "more.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    result = call("init")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: several files here could be the data file: more.csv, people.csv; "
        "say which: --data\n"
    )
    (folder / "models.py").unlink()
    result = call("init")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: no model file stands in this folder; say where it is: --model FILE\n"
    )


def test_init_writes_over_nothing(call: Callable[..., Result], folder: Path) -> None:
    spec = folder / "crucibench.yaml"
    spec.write_text("mine", encoding="utf-8")
    result = call("init")
    assert result.exit_code == 2
    assert result.stderr == "error: 'crucibench.yaml' is there already; --force writes over it\n"
    assert spec.read_text(encoding="utf-8") == "mine"
    assert call("init", "--force", "-q").stderr == ""
    assert spec.read_text(encoding="utf-8") != "mine"


def test_names_that_yaml_would_misread(call: Callable[..., Result], folder: Path) -> None:
    lines = ["on,a: b,no", *(f"{row},{row % 3},{row % 2}" for row in range(30))]
    (folder / "people.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = call("init", "-o", "specs/odd.yaml")
    assert result.exit_code == 2
    assert "several columns could be the target: a: b (3 values), no (2 values)" in result.stderr
    result = call("init", "-o", "specs/odd.yaml", "--target", "no")
    assert result.exit_code == 0, result.stderr
    text = (folder / "specs" / "odd.yaml").read_text(encoding="utf-8")
    assert 'target: "no"' in text
    assert '# features: ["on", "a: b"]' in text
    assert 'uri: "csv:../people.csv"' in text
