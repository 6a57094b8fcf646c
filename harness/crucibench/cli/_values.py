"""Values of options: lists, settings, numbers or ``auto``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


class Commas(click.ParamType[tuple[str, ...]]):
    """Names with commas between them."""

    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class AutoOrNumber(click.ParamType[int | str]):
    """``auto``, or a whole number from 1 up."""

    name = "auto|N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"expected auto or a whole number from 1 up, got {value!r}", param, ctx)
        return int(value)


class Setting(click.ParamType[tuple[str, Any]]):
    """``SUITE.KEY=VALUE``."""

    name = "SUITE.KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        address, equals, text = str(value).partition("=")
        suite, dot, key = address.partition(".")
        if not (equals and suite and dot and key):
            self.fail(f"expected SUITE.KEY=VALUE, got {value!r}", param, ctx)
        from crucibench.spec.yaml_file import load_yaml

        return address, load_yaml(text, f"--set {address}")


_LISTS = {
    "groups": "Columns that tell groups apart.",
    "features": "Columns that the model is asked about.  [default: the rest]",
    "input": "Text columns.",
    "classes": "Class names in the order of the model's scores.",
}
_NAMES = {
    "target": "The column with the answer.",
    "id": "A column that names samples.",
    "cluster": "A column that names what samples were drawn together, e.g. a customer.",
}


def column_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds the options that say what a data set's columns are; they arrive as `columns`."""

    @wraps(function)
    def gathering(**given: Any) -> int:
        columns: dict[str, Any] = {}
        for key in (*_NAMES, *_LISTS, "split", "task", "on_bad_sample"):
            value = given.pop(key)
            if key in _LISTS:
                value = [name for names in value for name in names]
            if value not in (None, []):
                columns[key] = value
        return function(columns=columns, **given)

    decorators = [
        *(click.option(f"--{key}", metavar="COLUMN", help=text) for key, text in _NAMES.items()),
        *(
            click.option(f"--{key}", type=Commas(), multiple=True, help=text)
            for key, text in _LISTS.items()
        ),
        click.option("--split", metavar="SHARE", help="Keep this share as test, e.g. 0.3; the rest "
                     "is train.  [default: all is test]"),
        click.option("--task", type=click.Choice(["classification", "regression"]),
                     help="What the target asks, where its type doesn't say."),
        click.option("--on-bad-sample", type=click.Choice(["error", "skip"]),
                     help="Whether damaged images, rows without a target and the like stop the run "
                     "or are left out and counted.  [default: error]"),
    ]  # fmt: skip
    for decorate in reversed(decorators):
        gathering = decorate(gathering)
    return gathering
