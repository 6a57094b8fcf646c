"""Whole runs of served models, through the command line."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

import crucibench as cb

pytestmark = [pytest.mark.slow, pytest.mark.sockets]

TOKEN = "s3cr3t-value-9f2a"
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def spec(tmp_path: Path, server: Any) -> Callable[..., Path]:
    """Writes a spec of the served model on digits."""

    def write(query: str = "", defaults: dict[str, Any] | None = None, **model: Any) -> Path:
        path = tmp_path / "spec.yaml"
        document = {
            "defaults": {"limit": 200, "batch_size": 32, "replicates": 200} | (defaults or {}),
            "models": [{"name": "cnn", "uri": server.uri(query)} | model],
            "data": [{"name": "digits", "uri": "sklearn:digits"}],
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs the command line in a process of its own, with a worker."""

    def call(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        clean |= {"CRUCIBENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "crucibench", "run", "--workers", "1", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, env=clean | settings,
        )  # fmt: skip

    return call


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(tmp_path / "cache"))

    def call(*words: str) -> Result:
        from crucibench.cli._app import application

        return CliRunner().invoke(application, ["run", *words, "--suite", "accuracy"])

    return call


def _cells(folder: Path) -> dict[str, Any]:
    (run,) = (folder / "results").iterdir()
    files = [json.loads(path.read_text()) for path in run.glob("cells/*/cell.json")]
    return {f"{file['suite']}/{file['scenario']}": file for file in files}


def _everything(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_with_a_secret_in_a_header(
    server: Any, serving_digits: dict[str, Any], spec: Any, shell: Shell, tmp_path: Path,
    digits_model: Any,
) -> None:  # fmt: skip
    server.set(**serving_digits, authorization=f"Bearer {TOKEN}")
    path = spec(headers={"Authorization": "env:OIP_TOKEN", "User-Agent": "blue"})
    done = shell(str(path), "--suite", "accuracy", OIP_TOKEN=f"Bearer {TOKEN}")
    assert done.returncode == 0, done.stderr
    seen = server.seen()
    assert {entry["User-Agent"] for entry in seen["headers"]} == {"blue"}
    assert "Requests to servers, about" in done.stderr
    assert all(cell["status"] == "ok" for cell in _cells(tmp_path).values())
    # The same model here gives the same numbers.
    (tmp_path / "local").mkdir()
    served = cb.load(next((tmp_path / "results").iterdir()))
    here = cb.run(
        models={"cnn": digits_model}, data="sklearn:digits", suites=["accuracy"],
        defaults={"limit": 200, "batch_size": 32, "replicates": 200}, out=tmp_path / "local",
        workers=0, cache=False,
    )  # fmt: skip
    numbers = [
        found.metrics().set_index(["scenario", "metric", "point", "group"])["value"]
        for found in (served, here)
    ]
    both = numbers[0].dropna().index.intersection(numbers[1].dropna().index)
    assert len(both) > 10
    exact = [entry for entry in both if entry[1] == "top-1"]
    assert exact and (numbers[0][exact] == numbers[1][exact]).all()
    assert np.allclose(numbers[0][both], numbers[1][both], atol=1e-4)
    for text in (done.stdout.encode(), done.stderr.encode(), _everything(tmp_path)):
        assert TOKEN.encode() not in text


def test_a_server_that_repeats_the_secret_in_all_it_says(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OIP_TOKEN", f"Bearer {TOKEN}")
    said = f"no: Bearer {TOKEN} and {TOKEN}"
    path = spec(headers={"Authorization": "env:OIP_TOKEN"})
    for config in (
        {"authorization": "another"},
        {"server_text": said},
        {"inputs": [{"name": said, "datatype": "INT64", "shape": [3]}]},
        {"outputs": [{"name": said, "datatype": said, "shape": [3]}]},
        {"parameters": {"labels": [said] * 10}},
        {"refuse": {"status": 400, "times": 10_000, "body": {"error": said}}},
        {"garbage": said},
        {"entry": {"name": said}},
    ):
        server.set(**serving_digits | config)
        done = run(str(path), "--fresh")
        assert done.exit_code == 2, done.output
        for text in (done.output.encode(), _everything(tmp_path)):
            assert TOKEN.encode() not in text, config
    # Once the run is under way, the sentence is in the cell's file.
    refuse = {"status": 400, "times": 10_000, "after_requests": 20, "body": {"error": said}}
    server.set(**serving_digits | {"refuse": refuse})
    done = run(str(path), "--fresh")
    assert done.exit_code == 4, done.output
    assert "answers 400: no: *** and ***" in _cells(tmp_path)["pass/test"]["reason"]
    for text in (done.output.encode(), _everything(tmp_path)):
        assert TOKEN.encode() not in text


CANARY = "Qx7vPlanted2Kd9Canary4Zm"


def _texts(path: Path) -> list[str]:
    """Returns all that a file says: tables decoded, archives opened."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(content))
        return [repr(table.to_pydict()), repr(table.schema)]
    if zipfile.is_zipfile(path):
        texts = []
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                inner = path.with_name(f"{path.name}-inner{Path(name).suffix}")
                inner.write_bytes(archive.read(name))
                texts += _texts(inner)
                inner.unlink()
        return texts
    return [content.decode(errors="replace")]


def _shows(text: str) -> list[str]:
    """Returns the fragments of the canary, 40 bits or more of it, that a text shows."""
    forms = [CANARY, CANARY.upper(), CANARY.lower()]
    forms += [form[::-1] for form in forms]
    for form in tuple(forms):
        forms += [base64.b64encode(b"\0" * before + form.encode()).decode()[(0, 2, 3)[before]:-4]
                  for before in range(3)]  # fmt: skip
    windows = {form[at : at + 7] for form in forms for at in range(len(form) - 6)}
    windows |= {CANARY.encode().hex()[at : at + 10] for at in range(2 * len(CANARY) - 9)}
    return sorted(window for window in windows if window in text)


def test_no_form_of_a_secret_is_left_anywhere(
    server: Any, serving_digits: dict[str, Any], spec: Any, shell: Shell, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from crucibench.cli._app import application

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBENCH_CACHE", str(tmp_path / "cache"))
    data = CANARY.encode()
    said = " ".join(
        [
            CANARY, CANARY.upper(), CANARY[::-1], CANARY[:12], CANARY[5:15], data.hex(),
            base64.b64encode(data).decode(), base64.urlsafe_b64encode(b"x" + data).decode(),
            base64.b64encode(data.upper()).decode(), base64.b64encode(data[::-1]).decode(),
        ]
    )  # fmt: skip
    assert _shows(said) and not _shows("the quick brown fox")
    about = json.dumps({"name": said, "version": said, "extensions": []})
    path = spec(headers={"Authorization": "Bearer env:OIP_TOKEN"})
    served = serving_digits | {"server_text": about, "authorization": f"Bearer {CANARY}"}
    printed = []

    def call(*words: str) -> int:
        done = CliRunner().invoke(application, words)
        printed.extend((done.stdout, done.stderr))
        return done.exit_code

    server.set(**served)
    done = shell(str(path), "--suite", "accuracy", OIP_TOKEN=CANARY)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results").iterdir()
    for words in (
        ("pack", str(run), "-o", "one.cbz"), ("publish", "--bundle", "one.zip", str(run)),
        ("report", str(run), "-o", "again.html"), ("show", str(run), "--metrics"),
        ("publish", "--site", "site", str(run)),
    ):  # fmt: skip
        assert call(*words) == 0, printed[-1]
    # A failed run, and a crash of the worker, while the server repeats it in its errors.
    refuse = {"status": 400, "times": 10_000, "after_requests": 20, "body": {"error": said}}
    server.set(**served | {"refuse": refuse})
    failed = shell(str(path), "--suite", "accuracy", "--fresh", OIP_TOKEN=CANARY)
    assert failed.returncode == 4, failed.stderr
    assert "***" in _cells(tmp_path)["pass/test"]["reason"]
    call("show", str(run))
    server.set(**served | {"authorization": said})
    refused = shell(str(path), "--suite", "accuracy", "--fresh", OIP_TOKEN=CANARY)
    assert refused.returncode == 2
    for one in (done, failed, refused):
        printed.extend((one.stdout, one.stderr))
    left = {f"output {number}": text for number, text in enumerate(printed)}
    for file in [file for file in tmp_path.rglob("*") if file.is_file()]:
        left |= {f"{file} {number}": text for number, text in enumerate(_texts(file))}
    assert any(name.split()[0].endswith("again.html") for name in left)
    assert {name: found for name, text in left.items() if (found := _shows(text))} == {}


def test_mistakes_before_anything_is_asked(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path
) -> None:
    server.set(**serving_digits)
    done = run(str(spec(headers={"Authorization": "env:OIP_TOKEN_NOT_SET"})))
    assert done.exit_code == 2
    assert "environment variable OIP_TOKEN_NOT_SET is not set" in done.stderr
    done = run(str(spec(headers={"X-Api-Key": TOKEN})))
    assert done.exit_code == 2 and TOKEN not in done.stderr + done.stdout
    assert "write X-Api-Key: env:X_API_KEY and export the value as X_API_KEY" in done.stderr
    path = spec(uri=server.uri().replace("//", f"//bob:{TOKEN}@"))
    done = run(str(path))
    assert done.exit_code == 2 and TOKEN not in done.stderr + done.stdout
    assert "the address holds a user name or a password" in done.stderr
    assert server.seen()["requests"] == 0
    assert not (tmp_path / "results").exists()


def test_a_model_that_changes_midway(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path
) -> None:
    # 46 requests go by before the first shard; each shard takes two.
    server.set(**serving_digits, change_after=51)
    done = run(str(spec()))
    assert done.exit_code == 4, done.stderr
    cell = _cells(tmp_path)["pass/test"]
    assert cell["status"] == "failed" and "answers its probe batch in another way" in cell["reason"]
    assert [finding["code"] for finding in cell["findings"]] == ["model-changed"]


def test_a_server_that_fails_now_and_then_changes_nothing(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path, clock: Any
) -> None:
    refuse = {"status": 503, "times": 3, "body": {"error": "starting"}, "after": "0"}
    server.set(**serving_digits, drop_every=25, refuse=refuse)
    done = run(str(spec(remote={"concurrency": 1})))
    assert done.exit_code == 0, done.stderr
    assert all(cell["status"] == "ok" for cell in _cells(tmp_path).values())


def test_too_many_requests_for_the_plan(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path
) -> None:
    server.set(**serving_digits)
    done = run(str(spec(remote={"max_requests": 50})))
    assert done.exit_code == 2
    assert "model 'cnn': the plan needs about " in done.stderr
    assert "remote.max_requests allows 50: nothing was collected" in done.stderr
    assert server.seen()["requests"] < 5 and not list(tmp_path.glob("results/*/cells/*"))
    dry = run(str(spec(remote={"max_requests": 50})), "--dry-run", "--format", "json")
    assert dry.exit_code == 0, dry.stderr
    (planned,) = json.loads(dry.stdout)["requests"]
    assert planned["max_requests"] == 50 and planned["batch"] == 32
    # What the plan says is what it takes, and a little more: not every probe is always asked.
    server.set(**serving_digits)
    done = run(str(spec(remote={"max_requests": planned["requests"]})))
    assert done.exit_code == 0, done.stderr
    # A model that is right is not asked what would mend it.
    assert 0.4 * planned["requests"] <= server.seen()["requests"] <= planned["requests"]


def test_the_requests_run_out(
    server: Any, serving_digits: dict[str, Any], spec: Any, run: Any, tmp_path: Path, clock: Any
) -> None:
    # Nobody can plan for retries: every answer but the first takes two requests.
    server.set(**serving_digits)
    few = ("--limit", "32")  # of many, most that is planned would be asked of a wrong model alone
    dry = run(str(spec(remote={"max_requests": 200})), *few, "--dry-run", "--format", "json")
    (planned,) = json.loads(dry.stdout)["requests"]
    most = planned["requests"]
    server.set(**serving_digits, drop_every=2)
    done = run(str(spec(remote={"max_requests": most, "concurrency": 1})), *few)
    assert done.exit_code == 4, done.stderr
    cell = _cells(tmp_path)["pass/test"]
    assert cell["status"] == "failed"
    assert f"remote.max_requests: {most} requests have been sent" in cell["reason"]
    assert server.seen()["requests"] == most


def test_the_example_of_the_page(
    server: Any, run: Any, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "docs" / "adapters" / "oip.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    address = "oip:https://tox.example/v2/models/tox"
    assert address in example
    (tmp_path / "served.yaml").write_text(example.replace(address, server.uri(model="tox")))
    rows = [f"{'e' * (row % 3)} text {row},{'rude' if row % 3 else 'kind'}" for row in range(60)]
    (tmp_path / "comments.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    server.set(
        name="tox", weights=[[0.0, 0.0], [0.0, 1.0]], bias=[0.0, -0.5],
        inputs=[{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        parameters={"labels": ["kind", "rude"]}, authorization=TOKEN,
    )  # fmt: skip
    monkeypatch.setenv("TOX_TOKEN", TOKEN)
    done = run("served.yaml")
    assert done.exit_code == 0, done.output
    assert "20000" in done.output.replace(",", "") and clock.waits
