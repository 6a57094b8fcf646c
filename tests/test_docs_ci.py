"""The examples of docs/ci.md, executed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucibench.gating.policy import parse_policy
from crucibench.util.untrusted.yaml_text import parse_yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
FILES = dict(re.findall(r"`([\w./]+)`\n\n```(?:python|yaml)\n(.*?)```", TEXT, re.DOTALL))
FIRST, AFTER = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy repository with its baseline and its policy."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("model.py", "crucibench.yaml", "test_model.py"):
        (folder / name).write_text(FILES[name], encoding="utf-8")
    binaries = folder.parent / "bin"
    binaries.mkdir(exist_ok=True)
    for name, arguments in (("crucibench", "-m crucibench"), ("python", "")):
        program = binaries / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    done = _shell(folder, FIRST)
    assert done.returncode == 0, done.stderr
    return folder


def _shell(folder: Path, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**clean, "PATH": path, "CRUCIBENCH_CACHE": str(folder / ".cache"), **settings},
    )  # fmt: skip


WORSE = 'cells["mean radius"] - 15'


def _model(folder: Path, evidence: str | None) -> None:
    text = FILES["model.py"]
    if evidence is not None:
        text, count = re.subn(r"evidence = .*", f"evidence = {evidence}", text)
        assert count == 1
    (folder / "model.py").write_text(text, encoding="utf-8")


def test_by_hand(repository: Path) -> None:
    # A refactoring: other source, the same answers up to float noise.
    _model(repository, '40 * cells["worst concave points"] + cells["worst radius"] - (16.8 + 5.6)')
    same = _shell(repository, AFTER)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "gate passes" in same.stderr
    _model(repository, WORSE)
    worse = _shell(repository, AFTER)
    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert "gate stops" in worse.stderr and "regression" in worse.stderr
    stated = re.search(r"regression   tumour:accuracy/clean/top-1(.*?)```", TEXT, re.DOTALL)
    assert stated is not None
    said = " ".join(stated[1].split())
    assert said in " ".join(worse.stdout.split())


@pytest.mark.thorough
def test_a_small_test_set_is_inconclusive_with_the_n_it_needs(repository: Path) -> None:
    _model(repository, None)
    policy = "required: [{address: '*:accuracy/clean/top-1', margin: 0.01}]"
    (repository / "strict.yaml").write_text(policy)
    (repository / "small.yaml").write_text(
        FILES["crucibench.yaml"] + "defaults: {limit: 200}\n", encoding="utf-8"
    )
    run = "crucibench run small.yaml -q --out small > small.txt"
    assert (
        _shell(repository, f"{run} && crucibench pack latest --out small -o s.cbz").returncode == 0
    )
    _model(repository, 'cells["worst radius"] - 16.7 + 39 * (cells["worst concave points"] - 0.14)')
    done = _shell(
        repository,
        f"{run}; crucibench gate --baseline s.cbz --policy strict.yaml --out small --format json",
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (check,) = json.loads(done.stdout)["checks"]
    assert check["n"] == 200 and check["n_needed"] > 200
    assert "200 samples show" in check["message"]
    assert f"needs about {check['n_needed']:,}" in check["message"]


def test_the_policy_of_the_page_judges_the_run_of_the_page(repository: Path) -> None:
    (text,) = re.findall(r"```yaml policy\n(.*?)```", TEXT, re.DOTALL)
    assert len(parse_policy(parse_yaml(text, "ci.md"), "ci.md").rules()) == 5
    (repository / "page.yaml").write_text(text, encoding="utf-8")
    done = _shell(
        repository,
        "crucibench gate --baseline baseline.cbz --candidate baseline.cbz --policy page.yaml "
        "--report page --format json",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["counts"] == {"pass": 6}
    assert "smaller model, agreed in review" in done.stderr


@pytest.mark.thorough
def test_pytest(repository: Path) -> None:
    command = (
        "python -m pytest -p crucibench.pytest_plugin -p no:cacheprovider test_model.py "
        "--crucibench-baseline baseline.cbz --crucibench-out results"
    )
    settings = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    _model(repository, None)
    done = _shell(repository, command, **settings)
    assert done.returncode == 0, done.stdout
    _model(repository, WORSE)
    done = _shell(repository, command, **settings)
    assert done.returncode == 1, done.stdout
    assert "gate stops" in done.stdout and "worse by 6.3 points" in done.stdout
    assert "Traceback" not in done.stdout
    without = _shell(repository, command.partition("--crucibench-baseline")[0], **settings)
    assert without.returncode == 0 and "1 skipped" in without.stdout


def test_the_workflow_uses_inputs_that_the_action_has() -> None:
    workflow = yaml.safe_load(FILES[".github/workflows/model.yml"])
    step = workflow["jobs"]["gate"]["steps"][-1]
    assert step["uses"].startswith("crucibench/crucibench@")
    assert set(step["with"]) <= set(ACTION["inputs"])
    needed = {name for name, entry in ACTION["inputs"].items() if entry.get("required")}
    assert needed <= set(step["with"])


def _step(name: str) -> dict[str, Any]:
    (step,) = [step for step in ACTION["runs"]["steps"] if step["name"] == name]
    found: dict[str, Any] = step
    return found


def _run_step(folder: Path, name: str, inputs: dict[str, str], **settings: str) -> Any:
    step = _step(name)
    values = {key: entry.get("default", "") for key, entry in ACTION["inputs"].items()} | inputs
    environment = {}
    for key, value in step.get("env", {}).items():
        (place,) = re.findall(r"^\$\{\{ (.+) \}\}$", value)
        environment[key] = values[place.removeprefix("inputs.")] if "inputs." in place else "7"
    return _shell(folder, step["run"], **environment, **settings)


@pytest.mark.parametrize(
    ("evidence", "fail_on", "outcome", "code"),
    [
        pytest.param(
            None, "regression inconclusive invalid", "pass", 0, marks=pytest.mark.thorough
        ),
        (WORSE, "regression,invalid", "regression", 1),
        pytest.param(WORSE, "never", "regression", 0, marks=pytest.mark.thorough),
    ],
)
def test_the_steps_of_the_action(
    repository: Path, tmp_path: Path, evidence: str | None, fail_on: str, outcome: str, code: int
) -> None:
    _model(repository, evidence)
    inputs = {"spec": "crucibench.yaml", "baseline": "baseline.cbz", "fail-on": fail_on}
    ran = _run_step(repository, "Run", inputs)
    assert ran.returncode == 0, ran.stderr
    output, summary = tmp_path / "output", tmp_path / "summary"
    gated = _run_step(
        repository, "Gate", inputs, GITHUB_OUTPUT=str(output), GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert gated.returncode == 0, gated.stderr
    assert f"outcome={outcome}\n" in output.read_text()
    assert summary.read_text(encoding="utf-8").startswith("## ")
    assert ("::error title=tumour" in gated.stdout + gated.stderr) == (outcome == "regression")
    assert _run_step(repository, "Verdict", inputs).returncode == code


def test_a_mistake_in_the_policy_fails_the_action(repository: Path, tmp_path: Path) -> None:
    (repository / "wrong.yaml").write_text("required: [{address: x}]")
    inputs = {"baseline": "baseline.cbz", "candidate": "baseline.cbz", "policy": "wrong.yaml"}
    gated = _run_step(repository, "Gate", inputs, GITHUB_OUTPUT=str(tmp_path / "output"))
    assert gated.returncode == 2 and "expected margin, no_worse or floor" in gated.stderr
    (repository / "crucibench-gate").mkdir(exist_ok=True)
    (repository / "crucibench-gate" / "verdict.json").write_text('{"blocking": []}')
    assert _run_step(repository, "Verdict", {"fail-on": "regresion"}).returncode == 1


@pytest.mark.parametrize("before", ["", "42"])
def test_the_comment_is_updated_in_place(repository: Path, before: str, tmp_path: Path) -> None:
    folder = repository / "crucibench-gate"
    folder.mkdir(exist_ok=True)
    (folder / "comment.md").write_text("x")
    log = tmp_path / "log"
    gh = repository.parent / "bin" / "gh"
    gh.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *paginate*) echo "{before}";; esac\n'
    )
    gh.chmod(0o755)
    done = _run_step(repository, "Comment", {}, GITHUB_REPOSITORY="o/r")
    assert done.returncode == 0, done.stderr
    *_, last = log.read_text().splitlines()
    wanted = "PATCH repos/o/r/issues/comments/42" if before else "POST repos/o/r/issues/7/comments"
    assert wanted in last and "body=@crucibench-gate/comment.md" in last


def test_inputs_of_others_are_never_part_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
