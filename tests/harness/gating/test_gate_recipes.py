from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import crucibench as cb
from crucibench.cli._app import application
from crucibench.comparing.power import samples_needed, sources_at, trainings_needed
from crucibench.comparing.results import RecipeSpread
from crucibench.gating.planning import advice
from crucibench.gating.result import Outcome
from crucibench.gating.text import headline
from crucibench.stats.two_way import TwoSources
from crucibench.util.errors import InputError

POLICY = {"required": [{"address": "*:accuracy/clean/top-1", "margin": 0.03}]}
STEADY = [0.9, 1.0, 1.1, 1.0]


@pytest.fixture
def run_of(tmp_path: Path, drawn: Any, logged_run: Any) -> Any:
    """Makes a run of trainings by their skills."""

    def make(name: str, skills: list[float], answers: int = 1, **options: Any) -> Any:
        targets, scores = drawn(skills, 1500, answers=answers)
        return logged_run(tmp_path / name, targets, scores, **options)

    return make


def test_a_pattern_judges_the_recipe_and_not_each_training(run_of: Any) -> None:
    old, new = run_of("old", STEADY), run_of("new", [0.5, 0.45, 0.55], 2, seeds=[7, 8, 9])
    verdict = cb.gate(old, new, POLICY)
    assert [check.address for check in verdict.checks] == ["net@recipe:accuracy/clean/top-1"]
    assert verdict.outcome is Outcome.REGRESSION
    assert verdict.checks[0].estimand == "recipe" and verdict.checks[0].trainings == (4, 3)
    assert "files" not in headline(verdict)
    named = {"required": [{"address": "net:accuracy/clean/top-1", "margin": 0.03}]}
    assert cb.gate(old, new, named).checks[0].estimand == "files"


def test_a_floor_is_held_by_the_recipe(run_of: Any) -> None:
    run = run_of("old", STEADY)
    policy = {"required": [{"address": "*:accuracy/clean/top-1", "floor": 0.5}]}
    check = cb.gate(run, run, policy).checks[0]
    assert check.address == "net@recipe:accuracy/clean/top-1" and check.outcome is Outcome.PASS


def test_two_files_say_so_or_borrow_the_spread_of_their_recipe(run_of: Any) -> None:
    earlier = run_of("earlier", [0.5, 1.0, 1.5, 0.8])
    old, new = run_of("old", [1.1], 2), run_of("new", [0.8], 3, seeds=[4])
    alone = cb.gate(old, new, POLICY)
    assert headline(alone).endswith("it speaks of these two files, not of another training")
    lent = cb.gate(old, new, {**POLICY, "history": [str(earlier.root)]})
    check = lent.checks[0]
    assert check.upper - check.lower > 3 * (alone.checks[0].upper - alone.checks[0].lower)
    assert f"borrowed from {earlier.id}" in check.message and "files" not in headline(lent)
    with pytest.raises(InputError, match="no recipe of two trainings"):
        cb.gate(old, new, {**POLICY, "history": [str(old.root)]})


SPREAD = RecipeSpread(TwoSources(4e-4, 6, 1e-4, 1000), (4, 4), False, 8e-4, 1e-4, 5e-5)


def test_planned_trainings_and_samples_show_the_margin_and_one_less_does_not() -> None:
    trainings = trainings_needed(SPREAD, 1000, 0.03)
    assert sources_at(SPREAD, trainings, 1.0, 1000).detectable(0.8) <= 0.03
    assert sources_at(SPREAD, trainings - 1, 1.0, 1000).detectable(0.8) > 0.03
    n = samples_needed(SPREAD, 1000, 0.03, trainings=trainings + 2)
    assert sources_at(SPREAD, trainings + 2, n / 1000, n).detectable(0.8) <= 0.03
    assert sources_at(SPREAD, trainings + 2, (n - 1) / 1000, n - 1).detectable(0.8) > 0.03
    assert samples_needed(SPREAD, 1000, 0.01, trainings=4) is None


def test_a_plan_says_what_to_buy(run_of: Any) -> None:
    old, new = run_of("old", [0.6, 1.4, 1.0]), run_of("new", [0.7, 1.3, 1.1], 2, seeds=[7, 8, 9])
    check = cb.gate(old, new, POLICY).checks[0]
    trainings, samples = check.plan[0]
    assert trainings > 3 and samples < 1500 and advice(check).startswith("trainings: ")


def test_the_command_plans_and_finds_history_beside_the_policy(run_of: Any, tmp_path: Path) -> None:
    earlier, old = run_of("earlier", [0.5, 1.0, 1.5]), run_of("old", [1.1], 2)
    policy = {**POLICY, "history": [str(earlier.root.relative_to(tmp_path))]}
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    (tmp_path / "alone.yaml").write_text(json.dumps(POLICY))
    asked = ["gate", "--baseline", str(old.root), "--candidate", str(old.root), "--plan"]
    done = CliRunner().invoke(
        application, [*asked, "--policy", str(tmp_path / "policy.yaml"), "--format", "json"]
    )
    (planned,) = json.loads(done.stdout)
    assert (planned["address"], planned["trainings"]) == ("net:accuracy/clean/top-1", [1, 1])
    assert planned["buy"].startswith("a steadier recipe")  # the spread is three times the margin
    alone = CliRunner().invoke(application, [*asked, "--policy", str(tmp_path / "alone.yaml")])
    assert alone.exit_code == 2 and "nothing to plan" in alone.stderr
