"""Two models that answer otherwise never share a fingerprint; two openings of one do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from crucibench.contracts.adapter import Opening
from crucibench.contracts.data import DataCard
from crucibench.contracts.uri import parse_uri
from crucibench.util.content import content_of
from crucibench_adapters.sklearn_estimator import SklearnAdapter
from crucibench_adapters.torch_module import TorchAdapter

FAMILY = """
import dataclasses, functools, json
from pathlib import Path
import torch
from torch import nn
import helper

HERE = Path(__file__).parent


class Linear(nn.Module):
    def __init__(self, activation=nn.Identity()):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Flatten(), activation, nn.Linear(64, 10))
        self.where = HERE / "x.json"

    def forward(self, x):
        return self.layer(x)


class Flipped(Linear):
    def forward(self, x):
        return -super().forward(x)


class Helped(Linear):
    def forward(self, x):
        return helper.changed(super().forward(x))


@dataclasses.dataclass
class Settings:
    values: dict


class Configured(Linear):
    def __init__(self):
        super().__init__()
        self.settings = Settings({"scale": 2.0, "names": {"a", "b"}})

    def forward(self, x):
        return super().forward(x) * self.settings.values["scale"]


def a(): return Linear()
def b(): return Flipped()
def tanh(): return Linear(nn.Tanh())
def softsign(): return Linear(nn.Softsign())
def helped(): return Helped()
def configured(): return Configured()

def patched():
    model = Linear()
    model.forward = lambda x: -model.layer(x)
    return model

def hooked():
    model = Linear()
    model.register_forward_hook(lambda module, inputs, output: -output)
    return model

def partial():
    model = Linear()
    model.layer[1].forward = functools.partial(torch.mul, 2.0)
    return model

def unregistered():
    model = Linear()
    model.parts = [nn.Linear(10, 10)]
    model.forward = lambda x: model.parts[0](model.layer(x))
    return model
"""
FACTORIES = (
    "a", "b", "tanh", "softsign", "helped", "configured", "patched", "hooked", "partial",
    "unregistered",
)  # fmt: skip


@pytest.fixture
def family(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "models.py").write_text(FAMILY)
    (folder / "helper.py").write_text("SHIFT = 1\ndef changed(x): return x.flip(1) + SHIFT\n")
    (folder / "x.json").write_text("{}")
    return folder


def opened(folder: Path, factory: str, card: DataCard) -> TorchAdapter:
    uri = parse_uri(f"torch:models.py:{factory}")
    adapter = TorchAdapter.open(Opening(name="m", uri=uri, base=folder, data=card))
    assert isinstance(adapter, TorchAdapter)
    return adapter


def configuration(folder: Path, factory: str, card: DataCard) -> str:
    adapter = opened(folder, factory, card)
    found = adapter.fingerprint()
    assert found is not None, adapter.unidentified()
    return found["configuration"]


def test_factories_of_one_file_are_told_apart_by_what_they_make(
    family: Path, digits_card: DataCard
) -> None:
    found = {name: configuration(family, name, digits_card) for name in FACTORIES}
    assert len(set(found.values())) == len(FACTORIES)


def test_factories_that_make_the_same_are_told_apart_by_their_address(
    family: Path, digits_card: DataCard
) -> None:
    (family / "models.py").write_text(FAMILY + "\nc = a\n\ndef d(): return Linear()\n")
    prints = [opened(family, name, digits_card).fingerprint() for name in "acd"]
    assert len({str(found) for found in prints}) == 3
    assert len({found["configuration"] for found in prints if found}) == 1


def test_it_is_the_same_in_another_folder_and_process_and_at_another_time(
    tmp_path: Path, digits_card: DataCard
) -> None:
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    os.utime(two / "models.py", (1, 1))
    (two / "notes.py").write_text("# not imported\n")
    (two / "models.py").chmod(0o600)
    code = """
import pickle, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_identity as t
card = pickle.loads(Path(sys.argv[2]).read_bytes())
for name in t.FACTORIES:
    for _ in range(2):
        adapter = t.opened(Path(sys.argv[3]), name, card)
        print(name, adapter.fingerprint(), adapter.unidentified())
"""
    import pickle

    (tmp_path / "card").write_bytes(pickle.dumps(digits_card))
    told = set()
    for folder, seed in ((one, "1"), (two, "2")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "card"),
             str(folder)],
            check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        told.add(done.stdout)
    (lines,) = [text.splitlines() for text in told]
    assert lines[::2] == lines[1::2]
    assert len(set(lines)) == len(FACTORIES)


def test_a_table_that_a_model_read_counts(family: Path, digits_card: DataCard) -> None:
    before = configuration(family, "configured", digits_card)
    text = FAMILY.replace('{"scale": 2.0', '{"scale": 3.0')
    (family / "models.py").write_text(text)
    assert configuration(family, "configured", digits_card) != before
    read = FAMILY.replace(
        'Settings({"scale": 2.0, "names": {"a", "b"}})',
        'Settings(json.loads((HERE / "x.json").read_text()))',
    )
    (family / "models.py").write_text(read)
    found = set()
    for scale in (2.0, 3.0):
        (family / "x.json").write_text(f'{{"scale": {scale}}}')
        found.add(configuration(family, "configured", digits_card))
    assert len(found) == 2


ESTIMATORS = """
import functools
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

X, y = load_digits(return_X_y=True)
X = X / 16
POWER = 2


def fitted(function):
    return make_pipeline(FunctionTransformer(function), GaussianNB(var_smoothing=0.1)).fit(X, y)


def closure(factor):
    def scaled(X): return X * factor
    return scaled


def powered(X): return X ** POWER


class Own(ClassifierMixin, BaseEstimator):
    sign = 1
    def fit(self, X, y):
        self.inner_ = GaussianNB(var_smoothing=0.1).fit(X, y)
        self.classes_ = self.inner_.classes_
        return self
    def predict(self, X): return self.inner_.predict(self.sign * X)
    def predict_proba(self, X): return self.inner_.predict_proba(self.sign * X)


class Negative(Own):
    sign = -1


def once(): return fitted(closure(1))
def twice(): return fitted(closure(2))
def squared(): return fitted(powered)
def partial(): return fitted(functools.partial(np.multiply, 3))
def logarithm(): return fitted(np.log1p)
def own(): return Own().fit(X, y)
def negative(): return Negative().fit(X, y)
def patched():
    model = Own().fit(X, y)
    model.predict_proba = lambda X: model.inner_.predict_proba(X)[:, ::-1]
    return model
"""
MADE = ("once", "twice", "squared", "partial", "logarithm", "own", "negative", "patched")


def test_estimators_are_told_apart_by_their_code(tmp_path: Path, digits_card: DataCard) -> None:
    (tmp_path / "models.py").write_text(ESTIMATORS)

    def content(factory: str) -> str:
        uri = parse_uri(f"sklearn:models.py:{factory}")
        opening = Opening(name="m", uri=uri, base=tmp_path, data=digits_card)
        adapter = SklearnAdapter.open(opening)
        found = adapter.fingerprint()
        assert found is not None, adapter.unidentified()
        return found["weights"]

    found = {name: content(name) for name in MADE}
    assert len(set(found.values())) == len(MADE)
    assert found == {name: content(name) for name in MADE}
    (tmp_path / "models.py").write_text(ESTIMATORS.replace("POWER = 2", "POWER = 3"))
    assert content("squared") != found["squared"]
    assert content("once") == found["once"]


def test_neighbours_are_the_same_after_they_were_asked() -> None:
    X, y = load_digits(return_X_y=True)
    for algorithm in ("kd_tree", "ball_tree", "brute"):
        model = KNeighborsClassifier(algorithm=algorithm).fit(X[:99], y[:99])
        before = content_of(model).digest
        model.predict(X[:9])
        assert content_of(model).digest == before
        assert content_of(model.fit(X[:98], y[:98])).digest != before


# A property: any two drawn modules.

ACTIVATIONS = {
    "tanh": nn.Tanh, "relu": nn.ReLU, "softsign": nn.Softsign, "elu": nn.ELU,
    "leaky": lambda: nn.LeakyReLU(0.3), "leakier": lambda: nn.LeakyReLU(0.4),
    "celu": lambda: nn.CELU(0.7), "hard": nn.Hardtanh,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """What makes a module; each field may change its answers, and need not."""

    layers: tuple[str, ...] = ()
    padding: str = "zeros"
    scale: float = 1.0
    table: tuple[tuple[str, float], ...] = ()
    closure: float = 1.0
    forward: str = "own"
    attribute: float = 1.0
    hook: float | None = None
    pre_hook: float | None = None
    buffer: float = 0.0
    parts: tuple[float, ...] = ()
    default: float = 1.0
    mode: bool = False
    extra: dict[str, float] = field(default_factory=dict, hash=False)


def built(drawn: Drawn) -> nn.Module:
    """Makes the module that a drawing says, with the weights of all of them."""

    class Net(nn.Module):
        rate = drawn.attribute

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode=drawn.padding)
            self.first = nn.Linear(64, 10)
            self.body = nn.Sequential(*[ACTIVATIONS[name]() for name in drawn.layers])
            self.drop = nn.Dropout(0.5)
            self.scale = drawn.scale
            self.table = dict(drawn.table)
            self.extra = drawn.extra
            self.shift = shifted(drawn.closure)
            self.register_buffer("offset", torch.tensor(drawn.buffer), persistent=False)
            self.parts = [Constant(value) for value in drawn.parts]

        def forward(self, x: torch.Tensor, by: float = drawn.default) -> torch.Tensor:
            x = self.body(self.first(self.conv(x).flatten(1)))
            x = self.shift(x) * self.scale * self.rate * by + self.offset
            for part in self.parts:
                x = part(x)
            return x * (1 + sum(self.table.values())) + len(self.extra)

        def train(self, mode: bool = True) -> Net:
            super().train(mode)
            self.body.training = drawn.mode
            return self

    class Negative(Net):
        def forward(self, x: torch.Tensor, by: float = drawn.default) -> torch.Tensor:
            return -super().forward(x, by)

    net = Negative() if drawn.forward == "negative" else Net()
    if drawn.forward == "patched":
        net.forward = lambda x: Net.forward(net, x).flip(1)  # type: ignore[method-assign]
    for hook, register in (
        (drawn.hook, net.register_forward_hook),
        (drawn.pre_hook, net.body.register_forward_pre_hook),
    ):
        if hook is not None:
            register(added(hook))  # type: ignore[operator]
    return net


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.value


def shifted(by: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x + by


def added(by: float) -> Callable[..., Any]:
    def hook(module: nn.Module, inputs: Any, output: Any = None) -> Any:
        return (inputs[0] + by,) if output is None else output + by

    return hook


NUMBERS = st.sampled_from([0.5, 1.0, 1.5])
DRAWN = st.builds(
    Drawn,
    layers=st.lists(st.sampled_from(sorted(ACTIVATIONS)), max_size=2).map(tuple),
    padding=st.sampled_from(["zeros", "reflect", "circular"]),
    scale=NUMBERS,
    table=st.dictionaries(st.sampled_from("ab"), NUMBERS).map(lambda d: tuple(sorted(d.items()))),
    closure=NUMBERS,
    forward=st.sampled_from(["own", "negative", "patched"]),
    attribute=NUMBERS,
    hook=st.none() | NUMBERS,
    pre_hook=st.none() | NUMBERS,
    buffer=NUMBERS,
    parts=st.lists(NUMBERS, max_size=2).map(tuple),
    default=NUMBERS,
    mode=st.booleans(),
    extra=st.dictionaries(st.sampled_from("ab"), NUMBERS),
)
FIELDS = sorted(Drawn.__dataclass_fields__)
CARD: dict[str, DataCard] = {}


@pytest.fixture(autouse=True)
def _card(digits_card: DataCard) -> None:
    CARD["digits"] = digits_card


def asked(drawn: Drawn) -> tuple[str, np.ndarray[Any, Any]]:
    adapter = TorchAdapter.open(
        Opening(name="m", uri=parse_uri("live:m"), base=Path(), data=CARD["digits"],
                live=built(drawn))
    )  # fmt: skip
    assert isinstance(adapter, TorchAdapter)
    found = adapter.fingerprint()
    assert found is not None, adapter.unidentified()
    images = torch.rand((8, 1, 8, 8), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return str(found), adapter._module(images).numpy()


@pytest.mark.parametrize("examples", [25, pytest.param(150, marks=pytest.mark.thorough)])
def test_modules_with_other_answers_never_share_an_identity(examples: int) -> None:
    settings(max_examples=examples)(_never_share_an_identity)()


@given(first=DRAWN, second=DRAWN, names=st.sets(st.sampled_from(FIELDS), max_size=3))
def _never_share_an_identity(first: Drawn, second: Drawn, names: set[str]) -> None:
    # Most of two drawings differs; what is easily missed is one ingredient alone.
    changed = {name: getattr(second, name) for name in names}
    second = Drawn(**{**{name: getattr(first, name) for name in FIELDS}, **changed})
    (one, answers), (two, others) = asked(first), asked(second)
    if np.abs(answers - others).max() > 0:
        assert one != two
    assert asked(first)[0] == one
    assume(first == second)
    assert one == two
