"""Models that sabotage the process they run in: copied beside a spec, a factory in a file for each.

Each kind is a function that draws its parameters and does harm once, when the file of its factory
is imported, when the model is made or when it is asked for the n-th time. From then on the model
answers as well as it can. Nothing here looks for the engine or for the run's folder.
"""

from __future__ import annotations

import atexit
import contextlib
import copyreg
import ctypes
import decimal
import faulthandler
import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
KEPT: list[Any] = []
ASKED, AFTER = "of_saboteur_asked", "of_saboteur_after"
RARE = 3
"""How many there are of a kind that costs much time or memory."""
LIFE = 600
"""Seconds after which a child ends by itself, should nobody end it."""

PATCHES = {
    "a function of torch": "torch.cdist torch.softmax torch.cat torch.as_tensor torch.from_numpy "
    "torch.no_grad torch.inference_mode torch.nn.functional.linear torch.nn.functional.softmax",
    "a method of torch": "torch.nn.Linear.forward torch.nn.Module.__call__ torch.nn.Module.eval "
    "torch.nn.Dropout.forward torch.Tensor.softmax torch.Tensor.numpy torch.Tensor.to",
    "`torch.load` and `torch.save`": "torch.load torch.save torch.serialization.load",
    "a function of NumPy": "numpy.exp numpy.mean numpy.argmax numpy.asarray numpy.concatenate "
    "numpy.save numpy.random.default_rng numpy.arange",
    "a function of SciPy": "scipy.special.softmax scipy.special.logsumexp scipy.stats.norm.ppf "
    "scipy.spatial.distance.cdist",
    "scikit-learn": "sklearn.ensemble.RandomForestClassifier.predict_proba "
    "sklearn.base.BaseEstimator.get_params sklearn.metrics.accuracy_score sklearn.base.clone",
    "a function of `os`": "os.fsync os.replace os.stat os.open os.getpid os.listdir os.fspath "
    "os.path.join os.kill os.waitpid",
    "`json`": "json.dumps json.loads json.JSONEncoder.default",
    "PyArrow": "pyarrow.table pyarrow.parquet.write_table pyarrow.parquet.read_table "
    "pyarrow.concat_tables pyarrow.schema",
    "`pickle` and `copy`": "pickle.dumps pickle.loads copy.deepcopy copy.copy",
    "clocks": "time.time time.perf_counter time.monotonic time.sleep time.time_ns",
    "`random` and `uuid`": "random.random random.Random.random uuid.uuid4 uuid.uuid1",
    "digests": "hashlib.sha256 hashlib.blake2b hashlib.new hashlib.md5",
    "built-in functions": "builtins.open builtins.len builtins.print builtins.sorted "
    "builtins.isinstance builtins.__import__ builtins.hash builtins.range builtins.ValueError",
    "threads and queues": "threading.Thread.start threading.Thread.run queue.Queue.get "
    "concurrent.futures.ThreadPoolExecutor.submit",
    "files": "pathlib.Path.open pathlib.Path.write_bytes pathlib.Path.exists io.open "
    "tempfile.mkstemp shutil.rmtree",
    "this harness": "crucibench.engine.worker.worker.Worker.perform "
    "crucibench.contracts.adapter.Adapter.predict crucibench.store.tables.write_table "
    "crucibench.util.hashing.file_digest crucibench.engine.executors.child.pack",
}
ACTS: dict[str, Callable[[random.Random], Any]] = {}
COUNTS: dict[str, int] = {}
Act = Callable[[random.Random], Any]


def kind(name: str, count: int = 0) -> Callable[[Act], Act]:
    """Registers a kind of sabotage; `count` for as many as of any."""

    def register(act: Act) -> Act:
        ACTS[name] = act
        COUNTS[name] = count
        return act

    return register


def resolved(target: str) -> tuple[Any, str]:
    """Returns what holds a function, and its name there."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        with contextlib.suppress(ImportError):
            owner = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:-1]:
                owner = getattr(owner, part)
            return owner, parts[-1]
    raise ImportError(target)


def _stand_in(original: Any, how: str) -> Callable[..., Any]:
    def replaced(*given: Any, **named: Any) -> Any:
        if how == "raises":
            raise RuntimeError("sabotage")
        if how == "recurses":
            return replaced(*given, **named)
        found = None if how == "says nothing" else original(*given, **named)
        if how == "is off" and isinstance(found, (torch.Tensor, np.ndarray, np.generic, float)):
            return found * 0
        return "sabotage" if how == "is off" and isinstance(found, str) else found

    return replaced


def patch(targets: str, draw: random.Random) -> None:
    owner, name = resolved(draw.choice(targets.split()))
    how = draw.choice(["raises", "recurses", "says nothing", "is off"])
    setattr(owner, name, _stand_in(getattr(owner, name), how))


for _name, _targets in PATCHES.items():
    ACTS[f"replaces {_name}"] = lambda draw, targets=_targets: patch(targets, draw)
    COUNTS[f"replaces {_name}"] = 0


# -- settings ------------------------------------------------------------------------------------


@kind("default dtype and device")
def _dtype(draw: random.Random) -> None:
    torch.set_default_dtype(draw.choice([torch.float64, torch.float16, torch.bfloat16]))
    if draw.random() < 0.3:
        torch.set_default_device("meta")


@kind("grad and inference mode")
def _grad(draw: random.Random) -> None:
    torch.set_grad_enabled(draw.random() < 0.5)
    torch.inference_mode(draw.random() < 0.5).__enter__()
    torch.autograd.set_detect_anomaly(True)


@kind("numeric flags")
def _flags(draw: random.Random) -> None:
    torch.use_deterministic_algorithms(draw.random() < 0.7)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision(draw.choice(["medium", "high"]))
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    np.seterr(all="raise")
    decimal.getcontext().prec = draw.randint(1, 5)


@kind("hooks of all modules")
def _hooks(draw: random.Random) -> None:
    scale = draw.uniform(0, 2)
    nn.modules.module.register_module_forward_hook(
        lambda module, given, out: out * scale if isinstance(out, torch.Tensor) else None
    )


@kind("seeds and random states")
def _seeds(draw: random.Random) -> None:
    seed = draw.randrange(1000)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@kind("numbers of threads")
def _threads(draw: random.Random) -> None:
    import pyarrow
    import threadpoolctl

    count = draw.choice([1, 2, 7, 33])
    torch.set_num_threads(count)
    threadpoolctl.threadpool_limits(count)
    pyarrow.set_cpu_count(count)
    pyarrow.set_io_thread_count(count)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


@kind("environment variables")
def _environ(draw: random.Random) -> None:
    if draw.random() < 0.3:
        os.environ.clear()
    for name in ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_PRELOAD", "CRUCIBENCH_CACHE"):
        os.environ[name] = f"/nowhere/{draw.random()}"


@kind("working directory")
def _chdir(draw: random.Random) -> None:
    os.chdir(draw.choice(["/", "/proc/self", tempfile.mkdtemp()]))
    if draw.random() < 0.5:
        gone = tempfile.mkdtemp()
        os.chdir(gone)
        Path(gone).rmdir()


@kind("umask")
def _umask(draw: random.Random) -> None:
    os.umask(draw.choice([0o000, 0o777, 0o077]))


@kind("`sys.path` and `sys.modules`")
def _modules(draw: random.Random) -> None:
    match draw.randrange(4):
        case 0:
            sys.path.clear()
        case 1:
            sys.path.insert(0, str(HERE / "shadows"))
        case 2:
            sys.modules[draw.choice(["json", "numpy", "torch", "pyarrow"])] = types.ModuleType("x")
        case 3:
            sys.modules.clear()


@kind("hooks of imports")
def _finder(draw: random.Random) -> None:
    def find_spec(name: str, *_: Any) -> Any:
        raise ImportError(f"{name}: sabotage")

    sys.meta_path.insert(0, types.SimpleNamespace(find_spec=find_spec))  # type: ignore[arg-type]
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


@kind("warnings and logging")
def _warnings(draw: random.Random) -> None:
    warnings.simplefilter(draw.choice(["error", "always"]))
    warnings.warn("sabotage", stacklevel=1)
    logging.disable(logging.CRITICAL)


@kind("locale")
def _locale(draw: random.Random) -> None:
    names = ["C", "POSIX", "C.UTF-8", "de_DE.UTF-8"]
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, draw.choice(names))
    os.environ["LC_ALL"] = draw.choice(names)


@kind("recursion limit and switch interval")
def _recursion(draw: random.Random) -> None:
    sys.setswitchinterval(draw.choice([1e-6, 10.0]))
    sys.setrecursionlimit(draw.choice([60, 120, 10**6]))


@kind("garbage collector")
def _gc(draw: random.Random) -> None:
    draw.choice([gc.disable, gc.freeze, lambda: gc.set_threshold(1, 1, 1)])()
    gc.callbacks.append(lambda *_: KEPT.append(None))


@kind("faulthandler, trace and exception hooks")
def _tracing(draw: random.Random) -> None:
    faulthandler.disable()
    faulthandler.unregister(signal.SIGUSR1)
    sys.excepthook = sys.unraisablehook = lambda *_: None
    hook = draw.choice([sys.settrace, sys.setprofile, threading.setprofile])
    hook(lambda *_: None)


@kind("limits of resources")
def _limits(draw: random.Random) -> None:
    what = draw.choice(["NOFILE", "FSIZE", "CPU", "STACK", "DATA", "NPROC", "CORE"])
    least = {"NOFILE": 3, "CPU": 1, "STACK": 1 << 16, "DATA": 1 << 20}.get(what, 0)
    resource.setrlimit(getattr(resource, f"RLIMIT_{what}"), (least, least))


@kind("priority and affinity")
def _priority(draw: random.Random) -> None:
    os.nice(draw.randint(1, 19))
    os.sched_setaffinity(0, {draw.choice(sorted(os.sched_getaffinity(0)))})


@kind("multiprocessing and pickling hooks")
def _pickling(draw: random.Random) -> None:
    multiprocessing.set_start_method(draw.choice(["spawn", "forkserver", "fork"]), force=True)
    for one in (np.ndarray, Path, type(None), torch.Tensor):
        copyreg.pickle(one, lambda _: (str, ("sabotage",)))  # type: ignore[arg-type]


# -- signals -------------------------------------------------------------------------------------


@kind("signal handlers")
def _handlers(draw: random.Random) -> None:
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, draw.choice([signal.SIG_IGN, lambda *_: None]))


@kind("blocked signals, SIGTERM ignored")
def _blocked(draw: random.Random) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.CDLL(None).prctl(1, draw.choice([0, int(signal.SIGUSR1)]), 0, 0, 0)


@kind("alarms")
def _alarm(draw: random.Random) -> None:
    signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.001, 0.2), draw.choice([0, 0.01]))
    if draw.random() < 0.5:
        signal.signal(signal.SIGALRM, lambda *_: 1 // 0)


@kind("a signal to itself or to its group")
def _signalled(draw: random.Random) -> None:
    names = ["INT", "TERM", "HUP", "KILL", "SEGV", "ABRT", "QUIT", "PIPE", "USR1", "CHLD", "TRAP"]
    number = getattr(signal, f"SIG{draw.choice(names)}")
    draw.choice([lambda: os.kill(os.getpid(), number), lambda: os.killpg(0, number)])()


@kind("stops itself or never comes back", RARE)
def _hangs(draw: random.Random) -> None:
    match draw.randrange(3):
        case 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        case 1:
            time.sleep(3600)
        case 2:
            sum(range(10**13))  # never lets another thread in


# -- streams and files ---------------------------------------------------------------------------


@kind("standard streams")
def _streams(draw: random.Random) -> None:
    stream = draw.choice(["stdout", "stderr", "stdin"])
    draw.choice([
        lambda: setattr(sys, stream, None),
        lambda: getattr(sys, stream).close(),
        lambda: setattr(sys, stream, types.SimpleNamespace(write=lambda _: 1 // 0)),
        lambda: os.close(draw.randrange(3)),
        lambda: os.closerange(0, 3),
    ])()  # fmt: skip


@kind("closes descriptors at random", 2 * RARE)
def _descriptors(draw: random.Random) -> None:
    for number in draw.sample(range(3, 24), draw.choice([2, 6, 21])):
        with contextlib.suppress(OSError):
            os.close(number)


@kind("garbage into every descriptor", 2 * RARE)
def _garbage(draw: random.Random) -> None:
    content = draw.choice([b"garbage\n", draw.randbytes(64), b"\x40" + bytes(15), b"\xff" * 9])
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, content)


@kind("uses up all descriptors")
def _exhausts(draw: random.Random) -> None:
    with contextlib.suppress(OSError):
        while True:
            KEPT.append(os.open(os.devnull, os.O_RDONLY))
    for number in KEPT[: draw.choice([0, 1, 5])]:
        os.close(number)


@kind("prints 256 MB to 1 GB", RARE)
def _prints(draw: random.Random) -> None:
    block = draw.choice([b"a" * 1023 + b"\n", b"a" * 1024, os.urandom(1024)]) * 1024
    for _ in range(draw.choice([256, 512, 1024])):
        os.write(draw.choice([1, 2]), block)


@kind("files in the working directory and for a time")
def _files(draw: random.Random) -> None:
    for folder in (Path(), Path(tempfile.gettempdir())):
        name = draw.choice(["json", "torch", "numpy", "sklearn", "scipy", "models", "healthy"])
        (folder / f"{name}.py").write_text("raise ImportError('sabotage')")
        (folder / f"{draw.random()}").write_bytes(draw.randbytes(1 << 20))
        (folder / f"{draw.random()}").symlink_to(folder)
        os.mkfifo(folder / f"{draw.random()}")


# -- threads, processes, memory ------------------------------------------------------------------


def _spin(seconds: float = LIFE) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


@kind("threads that spin")
def _spins(draw: random.Random) -> None:
    for _ in range(draw.randint(1, 8)):
        threading.Thread(target=_spin, daemon=draw.random() < 0.5).start()


def _child(work: Callable[[], Any]) -> None:
    if os.fork() == 0:
        try:
            signal.alarm(LIFE)
            work()
        finally:
            os._exit(0)


@kind("child processes that spin")
def _children(draw: random.Random) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
    for _ in range(draw.randint(1, 4)):
        _child(_spin)


@kind("child processes in sessions of their own")
def _daemons(draw: random.Random) -> None:
    def away() -> None:
        os.setsid()
        if draw.random() < 0.5:
            os.closerange(0, 64)
        _child(lambda: (_spin(draw.uniform(0, 5)), time.sleep(LIFE)))
        if draw.random() < 0.5:
            time.sleep(LIFE)

    for _ in range(draw.randint(1, 2)):
        _child(away)
    if draw.random() < 0.5:
        subprocess.Popen(["sleep", str(LIFE)], start_new_session=True, env={})


@kind("forks, and both go on")
def _forks(draw: random.Random) -> None:
    for _ in range(draw.randint(1, 2)):
        os.fork()


@kind("becomes another program", RARE)
def _becomes(draw: random.Random) -> None:
    program = draw.choice([["true"], ["sleep", str(LIFE)], ["sh", "-c", "yes | head -c 100000000"]])
    os.execvp(program[0], program)


@kind("eats 256 MB to 1 GB", 2 * RARE)
def _eats(draw: random.Random) -> None:
    KEPT.append(np.ones(draw.randint(256, 1024) << 20, np.uint8))


@kind("what is done at exit")
def _at_exit(draw: random.Random) -> None:
    work = draw.choice([lambda: os.kill(os.getpid(), signal.SIGSTOP), lambda: time.sleep(3600)])
    atexit.register(work)
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
    if draw.random() < 0.5:
        sys.exit(draw.choice([0, 3, "sabotage"]))


# -- its end -------------------------------------------------------------------------------------


class _Untold(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


@kind("raises")
def _raises(draw: random.Random) -> None:
    raise draw.choice([
        ValueError("sabotage\n\x1b[2J\x00\udcff" * 3), ValueError("x" * (16 << 20)),
        _Untold(), KeyboardInterrupt(), SystemExit(object()), GeneratorExit(), MemoryError(),
        StopIteration(), BaseExceptionGroup("many", [SystemExit(), _Untold()]),
        BaseException("base"),
    ])  # fmt: skip


def _deeper(*_: Any) -> None:
    list(map(_deeper, [0]))  # through native code, which has a stack to run out of


@kind("ends or crashes the process")
def _ends(draw: random.Random) -> None:
    sys.setrecursionlimit(10**9)
    draw.choice([
        lambda: os._exit(0), lambda: os._exit(7), os.abort, _deeper,
        lambda: ctypes.string_at(0), lambda: ctypes.CDLL(None).exit(0),
    ])()  # fmt: skip


@kind("answers that are none")
def _answers(draw: random.Random) -> Any:
    return draw.choice([
        lambda y: y * float("nan"), lambda y: y[:-1], lambda y: None, lambda y: "sabotage",
        lambda y: y.to("meta"), lambda y: y.to_sparse(), lambda y: y.long(), iter,
        lambda y: [object()] * len(y), lambda y: y.repeat(1, 99), lambda y: y[..., None],
    ])  # fmt: skip


# -- the models ----------------------------------------------------------------------------------


class Saboteur(nn.Module):
    """Does harm when it is asked for the n-th time, or has done it; else an honest model.

    It counts where no fingerprint sees it, so that it is no model that changes by itself.
    """

    def __init__(self, act: Callable[[], Any] | None, asked: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.act, self.asked = act, asked

    def forward(self, x: torch.Tensor) -> Any:
        count = getattr(torch.utils, ASKED, 0) + 1
        setattr(torch.utils, ASKED, count)
        if count == self.asked and self.act is not None:
            self.act()
        found = self.layer(x.flatten(1).to(self.layer.weight))
        after = getattr(torch.utils, AFTER, None)
        return after(found) if callable(after) else found


def factory(name: str, what: str, when: str, seed: int) -> Callable[[], nn.Module]:
    """Returns a saboteur's factory; `when` is ``import``, ``made`` or how often it is asked."""

    def act() -> None:
        note = os.open(HERE / "acted.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(note, f"{name}\n".encode())
        os.close(note)
        setattr(torch.utils, AFTER, ACTS[what](random.Random(seed)))

    if when == "import":
        act()

    def make() -> nn.Module:
        model = Saboteur(act, int(when) if when.isdecimal() else 0)
        if when == "made":
            act()
        return model

    return make
