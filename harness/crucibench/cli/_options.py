"""Options and arguments that verbs share: types, what a shell completes, the runs they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.store.run import Run


Format = Literal["table", "json", "csv", "md"]
BoardFormat = Literal["table", "json", "csv", "md", "html", "latex"]
Progress = Literal["auto", "bars", "lines", "none"]
_Command = TypeVar("_Command", bound=Callable[..., Any])


def complete_suites(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Returns names of suites, also behind a comma."""
    from crucibench.registry import suites

    head, comma, last = incomplete.rpartition(",")
    names = suites().names()
    return [f"{head}{comma}{name}" for name in names if name.startswith(last)]


def complete_runs(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Returns ids of runs in the results' folder; where none fits, files, e.g. packs."""
    out = Path(ctx.params.get("out") or "results")
    found = sorted(spec.parent.name for spec in out.glob("*/spec.yaml"))
    return _or_files(("latest", *found), incomplete)


def complete_files(
    what: Literal["data", "model"],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Returns what completes files that hold a model, or data; where none fits, any file."""

    def complete(
        _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from crucibench.contracts.uri import FITTING

        suffixes = {*FITTING[what], *({".py"} if what == "model" else ())}
        folder = incomplete.rpartition("/")[0]
        here = sorted(Path(folder or ".").glob("*"))
        fitting = (str(path) for path in here if path.suffix.lower() in suffixes)
        return _or_files(fitting, incomplete)

    return complete


def _or_files(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


NAMED_FILE = click.Path(path_type=Path, dir_okay=False)
"""The type of an option that names a file."""


def _format_option(forms: Sequence[str]) -> Callable[[_Command], _Command]:
    return click.option(
        "--format", "form", type=click.Choice(forms), default="table", show_default=True,
        help="How to write the data on stdout.",
    )  # fmt: skip


FORMAT = _format_option(get_args(Format))
BOARD_FORMAT = _format_option(get_args(BoardFormat))
QUIET = click.option(
    "-q", "--quiet", is_flag=True, help="Print the data and errors alone, no progress and no notes."
)
PROGRESS = click.option(
    "--progress", type=click.Choice(get_args(Progress)), default="auto",
    show_default=True,
    help="How to show progress on stderr; auto: bars in a terminal, else lines.",
)  # fmt: skip
OUT = click.option(
    "--out", type=click.Path(path_type=Path), default="results", show_default=True,
    metavar="FOLDER", help="The folder that holds the runs.",
)  # fmt: skip
RUN = click.argument("reference", metavar="[RUN]", default="latest", shell_complete=complete_runs)
"""A path, the start of an id, or ``latest``."""
POLICY = click.option(
    "--policy", "policy_file", metavar="FILE", type=NAMED_FILE,
    help="A gate's policy: the decision names no model that does not hold its required rules.",
)  # fmt: skip
ALLOW_PICKLE = click.option(
    "--allow-pickle", is_flag=True,
    help="Read pickled models, which can run any code: only of people you trust.",
)  # fmt: skip


def examples(*lines: str) -> str:
    """Returns the end of a help text: commands to copy."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


class Verbs(click.Group):
    """A group that guesses what a mistyped command meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            from crucibench.util.suggest import unknown

            ctx.fail(unknown("command", args[0], known))
        return super().resolve_command(ctx, args)


class ParsedOptions(click.ParamType[Any]):
    """An option's value, made of its text by a function that raises ValueError for a bad one."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # a default, or converted already
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _auto_or_number(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"expected auto or a whole number from 1 up, got {text!r}")
    return int(text)


def _setting(text: str) -> tuple[str, Any]:
    address, equals, value = text.partition("=")
    suite, dot, key = address.partition(".")
    if not (equals and suite and dot and key):
        raise ValueError(f"expected SUITE.KEY=VALUE, got {text!r}")
    from crucibench.util.untrusted.yaml_text import parse_yaml

    return address, parse_yaml(value, f"--set {address}")


def _size(text: str) -> int:
    from crucibench.util.numbers import parse_size

    return parse_size(text)


def _failures(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0 or (number >= 1 and number != int(number)):
        raise ValueError(f"expected a whole number, or a share below 1, got {text!r}")
    return number


def _part(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ValueError(f"expected I/N with I from 1 to N, e.g. 2/4, got {text!r}")
    return int(number), int(of)


NAMES = ParsedOptions("NAME,...", _names)
AUTO_OR_NUMBER = ParsedOptions("auto|N", _auto_or_number)
SETTING = ParsedOptions("SUITE.KEY=VALUE", _setting)
SIZE = ParsedOptions("SIZE", _size)
"""Bytes: ``8GiB``, ``500MB``."""

_LISTS = {
    "groups": "Columns that define groups.",
    "features": "Columns that the model is asked about.  [default: the rest]",
    "input": "Text columns.",
    "classes": "Class names in the order of the model's scores.",
}
_COLUMNS = {
    "target": "The column with the answer.",
    "id": "A column that names samples.",
    "cluster": "A column that names what samples were drawn together, e.g. a customer.",
}

_COLUMN_OPTIONS = [
    *(click.option(f"--{key}", metavar="COLUMN", help=text) for key, text in _COLUMNS.items()),
    *(
        click.option(f"--{key}", type=NAMES, multiple=True, help=text)
        for key, text in _LISTS.items()
    ),
    click.option("--split", metavar="SHARE",
                 help="Keep this share as test, e.g. 0.3; the rest is train.  "
                 "[default: all is test]"),
    click.option("--task", metavar="KIND",
                 help="What the target asks, where its type doesn't say: classification, "
                 "regression, or another kind of `crucibench list tasks`."),
    click.option("--on-bad-sample", type=click.Choice(["error", "skip"]),
                 help="Whether damaged images, rows without a target and similar stop the run "
                 "or are left out and counted.  [default: error]"),
]  # fmt: skip

_EXECUTION_OPTIONS = [
    click.option("--workers", metavar="N", type=click.IntRange(min=0),
                 help="Processes that ask models; 0: this process, so that a model that "
                 "crashes ends the run.  [default: 1, or one a GPU]"),
    click.option("--executor", type=click.Choice(["local", "ray"]), default="local",
                 show_default=True, help="Where the workers are."),
    click.option("--ray-address", metavar="ADDRESS",
                 help="The address of a running Ray cluster, e.g. auto.  [default: RAY_ADDRESS, "
                 "or a cluster of its own]"),
    click.option("--ray-gpus", metavar="SHARE", type=click.FloatRange(min=0, min_open=True),
                 help="GPUs that each worker on Ray takes, e.g. 0.5.  [default: 1 where "
                 "models run on GPUs]"),
    click.option("--memory-limit", type=SIZE,
                 help="What a worker may use, e.g. 8GiB.  [default: no limit]"),
    click.option("--retries", metavar="N", type=click.IntRange(min=0), default=0,
                 show_default=True,
                 help="How often a cell is tried again after its model raised or died."),
    click.option("--fail-on-error", type=ParsedOptions("N|SHARE", _failures),
                 help="Stop when more cells than this have failed: a number (0: at the first), "
                 "or a share of all.  [default: never]"),
    click.option("--shard", type=ParsedOptions("I/N", _part),
                 help="Do this part of the run alone, into a folder of its own; "
                 "crucibench merge makes a run of all."),
    click.option("--no-cache", is_flag=True,
                 help="Ask models for everything, also where an earlier run did."),
]  # fmt: skip


def column_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds the options that say what a data set's columns are; they arrive as `columns`."""

    @wraps(function)
    def gathering(**given: Any) -> int:
        columns: dict[str, Any] = {}
        for key in (*_COLUMNS, *_LISTS, "split", "task", "on_bad_sample"):
            value = given.pop(key)
            if key in _LISTS:
                value = [name for names in value for name in names]
            if value not in (None, []):
                columns[key] = value
        return function(columns=columns, **given)

    return _decorated(gathering, _COLUMN_OPTIONS)


def execution_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds options that change no result; they arrive as `execution`, keywords of `RunOptions`."""

    @wraps(function)
    def gathering(**given: Any) -> int:
        keys = ("executor", "workers", "ray_address", "ray_gpus", "retries")
        execution = {key: given.pop(key) for key in keys}
        if execution["executor"] != "ray":
            ray = {"--ray-address": execution["ray_address"], "--ray-gpus": execution["ray_gpus"]}
            require("--executor ray", False, ray)
        part = given.pop("shard")
        if part is not None:
            from crucibench.engine.options import RunPart

            execution["part"] = RunPart(*part)
        execution |= {
            "memory": given.pop("memory_limit"),
            "cache": not given.pop("no_cache"),
            "failures": given.pop("fail_on_error"),
        }
        return function(execution=execution, **given)

    return _decorated(gathering, _EXECUTION_OPTIONS)


def _decorated(
    function: Callable[..., int],
    options: Sequence[Callable[[Callable[..., int]], Callable[..., int]]],
) -> Callable[..., int]:
    for decorate in reversed(options):
        function = decorate(function)
    return function


def require(option: str, present: object, others: Mapping[str, object]) -> None:
    """Refuses options that only go with another one, where that one is not given.

    Raises:
        click.UsageError: if `present` is false and one of `others` has a value.
    """
    for name, value in others.items():
        if not present and value not in (None, False, ()):
            raise click.UsageError(f"{name} goes with {option}")


def find_any_run(reference: str, out: Path) -> Run:
    """Returns a run by path, the start of its id, or ``latest``; it may be unfinished.

    What the process frees it keeps from then on: reading and scoring runs take large arrays.

    Raises:
        InputError: if there is none.
        UnreadableError: if there is a folder of that name that holds no run.
    """
    from crucibench.store.find import find_run, load
    from crucibench.util.memory import keep_freed_memory

    keep_freed_memory()
    try:
        return find_run(reference, out)
    except InputError:
        for folder in (Path(reference), out / reference):
            if reference != "latest" and folder.is_dir():
                return load(folder)
        raise


def find_finished_run(reference: str, out: Path) -> Run:
    """Returns a run that has its manifest.

    Raises:
        InputError: if there is none.
        UnreadableError: if it is not finished, or its manifest is damaged.
    """
    run = find_any_run(reference, out)
    _ = run.manifest
    return run


def find_run_and_model(reference: str, out: Path) -> tuple[Run, str]:
    """Returns a run and the model that is meant, or "".

    Raises:
        InputError: if there is no such finished run, or it has no such model.
    """
    from crucibench.util.suggest import unknown

    head, colon, model = reference.rpartition(":")
    try:
        return find_finished_run(reference, out), ""
    except InputError:
        if not colon:
            raise
        run = find_finished_run(head, out)
    known = [*dict.fromkeys(name for name, _ in run.models)]
    if model not in known:
        raise InputError(unknown("model", model, known))
    return run, model


def find_sound_runs(references: Sequence[str], out: Path) -> list[Run]:
    """Returns runs, the latest by default, that are as their manifests say at a quick look.

    Raises:
        InputError: if there is none.
        UnreadableError: if one is not finished, or damaged.
    """
    from crucibench.store.manifest import require_unchanged

    runs = [find_finished_run(reference, out) for reference in references or ("latest",)]
    for run in runs:
        if not run.packed:  # a pack is checked when it is opened
            require_unchanged(run.layout, run.manifest)
    return runs
