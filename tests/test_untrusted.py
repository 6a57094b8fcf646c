"""Nothing but the bounded reader opens what others wrote; a hostile pack stays small in memory."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parent.parent
READER = "harness/crucibench/util/untrusted/"

OPENERS = {
    "yaml": {"load", "safe_load", "full_load", "unsafe_load", "load_all", "safe_load_all"},
    "json": {"load", "loads"},
    "pickle": {"load", "loads"},
    "tarfile": {"open", "TarFile"},
    "gzip": {"open", "GzipFile"},
    "bz2": {"open", "BZ2File"},
    "lzma": {"open", "LZMAFile"},
    "csv": {"reader", "DictReader"},
    "np": {"load", "fromfile", "loadtxt", "genfromtxt"},
    "Image": {"open"},
    "zipfile": {"ZipFile"},
    "ElementTree": {"parse", "fromstring", "iterparse", "XML"},
}

OWN = {
    # What passes between processes of this program.
    "harness/crucibench/engine/executors/child.py": {"pickle.loads"},
    "harness/crucibench/engine/executors/zygote.py": {"json.loads"},
    "harness/crucibench/engine/worker/cold_start.py": {"pickle.load"},
    "harness/crucibench/engine/worker/selection.py": {"np.load"},
    # What it keeps in its own cache, under digests.
    "harness/crucibench/data/columnar.py": {"json.loads"},
    "harness/crucibench/data/frames.py": {"json.loads"},
    "harness/crucibench/data/indexing.py": {"json.loads"},
    "harness/crucibench/data/modalities/item.py": {"json.loads"},
    "harness/crucibench/data/pixels.py": {"np.load"},
    "harness/crucibench/store/cell_cache.py": {"json.loads"},
    # What it has just written, or ships.
    "harness/crucibench/integrity/rescoring.py": {"json.loads"},
    "harness/crucibench/store/archive.py": {"zipfile.ZipFile"},
    "adapters/crucibench_adapters/boosters.py": {"json.loads"},
    "suites/crucibench_suites/bias/identity_terms.py": {"json.loads"},
    "suites/crucibench_suites/shift/corruptions/known_answers.py": {"Image.open"},
    # Answers of servers, which the client bounds.
    "harness/crucibench/util/http/client.py": {"json.loads"},
    "adapters/crucibench_adapters/open_inference.py": {"json.loads"},
    "adapters/crucibench_adapters/_oip_tensors.py": {"json.loads"},
}


def _calls(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in OPENERS:
            found |= {f"{node.module}.{one.name}" for one in node.names
                      if one.name in OPENERS[node.module]}  # fmt: skip
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = {"numpy": "np"}.get(node.value.id, node.value.id)
            if node.attr in OPENERS.get(name, ()):
                found.add(f"{name}.{node.attr}")
    return found


def test_nothing_else_opens_what_others_wrote() -> None:
    found = {}
    for folder in ("harness", "suites", "adapters"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(READER) and (calls := _calls(file)):
                found[name] = calls
    assert found == OWN
    assert any(_calls(file) for file in (ROOT / READER).glob("*.py"))


SHOW = """
import resource, sys
from crucibench.cli._app import application
import crucibench.cli.show, crucibench.report.leaderboard.build, pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    application(["show", sys.argv[1]])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _archive(path: Path, files: dict[str, bytes]) -> None:
    from crucibench.store.archive import write_archive

    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {
        "format_version": 1, "files": digests, "digest": "", "crucibench_version": "1",
        "pack": {"format_version": 1, "run": "a", "views": {}},
    }  # fmt: skip
    write_archive(path, "pack", {**files, "manifest.json": json.dumps(manifest).encode()})


def _texts() -> bytes:
    """Returns a table of 100 kB: a text of a megabyte, in each of 4,000 rows."""
    stream = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), ["x" * (1 << 20)])
    pq.write_table(pa.table({"metric": column}), stream, compression="zstd")
    return stream.getvalue()


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"spec.yaml": bytes(420 << 20)}, id="a large file"),
        pytest.param({"spec.yaml": b"[" * (20 << 20)}, id="nesting"),
        pytest.param({"spec.yaml": b"[a, b, c, d, e]\n" * (1 << 20)}, id="lists"),
        pytest.param({"spec.yaml": b"a: 1", "metrics.parquet": _texts()}, id="texts in a table"),
        pytest.param(
            {"spec.yaml": b"a: 1", "samples/a/card.json": b"[" + b"{}," * (8 << 20) + b"0]"},
            id="objects",
        ),
    ],
)
def test_a_pack_that_unpacks_to_far_more(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "evil.cbz"
    _archive(path, files)
    assert path.stat().st_size < 2 << 20
    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(path)], capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert int(done.stdout.split()[-1]) << 10 <= 256 << 20
