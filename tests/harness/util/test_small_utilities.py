"""Small utilities: digests, names, numbers, devices, draws and YAML."""

from __future__ import annotations

import ast
import copy
import datetime
import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality
from crucibench.store.tables import read_table, write_table
from crucibench.util import atomic, devices, doors, memory, tensor_draws
from crucibench.util.doors import StorageError
from crucibench.util.draws import Draws, order_key, philox
from crucibench.util.errors import InputError
from crucibench.util.hashing import canonical_json, data_digest, differing_fields, file_digest
from crucibench.util.numbers import Size, parse_duration, parse_number, parse_size, size_text
from crucibench.util.optional import need
from crucibench.util.suggest import nearest, unknown
from crucibench.util.tensor_draws import TensorDraws
from crucibench.util.untrusted.yaml_text import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("8/255", 8 / 255), ("1e-3", 0.001), (" 2 / 4 ", 0.5), (3, 3.0), ("-1", -1.0), (0.5, 0.5)],
)
def test_numbers_as_people_write_them(text: object, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["one", "1/0", "8//255", True, None])
def test_what_is_no_number_is_left_for_the_validator(text: object) -> None:
    assert parse_number(text) is text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800.0), ("500ms", 0.5), ("2h", 7200.0), (5, 5.0), ("1.5s", 1.5)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_nearest_finds_the_likely_name() -> None:
    assert nearest("troch", ["torch", "sklearn"]) == "torch"
    assert nearest("TORCH", ["torch", "sklearn"]) == "torch"
    assert nearest("zzz", ["torch", "sklearn"]) is None
    metrics = ["balanced-accuracy", "aurc", "auroc", "top-1", "log-loss"]
    assert [nearest(name, metrics) for name in ("accurcy", "auc", "logloss", "aurc")] == [
        "top-1", "auroc", "log-loss", "aurc"
    ]  # fmt: skip
    assert nearest("accurcy", ["balanced-accuracy"]) == "balanced-accuracy"
    assert nearest("cnn:accuracy/clean/accurcy", [f"cnn:accuracy/clean/{m}" for m in metrics]) == (
        "cnn:accuracy/clean/top-1"
    )
    assert unknown("model scheme", "troch", ["sklearn", "torch"]) == (
        "unknown model scheme 'troch'; did you mean 'torch'? (known: sklearn, torch)"
    )


def test_canonical_json_is_one_text_per_content() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert data_digest({"a": 1, "b": 2}) == data_digest({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"a": float("nan")})


def test_differing_fields_names_nested_fields() -> None:
    a = {"x": 1, "deep": {"k": 1, "same": 2}, "gone": None}
    b = {"x": 1, "deep": {"k": 3, "same": 2}}
    assert differing_fields(a, b) == ["deep.k", "gone"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    atomic.write_json(path, {"value": 1})
    before = file_digest(path)

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        atomic.write_atomically(path, fail)
    assert file_digest(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_what_is_absent_is_one_sentence_with_the_install_line(refusal: Any) -> None:
    assert refusal(InputError, lambda: need("no_such_package", "vision")) == (
        'no_such_package is not installed: pip install "crucibench[vision]"'
    )
    assert (
        refusal(InputError, lambda: need("no_such_package"))
        == 'no_such_package is not installed: pip install "crucibench"'
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [("import no_such_thing", "No module named 'no_such_thing'"), ("1 / 0", "ZeroDivisionError: ")],
)
def test_what_is_broken_is_told_apart_from_what_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cause: str
) -> None:
    (tmp_path / "broken_package.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=rf"^broken_package can't be imported: {cause}"):
        need("broken_package", "vision")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000), ("2GiB", 2 * 1024**3), ("1.5 GB", 1_500_000_000), ("12", 12),
        (" 7 kB ", 7000), ("7KB", 7000), ("3 KiB", 3072), ("1TB", 10**12), ("1TiB", 1024**4),
        ("0", 0), (0, 0), (123, 123), ("5 B", 5), ("1.3 KiB", 1331), ("0.1GB", 100_000_000),
        ("90071992547409931B", 90071992547409931),
    ],
)  # fmt: skip
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
    assert TypeAdapter(Size).validate_python(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", "GiB", "2G", "2Gi", "2gib", "2Gb", "-1", "-1MB", "+1MB", "1e3", "1,000", "1.5",
        "1..5GB", ".5GB", "5.GB", "2 GiB MB", "0x10", "nan", "inf", "٣MB", "1" * 31, -1, True,
        1.5, None, b"1",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_in_one_sentence(text: object) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as 500MB, 2GiB .*, got ") as told:
        parse_size(text)
    assert repr(text) in str(told.value)
    with pytest.raises(ValidationError, match="expected a size such as"):
        TypeAdapter(Size).validate_python(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"), (10 * 1024**3, "10.0 GiB"), (5000 * 1024**4, "5000.0 TiB"),
    ],
)  # fmt: skip
def test_sizes_are_shown_short(size: int, text: str) -> None:
    assert size_text(size) == text


@given(st.integers(0, 2**60))
def test_what_is_shown_is_a_size_again(size: int) -> None:
    again = parse_size(size_text(size))
    assert abs(again - size) <= 0.051 * size + 1


@pytest.mark.parametrize(
    ("kind", "wrong", "nearest"),
    [(Modality, "imgae", "image"), (Capability, "any_input", "any-input")],
)
def test_an_unknown_name_is_refused_with_the_nearest(kind: type, wrong: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"unknown .* {wrong!r}; did you mean {nearest!r}"):
        kind(wrong)


def test_equal_names_are_one_object() -> None:
    text = Modality("text")
    assert text is Modality.TEXT and text == "text" and str(text) == "text"
    for same in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert same is text
    assert json.dumps({text: Capability.LABELS}) == '{"text": "labels"}'


def test_a_package_declares_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Modality, "_known", dict(Modality._known))
    monkeypatch.setattr(Modality, "added", lambda: ["sound"])
    sound = Modality("sound")
    assert sound is Modality("sound") and isinstance(sound, Modality)
    monkeypatch.setattr(Capability, "_known", dict(Capability._known))
    with pytest.raises(InputError, match="unknown capability 'spectrum'"):
        Capability("spectrum")
    assert Capability.declare("spectrum") is Capability("spectrum")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_without_a_gpu() -> None:
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match=r"^device 'cuda': torch .* finds no CUDA device here$"):
        devices.resolve_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_gpu_where_there_is_one(refusal: Any) -> None:
    assert devices.resolve_device("auto") == "cuda"
    assert devices.resolve_device("cuda:1") == "cuda:1"
    assert (
        refusal(InputError, lambda: devices.resolve_device("cuda:2"))
        == "device 'cuda:2': there are 2 CUDA devices, cuda:0 to cuda:1"
    )


@pytest.mark.parametrize(
    ("signs", "counted"), [("()", False), ("('/dev/null',)", True), ("('/dev/not-there',)", False)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="drivers of other systems aren't looked for")
def test_torch_is_asked_only_where_there_is_a_driver(signs: str, counted: bool) -> None:
    code = f"""
import ctypes
import sys
from crucibench.util import devices

class Library(ctypes.CDLL):
    def __init__(self, name, *more, **options):
        if name == "libcuda.so.1":
            raise OSError(name)
        super().__init__(name, *more, **options)

devices._DEVICES = {signs}
ctypes.CDLL = Library
found = devices.resolve_device("auto")
print("torch" in sys.modules, found == "cpu" or "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(counted), "True"]


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "CPU"])
def test_other_names_are_refused(name: str, refusal: Any) -> None:
    assert (
        refusal(InputError, lambda: devices.resolve_device(name))
        == f"device: expected auto, cpu, cuda or cuda:N, got {name!r}"
    )


def test_fp32_is_fp32() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    devices.fix_precision()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    numerics = devices.torch_numerics("cpu")
    assert numerics["float32_matmul"] == "highest"
    assert numerics["device"] == "cpu"
    assert all(isinstance(value, str) for value in numerics.values())


def test_threads_are_set_for_what_is_loaded_and_for_what_comes() -> None:
    code = """
import os, sys
from crucibench.util.devices import resolve_device, set_threads
set_threads(2)
assert resolve_device("cpu") == "cpu"
assert not {"torch", "numpy", "threadpoolctl"} & set(sys.modules)
assert os.environ["OMP_NUM_THREADS"] == "2"
import torch, numpy, threadpoolctl
assert torch.get_num_threads() == 2
set_threads(1)
assert torch.get_num_threads() == 1
assert {entry["num_threads"] for entry in threadpoolctl.threadpool_info()} == {1}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^threads: expected at least 1, got 0$"):
        devices.set_threads(0)


IDS = [f"{number:032x}" for number in range(4000)]


def test_philox_gives_the_known_answers_of_random123() -> None:
    # Random123's kat_vectors, philox4x32 with 10 rounds.
    zeros = np.zeros(1, dtype=np.int64)
    ones = np.full(1, 0xFFFFFFFF, dtype=np.int64)
    pi = [np.array([word]) for word in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    known = {
        (0, 0): ((zeros,) * 4, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (0xFFFFFFFF, 0xFFFFFFFF): ((ones,) * 4, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (0xA4093822, 0x299F31D0): (pi, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    }
    for key, (counter, expected) in known.items():
        assert [int(word[0]) for word in philox(counter, key)] == expected


def test_philox_is_exact_on_torch_tensors_too() -> None:
    rng = np.random.default_rng(0)
    counter = [rng.integers(0, 2**32, 500) for _ in range(4)]
    key = (0xDEADBEEF, 0x12345678)
    ours = philox(counter, key)
    theirs = philox([torch.from_numpy(words) for words in counter], key)
    for left, right in zip(ours, theirs, strict=True):
        assert np.array_equal(left, right.numpy())


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 9))
def test_a_draw_is_the_same_alone_and_in_any_batch(order: list[int], size: int, count: int) -> None:
    draws = Draws(7, "shift/noise")
    ids = [IDS[position] for position in order]
    whole = draws.words(ids, "step", count)
    parts = [draws.words(ids[at : at + size], "step", count) for at in range(0, 12, size)]
    assert np.array_equal(whole, np.concatenate(parts))
    alone = np.concatenate([draws.words([identity], "step", count) for identity in IDS[:12]])
    assert np.array_equal(whole, alone[order])


def test_more_draws_begin_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Draws(1, "a")
    many = draws.words(IDS[:5], "s", 131)
    assert np.array_equal(draws.words(IDS[:5], "s", 3), many[:, :3])
    monkeypatch.setattr("crucibench.util.draws._AT_ONCE", 16)
    assert np.array_equal(draws.words(IDS[:5], "s", 131), many)


def test_seed_stream_step_and_id_each_change_the_draw() -> None:
    base = Draws(1, "a").words(IDS[:1], "s", 8)
    for other in (
        Draws(2, "a").words(IDS[:1], "s", 8),
        Draws(1, "b").words(IDS[:1], "s", 8),
        Draws(1, "a").words(IDS[:1], "t", 8),
        Draws(1, "a").words(IDS[1:2], "s", 8),
    ):
        assert (base != other).sum() >= 7


def test_uniform_normal_and_integers_have_their_laws() -> None:
    draws = Draws(3, "law")
    uniform = draws.uniform(IDS, "u", (5,)).ravel()
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(IDS, "n", (5,)).ravel(), "norm").pvalue > 1e-3
    dice = draws.integers(IDS, "d", (5,), low=1, high=7).ravel()
    assert stats.chisquare(np.bincount(dice, minlength=7)[1:]).pvalue > 1e-3


def test_neighbouring_samples_are_independent() -> None:
    normal = Draws(3, "law").normal(IDS, "n", (4,)).astype(np.float64)
    correlation = np.corrcoef(np.vstack([normal[:-1].T, normal[1:].T]))
    off = correlation[~np.eye(8, dtype=bool)]
    assert np.abs(off).max() < 4.5 / np.sqrt(len(IDS))


def test_integers_refuses_an_empty_range() -> None:
    with pytest.raises(ValueError, match=r"high - low: expected 1 to 2\*\*32, got 0"):
        Draws(0, "x").integers(IDS[:1], "s", (1,), low=3, high=3)


def test_order_keys_are_stable_across_versions() -> None:
    # This number decides which samples a limit keeps: a change voids every limited result.
    assert order_key(0, "a") == 6002147696573465677


CPU = torch.device("cpu")
HOST = Draws(3, "shift/anything")


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4, 5), (2, 8)])
def test_words_and_uniforms_are_those_of_the_host(shape: tuple[int, ...]) -> None:
    ids = ("a", "b", "c")
    draws = TensorDraws(HOST, ids, CPU)
    count = int(np.prod(shape))
    words = HOST.words(ids, "step", count).astype(np.int64)
    assert np.array_equal(draws.words("step", shape).numpy(), words.reshape(3, *shape))
    assert np.array_equal(draws.uniform("step", shape).numpy(), HOST.uniform(ids, "step", shape))


def test_a_sample_draws_the_same_alone_and_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tuple(f"sample {place}" for place in range(9))
    whole = TensorDraws(HOST, ids, CPU).normal("step", (3, 7, 5))
    monkeypatch.setattr(tensor_draws, "_CPU_COUNTERS", 10)
    pieces = TensorDraws(HOST, ids[::-1], CPU).normal("step", (3, 7, 5)).flip(0)
    assert torch.equal(pieces, whole)
    for place in (0, 4, 8):
        alone = TensorDraws(HOST, ids[place : place + 1], CPU).normal("step", (3, 7, 5))
        assert torch.equal(alone[0], whole[place])


def test_normals_are_standard_normal() -> None:
    values = TensorDraws(HOST, ("a", "b"), CPU).normal("step", (50_001,)).double()
    assert torch.isfinite(values).all()
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01
    assert abs(float((values**4).mean()) - 3) < 0.1
    assert abs(float((values[:, 1:] * values[:, :-1]).mean())) < 0.01
    assert abs(float((values[0] * values[1]).mean())) < 0.02


# YAML that can't be read: one sentence with the line, whatever Python raises.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nuntil: 2026-02-30\n",
            "line 2: expected a value of type timestamp, got '2026-",
        ),
        ("a: !!timestamp x\n", "line 1: expected a value of type timestamp, got 'x'"),
        ("[1, 2]: a\n", "line 1: expected a key that is text or a number, got a list"),
        ("? {a: 1}\n: b\n", "line 1: expected a key that is text or a number"),
        ("- &a [1]\n- {*a : 1}", "line 2: expected a key that is text or a number"),
        ("a: !!omap x\n", "the tag omap"),
        ("a: !!omap [x: 1]\n", "the tag omap"),
        ("a: !!set {x, y}\n", "the tag set"),
        ("a: " + "9" * 6000, "of at most 64 bits"),
        ("a: 0x" + "f" * 17, "of at most 64 bits"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested at most 64 deep"),
        ("a: !!int x\n", "line 1: expected a value of type int of at most 64 bits, got 'x'"),
        ("a: *b", "expected an anchor that stands before, got *b"),
        ("&a [*a]", "expected an anchor that stands before, got *a"),
        ("a: 1\n--- \nb: 2", "line 2: expected one document"),
        ("a: \0", "expected YAML"),
        (
            "- &a0 [x, x]\n"
            + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)),
            "at most 1,000,000 values",
        ),
    ],
    ids=lambda value: value[:12],
)
def test_what_no_value_can_be_made_of(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "spec.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("spec.yaml: ")
    assert expected in sentence
    assert "\n" not in sentence
    assert len(sentence) < 200


def test_a_date_that_there_is() -> None:
    assert parse_yaml("until: 2028-02-29", "policy.yaml") == {"until": datetime.date(2028, 2, 29)}


def test_plain_text_stays_text_when_it_is_written_and_read() -> None:
    data = {"a": ["1e-3", "no", "=", "<<", "1.5", "0x1", "2026-01-01", "~", ""], "b": 1e-05}
    assert parse_yaml(dump_yaml(data), "spec.yaml") == data


# Whatever this program writes goes through the doors, and they say which file was refused.

ROOT = Path(__file__).parents[3]
METHODS = {"unlink", "mkdir", "write_bytes", "write_text", "rmtree", "OSFile", "socketpair"}
OF_OS = {"fsync", "fork", "pipe", "replace", "rename", "unlink", "mkdir", "write"}
OTHERS = {
    "util/doors.py",
    "util/memory.py",  # /proc
    "engine/worker/timed.py",  # the lease of a device, which lies with no run
    "engine/executors/ray_cluster.py",  # another program's folders
    "cli/doctor.py",  # looks if a folder can be written
}


def _around(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, of = node.func.attr, getattr(node.func.value, "id", "")
        mode = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        writes = name == "open" and isinstance(mode, str) and mode[:1] in {"a", "w", "x"}
        if of != "doors" and (name in METHODS or writes or (of == "os" and name in OF_OS)):
            yield f"{file.relative_to(ROOT)}:{node.lineno}: {name}"


def test_nothing_is_written_around_the_doors() -> None:
    found = [
        line
        for folder in ("harness", "suites", "adapters")
        for file in (ROOT / folder).rglob("*.py")
        if not any(file.as_posix().endswith(f"crucibench/{other}") for other in OTHERS)
        for line in _around(file)
    ]
    assert found == []


def test_short_writes_are_completed_and_refused_ones_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = tmp_path / "t.parquet", pa.table({"a": list(range(5000))})
    honest, written = doors.write, []

    def short(descriptor: int, data: Any) -> int:
        written.append(len(data))
        return honest(descriptor, memoryview(data)[: max(1, len(data) // 2)])

    monkeypatch.setattr(doors, "write", short)
    write_table(path, table)
    assert read_table(path).equals(table) and len(written) > 5
    whole = path.read_bytes()

    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(doors, "write", full)
    with pytest.raises(StorageError, match=r"^No space left on device: .*t\.parquet"):
        write_table(path, table.slice(7))
    assert path.read_bytes() == whole and [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_of_mapped_files_are_given_back_and_read_again(tmp_path: Path) -> None:
    def resident() -> int:
        found, inside = 0, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if "-" in line.split(maxsplit=1)[0]:
                inside = line.endswith(str(tmp_path / "mapped"))
            elif inside and line.startswith("Rss:"):
                found += int(line.split()[1])
        return found

    content = bytes(range(256)) * 4096
    (tmp_path / "mapped").write_bytes(content)
    mapped = pa.memory_map(str(tmp_path / "mapped")).read_buffer()
    assert mapped.to_pybytes() == content
    memory.give_back(tmp_path / "elsewhere")
    assert resident() >= 1024
    memory.give_back(tmp_path)
    assert resident() == 0
    assert mapped.to_pybytes() == content
