"""A user's project, whose model has one ingredient that a knob sets while no line of it changes."""

from __future__ import annotations

MODELS = '''
import dataclasses, enum, functools, json, os, random, sys, time, types
from collections import deque, namedtuple
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

import helper

HERE = Path(__file__).parent
KNOB = json.loads((HERE / "knob.json").read_text())
KIND, VALUE = KNOB["kind"], KNOB["value"]
GLOBAL = {"value": VALUE if KIND == "global table" else 1.0}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.flat = nn.Flatten()
        self.first = nn.Linear(64, 16)
        self.act = nn.LeakyReLU(0.1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.act(self.first(self.flat(x))))


class Conv(Net):
    def __init__(self, mode):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, padding_mode=mode)

    def forward(self, x):
        return super().forward(self.conv(x))


class Norm(Net):
    """Forgets eval mode: its answers depend on the batch."""

    def __init__(self, stuck):
        super().__init__()
        self.norm, self.stuck = nn.BatchNorm1d(16), stuck

    def train(self, mode=True):
        super().train(mode)
        self.norm.training = self.stuck
        return self

    def forward(self, x):
        return self.head(self.norm(self.first(self.flat(x))))


@dataclasses.dataclass
class Settings:
    table: dict


class Slots:
    __slots__ = ("value",)


class Scaler:
    def __init__(self, value):
        self.value = value

    def __call__(self, x):
        return x * self.value

    def times(self, x):
        return x * self.value


Pair = namedtuple("Pair", "name value")
Kind = enum.Enum("Kind", {"A": 1, "B": 2})


class Scaled(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, weight):
        return weight * self.value


def scaled(by):
    return lambda x: x * by


def decorated(by):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args) * by
        return inner
    return decorate


class Reads(Net):
    """Multiplies its answers by what `read` makes of what it holds."""

    def __init__(self, held, read=None):
        super().__init__()
        self.held = held
        self.read = read

    def forward(self, x):
        return super().forward(x) * (self.held if self.read is None else self.read(self.held))


def net():
    return MAKERS[KIND](VALUE)


def with_class_attribute(value):
    return type("Own", (Net,), {"value": value,
                "forward": lambda self, x: Net.forward(self, x) * self.value})()


def with_property(value):
    return type("Own", (Net,), {"value": property(lambda self: value),
                "forward": lambda self, x: Net.forward(self, x) * self.value})()


def with_method(value):
    model = Net()
    model.forward = types.MethodType(lambda self, x: Net.forward(self, x) * value, model)
    return model


def with_inner_method(value):
    model = Net()
    model.act.forward = lambda x: torch.relu(x) * value
    return model


def with_default(value):
    class Own(Net):
        def forward(self, x, by=value):
            return super().forward(x) * by
    return Own()


def with_keyword(value):
    class Own(Net):
        def forward(self, x, *, by=value):
            return super().forward(x) * by
    return Own()


def with_decorator(value):
    class Own(Net):
        @decorated(value)
        def forward(self, x):
            return super().forward(x)
    return Own()


def with_hook(value):
    model = Net()
    model.act.register_forward_hook(lambda module, inputs, output: output * value)
    return model


def with_pre_hook(value):
    model = Net()
    model.act.register_forward_pre_hook(lambda module, inputs: (inputs[0] * value,))
    return model


def with_buffer(persistent):
    def make(value):
        model = Reads(None)
        del model.held
        model.register_buffer("held", torch.tensor(value), persistent=persistent)
        return model
    return make


def with_parametrization(value):
    model = Net()
    parametrize.register_parametrization(model.first, "weight", Scaled(value))
    return model


def with_dtype(value):
    model = Net()
    for part in (model.first, model.head):
        part.weight.data = part.weight.data.to(getattr(torch, value)).float()
    model.first.weight.data.mul_(1)
    return model


def with_order(value):
    torch.manual_seed(0)
    acts = [nn.Tanh(), nn.ReLU(), nn.Softsign(), nn.ELU(), nn.Hardtanh()]
    random.Random(value).shuffle(acts)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), *acts)


def with_activation(value):
    model = Net()
    model.act = getattr(nn, value)()
    return model


def with_class_patched(value):
    class Own(Net):
        pass
    Own.forward = lambda self, x: Net.forward(self, x) * value
    return Own()


def with_slots(value):
    held = Slots()
    held.value = value
    return Reads(held, lambda held: held.value)


def with_file(value):
    return Reads(HERE / "answers.json", lambda path: json.loads(path.read_text())["value"])


def with_environment(value):
    return Reads("KNOB_OF_BENCHMARK", lambda name: float(os.environ[name]))


def with_clock(value):
    return Reads(value, lambda held: 1 + time.monotonic_ns() % 7)


def with_interpreter(value):
    return Reads(0, lambda held: sys.getrecursionlimit() / 1000)


def with_registry(value):
    import decimal
    return Reads(0, lambda held: float(decimal.getcontext().prec))


def with_foreign(value):
    return Reads(0, lambda held: torch.utils.of_benchmark.value)


def with_count(value):
    class Own(Net):
        asked = 0

        def forward(self, x):
            self.asked += value
            return super().forward(x) * self.asked
    return Own()


def value_of(held):
    return held.value


MAKERS = {
    "attribute": lambda value: Reads(value),
    "attribute of a library's part": lambda value: (setattr(net := Net(), "act",
                                                    nn.LeakyReLU(value)), net)[1],
    "table as an attribute": lambda value: Reads({"a": {"b": [value]}},
                                                 lambda held: held["a"]["b"][0]),
    "dataclass with a table": lambda value: Reads(Settings({"v": value}),
                                                  lambda held: held.table["v"]),
    "array as an attribute": lambda value: Reads(np.array([value]), lambda held: float(held[0])),
    "tensor as an attribute": lambda value: Reads(torch.tensor(value)),
    "slot": with_slots,
    "named tuple": lambda value: Reads(Pair("v", value), value_of),
    "deque": lambda value: Reads(deque([value]), lambda held: held[0]),
    "set": lambda value: Reads(frozenset({value}), lambda held: next(iter(held))),
    "member of an enumeration": lambda value: Reads(Kind[value], value_of),
    "random state as an attribute": lambda value: Reads(
        value, lambda held: random.Random(held).random()),
    "callable object": lambda value: Reads(1.0, Scaler(value)),
    "method of another object": lambda value: Reads(1.0, Scaler(value).times),
    "lambda in a closure": lambda value: Reads(1.0, scaled(value)),
    "functools.partial": lambda value: Reads(value, functools.partial(max, -9.0)),
    "argument of a partial": lambda value: Reads(-9.0, functools.partial(max, value)),
    "default argument": with_default,
    "keyword default": with_keyword,
    "decorator": with_decorator,
    "class attribute": with_class_attribute,
    "property": with_property,
    "method patched on the instance": with_method,
    "method patched on a part": with_inner_method,
    "method patched on the class": with_class_patched,
    "forward hook": with_hook,
    "forward pre-hook": with_pre_hook,
    "buffer": with_buffer(True),
    "non-persistent buffer": with_buffer(False),
    "parametrization": with_parametrization,
    "modules in a list": lambda value: Reads([parted(value)], lambda held: held[0].weight.mean()),
    "modules in a dict": lambda value: Reads({"m": parted(value)},
                                             lambda held: held["m"].weight.mean()),
    "iterator": lambda value: Reads(iter([value]), lambda held: value),
    "count of questions": with_count,
    "activation": with_activation,
    "order of layers": with_order,
    "padding mode": Conv,
    "eval-mode flag": Norm,
    "dtype": with_dtype,
    "global table": lambda value: Reads(1.0, lambda held: GLOBAL["value"]),
    "global of a helper module": lambda value: Reads(1.0, lambda held: held * helper.SCALE),
    "function of a helper module": lambda value: Reads(1.0, helper.changed),
    "file read while it answers": with_file,
    "environment variable": with_environment,
    "clock": with_clock,
    "state of the interpreter": with_interpreter,
    "state of a C extension": with_registry,
    "object in a library's namespace": with_foreign,
}


def parted(value):
    part = nn.Linear(2, 2)
    part.weight.data.fill_(value)
    return part


def plain(): return Net()
'''

HELPER = """
import json
from pathlib import Path

KNOB = json.loads((Path(__file__).parent / "knob.json").read_text())
SCALE = KNOB["value"] if KNOB["kind"] == "global of a helper module" else 1.0


def changed(x):
    return x * OWN

OWN = KNOB["value"] if KNOB["kind"] == "function of a helper module" else 1.0
"""

NEIGHBOURS = '''
import torch
from torch import nn

try:
    from override import SCALE
except ImportError:
    SCALE = 1.0


class Linear(nn.Module):
    def __init__(self, act=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.act = act or nn.Identity()

    def forward(self, x):
        return self.act(self.layer(x)) * SCALE * 1.0


class Flipped(Linear):
    def forward(self, x):
        return -super().forward(x)


class Padded(nn.Module):
    """A defence: pads at random, by a hash of the input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        at = (x.sum(dim=(1, 2, 3)) * 1e4).long() % 3
        moved = torch.stack([torch.roll(one, int(by), 1) for one, by in zip(x, at)])
        return self.inner(moved)


def model_0(): return Linear()
def model_1(): return Flipped()
def model_2(): return Linear(nn.Tanh())
def model_3(): return Linear(nn.Softsign())
def model_4(): return Padded(Linear())
def model_5(): return Linear(nn.Sigmoid())
def model_6(): return nn.Sequential(Linear(), nn.LogSoftmax(dim=1))
'''

ESTIMATORS = """
import functools, json
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

KNOB = json.loads((Path(__file__).parent / "knob.json").read_text())
KIND, VALUE = KNOB["kind"], KNOB["value"]
X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
POWER = VALUE if KIND == "global of a transformer's function" else 1.0


def powered(X): return X ** POWER


def scaled(by): return lambda X: np.minimum(X * by, 1.0)


def piped(function):
    inner = GaussianNB(var_smoothing=0.1).fit(X, y)
    return make_pipeline(FunctionTransformer(function), inner)


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.inner_ = GaussianNB(var_smoothing=0.1).fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, X): return self.inner_.predict(X ** self.power)
    def predict_proba(self, X): return self.inner_.predict_proba(X ** self.power)
    power = VALUE if KIND == "class attribute of an own estimator" else 1.0


def patched(value):
    model = Own().fit(X, y)
    model.predict_proba = lambda X: model.inner_.predict_proba(X ** value)
    return model


MAKERS = {
    "parameter of an estimator": lambda value: GaussianNB(var_smoothing=value).fit(X, y),
    "closure of a transformer": lambda value: piped(scaled(value)),
    "partial of a transformer": lambda value: piped(functools.partial(np.power, value)),
    "global of a transformer's function": lambda value: piped(powered),
    "class attribute of an own estimator": lambda value: Own().fit(X, y),
    "method patched on an estimator": patched,
}


def model(): return MAKERS[KIND](VALUE)
"""
