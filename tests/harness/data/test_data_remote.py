"""Tables behind an address: fetched once for each version, and only if the address names them."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from crucibench.util.errors import InputError

READ = """
from pathlib import Path
import sys
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.data.sources.tables import CsvSource
from crucibench.util.errors import InputError

uri, base = parse_uri(sys.argv[1]), Path(sys.argv[2])
try:
    print(len(CsvSource.sources(uri, base).facts))
    data = open_data(CsvSource(), DataOpening(name="d", uri=uri, base=base, scratch=base))
    print(dict(data.card.counts), data.samples("test").targets.tolist())
except InputError as error:
    print("InputError", error)
"""


class _Files(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.csv").write_text("a,y\n1,p\n2,q\n3,p\n")
    _Files.asked = []
    handler = functools.partial(_Files, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def read(uri: str, base: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READ, uri, str(base)],
        env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.sockets
def test_a_file_behind_an_address(server: str, tmp_path: Path) -> None:
    uri = f"csv:{server}/a.csv?target=y"
    assert read(uri, tmp_path).splitlines() == ["1", "{'test': 3} [0, 1, 0]"]
    before = len(_Files.asked)
    assert read(uri, tmp_path).splitlines()[1] == "{'test': 3} [0, 1, 0]"
    assert len(_Files.asked) == before  # the same version is not fetched again
    (tmp_path / "served/a.csv").write_text("a,y\n1,q\n2,q\n3,p\n4,p\n")
    os.utime(tmp_path / "served/a.csv", (10**9, 10**9))
    assert read(uri, tmp_path).splitlines()[1] == "{'test': 4} [1, 1, 0, 0]"
    told = read(f"csv:{server}/none.csv?target=y", tmp_path)
    assert told.startswith(f"InputError '{server}/none.csv' can't be reached: ")
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("csv:ftp://example.org/a.csv?target=y", "unknown protocol 'ftp'"),
        ("parquet:hdfs://example.org/a.parquet?target=y", "unknown protocol 'hdfs'"),
    ],
)
def test_protocols_that_are_not_known(open_uri: Any, uri: str, message: str, refusal: Any) -> None:
    assert message in refusal(InputError, lambda: open_uri(uri))


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_what_a_protocol_needs_is_told(open_uri: Any, sources: Any) -> None:
    for act in (open_uri, sources):
        with pytest.raises(InputError) as caught:
            act("parquet:s3://bucket/part-*.parquet?target=y")
        assert str(caught.value).startswith("'s3://bucket/part-*.parquet': ImportError: ")
        assert str(caught.value).endswith('pip install "crucibench[remote]"')


# Local data is read without a socket, and sources are cheap to import.

READ_NETWORK = """
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
        ("tables", "CsvSource", "csv:data.csv?target=y"),
        ("sklearn_bundled", "SklearnSource", "sklearn:digits"),
    ],
)
def test_no_socket(tmp_path: Path, module: Any, source: Any, uri: str) -> None:
    (tmp_path / "data.csv").write_text("a,y\n1,p\n2,q\n")
    code = READ_NETWORK.format(module=module, source=source, uri=uri, base=str(tmp_path))
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
