"""Local data is read without a socket, and sources are cheap to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

READ = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")

class Socket(socket.socket):
    __init__ = refuse

socket.socket = Socket
socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.data.sources.{module} import {source}

assert "datasets" not in sys.modules
base = Path({base!r})
uri = parse_uri({uri!r})
opening = DataOpening(name="d", uri=uri, base=base, scratch=base / "cache")
data = open_data({source}(), opening)
data.batch("test", range(2), InputSpec())
import datasets
assert datasets.config.HF_HUB_OFFLINE and not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
print(data.card.counts)
"""


def run(code: Any, **environment: Any) -> Any:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "source", "uri"),
    [
        ("csv", "CsvSource", "csv:data.csv?target=y"),
        ("sklearn_bundled", "SklearnSource", "sklearn:digits"),
    ],
)
def test_no_socket(tmp_path: Path, module: Any, source: Any, uri: str) -> None:
    (tmp_path / "data.csv").write_text("a,y\n1,p\n2,q\n")
    code = READ.format(module=module, source=source, uri=uri, base=str(tmp_path))
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "'test': " in done.stdout


def test_the_users_switches_are_left_alone() -> None:
    code = (
        "from crucibench.data.hub import import_datasets\n"
        "import os\n"
        "library = import_datasets()\n"
        "print(library.config.HF_HUB_OFFLINE, os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    )
    assert run(code).stdout.split() == ["True", "1"]
    assert run(code, HF_DATASETS_OFFLINE="0").stdout.split() == ["False", "1"]
