"""Attacks that do nothing fail their self-tests, and names without an entry are refused."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

import crucibench as cb
import crucibench_suites.adversarial as package
from crucibench.contracts.verdict import Status, Verdict
from crucibench.store.run import Run
from crucibench_suites.adversarial import of_foolbox
from crucibench_suites.adversarial.attacks.model import Found
from crucibench_suites.adversarial.blackbox import self_tests as of_labels
from crucibench_suites.adversarial.blackbox.attacks import ON_LABELS
from crucibench_suites.adversarial.blackbox.scenario import BLACK_BOX, BlackBoxAttack, scenarios
from crucibench_suites.adversarial.foolbox_names import FIXED, MINIMAL, FoolboxName
from crucibench_suites.adversarial.native import native_results
from crucibench_suites.adversarial.protocol import ATTACKS, PROTOCOLS
from crucibench_suites.adversarial.tables import self_tests as of_tables
from crucibench_suites.adversarial.tables.attacks import TABLE_ATTACKS
from crucibench_suites.adversarial.tables.scenario import _KINDS
from crucibench_suites.adversarial.text import self_tests as of_texts
from crucibench_suites.adversarial.text.texts import MADE, SEARCHES, Made

NORMS: tuple[Any, ...] = ("linf", "l2")


def still(oracle: Any, points: Any, threat: Any, start: Any) -> Found:
    """Returns the samples as they are, and calls them examples."""
    found = Found(points)
    found.broken[:] = True
    return found


def silent(*told: Any) -> None:
    """Asks nothing, and finds nothing."""
    return


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("body", [still, lambda oracle, points, threat, start: Found(points)])
def test_an_attack_on_images_that_does_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, norm: Any, body: Any
) -> None:
    (before,) = native_results([name], norm)
    monkeypatch.setitem(ATTACKS, name, replace(ATTACKS[name], run=body))
    (result,) = native_results([name], norm)
    assert before.passed and not result.passed
    assert result.found == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ON_LABELS)
def test_an_attack_on_labels_that_does_nothing_fails(name: str, norm: Any) -> None:
    result = of_labels.tested(name, replace(ON_LABELS[name], run=silent), norm)
    assert not result.passed and result.found == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", TABLE_ATTACKS)
def test_an_attack_on_tables_that_does_nothing_fails(name: str, norm: Any) -> None:
    result = of_tables.tested(name, replace(TABLE_ATTACKS[name], run=silent), norm)
    assert not result.passed and result.found == 0


def _idle(search: type[Any]) -> type[Any]:
    """Returns a search that asks about nothing but the sample itself."""

    def replaced(self: Any, choices: Any, clean: float) -> Any:
        yield from ()

    return type(f"Idle{search.__name__}", (search,), {"_replaced": replaced})


def _none(*told: Any) -> Callable[..., Any]:
    return lambda samples, ids: [lambda number: [] for _ in samples]


@pytest.mark.parametrize("access", SEARCHES)
@pytest.mark.parametrize("made", MADE)
def test_an_attack_on_texts_that_does_nothing_fails(made: str, access: str) -> None:
    idle = of_texts.tested(made, MADE[made], _idle(SEARCHES[access]))
    assert not idle.passed and idle.found == 0
    none = of_texts.tested(made, MADE[made]._replace(make=_none), SEARCHES[access])
    assert not none.passed and none.found == 0


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for norm in NORMS for name in sorted(FIXED[norm] | MINIMAL[norm])],
)
def test_an_attack_of_foolbox_that_does_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, norm: Any
) -> None:
    def made(self: Any, named: FoolboxName, norm: Any) -> None:
        self.named, self.norm = named, norm

    monkeypatch.setattr(of_foolbox.FoolboxAttack, "__init__", made)
    monkeypatch.setattr(of_foolbox.FoolboxAttack, "__call__", lambda self, model, x, y, radius: x)
    result = of_foolbox.tested.__wrapped__(FoolboxName(name), norm)
    assert not result.passed and result.found == 0


def _verdicts(run: Run) -> set[tuple[str, Any]]:
    """Returns what became of each scenario, of whatever model."""
    return {
        (file.scenario, file.verdict if file.status == Status.OK else file.status)
        for file in run.cells.values()
        if file.suite == "adversarial" and not file.scenario.startswith(("inputs", "surrogate-so"))
    }


NETS = """
import torch
from sklearn.datasets import load_digits


class Centroids(torch.nn.Module):
    def __init__(self):
        super().__init__()
        x, y = load_digits(return_X_y=True)
        means = torch.stack([torch.tensor(x[y == k] / 16).mean(0) for k in range(10)]).float()
        self.weight = torch.nn.Parameter(4 * means)
        self.bias = torch.nn.Parameter(-2 * (means**2).sum(1))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + self.bias


def centroids():
    return Centroids()


def lead(text):
    return sum({"splendid": 2.0, "dreadful": -2.0}.get(word, 0.0) for word in text.split())


def scores(texts):
    return [[0.0, lead(text) - 0.25] for text in texts]
"""


def run_of(folder: Path, models: Any, data: str, **settings: Any) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy, at what foolbox imports
        return cb.run(
            models=models, data=data, suites=["adversarial"], out=folder / "out", workers=0,
            cache=False, settings={f"adversarial.{key}": value for key, value in settings.items()},
            defaults={"limit": 6, "replicates": 100},
        )  # fmt: skip


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS, encoding="utf-8")
    return path


def test_no_cell_on_images_is_valid(
    monkeypatch: pytest.MonkeyPatch, nets: Path, tmp_path: Path
) -> None:
    for name, attack in ATTACKS.items():
        body = lambda oracle, points, threat, start: Found(points)  # noqa: E731
        monkeypatch.setitem(ATTACKS, name, replace(attack, run=body))
    for name, one in ON_LABELS.items():
        monkeypatch.setitem(ON_LABELS, name, replace(one, run=silent))
    run = run_of(
        tmp_path, dict.fromkeys("ab", f"torch:{nets}:centroids"), "sklearn:digits",
        norm="l2", eps=0.5, blackbox=["square", "hopskipjump", "boundary"], surrogate="b",
    )  # fmt: skip
    cells = ("autoattack-quick", "square", "hopskipjump", "boundary", "surrogate", "worst-case")
    assert _verdicts(run) == {(f"{name}-l2", Verdict.INVALID) for name in cells}
    codes = {
        file.scenario: {one.code for one in file.findings}
        for file in run.cells.values()
        if file.suite == "adversarial"
    }
    assert all("attack-fails-self-test" in codes[f"{name}-l2"] for name in cells)


def test_no_cell_on_tables_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, attack in TABLE_ATTACKS.items():
        monkeypatch.setitem(TABLE_ATTACKS, name, replace(attack, run=silent))
    rows = pd.DataFrame(np.random.default_rng(0).uniform(size=(40, 2)), columns=["a", "b"])
    target = np.where(rows["a"] > 0.5, "yes", "no")
    rows.assign(y=target).to_csv(tmp_path / "rows.csv", index=False)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(rows, target)
    run = run_of(
        tmp_path, {"tree": tree}, f"csv:{tmp_path}/rows.csv?target=y", constraints={}, queries=20
    )
    assert _verdicts(run) == {
        (f"{name}-linf", Verdict.INVALID)
        for name in ("exact-tree", "table-greedy", "table-hopskipjump", "worst-case")
    }


def test_no_cell_on_texts_is_valid(
    monkeypatch: pytest.MonkeyPatch, nets: Path, tmp_path: Path
) -> None:
    for access, search in SEARCHES.items():
        monkeypatch.setitem(SEARCHES, access, _idle(search))
    rows = ["text,label", "a splendid film,good", "what a dreadful day,bad"]
    (tmp_path / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    run = run_of(
        tmp_path, {"bag": f"python:{nets}:scores"},
        f"csv:{tmp_path}/rows.csv?target=label&input=text&classes=bad,good",
        texts="characters", label_only=True,
    )  # fmt: skip
    assert _verdicts(run) == {
        (name, Verdict.INVALID)
        for name in ("character-edits", "character-edits-labels", "worst-case-words")
    }


def test_an_idle_attack_of_foolbox_is_not_run(
    monkeypatch: pytest.MonkeyPatch, nets: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(of_foolbox.FoolboxAttack, "__call__", lambda self, model, x, y, radius: x)
    monkeypatch.setattr(of_foolbox, "tested", of_foolbox.tested.__wrapped__)
    for force, expected in ((False, Status.FAILED), (True, Verdict.INVALID)):
        run = run_of(
            tmp_path, {"a": f"torch:{nets}:centroids"}, "sklearn:digits", eps=0.1,
            attacks="foolbox:LinfPGD", force=force,
        )  # fmt: skip
        assert ("foolbox-LinfPGD-linf", expected) in _verdicts(run)


def test_a_name_without_an_entry_is_refused() -> None:
    for refused in (
        lambda: native_results(["apgd-cx"], "linf"),
        lambda: scenarios("s", ("boundery",), ("l2", (0.1,), None), queries=5, limit=None),  # type: ignore[arg-type]
        lambda: TABLE_ATTACKS["table-greedi"],
        lambda: of_tables.tested("x", replace(TABLE_ATTACKS["exact-tree"], known="bush"), "linf"),  # type: ignore[arg-type]
        lambda: SEARCHES["white-box"],
        lambda: MADE["edit"],
    ):
        with pytest.raises(KeyError):
            refused()


def test_what_is_declared_elsewhere_has_an_entry() -> None:
    assert set(BLACK_BOX) == set(get_args(BlackBoxAttack))
    assert set(_KINDS) == set(TABLE_ATTACKS)
    assert {name for one in PROTOCOLS.values() for name in one.attacks} <= set(ATTACKS)
    assert all(isinstance(one, Made) for one in MADE.values())


def test_nothing_tells_attacks_apart_by_name_but_the_tables() -> None:
    """No comparison with the name of an attack, alone or among others, and no case of a match."""
    names = {*ATTACKS, *ON_LABELS, *TABLE_ATTACKS, *MADE}

    def literals(node: ast.AST) -> set[Any]:
        return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}

    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            told: set[Any] = set()
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                equal = all(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
                # `NAME in (A, B)` tells names apart; `"square" in stages` asks what there is.
                for side in sides if equal else node.comparators:
                    if equal or isinstance(side, ast.Set | ast.Tuple | ast.List):
                        told |= literals(side)
            elif isinstance(node, ast.MatchValue):
                told = literals(node)
            assert not told & names, f"{path}:{node.lineno}"  # type: ignore[attr-defined]
