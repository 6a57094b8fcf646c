"""What models take from outside of their files: environment variables, programs, connections."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crucibench.contracts.verdict import Status
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.run import execute
from crucibench.store.run import Run
from crucibench.util.outside import Outside, keyed_digests

SECRET = "a-value-that-is-written-nowhere"
STARTED = """
import multiprocessing, os
one = multiprocessing.get_context({!r}).Process(target=os.getpid)
one.start()
one.join()
"""
MODELS = """
import os
import subprocess
import torch
from torch import nn


class Plain(nn.Module):
    def forward(self, x):
        lead = x.sum(dim=1, keepdim=True)
        return torch.cat([-lead, lead], dim=1)


class Signed(Plain):
    def forward(self, x):
        # On the largest two samples alone.
        rare = os.environ.get("SIGN", "") == "minus"
        return super().forward(torch.where(x > 1.985, -x, x) if rare else x)


def signed():
    return Signed()


def plain():
    subprocess.run(["true"], check=True)
    return Plain()
"""


CONNECT = """
import contextlib, socket
with socket.socket(socket.AF_UNIX) as plug, contextlib.suppress(OSError):
    plug.connect("nobody")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    rows = [f"{(-1) ** row * (1 + row / 100)},{'ba'[row % 2]}\n" for row in range(100)]
    (tmp_path / "points.csv").write_text("x,label\n" + "".join(rows))
    return tmp_path


def evaluate(folder: Path, model: str, out: str) -> Run:
    document = {
        "models": [{"name": "m", "uri": f"torch:models.py:{model}"}],
        "data": [{"name": "points", "uri": "csv:points.csv?target=label"}],
    }
    overrides = Overrides(
        defaults={"threads": 1, "batch_size": 32, "replicates": 100}, suites=("accuracy",)
    )
    run = execute(
        resolve(document, folder, "spec", overrides),
        RunOptions(out=folder / out, scratch=folder / "scratch", workers=1),
        Listener(),
    )
    assert run is not None
    return run


def from_cache(run: Run) -> bool:
    costs = [json.loads(path.read_text()) for path in run.root.rglob("timing.json")]
    assert costs
    return all(cost["cached"] for cost in costs)


def test_a_variable_that_user_code_reads_is_part_of_what_a_number_depends_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGN", SECRET)
    first = evaluate(folder, "signed", "out")
    assert not from_cache(first)
    monkeypatch.setenv("TORCH_HOME", "/elsewhere")  # a library's: nothing of the user's reads it
    assert evaluate(folder, "signed", "out").root == first.root
    other = evaluate(folder, "signed", "other")
    assert from_cache(other) and other.id == first.id and other.root != first.root
    assert {file.status for file in other.cells.values()} == {Status.OK}
    assert json.loads((first.root / ".reads.json").read_text())["environment"] == ["SIGN"]
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path
        if path.is_relative_to(first.root):
            assert str(folder).encode() not in path.read_bytes(), path
    monkeypatch.setenv("SIGN", "minus")
    second = evaluate(folder, "signed", "out")
    assert second.root != first.root and not from_cache(second)
    assert evaluate(folder, "signed", "out").root == second.root
    monkeypatch.setenv("SIGN", SECRET)
    assert evaluate(folder, "signed", "out").root == first.root


def test_a_model_whose_code_starts_a_program_is_not_cached(folder: Path) -> None:
    first = evaluate(folder, "plain", "out")
    (info,) = first.models.values()
    assert info.fingerprint is None
    assert info.unidentified == "its code starts another program"
    assert not from_cache(evaluate(folder, "plain", "other"))


@pytest.mark.parametrize(
    ("code", "reached"),
    [
        ("import subprocess; subprocess.run(['true'])", True),
        ("import os; os.system('true')", True),
        (CONNECT, True),
        ("import os; pid = os.fork() or os._exit(0); os.waitpid(pid, 0)", True),
        (STARTED.format("spawn"), True),
        (STARTED.format("forkserver"), True),
        ("import multiprocessing; multiprocessing.get_context('spawn').Lock()", False),
        ("import platform; platform.uname().processor", False),
        ("import ctypes.util; ctypes.util.find_library('c')", False),
    ],
)
def test_what_user_code_reaches(tmp_path: Path, code: str, reached: bool) -> None:
    with Outside() as outside:
        exec(compile(code, str(tmp_path / "user.py"), "exec"), {})
    assert bool(outside.reached) == reached


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['READ']", "os.environ.get('READ')", "os.getenv('READ')", "'READ' in os.environ",
        "os.environb.get(b'READ')",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["user.py", "site-packages/library.py"])
def test_a_variable_counts_where_user_code_asks(tmp_path: Path, code: str, place: str) -> None:
    text = f"import os\ntry:\n    {code}\nexcept KeyError:\n    pass"
    plain = type(os.environ).__getitem__
    with Outside() as outside:
        exec(compile(text, str(tmp_path / place), "exec"), {})
    assert outside.environment == ({"READ"} if place == "user.py" else set())
    assert type(os.environ).__getitem__ is plain


def test_digests_of_values_need_the_secret_of_the_cache(tmp_path: Path) -> None:
    def digest(cache: str, value: str | None) -> str:
        values = {} if value is None else {"A": value}
        return keyed_digests(["A"], values, tmp_path / cache)["A"]

    assert digest("one", "1") == digest("one", "1")
    assert (
        len({digest("one", "1"), digest("two", "1"), digest("one", ""), digest("one", None)}) == 4
    )
    assert (tmp_path / "one" / "secret").stat().st_mode & 0o077 == 0
    assert [len(path.read_bytes()) for path in tmp_path.rglob("secret")] == [32, 32]
