"""Does a changed model ever take another's records from the cache? And an unchanged one none?

Each change alters one ingredient of a model and nothing else. The engine is asked, as a run asks
it, under which key it would look for the model's forward pass. A change is stale if the key is that
of the unchanged model. Behind the key stands the fixed probe: what is stale and answers it alike
would be used.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _report import publish, table
from _stale_project import ESTIMATORS, HELPER, MODELS, NEIGHBOURS
from _stale_reads import ENVIRONMENT, MODULES, NOT_SEEN, READ, VARIABLE, files_of
from safetensors.torch import save_file

from crucibench import installed_code
from crucibench.engine.fixed_probe import ProbeAnswer, ask_probe, disagreement, fixed_probe_rows
from crucibench.engine.inspect import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import PlannedFiles
from crucibench.engine.plan.plan import make_plan
from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.worker.environment import environment
from crucibench.engine.worker.inspect import inspect_model
from crucibench.engine.worker.opening import Models, open_all_data
from crucibench.util.devices import set_threads
from crucibench.util.outside import Outside, keyed_digests
from crucibench.util.reads import Reads

CHANGES = 1000
HARMLESS = 200
TRUTH = 512
SEED = 0

NUMBERS = [
    "attribute", "attribute of a library's part", "table as an attribute",
    "dataclass with a table", "array as an attribute", "tensor as an attribute", "slot",
    "named tuple", "deque", "set", "callable object", "method of another object",
    "lambda in a closure", "functools.partial", "argument of a partial", "default argument",
    "keyword default", "decorator", "class attribute", "property",
    "method patched on the instance", "method patched on a part", "method patched on the class",
    "forward hook", "forward pre-hook", "buffer", "non-persistent buffer", "parametrization",
    "modules in a list", "modules in a dict", "global table", "global of a helper module",
    "function of a helper module", "random state as an attribute",
    "iterator", "count of questions",
]  # fmt: skip
CHOICES = {
    "activation": ["ReLU", "Tanh", "Softsign", "ELU", "GELU", "SiLU", "Mish", "Softplus"],
    "padding mode": ["zeros", "reflect", "replicate", "circular"],
    "eval-mode flag": [False, True],
    "dtype": ["float32", "bfloat16", "float16"],
    "member of an enumeration": ["A", "B"],
    "order of layers": list(range(24)),
}
OF_ESTIMATORS = [
    "parameter of an estimator", "closure of a transformer", "partial of a transformer",
    "global of a transformer's function", "class attribute of an own estimator",
    "method patched on an estimator",
]  # fmt: skip
LOOKED_UP = [
    "file read while it answers", "environment variable", *READ, *MODULES, *ENVIRONMENT,
]  # fmt: skip
UNSEEN = [
    "clock", "state of the interpreter", "state of a C extension",
    "object in a library's namespace", *NOT_SEEN,
]  # fmt: skip
READING = frozenset({*LOOKED_UP, *UNSEEN})


class Seen(NamedTuple):
    """What the engine makes of a model.

    Attributes:
        key: under which its forward pass would be looked for, had nothing been seen of what its
            code reads; None for nowhere.
        whole: the same with what was seen.
        run: the run's id, and what its factory read.
        why: there is no key.
        probe: what it answers to the fixed probe.
        truth: what it answers to many more samples, which no run would ask twice.
    """

    key: Any
    whole: Any
    run: tuple[str, dict[str, str]]
    why: str
    probe: ProbeAnswer | None
    truth: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Model:
    """A project as files, and how a spec names its model."""

    files: dict[str, Any]
    uri: str
    settings: tuple[tuple[str, Any], ...] = ()


def agrees(old: Seen, new: Seen) -> bool:
    """Whether the fixed probe takes two models for one."""
    if old.probe is None or new.probe is None:
        return False
    stored, present = ({"": one.probe.as_dict(gradient=True)} for one in (old, new) if one.probe)
    return disagreement(stored, present) is None


class Engine:
    """Asks the engine for keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._environment = environment(folder, 1, "cpu")
        document = {
            "models": [{"name": "m", "uri": "python:none.py:f"}],
            "data": [{"name": "digits", "uri": "sklearn:digits"}],
        }
        (folder / "none.py").write_text("def f(x): return x")
        resolved = resolve(document, folder, "spec", Overrides(suites=("accuracy",)))
        self._data = open_all_data(resolved, folder / "scratch", Listener(), "spec")["digits"]

    def place(self, model: Model) -> Path:
        """Writes a project into a folder of its own."""
        self._count += 1
        base = self.folder / f"project-{self._count}"
        base.mkdir()
        for name, content in model.files.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return base

    def see(self, model: Model, base: Path | None = None, name: str = "m") -> Seen:
        base = base or self.place(model)
        path = list(sys.path)
        document = {
            "models": [{"name": name, "uri": model.uri, **dict(model.settings)}],
            "data": [{"name": "digits", "uri": "sklearn:digits"}],
            "defaults": {"threads": 1},
        }
        resolved = resolve(document, base, "spec", Overrides(suites=("accuracy",)))
        opened = Models(resolved, "cpu", {"digits": self._data.card})
        entry = resolved.models[name]
        outside = Outside()
        with Reads(base, *entry.adapter.sources(entry.uri, base).files) as reads, outside:
            adapter = opened.get(name, "digits")
            info = inspect_model(
                entry, adapter, self._data, batch_size=64, limit=None, device="cpu",
                base=base,
            ).info  # fmt: skip
            probe = ask_probe(adapter, self._data, fixed_probe_rows(self._data), info)
        if outside.reached:
            info = replace(info, fingerprint=None, unidentified=" and ".join(outside.reached))
        variables = {name: keyed_digests(outside.environment, os.environ, self.folder)}
        observed = Inspection(reads={name: reads.digests()}).observed(variables)
        plan = make_plan(resolved, {(name, "digits"): info}, {"digits": self._data.card})
        keys = []
        for seen in ({}, observed):
            planned = PlannedFiles(plan, 0, self._environment, lambda *_: "", seen)
            (cell,) = [cell for cell in plan if cell.scenario.address == "pass/test"]
            meaning = planned.meaning(cell)
            keys.append(None if meaning is None else (meaning, planned.numerics(cell)))
        answers = adapter.predict(
            self._data.batch("test", np.arange(TRUTH), adapter.input_spec), frozenset({"scores"})
        ).scores
        opened.close()
        _forget(path)
        assert answers is not None
        read = {os.path.relpath(path, base): one for path, one in reads.digests().items()}
        run = resolved.run_id, {**read, **variables[name]}
        return Seen(*keys, run, info.unidentified, probe, answers)


def _forget(path: list[str]) -> None:
    """Forgets a project's search path and modules, as another process would not know them."""
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith("stale_")]:
        del sys.modules[name]


class Change(NamedTuple):
    """One changed model, and the unchanged one that it is held against."""

    kind: str
    before: Model
    after: Model
    around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


def knob(kind: str, value: Any) -> Model:
    files = {"knob.json": json.dumps({"kind": kind, "value": value}), "helper.py": HELPER}
    if kind in OF_ESTIMATORS:
        return Model(files | {"models.py": ESTIMATORS}, "sklearn:models.py:model")
    return Model(files | {"models.py": MODELS}, "torch:models.py:net")


def drawn_number(rng: random.Random) -> float:
    return round(rng.uniform(1.1, 3.0), 6)


def by_knob(kind: str, rng: random.Random) -> Change:
    if kind in CHOICES:
        first, *others = CHOICES[kind]
        return Change(kind, knob(kind, first), knob(kind, rng.choice(others)))
    return Change(kind, knob(kind, 1.0), knob(kind, drawn_number(rng)))


def by_text(kind: str, rng: random.Random) -> Change:
    uri = "torch:models.py:model_1"
    files = {"models.py": NEIGHBOURS}
    before = Model(files, uri)
    match kind:
        case "constant in its own file":
            text = NEIGHBOURS.replace("* SCALE * 1.0", f"* SCALE * {drawn_number(rng)}")
            return Change(kind, before, Model({"models.py": text}, uri))
        case "constant in an imported file":
            one, two = (
                {**files, "override.py": f"SCALE = {by}"} for by in (1.0, drawn_number(rng))
            )
            return Change(kind, Model(one, uri), Model(two, uri))
        case "a new neighbour that is imported":
            text = f"SCALE = {drawn_number(rng)}"
            return Change(kind, before, Model({**files, "override.py": text}, uri))
        case "another factory of the file":
            first, second = rng.sample(range(7), 2)
            one, two = (f"torch:models.py:model_{number}" for number in (first, second))
            return Change(kind, Model(files, one), Model(files, two))
    raise ValueError(kind)


def by_settings(kind: str, rng: random.Random) -> Change:
    files = {"models.py": NEIGHBOURS}
    uri = "torch:models.py:model_6"
    match kind:
        case "option output":
            return Change(kind, Model(files, uri), Model(files, f"{uri}?output=probabilities"))
        case "mean and std of the spec":
            given = {"mean": [round(rng.uniform(0.1, 0.6), 4)], "std": [0.5]}
            return Change(kind, Model(files, uri), Model(files, uri, (("input", given),)))
        case "classes of the spec":
            names = [str(number) for number in range(10)]
            rng.shuffle(names)
            return Change(kind, Model(files, uri), Model(files, uri, (("classes", names),)))
        case "option scale of an estimator":
            one = knob("parameter of an estimator", 0.1)
            return Change(kind, one, Model(one.files, f"{one.uri}?scale={drawn_number(rng)}"))
    raise ValueError(kind)


def state(by: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 64, generator=generator)
    weight[3, 5] *= by
    return {"layer.1.weight": weight, "layer.1.bias": torch.zeros(10)}


def onnx_files(by: float, *, external: bool) -> dict[str, bytes]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = state(by)["layer.1.weight"].numpy().T.copy()
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save_model(
            model, Path(folder) / "m.onnx", save_as_external_data=external, location="m.data",
            size_threshold=0,
        )  # fmt: skip
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def by_file(kind: str, rng: random.Random) -> Change:
    one, two = 1.0, 1 + rng.uniform(0.01, 3)
    match kind:
        case "weights file":
            return Change(kind, *(_with_weights(by) for by in (one, two)))
        case "state dict file":
            return Change(kind, *(_with_weights(by, "w.pt") for by in (one, two)))
        case "ONNX file" | "external data of an ONNX file":
            outside = kind.startswith("external")
            models = (
                Model(onnx_files(by, external=outside), "onnx:m.onnx?output=logits")
                for by in (one, two)
            )
            return Change(kind, *models)
        case "skops file":
            return Change(kind, *(Model({"m.skops": skops(by)}, "sklearn:m.skops")
                                  for by in (0.1, two)))  # fmt: skip
        case "logged predictions":
            return Change(kind, *(_logged(seed) for seed in (0, rng.randrange(1, 10**6))))
    raise ValueError(kind)


def _logged(seed: int) -> Model:
    draws = np.random.default_rng(seed).dirichlet(np.ones(10), 1797)
    head = ",".join(f"proba_{number}" for number in range(10))
    rows = "\n".join(",".join(f"{number:.6f}" for number in row) for row in draws)
    return Model({"p.csv": f"{head}\n{rows}\n"}, "predictions:p.csv")


def _with_weights(by: float, name: str = "w.safetensors") -> Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        if name.endswith(".pt"):
            torch.save(state(by), file)
        else:
            save_file(state(by), file)
        files = {"models.py": NEIGHBOURS, name: file.read_bytes()}
    return Model(files, f"torch:models.py:model_0?weights={name}")


@cache
def skops(smoothing: float) -> bytes:
    import skops.io
    from sklearn.datasets import load_digits
    from sklearn.naive_bayes import GaussianNB

    X, y = load_digits(return_X_y=True)
    return bytes(skops.io.dumps(GaussianNB(var_smoothing=smoothing).fit(X[:300] / 16, y[:300])))


def by_patch(kind: str, rng: random.Random) -> Change:
    model, by = knob("attribute", 1.0), drawn_number(rng)
    plain = torch.nn.Linear.forward

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        torch.nn.Linear.forward = lambda self, x: plain(self, x) * by  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.nn.Linear.forward = plain  # type: ignore[method-assign]

    return Change(kind, model, model, around)


def looking(kind: str, value: float = 1.0) -> Model:
    return Model(dict(files_of(kind, value)), "sklearn:models.py:model")


def by_lookup(kind: str, rng: random.Random) -> Change:
    """Changes what a model looks up while it answers."""
    value = drawn_number(rng)
    before, after = looking(kind), looking(kind, value)
    if kind in ENVIRONMENT or VARIABLE in str(before.files["models.py"]):
        after = before
    return Change(kind, before, after, lambda: world(value))


def by_world(kind: str, rng: random.Random) -> Change:
    """Changes what lies outside the model, at `around`."""
    value = drawn_number(rng)
    before = knob(kind, 1.0)
    before = Model({**before.files, "answers.json": '{"value": 1.0}'}, before.uri)
    after = before
    if kind == "file read while it answers":
        after = Model({**before.files, "answers.json": json.dumps({"value": value})}, before.uri)

    return Change(kind, before, after, lambda: world(value))


@contextlib.contextmanager
def world(value: float) -> Iterator[None]:
    """Sets what some models read, outside of themselves."""
    import decimal

    limit, context = sys.getrecursionlimit(), decimal.getcontext().prec
    os.environ[VARIABLE] = str(value)
    torch.utils.of_benchmark = types.SimpleNamespace(value=value)  # type: ignore[attr-defined]
    if value != 1.0:
        sys.setrecursionlimit(int(2000 * value))
        decimal.getcontext().prec = int(50 * value)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        decimal.getcontext().prec = context


TEXTS = [
    "constant in its own file", "constant in an imported file",
    "a new neighbour that is imported", "another factory of the file",
]  # fmt: skip
SETTINGS = [
    "option output", "mean and std of the spec", "classes of the spec",
    "option scale of an estimator",
]  # fmt: skip
FILES = [
    "weights file", "state dict file", "ONNX file", "external data of an ONNX file", "skops file",
    "logged predictions",
]  # fmt: skip
KINDS: dict[str, Callable[[str, random.Random], Change]] = {
    **dict.fromkeys([*NUMBERS, *CHOICES, *OF_ESTIMATORS], by_knob),
    **dict.fromkeys(TEXTS, by_text),
    **dict.fromkeys(SETTINGS, by_settings),
    **dict.fromkeys(FILES, by_file),
    "method patched in a library": by_patch,
    **dict.fromkeys([*LOOKED_UP, *UNSEEN], by_world),
    **dict.fromkeys([*READ, *MODULES, *ENVIRONMENT, *NOT_SEEN], by_lookup),
}


@dataclass
class Count:
    """What became of the changes of one kind."""

    changes: int = 0
    differing: int = 0
    refused: int = 0
    stale: int = 0
    left: int = 0
    finished: int = 0


def measured(engine: Engine) -> dict[str, Count]:
    rng = random.Random(SEED)
    counts = {kind: Count() for kind in KINDS}
    known: dict[str, Seen] = {}
    for number in range(CHANGES):
        kind = list(KINDS)[number % len(KINDS)]
        change = KINDS[kind](kind, rng)
        place = json.dumps([kind, change.before.uri])
        if place not in known:
            with world(1.0):
                known[place] = engine.see(change.before)
        before = known[place]
        with change.around():
            after = engine.see(change.after)
        count = counts[kind]
        count.changes += 1
        count.differing += not np.array_equal(before.truth, after.truth)
        count.refused += after.key is None
        keys = (after.whole, before.whole) if kind in READING else (after.key, before.key)
        stale = keys[0] is not None and keys[0] == keys[1]
        count.stale += stale
        count.left += stale and agrees(before, after)
        count.finished += after.run == before.run
    return counts


# Changes that can't matter.


def needless(engine: Engine) -> dict[str, list[int]]:
    """Returns for each kind of change how many there were, and how many were asked anew."""
    rng = random.Random(SEED)
    models = [
        knob("table as an attribute", 1.5), knob("lambda in a closure", 1.5),
        knob("global of a helper module", 1.5), knob("modules in a list", 1.5),
        knob("closure of a transformer", 1.5), knob("forward hook", 1.5), looking("package in src"),
        looking("json"), looking("import_module, on sys.path"), looking("os.getenv"),
        Model({"models.py": NEIGHBOURS}, "torch:models.py:model_4"), _with_weights(1.0),
        Model(onnx_files(1.0, external=True), "onnx:m.onnx?output=logits"),
        Model({"m.skops": skops(0.1)}, "sklearn:m.skops"),
    ]  # fmt: skip
    known = [engine.see(model) for model in models]
    counts: dict[str, list[int]] = {kind: [0, 0] for kind in HARMLESS_KINDS}
    for number in range(HARMLESS):
        kind = HARMLESS_KINDS[number % len(HARMLESS_KINDS)]
        at = rng.randrange(len(models))
        base = engine.place(models[at])
        name = "m"
        match kind:
            case "a comment in a file that is not imported":
                (base / "other.py").write_text(f"# {rng.random()}\nimport models\n")
            case "formatting of an unrelated file":
                (base / "setup.cfg").write_text(" " * rng.randrange(50) + "\n[a]\n")
            case "touched times":
                for file in base.iterdir():
                    os.utime(file, (rng.randrange(10**9), rng.randrange(10**9)))
            case "another folder":
                moved = engine.folder / f"moved {number}" / "deep"
                shutil.copytree(base, moved)
                base = moved
            case "another user":
                for file in base.rglob("*"):
                    file.chmod(0o700 if rng.random() < 0.5 or file.is_dir() else 0o644)
                os.environ["HOME"] = str(base)
            case "order in which files were made":
                again = engine.folder / f"again-{number}"
                again.mkdir()
                for file in sorted(base.rglob("*"), reverse=True):
                    if file.is_file():
                        place = again / file.relative_to(base)
                        place.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(file, place)
                base = again
            case "a result folder beside it":
                (base / "results").mkdir()
                (base / "results" / "run.json").write_text(str(rng.random()))
            case "another name in the spec":
                name = f"m{number}"
            case "a folder reached by a link":
                link = engine.folder / f"link-{number}"
                link.symlink_to(base)
                base = link
            case "opened again":
                engine.see(models[at], base)
            case "another order of the search path":
                empty = engine.folder / f"empty-{number}"
                empty.mkdir()
                sys.path[:] = [str(empty), *sys.path[1:], sys.path[0]]
        again_seen = engine.see(models[at], base, name)
        counts[kind][0] += 1
        counts[kind][1] += again_seen.whole is None or again_seen.whole != known[at].whole
    return counts


PLUGGED = """
from crucibench.contracts.suite import Suite


class Plugged(Suite):
    name = "stale_plugged"
    axis = "test"
    description = "Of a benchmark."
    scoring = ("scoring", "tables.scoring")
"""
CODE = {
    "body of what asks": ("asking.py", True), "what asks imports": ("deep/helper.py", True),
    "a prompt in a file": ("prompts.txt", True), "constants as JSON": ("levels.json", True),
    "the suite's own module": ("suite.py", True), "a new module": ("added.py", True),
    "what scores": ("scoring.py", False), "what scores, deeper": ("tables/scoring.py", False),
}  # fmt: skip
"""Kinds of changes of a suite's code: the file, and whether it collects."""
CODE_CHANGES = 200


def suite_code(folder: Path, rng: random.Random) -> dict[str, list[int]]:
    """Returns by kind: changes; collected anew; scored anew; wrong, either way.

    A suite is plugged in, as a package of its own, from a folder; each change edits one file by
    one value. The keys are those of a cell's records and of a run.
    """
    found = {kind: [0, 0, 0, 0] for kind in CODE}
    for number in range(CODE_CHANGES):
        kind = list(CODE)[number % len(CODE)]
        name, collects = CODE[kind]
        keys = []
        package = folder / "stale_plugged"
        value = rng.randrange(1, 10**9)
        for changed in (False, True):
            shutil.rmtree(package, ignore_errors=True)
            _write_plugged(package)
            if changed:
                with (package / name).open("a", encoding="utf-8") as file:
                    file.write(f"\nVALUE = {value}\n")
            keys.append(_keys_of_code(folder))
        (collected, run), (collected_after, run_after) = keys
        asked, scored = collected != collected_after, run != run_after
        found[kind] = [
            one + more
            for one, more in zip(
                found[kind], (1, asked, scored, asked != collects or not scored), strict=True
            )
        ]
    return found


def _write_plugged(package: Path) -> None:
    for name, _ in CODE.values():
        if name != "added.py":
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_text(PLUGGED if name == "suite.py" else "VALUE = 0\n")
    for inner in (package, package / "deep", package / "tables"):
        (inner / "__init__.py").touch()
    about = package.parent / "stale_plugged-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stale-plugged\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[crucibench.suites]\nstale_plugged = stale_plugged.suite:Plugged\n"
    )


def _keys_of_code(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the digests that a cell and a run count, as another process would find them."""
    for cached in (installed_code._listed, installed_code._package, installed_code._digest):
        cached.cache_clear()
    importlib.invalidate_caches()
    _forget(list(sys.path))
    return (
        installed_code.collecting_code("stale_plugged", "torch", {}),
        installed_code.code_of(["stale_plugged"]),
    )


HARMLESS_KINDS = [
    "a comment in a file that is not imported", "formatting of an unrelated file",
    "touched times", "another folder", "another user", "order in which files were made",
    "a result folder beside it", "another name in the spec", "a folder reached by a link",
    "opened again", "another order of the search path",
]  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    set_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plugged = Path(folder).resolve() / "plugged"
        # Before anything asks what is installed, which is looked up once.
        _write_plugged(plugged / "stale_plugged")
        sys.path.insert(0, str(plugged))
        engine = Engine(Path(folder).resolve())
        counts = measured(engine)
        harmless = needless(engine)
        code = suite_code(plugged, random.Random(SEED))
    covered = {kind: count for kind, count in counts.items() if kind not in READING}
    unseen = {kind: counts[kind] for kind in UNSEEN}
    looked_up = {kind: counts[kind] for kind in LOOKED_UP}
    total = sum(count.changes for count in covered.values())
    read = sum(count.changes for count in looked_up.values())
    stale_read = sum(count.stale for count in looked_up.values())
    stale = sum(count.stale for count in covered.values())
    again = sum(count for _, count in harmless.values())
    publish(
        "stale",
        "Stale and needless: what the cache takes for the same model",
        [
            f"{CHANGES:,} changes of one ingredient each, of {len(KINDS)} kinds. Most are made by "
            "a file that the factory reads, so that no line of code differs. Stale: the engine "
            "would look for the changed model's forward pass under the key of the unchanged one. "
            "Left: stale, and the fixed probe (answers of 16 samples, gradients of four) agrees: "
            "the records would be used. Not cached: the model has no fingerprint, and the plan "
            "says why. Same run: the run's id is the same, and so are the files and variables that "
            "the model read, so that a finished run would be returned without asking the model.",
            "",
            f"What a fingerprint covers: **{stale} of {total} stale**.",
            "",
            *_table(covered),
            "",
            "What a model looks up while it answers, of which no line and no attribute tells: "
            f"**{stale_read} of {read} stale**.",
            "",
            *_table(looked_up),
            "",
            "What nobody sees:",
            "",
            *_table(unseen),
            "",
            f"{sum(one[0] for one in code.values())} changes of a suite's code, one value each: "
            f"**{sum(one[3] for one in code.values())} collected or scored from what was there "
            "though they should not be, or anew though they need not**.",
            "",
            *table(["changed", "changes", "collected anew", "scored anew", "wrong"],
                   [[kind, *found] for kind, found in code.items()]),
            "",
            f"{HARMLESS} changes that can't matter: **{again} asked anew**.",
            "",
            *table(["change", "changes", "asked anew"],
                   [[kind, *found] for kind, found in harmless.items()]),
        ],
        "torch", "scikit-learn", "onnxruntime",
    )  # fmt: skip


def _table(counts: dict[str, Count]) -> list[str]:
    header = ["ingredient", "changes", "answers differ", "not cached", "stale", "left", "same run"]
    return table(
        header,
        [
            [kind, one.changes, one.differing, one.refused, one.stale, one.left, one.finished]
            for kind, one in counts.items()
        ],
    )


if __name__ == "__main__":
    main()
