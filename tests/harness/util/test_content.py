"""Digests of values: all of their content counts, or what can't be told is named."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import logging
import operator
import random
import re
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from crucibench.util.content import OpaqueError, content_of, steady_content

FACTOR = 2
TABLE = {"a": 1}


def digest(value: Any, **options: Any) -> str:
    return content_of(value, **options).digest


def why(value: Any) -> str:
    with pytest.raises(OpaqueError) as caught:
        content_of(value)
    return caught.value.sentence


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Settings:
    path: Path
    table: dict[str, float]


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: int) -> None:
        self.a = a


class Base:
    rate = 1

    def answer(self, x: int) -> int:
        return x * self.rate


class Derived(Base):
    @property
    def shown(self) -> int:
        return 1

    @staticmethod
    def plain() -> int:
        return 2


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: x * factor


def times(x: int, by: int = 3, *, more: int = 0) -> int:
    return x * by + more + FACTOR


DIFFERENT: list[tuple[str, Any, Any]] = [
    ("numbers of two kinds", 1, 1.0),
    ("a number and a flag", 1, True),
    ("zeros of two signs", 0.0, -0.0),
    ("text and bytes", "a", b"a"),
    ("list and tuple", [1, 2], (1, 2)),
    ("nesting", [[1], [2]], [[1, 2]]),
    ("order of a list", [1, 2], [2, 1]),
    ("order of a dict", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ("a key", {"a": 1}, {"b": 1}),
    ("a set's entry", {1, 2}, {1, 3}),
    ("frozen", {1}, frozenset({1})),
    ("a default", collections.defaultdict(int, a=1), collections.defaultdict(list, a=1)),
    ("how long a deque may be", collections.deque([1], 2), collections.deque([1], 3)),
    ("members", Colour.RED, Colour.BLUE),
    ("a named tuple's class", Pair(1, 2), (1, 2)),
    ("a path", Path("a"), Path("b")),
    ("a pattern", re.compile("a"), re.compile("a", re.IGNORECASE)),
    ("a range", range(3), range(4)),
    ("a slice", slice(1), slice(2)),
    ("a getter", operator.itemgetter(1), operator.itemgetter(2)),
    ("an array's number", np.array([1.0, 2.0]), np.array([1.0, 3.0])),
    ("an array's dtype", np.array([1]), np.array([1.0])),
    ("an array's shape", np.zeros((2, 3)), np.zeros((3, 2))),
    ("an object in an array", np.array([{"a": 1}]), np.array([{"a": 2}])),
    ("a masked entry", np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
    ("a scalar's dtype", np.float32(1), np.float64(1)),
    ("a random state", np.random.RandomState(0), np.random.RandomState(1)),
    ("a generator's state", np.random.default_rng(0), np.random.default_rng(1)),
    ("a kind of generator", np.random.Generator(np.random.MT19937(0)), np.random.default_rng(0)),
    ("Python's generator", random.Random(0), random.Random(1)),
    ("a frame's column", pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
    ("a frame's entry", pd.DataFrame({"a": ["x", None]}), pd.DataFrame({"a": ["x", "y"]})),
    ("categories", pd.Categorical(["a"]), pd.Categorical(["a"], categories=["b", "a"])),
    ("a tensor's number", torch.tensor([1.0]), torch.tensor([2.0])),
    ("a tensor's dtype", torch.tensor([1.0]), torch.tensor([1.0]).bfloat16()),
    ("a tensor's shape", torch.zeros(2, 3), torch.zeros(3, 2)),
    ("a sparse tensor", torch.eye(2).to_sparse(), torch.ones(2, 2).to_sparse()),
    ("a dtype of torch", torch.float32, torch.float16),
    ("lambdas on one line", *[(lambda x: x + 1), (lambda x: x - 1)]),
    ("constants of lambdas", *[(lambda x: x + 1), (lambda x: x + 2)]),
    ("a closure", scaled(1.0), scaled(2.0)),
    ("what is in a closure", scaled([1]), scaled([2])),  # type: ignore[arg-type]
    ("a partial's argument", functools.partial(times, by=1), functools.partial(times, by=2)),
    ("bound to another", Base().answer, Derived().answer),
    ("a library's function", torch.relu, torch.tanh),
    ("a ufunc", np.sin, np.cos),
    ("a class", Base, Derived),
    ("an instance's class", Base(), Derived()),
    ("a slot", Slotted(1), Slotted(2)),
    ("data of a dataclass", Settings(Path("a"), {"t": 1.0}), Settings(Path("a"), {"t": 2.0})),
    ("a namespace", SimpleNamespace(a=1), SimpleNamespace(a=2)),
    ("a view of a mapping", MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
    ("what a reference leads to", weakref.ref(Base), weakref.ref(Derived)),
    ("modules", re, operator),
]


@pytest.mark.parametrize(("first", "second"), [pair[1:] for pair in DIFFERENT],
                         ids=[pair[0] for pair in DIFFERENT])  # fmt: skip
def test_what_differs_has_another_digest(first: Any, second: Any) -> None:
    assert digest(first) != digest(second)
    assert digest(first) == digest(first)
    assert digest([first, second]) != digest([second, first])


def test_what_is_alike_has_one_digest() -> None:
    assert digest({"b", "a", ("x", 1)}) == digest({("x", 1), "a", "b"})
    assert digest(Base().answer) == digest(Base().answer)
    assert digest(scaled(1.0)) == digest(scaled(1.0))
    assert digest(threading.Lock()) == digest(threading.Lock())
    assert digest(logging.getLogger("a")) == digest(logging.getLogger("a"))
    padded = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    one, two = np.zeros(3, padded), np.zeros(3, padded)
    two.view(np.uint8).reshape(3, -1)[:, 3] = 7  # between the fields
    assert digest(one) == digest(two)


def test_cycles_and_shared_values() -> None:
    first: list[Any] = [1]
    first.append(first)
    second: list[Any] = [1]
    second.append(second)
    assert digest(first) == digest(second)
    inner = [1]
    assert digest([inner, inner]) != digest([[1], [1]])
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    assert digest(deep)


def test_globals_of_functions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(x: int) -> int:
        return times(x) + sum(TABLE.values())

    before = digest(answer)
    monkeypatch.setitem(TABLE, "a", 2)
    changed = digest(answer)
    assert changed != before
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3)  # which `times` reads
    assert digest(answer) not in {before, changed}


def test_what_a_function_reads_of_modules_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("helpers_of_a_test")
    made.__dict__.update(scale=1, other=1, lock=iter([]))
    monkeypatch.setitem(globals(), "helpers", made)

    def reads(x: int) -> int:
        return x * helpers.scale  # type: ignore[name-defined, no-any-return]  # noqa: F821

    def hands_on(x: str) -> Any:
        return getattr(helpers, x)  # type: ignore[name-defined]  # noqa: F821

    before = digest(reads)
    made.__dict__["other"] = 2
    assert digest(reads) == before
    made.__dict__["scale"] = 2
    assert digest(reads) != before
    assert why(hands_on) == "attribute helpers_of_a_test.lock is an iterator"
    del made.__dict__["lock"]
    before = digest(hands_on)
    made.__dict__["other"] = 3
    assert digest(hands_on) != before


def test_classes_count_by_all_that_they_define(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {digest(Derived())}
    monkeypatch.setattr(Base, "rate", 2)
    seen.add(digest(Derived()))
    monkeypatch.setattr(Base, "answer", lambda self, x: -x)
    seen.add(digest(Derived()))
    monkeypatch.setattr(Derived, "shown", property(lambda self: 3))
    seen.add(digest(Derived()))
    monkeypatch.setattr(Derived, "plain", staticmethod(lambda: 4))
    seen.add(digest(Derived()))
    assert len(seen) == 5


def test_a_library_s_class_that_was_patched_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(nn.ReLU())
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: -x)
    patched = digest(nn.ReLU())
    monkeypatch.setattr(nn.ReLU, "forward", functools.partialmethod(lambda self, x: -x))
    assert len({before, patched, digest(nn.ReLU())}) == 3


def test_forms_of_modules(tmp_path: Path) -> None:
    def hooked(by: int) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = torch.compile(nn.ReLU())
        compiled.register_forward_hook(lambda module, inputs, output: output * by)
        return compiled  # type: ignore[return-value]

    assert digest(hooked(1)) != digest(hooked(2))
    assert digest(hooked(1)) == digest(hooked(1))
    traced = [torch.fx.symbolic_trace(nn.Sequential(part)) for part in (nn.ReLU(), nn.Tanh())]
    again = torch.fx.symbolic_trace(nn.Sequential(nn.ReLU()))
    assert digest(traced[0]) == digest(again) != digest(traced[1])
    stored = np.memmap(tmp_path / "table", np.float32, "w+", shape=(2,))
    before = digest(stored)
    stored[0] = 1
    assert digest(stored) != before


def test_folders_do_not_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = ([tmp_path / name / "x.json", f"{tmp_path / name}/y"] for name in ("a", "b"))
    assert digest(one) != digest(two)
    assert digest(one, folders=[tmp_path / "a"]) == digest(two, folders=[tmp_path / "b"])


def test_what_can_t_be_told_is_named(tmp_path: Path) -> None:
    assert why(x for x in ()) == "it is a generator"
    with (tmp_path / "f").open("w") as file:
        assert why({"log": [file]}) == "attribute ['log'][0] is an open file"
    assert why(SimpleNamespace(view=memoryview(b"a"))) == "attribute view is a memoryview"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.ReLU())
    assert why(nn.Sequential(scripted)).startswith("attribute 0 is of TorchScript")
    assert why(nn.LazyLinear(2)) == "attribute weight is a tensor that is not made yet"
    assert why(torch.empty(2, device="meta")) == "it is a tensor without data"
    assert why({1, frozenset({iter(())})}) == "(of a set) (of a set) is an iterator"

    class Unreadable:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("no")

    assert "can't be read (RuntimeError: no)" in why([Unreadable()])


def test_an_unstable_content_is_refused() -> None:
    model = SimpleNamespace(asked=0, cache=None)

    def fill(question: int) -> None:
        model.cache = 1

    def count(question: int) -> None:
        model.asked += 1

    assert steady_content(lambda: content_of(model), fill).digest == digest(model)
    with pytest.raises(OpaqueError, match="asked: another after each question"):
        steady_content(lambda: content_of(model), count)


def test_a_digest_is_the_same_in_every_process() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch, test_content as t
from torch import nn
from crucibench.util.content import content_of
torch.manual_seed(0)
values = [pair[1:] for pair in t.DIFFERENT if pair[0] != "a class"]
values += [{{"a", "b", ("c",), 1.5, t.Colour.RED}}, nn.GRU(2, 3), nn.MultiheadAttention(4, 2)]
values += [nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), t.Settings, t.Derived]
for value in values:
    print(content_of(value).digest)
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "OMP_NUM_THREADS": "1"},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1
    assert told.pop().count("\n") == len(DIFFERENT) + 5
