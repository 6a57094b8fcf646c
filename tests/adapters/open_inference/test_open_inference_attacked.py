"""A served model under attack: only with its owner's leave, within what the plan said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from crucibench.cli._app import application

pytestmark = pytest.mark.sockets

SAMPLES, QUERIES = 3, 12


def attacked(server: Any, folder: Path, *words: str, **remote: Any) -> Result:
    """Runs the suite on the served model through the command line."""
    document = {
        "defaults": {"limit": SAMPLES, "batch_size": 4, "replicates": 100},
        "models": [{"name": "box", "uri": server.uri(), "remote": {"concurrency": 1} | remote}],
        "data": [{"name": "digits", "uri": "sklearn:digits"}],
        "suites": {"adversarial": {"eps": [0.1, 0.4], "queries": QUERIES}},
    }
    folder.mkdir(exist_ok=True)
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(document), encoding="utf-8")
    options = ("--suite", "adversarial", "--workers", "0", "--no-cache", "--out", str(folder))
    return CliRunner().invoke(application, ["run", str(spec), *options, *words])


def planned(server: Any, folder: Path, **remote: Any) -> int:
    """Returns how many requests the plan says there can be at most."""
    done = attacked(server, folder, "--dry-run", "--format", "json", **remote)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["requests"]
    return int(found["requests"])


def cells(folder: Path) -> dict[str, Any]:
    files = [json.loads(path.read_text()) for path in folder.glob("*/cells/*/cell.json")]
    return {f"{file['suite']}/{file['scenario']}": file for file in files}


def test_a_served_model_is_attacked_with_leave_alone(
    server: Any, serving_digits: dict[str, Any], tmp_path: Path
) -> None:
    server.set(**serving_digits)
    without = planned(server, tmp_path)
    allowed = planned(server, tmp_path, intensive=True)
    # Square at two radii, HopSkipJump and restoring, each with what confirms an example.
    attacks = SAMPLES * (2 * (QUERIES + 2) + 2 * (QUERIES + 1))
    assert attacks <= allowed - without <= attacks + 50
    server.set(**serving_digits)
    refused = attacked(server, tmp_path / "refused")
    assert refused.exit_code == 0, refused.output
    found = cells(tmp_path / "refused")
    for name in ("adversarial/square-linf", "adversarial/hopskipjump-linf"):
        assert found[name]["status"] == "skipped"
        assert "remote: {intensive: true}" in found[name]["reason"]
    assert server.seen()["requests"] <= without


def test_it_is_attacked_within_what_the_plan_said(
    server: Any, serving_digits: dict[str, Any], tmp_path: Path
) -> None:
    server.set(**serving_digits)
    allowed = planned(server, tmp_path, intensive=True)
    server.set(**serving_digits)
    beyond = attacked(server, tmp_path / "beyond", intensive=True, max_requests=allowed - 1)
    assert beyond.exit_code == 2
    assert f"the plan needs about {allowed} requests" in beyond.output
    assert server.seen()["requests"] < 5
    assert not cells(tmp_path / "beyond")
    server.set(**serving_digits)
    done = attacked(server, tmp_path / "done", intensive=True, max_requests=allowed)
    assert done.exit_code == 0, done.output
    found = cells(tmp_path / "done")
    for name in ("adversarial/square-linf", "adversarial/hopskipjump-linf"):
        assert found[name]["status"] == "ok"
    seen = server.seen()["requests"]
    assert SAMPLES * QUERIES < seen <= allowed
