"""Attacks that do nothing fail their self-tests, and names without an entry are refused."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

import crucibench as cb
import crucibench_suites.adversarial as package
from crucibench.contracts.attack import GradientAttack, ScoreAttack, attacks, known_answers
from crucibench.contracts.verdict import Status, Verdict
from crucibench.store.run import Run
from crucibench.testing import check_attack
from crucibench.util.errors import InputError
from crucibench_suites.adversarial import of_foolbox
from crucibench_suites.adversarial.attacked import self_tested
from crucibench_suites.adversarial.attacks.model import Found
from crucibench_suites.adversarial.blackbox.scenario import BlackBoxAttack, scenarios
from crucibench_suites.adversarial.foolbox_names import FIXED, MINIMAL, FoolboxName
from crucibench_suites.adversarial.protocol import PROTOCOLS
from crucibench_suites.adversarial.tables.attacks import PLANNED
from crucibench_suites.adversarial.text import self_tests as of_texts
from crucibench_suites.adversarial.text.scenario import SEARCHES
from crucibench_suites.adversarial.text.texts import CANDIDATES

NORMS: tuple[Any, ...] = ("linf", "l2")


def still(attack: Any, given: Any) -> Found:
    """Returns the samples as they are, and calls them examples."""
    found = Found(given.points)
    found.broken[:] = True
    return found


def nothing(attack: Any, given: Any) -> Any:
    """Asks nothing, and finds nothing."""
    return Found(given.points) if hasattr(given, "points") else iter(())


IMAGES = [one for one in map(attacks().get, attacks().names()) if one.space == "image"]
BALLS = [one for one in IMAGES if one.access != "decision"]


@pytest.mark.parametrize("name", attacks().names())
def test_every_registered_attack_finds_what_is_known(name: str) -> None:
    check_attack(attacks().get(name))


@pytest.mark.parametrize("norm", [*NORMS, "l1"])
@pytest.mark.parametrize("attack", BALLS, ids=lambda one: one.name)
@pytest.mark.parametrize("body", [still, nothing])
def test_an_attack_on_images_that_does_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, attack: Any, norm: Any, body: Any
) -> None:
    (before,) = self_tested([attack.name], norm)
    monkeypatch.setattr(type(attack), "run", body)
    (result,) = self_tested([attack.name], norm)
    assert before.passed and not result.passed
    assert result.found == 0


def test_the_kit_fails_an_attack_without_a_known_answer() -> None:
    class Elsewhere(ScoreAttack):
        name = "elsewhere"
        space = "graph"  # type: ignore[assignment]

        def run(self, given: Any) -> None: ...

    with pytest.raises(AssertionError, match="no answer is known"):
        check_attack(Elsewhere())


def test_the_kit_fails_an_attack_that_is_too_weak() -> None:
    class Noise(GradientAttack):
        name = "noise"

        def run(self, given: Any) -> Any:
            points = given.points
            return (points.x + points.eps.view(-1, 1, 1, 1)).clamp(0, 1)

    with pytest.raises(AssertionError, match="noise: on linear models"):
        check_attack(Noise())


def _none(*told: Any) -> Callable[..., Any]:
    return lambda samples, ids: [lambda number: [] for _ in samples]


@pytest.mark.parametrize("name", ["text-greedy", "text-by-labels"])
@pytest.mark.parametrize("made", CANDIDATES)
def test_an_attack_on_texts_without_candidates_fails(made: str, name: str) -> None:
    none = of_texts.tested(made, CANDIDATES[made]._replace(make=_none), attacks().get(name))
    assert not none.passed and none.found == 0


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for norm in NORMS for name in sorted(FIXED[norm] | MINIMAL[norm])],
)
def test_an_attack_of_foolbox_that_does_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, name: str, norm: Any
) -> None:
    def made(self: Any, named: FoolboxName, norm: Any) -> None:
        self.named, self.norm, self.name = named, norm, str(named)
        self.access, self.nearest = named.access, not named.fixed

    monkeypatch.setattr(of_foolbox.FoolboxAttack, "__init__", made)
    monkeypatch.setattr(of_foolbox.FoolboxAttack, "run", lambda self, given: given.points.x)
    attack = of_foolbox.FoolboxAttack(FoolboxName(name), norm)
    result = known_answers().get("image").self_test(attack, norm)
    assert not result.passed and result.found == 0


def idle(monkeypatch: pytest.MonkeyPatch, space: str) -> None:
    """Takes their bodies from all registered attacks on a space."""
    for one in map(attacks().get, attacks().names()):
        if one.space == space:
            monkeypatch.setattr(type(one), "run", nothing)


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
    idle(monkeypatch, "image")
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
    idle(monkeypatch, "table")
    rows = pd.DataFrame(np.random.default_rng(0).uniform(size=(40, 2)), columns=["a", "b"])
    target = np.where(rows["a"] > 0.5, "yes", "no")
    rows.assign(y=target).to_csv(tmp_path / "rows.csv", index=False)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(rows, target)
    run = run_of(
        tmp_path, {"tree": tree}, f"csv:{tmp_path}/rows.csv?target=y", constraints={}, queries=20
    )
    assert _verdicts(run) == {
        (f"{name}-linf", Verdict.INVALID)
        for name in (
            "exact-tree",
            "table-greedy",
            "table-hopskipjump",
            "table-restore",
            "worst-case",
        )
    }


def test_no_cell_on_texts_is_valid(
    monkeypatch: pytest.MonkeyPatch, nets: Path, tmp_path: Path
) -> None:
    idle(monkeypatch, "text")
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
    monkeypatch.setattr(of_foolbox.FoolboxAttack, "run", lambda self, given: given.points.x)
    for force, expected in ((False, Status.FAILED), (True, Verdict.INVALID)):
        run = run_of(
            tmp_path, {"a": f"torch:{nets}:centroids"}, "sklearn:digits", eps=0.1,
            attacks="foolbox:LinfPGD", force=force,
        )  # fmt: skip
        assert ("foolbox-LinfPGD-linf", expected) in _verdicts(run)


def test_a_name_without_an_entry_is_refused() -> None:
    for refused in (
        lambda: self_tested(["apgd-cx"], "linf"),
        lambda: scenarios("s", ("boundery",), ("l2", (0.1,), None), queries=5, limit=None),
    ):
        with pytest.raises(InputError, match="did you mean"):
            refused()


def test_what_is_declared_elsewhere_has_an_entry() -> None:
    known = set(attacks().names())
    assert {*get_args(BlackBoxAttack), *PLANNED, *SEARCHES} <= known
    assert {name for one in PROTOCOLS.values() for name in one.attacks} <= known


def test_nothing_tells_attacks_apart_by_name_but_the_tables() -> None:
    """No comparison with the name of an attack, alone or among others, and no case of a match."""
    names = {*attacks().names(), *CANDIDATES}

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
