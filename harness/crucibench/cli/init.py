"""``crucibench init``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import NAMED_FILE, QUIET, ParsedOptions, complete_files, examples
from crucibench.cli._output import NotePrinter, write, write_output_file
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.cli._guess import DataGuess, ModelGuess

_PLAIN = re.compile(r"[A-Za-z_][\w-]*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off"})

_DEFAULTS = """\
schema_version: 1

defaults:
  preset: quick          # quick, standard or full
  seed: 0
  # limit: 1000          # at most so many samples of each data set
  # timeout: 30m         # of one cell
  # device: auto         # auto, cpu, cuda or cuda:N
"""

_SUITES = """
# suites:                # settings by suite; without `tracks` every suite that applies runs
#   accuracy: {}
"""


def _file(text: str) -> Path:
    """Returns the file of an address as `run` takes it, ``csv:people.csv``, or of a bare name."""
    from crucibench.registry import adapters, sources

    scheme, colon, rest = text.partition(":")
    known = colon and scheme in {*adapters().names(), *sources().names()}
    return Path(rest.partition("?")[0] if known else text)


_FILE = ParsedOptions("FILE|URI", _file)


@click.command(
    epilog=examples(
        "crucibench init --model models.py --data people.csv",
        "crucibench init --model fraud.skops --data claims.parquet --target is_fraud -o fraud.yaml",
    )
)
@click.option(
    "--model",
    "model_file",
    metavar="FILE|URI",
    type=_FILE,
    shell_complete=complete_files("model"),
    help="A .py file with functions that build models, a .skops file, or predictions.",
)
@click.option(
    "--data",
    "data_file",
    metavar="FILE|URI",
    type=_FILE,
    shell_complete=complete_files("data"),
    help="A .csv, .parquet or .npz file, or a folder of images.",
)
@click.option("--target", metavar="COLUMN", help="The column with the answer.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=NAMED_FILE,
    default="crucibench.yaml",
    show_default=True,
    help="Where to write the spec.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@QUIET
def command(
    *,
    model_file: Path | None,
    data_file: Path | None,
    target: str | None,
    output: Path,
    force: bool,
    quiet: bool,
) -> int:
    """Look at your model and data and write a spec that runs.

    Files are read, never run. Without --model or --data, the one that fits in this folder is taken.
    What was guessed is printed, and marked in the spec.
    """
    from crucibench.cli._guess import guess_data, guess_models, shared_id

    if output.exists() and not force:
        raise InputError(f"{str(output)!r} is there already; --force writes over it")
    model_file, data_file = _chosen(model_file, data_file)
    base = output.parent
    data = guess_data(data_file, base, target)
    file, function = _function_of(model_file)
    if not data.id:
        data = replace(data, id=shared_id(file, data.naming))
    models = guess_models(file, base, data.id, data.classes)
    if function:
        models = [model for model in models if model.name == function]
        if not models:
            raise InputError(f"{file.name} has no function {function!r} that builds a model")
    text = spec_text(models, data, output)
    _check(text, output)
    write_output_file(output, text)
    note = NotePrinter(quiet)
    for sentence in _summary(models, data):
        note(sentence)
    flag = " --allow-pickle" if models[0].pickled else ""
    note(f"next: crucibench run {output}{flag}")
    write(f"{output}\n")
    return 0


def _function_of(file: Path) -> tuple[Path, str]:
    """Splits ``models.py:cnn``."""
    head, _, function = file.name.rpartition(".py:")
    return (file.with_name(f"{head}.py"), function) if head else (file, "")


def _chosen(model: Path | None, data: Path | None) -> tuple[Path, Path]:
    from crucibench.cli._guess import holds_models, is_data

    here = sorted(path for path in Path().iterdir() if not path.name.startswith("."))
    model = model or _only(list(filter(holds_models, here)), "--model", "model file")
    data = data or _only(list(filter(is_data, here)), "--data", "data file")
    return model, data


def _only(found: list[Path], option: str, what: str) -> Path:

    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise InputError(f"several files here could be the {what}: {names}; say which: {option}")
    raise InputError(f"no {what} stands in this folder; say where it is: {option} FILE")


def _check(text: str, output: Path) -> None:
    """Raises InputError if the spec that was made up does not resolve."""
    from crucibench.engine.resolve.resolve import Overrides, resolve
    from crucibench.util.untrusted.yaml_text import parse_yaml

    document = parse_yaml(text, str(output))
    resolve(document, output.resolve().parent, str(output), Overrides(allow_pickle=True))


def _summary(models: list[ModelGuess], data: DataGuess) -> list[str]:
    sentences = [f"model {models[0].name}: {models[0].uri} ({models[0].why})"]
    if models[1:]:
        names = ", ".join(model.name for model in models[1:])
        sentences.append(f"more models, commented out: {names}")
    sentences.append(f"data {data.name}: {data.uri}")
    if data.target:
        why = f" (guessed: {data.target_why})" if data.target_why else ""
        sentences.append(f"target: {data.target}{why}")
    if data.groups:
        sentences.append(f"groups: {', '.join(data.groups)} (guessed by their names)")
    if data.id:
        sentences.append(f"id: {data.id} (guessed: every value is there once)")
    sentences += [f"perhaps {key}: {value} ({why})" for key, (value, why) in data.advice.items()]
    return sentences


def spec_text(models: list[ModelGuess], data: DataGuess, output: Path) -> str:
    """Returns the commented spec."""
    lines = [
        "# Written by `crucibench init`. What stands behind `guessed` may be wrong: check it.",
        f"# Run it:   crucibench run {output}{' --allow-pickle' if models[0].pickled else ''}",
        "# All keys: crucibench schema spec",
        _DEFAULTS,
        "models:",
        f"  - name: {_scalar(models[0].name)}",
        f"    uri: {_scalar(models[0].uri)}  # guessed: {models[0].why}",
    ]
    if len(data.classes) == 2:
        decision = f"{{positive: {_scalar(data.classes[-1])}, threshold: 0.5}}"
        lines.append(f"    # decision: {decision}  # how a score becomes a class; these by default")
    lines += [
        f"  # - {{name: {_scalar(model.name)}, uri: {_scalar(model.uri)}}}  # {model.why}"
        for model in models[1:]
    ]
    lines += ["", "data:", f"  - name: {_scalar(data.name)}", f"    uri: {_scalar(data.uri)}"]
    lines += _column_lines(data)
    return "\n".join(lines) + "\n" + _SUITES


def _column_lines(data: DataGuess) -> list[str]:
    lines = []
    if data.target:
        why = f"  # guessed: {data.target_why}" if data.target_why else ""
        lines.append(f"    target: {_scalar(data.target)}{why}")
    if data.groups:
        names = ", ".join(map(_scalar, data.groups))
        lines.append(f"    groups: [{names}]  # guessed by their names")
    if data.id:
        lines.append(f"    id: {_scalar(data.id)}  # guessed: every value is there once")
    for key, (value, why) in data.advice.items():
        shown = _scalar(value) if key == "cluster" else f"[{_scalar(value)}]"
        lines.append(f"    # {key}: {shown}  # {why}")
    if data.target:
        used = {data.target, data.id}
        names = ", ".join(_scalar(column) for column in data.columns if column not in used)
        lines.append(f"    # features: [{names}]  # default: these")
    elif data.columns:
        lines.append(f"    # arrays of the file: {', '.join(map(_scalar, data.columns))}")
    lines.append("    # split: 0.3  # keep this share as test; by default all of it is test")
    return lines


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    import json

    return json.dumps(text)
