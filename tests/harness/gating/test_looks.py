from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import crucibench as cb
from crucibench.cli._app import application
from crucibench.engine.listener import Listener
from crucibench.gating.looks import looked_verdict
from crucibench.gating.policy import parse_policy
from crucibench.gating.result import Outcome
from crucibench.integrity.verify import verify
from crucibench.util.draws import order_key
from crucibench.util.errors import InputError

TOP_1 = "*:accuracy/clean/top-1"
N = 4000


class Killed(Listener):
    """Ends the process, as it were, at a look."""

    def __init__(self, at: str) -> None:
        self.at = at

    def note(self, message: str) -> None:
        if message.startswith(f"asked {self.at} "):
            raise KeyboardInterrupt


@pytest.fixture
def looked(tmp_path: Path, drawn: Any, logged_run: Any) -> Any:
    """Makes a run of a baseline and candidates, by their skills, that stops once it is decided."""

    def make(skills: list[float], rule: dict[str, Any], folder: str = "run", **more: Any) -> Any:
        targets, scores = drawn(skills, N)
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        (where / "policy.yaml").write_text(yaml.safe_dump({"required": [rule]}))
        defaults = {"until_decided": str(where / "policy.yaml"), **more.pop("defaults", {})}
        return logged_run(where, targets, scores, defaults=defaults, **more)

    return make


@pytest.mark.parametrize(
    ("skills", "rule", "outcome"),
    [
        ([1.0, 1.3], {"address": TOP_1, "margin": 0.03}, Outcome.PASS),
        ([1.0, 1.3], {"address": TOP_1, "margin": "3%"}, Outcome.PASS),
        ([1.0, 0.3], {"address": TOP_1, "margin": 0.03}, Outcome.REGRESSION),
        ([1.0, 0.5], {"address": TOP_1, "no_worse": True, "detect": 0.05}, Outcome.REGRESSION),
        ([1.0, 1.0], {"address": TOP_1, "floor": 0.6}, Outcome.PASS),
        ([1.0, 1.5], {"address": "*:accuracy/clean/log-loss", "margin": 0.1}, Outcome.PASS),
        ([1.0, 0.2], {"address": "*:accuracy/clean/brier*", "margin": 0.02}, Outcome.REGRESSION),
        ([1.0, 1.0], {"address": TOP_1, "margin": 0.003}, Outcome.INCONCLUSIVE),
    ],
)
def test_a_run_stops_once_its_rule_is_decided(
    looked: Any, skills: list[float], rule: dict[str, Any], outcome: Outcome
) -> None:
    run = looked(skills, rule)
    verdict = looked_verdict(run, parse_policy({"required": [rule]}, "policy"))
    (check,) = verdict.checks
    assert verdict.outcome is check.outcome is outcome
    samples = run.samples("d", "test")
    n = len(samples)
    assert check.n == n and (n == N) == (outcome is Outcome.INCONCLUSIVE)
    # The samples are those of the smallest hashes, in their order, and the numbers are of them.
    keys = [order_key(0, name) for name in samples.ids]
    assert keys == sorted(keys)
    rows = run.metrics().query("metric == 'top-1' and group == ''")
    assert set(rows.n) == {n} and verify(run) == []
    if check.baseline is not None and "top-1" in check.address:
        stored = rows.set_index("model").value
        assert [check.baseline, check.candidate] == pytest.approx(list(stored[["net", "net-1"]]))
        assert check.lower <= check.gain <= check.upper


def test_a_run_that_is_killed_at_a_look_ends_as_one_that_is_not(
    looked: Any, tmp_path: Path
) -> None:
    rule = {"address": TOP_1, "margin": 0.03}
    whole = looked([1.0, 1.05], rule, "whole")
    n = len(whole.samples("d", "test"))
    blocks = len(list(whole.root.glob("cells/net.d.pass-test*/records-*.parquet")))
    block = n // blocks
    spec = whole.root / "spec.yaml"
    for at in (f"{block:,}", f"{n - block:,}"):
        with pytest.raises(KeyboardInterrupt):
            cb.run(spec, out=tmp_path / "again", listener=Killed(at))
        assert len(list(tmp_path.glob("again/*/cells/net.*/records-*.parquet"))) < blocks
    again = cb.run(spec, out=tmp_path / "again")
    names = [path.relative_to(whole.root) for path in whole.root.glob("cells/*/*.parquet")]
    assert len(names) > 2 * blocks
    for name in (*names, Path("metrics.parquet"), Path("looks.json")):
        assert (again.root / name).read_bytes() == (whole.root / name).read_bytes()


def test_a_run_that_stopped_is_compared_by_its_looks_alone(looked: Any) -> None:
    run = looked([1.0, 1.3], {"address": TOP_1, "margin": 0.03})
    verdict = cb.gate(run, run, {"required": [{"address": TOP_1, "margin": 0.03}]})
    assert verdict.outcome is Outcome.INVALID and "its own policy" in verdict.errors[0]
    assert "its policy was decided" in cb.compare(run, run, models={"net-1": "net"}).notes[0]
    assert "its policy was decided" in (run.root / "report.html").read_text()


@pytest.mark.parametrize(
    ("rule", "more", "message"),
    [
        ({"address": "*:shift/*/top-1", "margin": 0.1}, {}, "no candidate has a number"),
        ({"address": "net:accuracy/clean/top-1", "margin": 0.1}, {}, "no candidate has a number"),
        ({"address": TOP_1, "margin": 0.1}, {"defaults": {"limit": 100}}, "without a limit"),
        ({"address": TOP_1, "margin": -1}, {}, "expected more than 0"),
    ],
)
def test_what_no_look_could_decide_is_refused_before_anything_is_asked(
    looked: Any, rule: dict[str, Any], more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        looked([1.0, 1.0], rule, **more)
    assert not list(tmp_path.glob("run/out/*/cells"))


def test_the_command_exits_as_the_gate_does(looked: Any, tmp_path: Path) -> None:
    looked([1.0, 0.3], {"address": TOP_1, "margin": 0.03})
    folder = tmp_path / "run"

    def call(*options: str) -> Result:
        models = [f"{name}=predictions:{folder}/{name}.csv?id=row&scores=a,b"
                  for name in ("net-0", "net-1")]  # fmt: skip
        return CliRunner().invoke(
            application,
            ["run", *(part for one in models for part in ("--model", one)), "--data",
             f"d=csv:{folder}/data.csv?target=y&id=row", "--suite", "accuracy", "--out",
             str(tmp_path / "out"), "--until-decided", str(folder / "policy.yaml"), *options],
        )  # fmt: skip

    for _ in range(2):  # a finished run tells it again
        done = call()
        assert done.exit_code == 1 and "regression" in done.stderr
    assert list(tmp_path.glob("out/*/gate/verdict.json"))
    assert call("--shard", "1/2").exit_code == 2
