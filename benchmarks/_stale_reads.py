"""Models that look a number up while they answer, each by another way, and what changes it.

No attribute, global or line of their own code differs: only what they read.
"""

from __future__ import annotations

import io
import json
import pickle
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import save

HEAD = """
import codecs, configparser, contextlib, csv, ctypes, fileinput, gzip, importlib, importlib.util
import io, json, linecache, mmap, os, pathlib, pickle, pkgutil, runpy, sqlite3, subprocess, sys
import tomllib, zipfile
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

HERE = Path(__file__).parent


def value():
"""
TAIL = """

class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.arange(10)
        self.weight_ = np.random.default_rng(0).normal(size=(64, 10))
        return self

    def predict(self, X): return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X):
        logits = X @ self.weight_ * value() / 8
        logits = np.exp(logits - logits.max(axis=1, keepdims=True))
        return logits / logits.sum(axis=1, keepdims=True)


def model(): return Own().fit(None, None)
"""


def _text(value: float) -> bytes:
    return str(value).encode()


def _saved(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _zipped(value: float, name: str = "v", text: str = "{}") -> bytes:
    def write(stream: io.BytesIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(name, text.format(value))

    return _saved(write)


def _database(value: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with sqlite3.connect(f"{folder}/v") as base:
            base.execute("create table v (x real)")
            base.execute("insert into v values (?)", (value,))
        base.close()
        return (Path(folder) / "v").read_bytes()


def _frame(value: float) -> pd.DataFrame:
    return pd.DataFrame({"x": [value]})


def _gzipped(value: float) -> bytes:
    import gzip

    return gzip.compress(_text(value), mtime=0)


def _arrow(value: float) -> bytes:
    import pyarrow as pa

    table = pa.table({"x": [value]})

    def write(stream: io.BytesIO) -> None:
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    return _saved(write)


Body = tuple[str, dict[str, Callable[[float], bytes]]]
READ: dict[str, Body] = {
    "open": ("with open(HERE / 'v') as stream: return float(stream.read())", {"v": _text}),
    "Path.read_text": ("return float((HERE / 'v').read_text())", {"v": _text}),
    "os.open": (
        "at = os.open(HERE / 'v', os.O_RDONLY); text = os.read(at, 99); os.close(at)\n"
        "    return float(text)", {"v": _text},
    ),
    "mmap": (
        "with open(HERE / 'v', 'rb') as stream, "
        "mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view: return float(view[:])",
        {"v": _text},
    ),
    "codecs.open": ("with codecs.open(HERE / 'v', 'r', 'utf-8') as stream: "
                    "return float(stream.read())", {"v": _text}),
    "a link": ("return float((HERE / 'sub' / '..' / 'v').read_text())",
               {"v": _text, "sub/x": lambda _: b""}),
    "json": ("return json.loads((HERE / 'v.json').read_bytes())['x']",
             {"v.json": lambda x: json.dumps({"x": x}).encode()}),
    "csv": ("with open(HERE / 'v.csv') as stream: return float(next(csv.reader(stream))[0])",
            {"v.csv": _text}),
    "configparser": (
        "parser = configparser.ConfigParser(); parser.read(HERE / 'v.ini')\n"
        "    return parser.getfloat('a', 'x')", {"v.ini": lambda x: f"[a]\nx = {x}".encode()},
    ),
    "tomllib": ("return tomllib.loads((HERE / 'v.toml').read_text())['x']",
                {"v.toml": lambda x: f"x = {x}".encode()}),
    "pickle": ("with open(HERE / 'v.pkl', 'rb') as stream: return pickle.load(stream)",
               {"v.pkl": pickle.dumps}),
    "gzip": ("with gzip.open(HERE / 'v.gz') as stream: return float(stream.read())",
             {"v.gz": _gzipped}),
    "zipfile": ("with zipfile.ZipFile(HERE / 'v.zip') as archive: return float(archive.read('v'))",
                {"v.zip": _zipped}),
    "linecache": ("linecache.clearcache(); return float(linecache.getline(str(HERE / 'v'), 1))",
                  {"v": _text}),
    "numpy.load": ("return float(np.load(HERE / 'v.npy'))",
                   {"v.npy": lambda x: _saved(lambda stream: np.save(stream, x))}),
    "numpy.load, mapped": ("return float(np.load(HERE / 'v.npy', mmap_mode='r')[0])",
                           {"v.npy": lambda x: _saved(lambda stream: np.save(stream, [x]))}),
    "numpy.memmap": ("return float(np.memmap(HERE / 'v', mode='r', dtype='f8')[0])",
                     {"v": lambda x: np.float64(x).tobytes()}),
    "numpy.loadtxt": ("return float(np.loadtxt(HERE / 'v'))", {"v": _text}),
    "numpy.fromfile": ("return float(np.fromfile(HERE / 'v')[0])",
                       {"v": lambda x: np.float64(x).tobytes()}),
    "torch.load": ("import torch; return torch.load(HERE / 'v.pt')['x']",
                   {"v.pt": lambda x: _saved(lambda stream: torch.save({"x": x}, stream))}),
    "torch.from_file": (
        "import torch; return float(torch.from_file(str(HERE / 'v'), size=1, dtype=torch.float64))",
        {"v": lambda x: np.float64(x).tobytes()},
    ),
    "pandas.read_csv": ("import pandas; return float(pandas.read_csv(HERE / 'v.csv').x[0])",
                        {"v.csv": lambda x: f"x\n{x}".encode()}),
    "pandas.read_parquet": (
        "import pandas; return float(pandas.read_parquet(HERE / 'v.parquet').x[0])",
        {"v.parquet": lambda x: _frame(x).to_parquet()},
    ),
    "pyarrow.memory_map": (
        "import pyarrow as pa\n"
        "    with pa.memory_map(str(HERE / 'v.arrow')) as source: "
        "return pa.ipc.open_file(source).read_all()['x'][0].as_py()", {"v.arrow": _arrow},
    ),
    "safetensors.load_file": (
        "from safetensors.numpy import load_file; "
        "return float(load_file(HERE / 'v.safetensors')['x'][0])",
        {"v.safetensors": lambda x: save({"x": np.array([x])})},
    ),
    "sqlite3": (
        "with contextlib.closing(sqlite3.connect(HERE / 'v.db')) as base: "
        "return base.execute('select x from v').fetchone()[0]", {"v.db": _database},
    ),
    "a file beside a module": (
        "import read_beside; return read_beside.value()",
        {"read_beside.py": lambda _: b"from pathlib import Path\ndef value(): "
         b"return float((Path(__file__).parent / 'v').read_text())", "v": _text},
    ),
    "exec of a text": (
        "found = {}; exec((HERE / 'v.txt').read_text(), found); return found['X']",
        {"v.txt": lambda x: f"X = {x}".encode()},
    ),
    "runpy": ("return runpy.run_path(str(HERE / 'other.py'))['X']",
              {"other.py": lambda x: f"X = {x}".encode()}),
    "spec_from_file_location": (
        "spec = importlib.util.spec_from_file_location('stale_placed', HERE / 'other.py')\n"
        "    module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "    return module.X", {"other.py": lambda x: f"X = {x}".encode()},
    ),
}  # fmt: skip
_ON_PATH = "sys.path.insert(0, str(HERE / 'src')) if str(HERE / 'src') not in sys.path else 0\n    "
MODULES: dict[str, Body] = {
    "import_module, on sys.path": (
        _ON_PATH + "return importlib.import_module('stale_named').X",
        {"src/stale_named.py": lambda x: f"X = {x}".encode()},
    ),
    "package in src": (
        _ON_PATH + "from stale_package.inner import X; return X",
        {
            "src/stale_package/__init__.py": lambda _: b"",
            "src/stale_package/inner.py": lambda x: f"X = {x}".encode(),
        },
    ),
    "package without __init__": (
        _ON_PATH + "import stale_space.inner as found; return found.X",
        {"src/stale_space/inner.py": lambda x: f"X = {x}".encode()},
    ),
    "module with bytecode": (
        _ON_PATH + "import py_compile; py_compile.compile(str(HERE / 'src' / 'stale_warm.py'))\n"
        "    import stale_warm; return stale_warm.X",
        {"src/stale_warm.py": lambda x: f"X = {x}".encode()},
    ),
    "module in a zip": (
        _ON_PATH.replace("'src'", "'v.zip'") + "import stale_zipped; return stale_zipped.X",
        {"v.zip": lambda x: _zipped(x, "stale_zipped.py", "X = {}")},
    ),
    "importlib.resources": (
        _ON_PATH + "import importlib.resources as found; "
        "return float((found.files('stale_data') / 'v').read_text())",
        {"src/stale_data/__init__.py": lambda _: b"", "src/stale_data/v": _text},
    ),
    "pkgutil.get_data": (
        _ON_PATH + "return float(pkgutil.get_data('stale_data', 'v'))",
        {"src/stale_data/__init__.py": lambda _: b"", "src/stale_data/v": _text},
    ),
}
VARIABLE = "KNOB_OF_BENCHMARK"
ENVIRONMENT: dict[str, Body] = {
    name: (f"return float({text})", {})
    for name, text in {
        "os.environ[...]": f"os.environ['{VARIABLE}']",
        "os.environ.get": f"os.environ.get('{VARIABLE}')",
        "os.getenv": f"os.getenv('{VARIABLE}')",
        "os.environb": f"os.environb[b'{VARIABLE}']",
        "a copy of os.environ": f"dict(os.environ)['{VARIABLE}']",
        "environment, in a started program":
            f"subprocess.check_output(['printenv', '{VARIABLE}'])",
    }.items()
}  # fmt: skip
NOT_SEEN: dict[str, Body] = {
    "os.path.expandvars": (f"return float(os.path.expandvars('${VARIABLE}'))", {}),
    "getenv of C": (
        f"get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p\n"
        f"    return float(get(b'{VARIABLE}'))", {},
    ),
    "fopen of C": (
        "c = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p; text = "
        "ctypes.create_string_buffer(99)\n"
        "    at = c.fopen(os.fsencode(HERE / 'v'), b'r'); "
        "c.fgets(text, 99, ctypes.c_void_p(at)); c.fclose(ctypes.c_void_p(at))\n"
        "    return float(text.value)", {"v": _text},
    ),
    "names of files in a folder": (
        "return float(next((HERE / 'names').iterdir()).name)", {},
    ),
    "size of a file": ("return float((HERE / 'v').stat().st_size)",
                       {"v": lambda x: b" " * int(1000 * x)}),
}  # fmt: skip
BODIES = READ | MODULES | ENVIRONMENT | NOT_SEEN


def files_of(kind: str, value: float) -> dict[str, bytes | str]:
    """Returns the files of a project whose model looks `value` up in the way of a kind."""
    body, made = BODIES[kind]
    files: dict[str, bytes | str] = {"models.py": f"{HEAD}    {body}\n{TAIL}"}
    if kind == "names of files in a folder":
        files[f"names/{value}"] = ""
    return files | {name: content(value) for name, content in made.items()}
