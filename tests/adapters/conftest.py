"""Small real data, and openings of adapters on it."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits

from crucibench.contracts.adapter import Adapter, Normalisation, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri


@pytest.fixture
def open_with(tmp_path: Path) -> Callable[..., Adapter]:
    """Opens an address with an adapter of a kind, relative to `tmp_path`."""

    def opened(kind: type[Adapter], uri: str, data: DataCard, **options: Any) -> Adapter:
        opening = Opening(name="m", uri=parse_uri(uri), base=tmp_path, data=data, **options)
        adapter = kind.open(opening)
        assert isinstance(adapter, kind)
        return adapter

    return opened


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


class DigitsCnn(torch.nn.Module):
    """A small network with the layers that exporters fold, drop or keep."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(8 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.nn.functional.max_pool2d(x, 2)
        return self.fc(self.drop(x.flatten(1)))


@pytest.fixture(scope="session")
def all_digits() -> Batch:
    images = load_digits().images / 16
    inputs = torch.tensor(images, dtype=torch.float32).unsqueeze(1)
    return Batch(_ids(len(inputs)), inputs, rows=tuple(range(len(inputs))))


@pytest.fixture(scope="session")
def trained_cnn(all_digits: Batch, digits_xy: tuple[Any, Any]) -> torch.nn.Module:
    """A network that is right on most digits."""
    torch.manual_seed(0)
    cnn, targets = DigitsCnn(), torch.tensor(digits_xy[1])
    optimiser = torch.optim.Adam(cnn.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(cnn(all_digits.inputs), targets).backward()
        optimiser.step()
    return cnn.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def export_onnx() -> Callable[..., None]:
    """Writes a module as ONNX, in eval mode; `dynamic` leaves the number of samples open."""

    def export(
        module: torch.nn.Module, example: torch.Tensor, path: Path, *, dynamic: bool = True
    ) -> None:
        with warnings.catch_warnings():
            # The exporter that needs no further package is on its way out, and says so.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                module.eval(), (example,), path, dynamo=False, input_names=["image"],
                output_names=["logits"], dynamic_axes={"image": {0: "n"}} if dynamic else None,
            )  # fmt: skip

    return export


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
        device: str = "cpu",
        classes: tuple[str, ...] | dict[str, str] | None = None,
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


@pytest.fixture
def models(write: Callable[[str, str], Path]) -> Path:
    """Writes the factories of torch_models.py into the test's folder, as models.py."""
    return write("models.py", Path(__file__).with_name("torch_models.py").read_text())
