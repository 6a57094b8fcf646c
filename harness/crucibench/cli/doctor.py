"""``crucibench doctor``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples
from crucibench.cli._output import NotePrinter, Table, emit
from crucibench.util.errors import InputError

_EXTRAS = {
    "vision": ("torchvision", "timm"),
    "text": ("transformers",),
    "onnx": ("onnx", "onnxruntime"),
    "ray": ("ray",),
    "loadgen": ("mlperf_loadgen",),
    "gpu": ("pynvml",),
    "mlflow": ("mlflow",),
}
"""Each extra and the modules that it brings."""

_REQUIRED = (
    "numpy", "scipy", "pandas", "pyarrow", "pydantic", "yaml", "datasets", "sklearn", "torch",
    "matplotlib", "jinja2", "rich", "skops", "safetensors", "PIL", "platformdirs",
)  # fmt: skip


class Diagnosis(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: was looked at.
        state: ``ok``, ``absent`` (and not needed) or ``problem``.
        detail: what was found, or how to mend it.
    """

    what: str
    state: str
    detail: str


@click.command(epilog=examples("crucibench doctor", "crucibench doctor --format json"))
@OUT
@FORMAT
@QUIET
def command(*, out: Path, form: Format, quiet: bool) -> int:
    """Check what a run needs of this machine.

    Python, packages, the device, optional parts with the line that installs them, folders, and
    plug-ins. Exit code 0: a run can start here; 1: something is in its way.
    """
    checks = [*_python(), *_packages(), *_device(), *_folders(out), *_plugins(), *_extras()]
    emit(
        form,
        [check._asdict() for check in checks],
        [Table(columns=("what", "state", "detail"), rows=[list(check) for check in checks])],
    )
    problems = [check.what for check in checks if check.state == "problem"]
    note = NotePrinter(quiet)
    note(f"problems: {', '.join(problems)}" if problems else "nothing is in the way of a run")
    return 1 if problems else 0


def _python() -> Iterator[Diagnosis]:
    import platform
    import sys

    fine = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()}, {sys.executable}"
    yield Diagnosis(
        "python", "ok" if fine else "problem", detail + ("" if fine else "; needs 3.11")
    )


def _packages() -> Iterator[Diagnosis]:
    from importlib.metadata import version

    yield Diagnosis("crucibench", "ok", version("crucibench"))
    found = _imported("packages", _REQUIRED, 'pip install "crucibench"')
    if found.state == "absent":  # without these nothing runs
        found = found._replace(state="problem")
    elif found.state == "ok":
        found = found._replace(detail="all that crucibench requires can be imported")
    yield found


def _imported(what: str, modules: Sequence[str], install: str) -> Diagnosis:
    """Returns what importing some modules gives: being installed says little."""
    from importlib import import_module
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    for name in (name for name in modules if name not in missing):
        try:
            import_module(name)
        except Exception as error:  # a broken package raises whatever it likes
            why = f"{type(error).__name__}: {error}"
            return Diagnosis(what, "problem", f"{name} is installed and can't be imported: {why}")
    if missing:
        return Diagnosis(what, "absent", f"not installed: {', '.join(missing)}: {install}")
    return Diagnosis(what, "ok", ", ".join(modules))


def _device() -> Iterator[Diagnosis]:
    from crucibench.util.devices import resolve_device

    try:
        import torch

        device = resolve_device("auto")
    except Exception as error:  # a broken torch raises whatever it likes
        yield Diagnosis(
            "torch", "problem", f"it can't be imported: {type(error).__name__}: {error}"
        )
        return
    name = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
    yield Diagnosis("torch", "ok", f"{torch.__version__}, device {name}")
    cores = os.cpu_count() or 1
    yield Diagnosis("threads", "ok", f"{min(4, cores)} by default, {cores} cores")


def _folders(out: Path) -> Iterator[Diagnosis]:
    from crucibench.util.folders import cache_folder

    for what, folder in (("results folder", out), ("cache folder", cache_folder())):
        problem = _write_problem(folder)
        detail = str(folder.resolve())
        yield Diagnosis(what, "problem" if problem else "ok", problem or detail)


def _write_problem(folder: Path) -> str:
    """Returns why nothing can be written into a folder, which need not exist; "" if it can."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    probe = folder / f".crucibench-doctor-{os.getpid()}"
    try:
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        return f"can't write to {str(folder)!r}: {error.strerror}"
    return ""


def _plugins() -> Iterator[Diagnosis]:
    """Yields a check of each kind, and a problem for each entry that can't be loaded."""
    from crucibench.registry import KINDS

    for word, kind in KINDS.items():
        names = list(dict.fromkeys(entry.name for entry in kind.entries()))
        known = kind.registry() if kind.registry else None
        for name in list(names):
            try:
                if known:
                    known.get(name)
            except InputError as error:
                names.remove(name)
                yield Diagnosis(f"{word}: {name}", "problem", str(error))
        state = "problem" if kind.required and not names else "ok"
        yield Diagnosis(word, state, ", ".join(names) or "none is registered")


def _extras() -> Iterator[Diagnosis]:
    for extra, modules in _EXTRAS.items():
        yield _imported(f"extra {extra}", modules, f'pip install "crucibench[{extra}]"')
