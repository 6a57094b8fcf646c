"""A folder with small models and data of a user's, and ways to call the command line in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

MODELS = textwrap.dedent(
    '''
    """Models of a user's."""

    import numpy as np


    def logistic():
        from sklearn.datasets import load_wine
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        data = load_wine(as_frame=True)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        return model.fit(data.data[::2], data.target[::2])


    def broken():
        raise KeyError("no such weights")


    def talkative(batch):
        print("a model that prints")
        return np.full((len(batch), 3), 1 / 3)


    def not_a_number(batch):
        return np.full((len(batch), 3), np.nan)
    '''
)

Call = Callable[..., Result]
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the current folder, which holds models.py and people.csv."""
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    write_people(tmp_path / "people.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(session_cache))
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


def write_people(path: Path, rows: int = 200) -> None:
    draws = np.random.default_rng(7)
    age = draws.integers(18, 80, rows)
    height = draws.normal(170, 9, rows).round(1)
    sex = draws.choice(["f", "m"], rows)
    bought = np.where(age + draws.normal(0, 15, rows) > 50, "yes", "no")
    lines = ["person_id,age,height,sex,household,bought"]
    lines += [
        f"p{row},{age[row]},{height[row]},{sex[row]},h{row // 2},{bought[row]}"
        for row in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def call(folder: Path) -> Call:
    """Returns a function that runs the command line in this process."""

    def run(*arguments: str) -> Result:
        from crucibench.cli._app import application

        return CliRunner().invoke(application, list(arguments))

    return run


@pytest.fixture
def shell(folder: Path) -> Shell:
    """Returns a function that runs the command line in a process of its own."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "crucibench", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, **settings},
        )

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """Returns the folder of a finished run of two models; tests only read it."""
    place = tmp_path_factory.mktemp("finished")
    (place / "models.py").write_text(MODELS, encoding="utf-8")
    from crucibench.cli._app import application

    command = [
        *("run", "-q", "--suite", "accuracy", "--data", "sklearn:wine"),
        *("--model", "sklearn:models.py:logistic", "--model", "python:models.py:talkative"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CRUCIBENCH_CACHE", str(session_cache))
        done = CliRunner().invoke(application, command)
    assert done.exit_code in {0, 4}, done.stderr
    (run,) = (place / "results").iterdir()
    return run


@pytest.fixture
def run(finished: Path, folder: Path) -> Path:
    """Returns a copy of a finished run, to do with as one likes; its folder is ``results/``."""
    copy = folder / "results" / finished.name
    shutil.copytree(finished, copy)
    return copy
