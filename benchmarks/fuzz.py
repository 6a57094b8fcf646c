"""Mutated files, guided by the lines that they reach, against every parser of the bounded reader.

    nice -n 19 python benchmarks/fuzz.py run --inputs 300000
    python benchmarks/fuzz.py page

An input is a file that this script makes, or one that reached new lines, with a few mutations:
bits, bytes, stretches cut, doubled and moved, words of the format; and for documents a value in
place of another. A parser reads it, or refuses it with a sentence; anything else is unhandled. A
child does some thousands of inputs and is forked from a parent that has all libraries loaded:
memory is that of the child beyond what it began with. The same command goes on with what is done.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import resource
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from _report import publish, table
from PIL import Image
from pydantic import ValidationError

import crucibench
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.data.images import decode
from crucibench.data.sources.boxes import Listed
from crucibench.data.sources.tables import MISSING, CsvFiles
from crucibench.data.sources.voc import VocSource
from crucibench.gating.policy import read_policy
from crucibench.spec.models import Spec
from crucibench.store.archive import write_archive
from crucibench.store.cells import read_cell
from crucibench.store.pack import open_pack
from crucibench.store.run import Run
from crucibench.store.tables import read_table
from crucibench.util.coco import read_annotations
from crucibench.util.errors import CrucibenchError, UnreadableError
from crucibench.util.untrusted.archive import ZipReader, tar_files
from crucibench.util.untrusted.arrays import NpzFile, map_npy
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.csv_text import read_header
from crucibench.util.untrusted.json_text import read_json
from crucibench.util.untrusted.yaml_text import read_yaml

SECONDS_AT_MOST = 1.0
BYTES_AT_MOST = 256 << 20
BATCH = 2000
CORPUS_AT_MOST = 400
_TRACED = ("util/untrusted/", "store/", "gating/policy.py", "data/images.py",
           "data/sources/voc.py", "util/coco.py")  # fmt: skip
_ROOT = str(Path(crucibench.__file__).parent)

CELL = {
    "cell": "a.d.accuracy.clean", "kind": "mapped", "model": "a", "data": "d", "suite": "accuracy",
    "scenario": "clean", "version": 1, "role": "test", "points": ["clean"], "status": "ok",
    "verdict": "valid", "n": 3, "parameters": {"x": [1, 2.5, None]},
    "needs": {"p": "a.d.pass.test"},
    "findings": [{"code": "c", "severity": "info", "message": "m", "evidence": {"n": 1}}],
    "stages": [{"name": "s", "samples": 3, "shards": 1}],
    "identity": {"digest": "0", "fields": {"seed": 0}}, "comparison": {"data": "x"},
}  # fmt: skip
TASK = Task(kind="classification", modality=Modality.TABLE, classes=("a", "b"))
CARD = DataCard(
    name="d", uri="csv:d.csv?target=y", task=TASK,
    features={"x": "float64"}, target="y", groups=("g",), counts={"test": 3},
    class_counts={"test": [1, 2]}, fingerprint="f" * 64, ids_digest={"test": "0" * 64},
    notes=("a note",), unlabelled=("ood/x",), role_fingerprints={"ood/x": "1" * 64},
).as_dict()  # fmt: skip
MODELS = [{"data": "d", "model": {
    "name": "a", "uri": "python:m.py:f", "capabilities": ["labels", "scores"],
    "score_kind": "probabilities", "geometry": {}, "fingerprint": {"weights": "0"},
    "decision": {"positive": 1, "threshold": 0.5}, "parameters": 3, "card": {"licence": "MIT"},
}}]  # fmt: skip
POLICY = {
    "required": [{"address": "a:accuracy/clean/top-1", "margin": "1%", "name": "r"}],
    "advisory": [{"address": "a:accuracy/clean/*", "margin": 0.01, "no_worse": False}],
    "waivers": [{"rule": "r", "until": "2028-02-29", "reason": "known"}],
}
SPEC = {
    "schema_version": 1, "defaults": {"preset": "quick", "seed": 0, "timeout": "30m"},
    "models": [{"name": "a", "uri": "torch:m.py:f", "variants": ["fp32"], "device": "auto",
                "decision": {"positive": "x", "threshold": 0.31}}],
    "data": [{"name": "d", "uri": "csv:d.csv", "target": "y", "groups": ["g"]}],
    "tracks": [{"name": "t", "models": ["a"], "data": "d", "suites": ["accuracy"]}],
    "suites": {"adversarial": {"norm": "linf", "eps": ["2/255", 1e-3]}},
}  # fmt: skip
WORDS = {
    "yaml": "!!int|!!timestamp 1|!!omap|&a |*a|? |: |- |[|]|{|}|<<: *a|--- |...|\n|0x|1e999|.inf"
    "|~|'|\"|2026-02-30|%YAML 9.9\n|!foo |\t|\0|\u2028|\ud7ff|# ||\n  |>\n|1:2:3|0b1|0o7",
    "json": '[|]|{|}|,|:|null|true|NaN|Infinity|1e999|-|"|\\u0000|\\ud800|\0|{}|[]'
    "|99999999999999999999",
    "xml": '<|>|</|/>|&|&amp;|&#0;|&#xD800;|<!--|]]>|<![CDATA[|<?xml version="1.0"?>|<object>|'
    "</object>|<bndbox>|<xmin>|nan|inf|1e999|-1|\0|\ufeff|xmlns='x'",
    "csv": ',|"|\n|\r|\r\n|\0|;|\t|NA|1e999|\ufeff|\'|""',
}
VALUES: list[Any] = [None, True, [], {}, "", "x", "../../x", "\0", -1, 0, 1.5, 1 << 63, [[[]]],
                     {"a": {}}, "2026-02-30", "\ud83d\ude00"]  # fmt: skip


def _bytes_of(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _image(kind: str, mode: str, **more: Any) -> bytes:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).convert(mode)
    return _bytes_of(lambda stream: picture.save(stream, kind, **more))


def _tar(pack: Callable[[bytes], bytes] = bytes) -> bytes:
    def save(stream: io.BytesIO) -> None:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in ("a/1.cls", "a/" + "é" * 120 + ".json", "b.png"):
                member = tarfile.TarInfo(name)
                member.size = 5
                archive.addfile(member, io.BytesIO(b"12345"))

    return pack(_bytes_of(save))


def _zip(method: int) -> bytes:
    def save(stream: io.BytesIO) -> None:
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("a/b.txt", "x" * 300)
            archive.writestr("c", "")

    return _bytes_of(save)


def _arrays(save: Callable[..., None]) -> bytes:
    X = np.arange(6.0).reshape(3, 2)
    return _bytes_of(
        lambda stream: save(stream, X=X, F=np.asfortranarray(X), y=np.array(["a", "b"]))
    )


def _parquet() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        import pyarrow.parquet as pq

        columns = {"id": ["a", "b", "b"], "v": [1.0, None, 2.0], "l": [[1], [], [2, 3]]}
        path = Path(folder) / "t.parquet"
        pq.write_table(pa.table(columns), path, compression="zstd")  # unsealed, so that it is read
        return path.read_bytes()


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _policy(path: Path) -> None:
    read_policy(path)


def _spec(path: Path) -> None:
    document = read_yaml(path)
    try:
        Spec.model_validate(document)
    except ValidationError:
        return  # which the command line turns into sentences


def _in_run(name: str, read: Callable[[Run], object]) -> Callable[[Path], None]:
    def work(path: Path) -> None:
        run = Run(path.parent / "run")
        place = run.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        read(run)

    return work


def _npz(path: Path) -> None:
    file = NpzFile(path)
    for name in file.names:
        file.header(name)
        file.load(name)
        list(file.pieces(name, 2))


def _members(path: Path) -> None:
    with ZipReader(path, path.name) as archive:
        for name in archive.sizes:
            for _ in archive.blocks(name):
                pass


def _csv(path: Path) -> None:
    read_header(path, path.name)
    CsvFiles((path,), ",", "utf-8", MISSING).kinds()


def _pack(path: Path) -> None:
    """Seals the members again, so that what they hold is looked at."""
    content = path.read_bytes()
    size = int.from_bytes(content[:1]) % 5
    names = ("spec.yaml", "cells/a.d.accuracy.clean/cell.json", "samples/d/card.json",
             "environment/models.json", "manifest.json")  # fmt: skip
    files = {
        "spec.yaml": yaml.safe_dump(SPEC).encode(), names[1]: _json(CELL), names[2]: _json(CARD),
        names[3]: _json(MODELS), "environment/suites.json": b"{}",
    }  # fmt: skip
    if size < 4:
        files[names[size]] = content[1:]
    digests = {name: hashlib.sha256(one).hexdigest() for name, one in files.items()}
    manifest: Any = {
        "format_version": 1, "files": digests, "digest": "", "crucibench_version": "1",
        "pack": {"format_version": 1, "run": "a", "views": {}},
    }  # fmt: skip
    files["manifest.json"] = _json(manifest)
    if size == 4:
        files["manifest.json"] = content[1:].replace(b'"DIGESTS"', _json(digests))
    write_archive(path, "pack", files)
    run = open_pack(path)
    try:
        for part in ("manifest", "spec", "cells", "cards", "models", "suites", "uninspected"):
            getattr(run, part)
    finally:
        run._place.close()


def _voc(path: Path) -> None:
    file = path.rename(path.with_suffix(".xml"))
    uri, listed = parse_uri("voc:."), Listed([path.with_suffix(".jpg")], (file,))
    VocSource.annotations(uri, path.parent, listed)


@dataclass(frozen=True)
class Parser:
    """What is fed.

    Attributes:
        seeds: files that it reads.
        read: reads a file, or raises a CrucibenchError.
        words: of its format.
        document: dumps a document, where files are such and mutations may be of values.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    words: str = ""
    document: Callable[[Any], bytes] | None = None


def _yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")


YAML = b"a: &x [1, 2.5, no, ~, 0x1f, 1e-3]\nb: *x\nc: {d: 'e', f: \"g\\n\"}\n? h\n: |\n  i\n  j\n"
MANIFEST = {"format_version": 1, "files": {"spec.yaml": "0"}, "views": {}, "digest": "0",
            "crucibench_version": "1"}  # fmt: skip
PACKED = {"format_version": 1, "files": "DIGESTS", "digest": "", "crucibench_version": "1",
          "pack": {"format_version": 1, "run": "a", "views": {}}}  # fmt: skip
VOC = b"""<annotation><folder>f</folder><size><width>9</width><height>7</height></size>
<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax>
<ymax>5.5</ymax></bndbox></object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 7}],
    "categories": [{"id": 2, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4.5], "area": 9,
                     "iscrowd": 0}],
}  # fmt: skip
PARSERS: Mapping[str, Parser] = {
    "YAML": Parser((YAML, _yaml(SPEC)), read_yaml, "yaml"),
    "JSON": Parser(
        (_json(CARD), b'{"a": [1, -2.5e3, "\\u00e9"]}'), lambda p: read_json(p, p.name), "json"
    ),
    "spec": Parser((_yaml(SPEC),), _spec, "yaml", _yaml),
    "policy": Parser((_yaml(POLICY),), _policy, "yaml", _yaml),
    "cell.json": Parser((_json(CELL),), read_cell, "json", _json),
    "data card": Parser(
        (_json(CARD),), _in_run("samples/d/card.json", lambda r: r.cards), "json", _json
    ),
    "models.json": Parser(
        (_json(MODELS),), _in_run("environment/models.json", lambda r: r.models), "json", _json
    ),
    "manifest": Parser(
        (_json(MANIFEST),), _in_run("manifest.json", lambda r: r.manifest), "json", _json
    ),
    "pack": Parser(tuple(bytes([n]) + one for n, one in enumerate(
        [_yaml(SPEC), _json(CELL), _json(CARD), _json(MODELS), _json(PACKED)])), _pack, "json"),
    "ZIP archive": Parser((_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED)), _members),
    "npz": Parser((_arrays(np.savez), _arrays(np.savez_compressed)), _npz),
    "npy": Parser((_bytes_of(lambda s: np.save(s, np.arange(6).reshape(2, 3))),), map_npy),
    "tar": Parser((_tar(), _tar(gzip.compress), _tar(bz2.compress), _tar(lzma.compress)),
                  lambda path: [len(one.content) for one in tar_files(path)]),
    "image": Parser((
        _image("PNG", "RGB"), _image("PNG", "P", transparency=b"\0\x7f"), _image("PNG", "LA"),
        _image("PNG", "I;16"), _image("JPEG", "RGB"), _image("JPEG", "CMYK"), _image("GIF", "P"),
        _image("TIFF", "RGB", compression="tiff_lzw"), _image("BMP", "RGB"), _image("PPM", "RGB"),
        _image("WEBP", "RGBA")), lambda path: decode(path.read_bytes(), path.name)),
    "CSV": Parser(
        (b"a,b,y\n1,x,0\n2,,1\n", b'\xef\xbb\xbf"a ""q""",b\r\n"1\n2",3\r\n'), _csv, "csv"
    ),
    "VOC": Parser((VOC, VOC.decode().encode("utf-16")), _voc, "xml"),
    "COCO": Parser((_json(COCO),), read_annotations, "json", _json),
    "Parquet": Parser((_parquet(),), read_table),
}  # fmt: skip


def _changed(value: Any, rng: random.Random) -> Any:
    """Returns a document with a value in place of another, a key less, or one more."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.2:
        return rng.choice(VALUES)
    at = rng.randrange(len(value))
    if isinstance(value, list):
        copy: Any = list(value)
        copy[at] = _changed(copy[at], rng)
        return copy
    copy, key = dict(value), list(value)[at]
    what = rng.random()
    if what < 0.1:
        del copy[key]
    elif what < 0.2:
        copy[rng.choice(["x", "", *value])] = rng.choice(VALUES)
    else:
        copy[key] = _changed(copy[key], rng)
    return copy


def _mutated(content: bytes, others: list[bytes], parser: Parser, rng: random.Random) -> bytes:
    if parser.document is not None and rng.random() < 0.5:
        document: Any = yaml.safe_load(parser.seeds[0])
        for _ in range(rng.choice((1, 1, 2, 4))):
            document = _changed(document, rng)
        return parser.document(document)
    words = [word.encode() for word in WORDS.get(parser.words, "").split("|") if word]
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 2, 4, 8, 40)), len(data) - at)
        kind = rng.randrange(8 if words else 6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 30))
        elif kind == 4:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + rng.choice((4, 40, 400))]
        elif kind == 5:
            number = rng.choice((0, 1, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, rng.getrandbits(16)))
            data[at : at + 4] = number.to_bytes(4, rng.choice(("little", "big")))
        elif words:
            data[at:at] = rng.choice(words) * rng.choice((1, 1, 1, 70))
    return bytes(data[: 1 << 20])


@dataclass
class Tally:
    """What came of the inputs of a parser.

    Attributes:
        inputs: so many.
        refused: of these, with a sentence.
        corpus: files that reached new lines.
        lines: of the reader that were reached.
        seconds: of the processor, for the slowest.
        spent: seconds on all of them.
        grown: bytes beyond those that its process began with, of the worst.
        unhandled: what came of an input that was neither read nor refused, or out of bounds.
    """

    inputs: int = 0
    refused: int = 0
    corpus: int = 0
    lines: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    grown: int = 0
    unhandled: list[str] = field(default_factory=list)


class Fuzzer:
    """Feeds a parser; keeps the inputs that reach new lines."""

    def __init__(self, name: str, folder: Path, corpus: list[bytes]) -> None:
        self.parser = PARSERS[name]
        self.corpus = list(self.parser.seeds) + corpus
        self.found: list[bytes] = []
        self.tally = Tally()
        self.lines: set[tuple[str, int]] = set()
        self._folder = folder
        self._fresh = False
        self._known: dict[Any, bool] = {}

    def feed(self, content: bytes) -> None:
        """Feeds one input."""
        path = self._folder / "input.bin"
        path.write_bytes(content)
        self._fresh = False
        begun = time.process_time()
        sys.settrace(self._enter)
        try:
            self.parser.read(path)
        except CrucibenchError as error:
            self.tally.refused += 1
            one = isinstance(error, RefusedError | UnreadableError)
            if one and ("\n" in str(error) or len(str(error)) > 1000):
                self._note(f"no sentence: {str(error)[:200]!r}", content)
        except Exception as error:  # what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._note(
                f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}", content
            )
        finally:
            sys.settrace(None)
        seconds = time.process_time() - begun
        self.tally.inputs += 1
        self.tally.seconds = max(self.tally.seconds, seconds)
        if seconds > SECONDS_AT_MOST:
            self._note(f"{seconds:.1f} s", content)
        if self._fresh and len(content) < 20_000:
            self.corpus.append(content)
            self.found.append(content)

    def mutants(self, count: int, seed: str) -> Iterator[bytes]:
        """Yields inputs."""
        rng = random.Random(seed)
        for _ in range(count):
            yield _mutated(rng.choice(self.corpus), self.corpus, self.parser, rng)

    def _note(self, what: str, content: bytes) -> None:
        name = hashlib.sha256(content).hexdigest()[:12]
        self.tally.unhandled.append(f"{what} ({name})")
        crashes = self._folder.parent / "unhandled"
        crashes.mkdir(exist_ok=True)
        (crashes / name).write_bytes(content)

    def _enter(self, frame: Any, event: str, _: Any) -> Any:
        code = frame.f_code
        known = self._known.get(code)
        if known is None:
            file = code.co_filename
            known = file.startswith(_ROOT) and any(part in file for part in _TRACED)
            self._known[code] = known
        return self._line if known else None

    def _line(self, frame: Any, event: str, _: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in self.lines:
            self.lines.add(place)
            self._fresh = True
        return self._line


def quick(name: str, count: int, folder: Path) -> Tally:
    """Feeds a parser its seeds and `count` mutants in this process; always the same ones."""
    fuzzer = Fuzzer(name, folder, [])
    for content in (*fuzzer.parser.seeds, *fuzzer.mutants(count, name)):
        fuzzer.feed(content)
    return fuzzer.tally


def _batch(name: str, work: Path, number: int, count: int) -> Tally:
    """Does a batch in a child; what it dies of is noted."""
    kept = work / "corpus" / name.replace(" ", "-")
    kept.mkdir(parents=True, exist_ok=True)
    report = work / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        code = 1
        try:
            folder = work / "input"
            folder.mkdir(exist_ok=True)
            files = sorted(kept.iterdir())
            fuzzer = Fuzzer(name, folder, [])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for content in (*fuzzer.parser.seeds, *(file.read_bytes() for file in files)):
                fuzzer.feed(content)  # so that what they reach is not new
            fuzzer.tally, fuzzer.found = Tally(), []
            fuzzer.corpus = list(fuzzer.parser.seeds) + [file.read_bytes() for file in files]
            worst = before
            for content in fuzzer.mutants(count, f"{name} {number}"):
                fuzzer.feed(content)
                now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                if (now - before) << 10 > BYTES_AT_MOST >= (worst - before) << 10:
                    fuzzer._note(f"{(now - before) >> 10} MiB", content)
                worst = max(worst, now)
            fuzzer.tally.grown = (worst - before) << 10
            fuzzer.tally.lines = len(fuzzer.lines)
            for content in fuzzer.found[: max(0, CORPUS_AT_MOST - len(files))]:
                (kept / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
            report.write_text(json.dumps(asdict(fuzzer.tally)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status or not report.is_file():
        content = (work / "input" / "input.bin").read_bytes()
        (work / "unhandled").mkdir(exist_ok=True)
        digest = hashlib.sha256(content).hexdigest()[:12]
        (work / "unhandled" / digest).write_bytes(content)
        return Tally(inputs=count, unhandled=[f"the process ended with {status} ({digest})"])
    return Tally(**json.loads(report.read_text()))


def run(options: argparse.Namespace) -> None:
    """Feeds all parsers in turns, until there are as many inputs as asked for."""
    options.work.mkdir(parents=True, exist_ok=True)
    os.fsync = lambda _: None  # type: ignore[assignment]  # nothing here outlives a power cut
    state = options.work / "state.json"
    done: dict[str, Any] = json.loads(state.read_text()) if state.is_file() else {}
    names = options.parsers or list(PARSERS)
    while sum(one["inputs"] for one in done.values()) < options.inputs:
        name = min(names, key=lambda one: done.get(one, {}).get("spent", 0.0))
        begun = time.perf_counter()
        old = Tally(**done.get(name, {}))
        new = _batch(name, options.work, old.inputs // BATCH, BATCH)
        kept = options.work / "corpus" / name.replace(" ", "-")
        done[name] = asdict(Tally(
            inputs=old.inputs + new.inputs, refused=old.refused + new.refused,
            corpus=len(list(kept.iterdir())), lines=max(old.lines, new.lines),
            spent=old.spent + time.perf_counter() - begun,
            seconds=max(old.seconds, new.seconds), grown=max(old.grown, new.grown),
            unhandled=[*old.unhandled, *new.unhandled][:200],
        ))  # fmt: skip
        state.write_text(json.dumps(done, indent=1))
        print(name, done[name]["inputs"], done[name]["unhandled"][-3:], flush=True)


def page(options: argparse.Namespace) -> None:
    """Writes the page."""
    done = json.loads((options.work / "state.json").read_text())
    rows = [
        [name, f"{one['inputs']:,}", f"{one['refused']:,}", one["corpus"], one["lines"],
         f"{one['seconds']:.2f}", one["grown"] >> 20, len(one["unhandled"])]
        for name, one in done.items()
    ]  # fmt: skip
    total = sum(one["inputs"] for one in done.values())
    bad = sum(len(one["unhandled"]) for one in done.values())
    publish(
        "fuzz", "Mutated files against the bounded reader",
        [
            f"{total:,} inputs: files made here, and those that reached new lines, with mutations. "
            f"Neither read nor refused with a sentence, more than {SECONDS_AT_MOST:g} s of CPU, or "
            f"in {BYTES_AT_MOST >> 20} MiB more than the process began with: {bad}. What an input "
            "did before a fault was mended does not count; each fault found is a test.", "",
            *table(["parser", "inputs", "refused", "corpus", "lines reached", "slowest, CPU s",
                    "most memory, MiB", "unhandled"], rows),
        ],
        "numpy", "pyarrow", "pillow", "pyyaml",
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["run", "page"])
    parser.add_argument("--inputs", type=int, default=300_000, help="of all parsers together")
    parser.add_argument("--parsers", nargs="*", choices=list(PARSERS))
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "crucibench-fuzz"
    )
    options = parser.parse_args()
    (run if options.step == "run" else page)(options)


if __name__ == "__main__":
    main()
