"""Small real data, and openings of adapters on it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from crucibench.contracts.adapter import Normalisation, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri


def _ids(count: int) -> tuple[str, ...]:
    return tuple(f"{row:08x}" for row in range(count))


@pytest.fixture(scope="session")
def digits_card() -> DataCard:
    return DataCard(
        name="digits",
        uri="sklearn:digits",
        task=Task(
            kind="classification", modality=Modality.IMAGE, classes=tuple(map(str, range(10)))
        ),
        features={"image": "1x8x8"},
        counts={"test": 64},
    )


@pytest.fixture(scope="session")
def digits() -> Batch:
    images = load_digits().images[:64] / 16
    inputs = torch.tensor(images, dtype=torch.float32).unsqueeze(1)
    return Batch(_ids(64), inputs, rows=tuple(range(64)))


@pytest.fixture(scope="session")
def digits_xy() -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return X, y


@pytest.fixture(scope="session")
def diabetes_frame() -> pd.DataFrame:
    return load_diabetes(as_frame=True, scaled=False).frame


@pytest.fixture(scope="session")
def diabetes(diabetes_frame: pd.DataFrame) -> Batch:
    frame = diabetes_frame.drop(columns="target").head(50)
    return Batch(_ids(50), frame, rows=tuple(range(50)))


def _table_card(frame: pd.DataFrame, kind: Any, classes: tuple[str, ...]) -> DataCard:
    return DataCard(
        name="diabetes",
        uri="sklearn:diabetes",
        task=Task(kind=kind, modality=Modality.TABLE, classes=classes),
        features={name: str(frame[name].dtype) for name in frame.columns if name != "target"},
        target="target",
        counts={"test": 50},
    )


@pytest.fixture(scope="session")
def diabetes_card(diabetes_frame: pd.DataFrame) -> DataCard:
    return _table_card(diabetes_frame, "classification", ("low", "high"))


@pytest.fixture(scope="session")
def diabetes_regression_card(diabetes_frame: pd.DataFrame) -> DataCard:
    return _table_card(diabetes_frame, "regression", ())


@pytest.fixture(scope="session")
def diabetes_xy(diabetes_frame: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    labels = np.where(diabetes_frame["target"] > 140, "high", "low")
    return diabetes_frame.drop(columns="target"), labels


class Open(Protocol):
    """Makes an opening of a URI, or of a live object, in the test's folder."""

    def __call__(
        self,
        uri: str,
        card: DataCard,
        *,
        live: Any = None,
        normalisation: Normalisation | None = None,
        size: tuple[int, int] | None = None,
        allow_pickle: bool = False,
    ) -> Opening: ...


@pytest.fixture
def opening(tmp_path: Path) -> Open:
    def make(uri: str, card: DataCard, **options: Any) -> Opening:
        return Opening(name="model", uri=parse_uri(uri), base=tmp_path, data=card, **options)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file of the user's into the test's folder."""

    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return put
