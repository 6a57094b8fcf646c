"""`gate`, on two small runs and their packs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

import crucibench as cb
from crucibench.cli._app import application

pytestmark = pytest.mark.slow

Gate = Callable[..., Result]

ROOT = Path(__file__).parents[3]
POLICY = """
required:
  - {address: "*:accuracy/clean/top-1", margin: 0.05, floor: 0.6}
  - {address: "*:accuracy/clean/auroc", margin: 0.05}
supporting:
  - {address: "*:accuracy/clean/log-loss", margin: 20%}
"""
BLOCKED = ("torch", "datasets", "foolbox", "fairlearn", "sklearn", "skops", "safetensors")


def _evaluate(folder: Path, models: dict[str, float], *, seed: int = 0, rows: int = 600) -> Path:
    """Evaluates models that look at a feature through noise of their own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    y = np.where(x[:, 0] + 0.4 * rng.normal(size=rows) > 0, "yes", "no")

    def model(shift: float) -> Callable[[object], np.ndarray]:
        def answer(batch: object) -> np.ndarray:
            values = batch.to_numpy()[:, 0]  # type: ignore[attr-defined]
            p = 1 / (1 + np.exp(-4 * (values + shift)))
            return np.stack([1 - p, p], axis=1)

        return answer

    run = cb.run(
        models={name: model(shift) for name, shift in models.items()}, data=(x, y),
        suites=["accuracy"], out=folder,
    )  # fmt: skip
    return run.root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUCIBENCH_CACHE", str(folder / "cache"))
        found = {
            "good": _evaluate(folder / "good", {"m": 0.0}),
            "bad": _evaluate(folder / "bad", {"m": 0.9}),
            "other": _evaluate(folder / "other", {"m": 0.0}, seed=1),
            "two": _evaluate(folder / "two", {"m": 0.0, "k": 0.9}),
        }
    (folder / "policy.yaml").write_text(POLICY)
    done = CliRunner().invoke(
        application, ["pack", str(found["good"]), "-o", str(folder / "good.cbz"), "-q"]
    )
    assert done.exit_code == 0, done.output
    return {**found, "policy": folder / "policy.yaml", "pack": folder / "good.cbz"}


@pytest.fixture
def gate(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(baseline: str | Path, candidate: str | Path, *more: str) -> Result:
        named = [str(runs.get(str(side), side)) for side in (baseline, candidate)]
        return CliRunner().invoke(
            application,
            ["gate", "--baseline", named[0], "--candidate", named[1], "--policy",
             str(runs["policy"]), "--report", "gate", *more],
        )  # fmt: skip

    return call


def verdict(folder: Path = Path("gate")) -> dict:
    return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))


def test_a_loss_is_stopped(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    result = gate("good", "bad")
    assert result.exit_code == 1, result.output
    assert "regression   required     m:accuracy/clean/top-1" in result.stdout
    assert "all beyond the margin of 5 points; of 600 samples" in result.stdout
    assert "gate stops:" in result.stderr
    found = verdict()
    assert found["outcome"] == "regression" and found["blocking"] == ["regression"]
    assert all(check["lost"] is None or check["lost"] > 0 for check in found["checks"])
    for name in ("junit.xml", "deltas.svg"):
        ET.parse(Path("gate") / name)


@pytest.mark.parametrize("baseline", ["good", "pack"])
@pytest.mark.parametrize("candidate", ["good", "pack"])
def test_the_same_model_passes_with_zero_deltas(gate: Gate, baseline: str, candidate: str) -> None:
    result = gate(baseline, candidate)
    assert result.exit_code == 0, result.output
    gains = [check["gain"] for check in verdict()["checks"] if check["test"] == "margin"]
    assert gains == [0.0, 0.0, 0.0]


def test_a_refactoring_passes_whatever_the_margin(
    gate: Gate, runs: dict[str, Path], tmp_path: Path
) -> None:
    # The same answers from another model, as far as anyone can tell: 1e-7 is float noise.
    again = _evaluate(tmp_path / "again", {"m": 1e-7})
    strict = "required: [{address: '*:accuracy/clean/*', margin: 0.0001}]"
    (tmp_path / "strict.yaml").write_text(strict)
    for baseline in ("good", "pack"):
        result = gate(baseline, again, "--policy", "strict.yaml")
        top = [c for c in verdict()["checks"] if c["address"] == "m:accuracy/clean/top-1"]
        assert top[0]["message"] == "the answers are the same on every sample", result.output


def test_a_pack_gates_as_its_run_does(gate: Gate) -> None:
    assert gate("pack", "bad").exit_code == 1
    packed = verdict()["checks"]
    assert gate("good", "bad").exit_code == 1
    assert packed == verdict()["checks"]


def test_other_data_are_refused_with_the_field(gate: Gate) -> None:
    result = gate("good", "other")
    assert result.exit_code == 4
    assert {check["outcome"] for check in verdict()["checks"] if check["test"] == "margin"} == {
        "invalid"
    }
    assert "not comparable with the baseline" in result.stdout and "data" in result.stdout


def test_models_of_one_side_only(gate: Gate) -> None:
    result = gate("good", "two")
    new = [check for check in verdict()["checks"] if check["model"] == "k"]
    assert {check["outcome"] for check in new if check["test"] == "margin"} == {"skipped"}
    assert {check["test"] for check in new} == {"margin", "floor"}
    assert result.exit_code == 0, result.output
    gone = gate("two", "good")
    assert gone.exit_code == 4
    assert "the candidate has no model 'k'" in gone.stdout


def test_runs_that_are_not_whole(gate: Gate, runs: dict[str, Path], tmp_path: Path) -> None:
    for harm, message in (
        (lambda root: (root / "manifest.json").unlink(), "was not finished"),
        (
            lambda root: next(root.glob("cells/*/records-*")).write_bytes(b"x"),
            "not as its manifest",
        ),
    ):
        broken = tmp_path / "broken"
        shutil.copytree(runs["good"], broken)
        harm(broken)
        result = gate("good", broken)
        assert result.exit_code == 4, result.output
        assert message in verdict()["errors"][0] and message in result.stderr
        assert verdict()["outcome"] == "invalid"
        shutil.rmtree(broken)
    damaged = tmp_path / "damaged.cbz"
    damaged.write_bytes(runs["pack"].read_bytes()[:-200])
    result = gate(damaged, "good")
    assert result.exit_code == 4 and verdict()["checks"] == []
    ET.parse(Path("gate") / "junit.xml")


def test_mistakes_are_usage_errors(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("required: [{address: '*', margn: 1}]")
    result = gate("good", "bad", "--policy", "wrong.yaml")
    assert result.exit_code == 2 and "did you mean 'margin'?" in result.stderr
    assert gate("nowhere", "bad").exit_code == 2
    assert gate("good", "bad", "--policy", "none.yaml").exit_code == 2
    assert not (tmp_path / "gate").exists()


@pytest.mark.parametrize("form", ["json", "csv", "md"])
def test_formats(gate: Gate, form: str) -> None:
    result = gate("good", "bad", "--format", form, "-q")
    assert result.exit_code == 1 and result.stderr == ""
    if form == "json":
        assert json.loads(result.stdout) == verdict()
    else:
        assert result.stdout.startswith("rule,tier," if form == "csv" else "## ❌ gate stops")


def test_github_is_told(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    result = gate("good", "bad")
    assert "::error title=m%3Aaccuracy/clean/top-1::regression: worse by" in result.stderr
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").startswith("## ❌ gate stops")


def test_an_anchor_of_the_policy_is_found_beside_it(
    gate: Gate, runs: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "rules"
    place.mkdir()
    shutil.copy(runs["pack"], place / "first.cbz")
    (place / "policy.yaml").write_text(POLICY + "anchor: first.cbz\n")
    result = gate("bad", "bad", "--policy", "rules/policy.yaml")
    assert result.exit_code == 1
    wrong = [c for c in verdict()["checks"] if c["outcome"] == "regression"]
    assert {check["against"] for check in wrong} == {"anchor"}
    judged = cb.gate(runs["bad"], runs["bad"], place / "policy.yaml")
    assert {c.against for c in judged.checks if c.outcome == "regression"} == {"anchor"}


def test_the_verdict_is_written_beside_the_candidate(
    gate: Gate, runs: dict[str, Path], tmp_path: Path
) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(runs["good"], candidate)
    result = CliRunner().invoke(
        application, ["gate", "--baseline", str(runs["pack"]), "--candidate", str(candidate),
                      "--policy", str(runs["policy"])],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert verdict(candidate / "gate")["outcome"] == "pass"
    assert gate("good", candidate).exit_code == 0  # the folder is no part of the run


@pytest.mark.parametrize("more", [(), ("--candidate", "bad")])
def test_the_first_policy_is_sound(
    runs: dict[str, Path], tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [str(runs.get(word, word)) for word in more]
    made = CliRunner().invoke(
        application, ["gate", "--init", "--baseline", str(runs["pack"]), *named]
    )
    assert made.exit_code == 0, made.output
    Path("policy.yaml").write_text(made.stdout)
    document = yaml.safe_load(made.stdout)
    assert [rule["address"] for rule in document["required"]] == ["*:accuracy/clean/top-1"]
    assert len(document["supporting"]) == 5
    judged = CliRunner().invoke(
        application, ["gate", "--baseline", str(runs["pack"]), "--candidate", str(runs["bad"]),
                      "--report", "gate"],
    )  # fmt: skip
    assert judged.exit_code in {1, 3}
    for check in verdict()["checks"]:
        if more:  # measured: no margin is smaller than what these samples show
            assert check["bound"] >= check["detectable"]


def test_schemas() -> None:
    for name in ("policy", "verdict"):
        result = CliRunner().invoke(application, ["schema", name])
        assert result.exit_code == 0
        assert json.loads(result.stdout)["title"].startswith("Crucibench gate")


def test_a_gate_needs_no_torch(runs: dict[str, Path], tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import json, sys

        blocked = set(sys.argv[1].split(","))

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in blocked:
                    raise ModuleNotFoundError(f"blocked: {name}", name=name)

        sys.meta_path.insert(0, Blocker())
        from click.testing import CliRunner
        from crucibench.cli._app import application

        baseline, candidate, pack, policy = sys.argv[2:]
        codes = [
            CliRunner().invoke(application, words.split("|")).exit_code
            for words in (
                f"gate|--baseline|{baseline}|--candidate|{candidate}|--policy|{policy}|--report|gate",
                f"gate|--baseline|{pack}|--candidate|{baseline}|--policy|{policy}|--report|gate",
                f"gate|--init|--baseline|{pack}",
                f"compare|{pack}|{candidate}",
                f"leaderboard|{baseline}",
                f"report|{candidate}",
                f"verify|{baseline}",
                f"pack|{candidate}|-o|again.cbz",
            )
        ]
        print(json.dumps(codes))
        """
    )
    named = [str(runs[name]) for name in ("good", "bad", "pack", "policy")]
    done = subprocess.run(
        [sys.executable, "-c", script, ",".join(BLOCKED), *named],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, 0, 0, 0, 0, 0, 0, 0]


def test_the_requirements_of_a_gate_are_those_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = set(project["project"]["dependencies"])
    lines = (ROOT / "requirements-gate.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    assert listed < wanted
    assert not any(line.startswith(BLOCKED) for line in listed)
    assert project["project"]["entry-points"]["pytest11"] == {
        "crucibench": "crucibench.pytest_plugin"
    }


def test_the_pytest_plugin_imports_nothing_until_it_gates() -> None:
    code = (
        "import sys, crucibench.pytest_plugin; "
        "print([n for n in sys.modules if n.startswith('crucibench')], 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['crucibench', 'crucibench.pytest_plugin'] False"
