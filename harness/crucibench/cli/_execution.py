"""The options that say how a run is carried out; none of them changes a result."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click


class MemorySize(click.ParamType[int]):
    """A number of bytes: ``8GiB``, ``500MB``."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from crucibench.util.numbers import parse_size

        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Failures(click.ParamType[float]):
    """A number of cells, or a share of them below 1."""

    name = "N|SHARE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if number < 0 or (number >= 1 and number != int(number)):
            self.fail(f"expected a whole number, or a share below 1, got {value!r}", param, ctx)
        return number


class OneOf(click.ParamType[tuple[int, int]]):
    """``2/4``: the second of four."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        number, _, of = str(value).partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            self.fail(f"expected I/N with I from 1 to N, e.g. 2/4, got {value!r}", param, ctx)
        return int(number), int(of)


def execution_options(function: Callable[..., int]) -> Callable[..., int]:
    """Adds the options; they arrive as `execution`, keywords of `RunOptions`."""

    @wraps(function)
    def gathering(**given: Any) -> int:
        keys = ("executor", "workers", "ray_address", "ray_gpus", "retries")
        execution = {key: given.pop(key) for key in keys}
        for key in ("ray_address", "ray_gpus"):
            if execution[key] is not None and execution["executor"] != "ray":
                raise click.UsageError(f"--{key.replace('_', '-')} goes with --executor ray")
        fast, failures = given.pop("fail_fast"), given.pop("fail_on_error")
        if fast and failures is not None:
            raise click.UsageError("expected --fail-fast or --fail-on-error, not both")
        part = given.pop("shard")
        if part is not None:
            from crucibench.engine.options import RunPart

            execution["part"] = RunPart(*part)
        execution |= {
            "memory": given.pop("memory_limit"),
            "cache": not given.pop("no_cache"),
            "failures": 0 if fast else failures,
        }
        return function(execution=execution, **given)

    decorators = [
        click.option("--workers", metavar="N", type=click.IntRange(min=0),
                     help="Processes that ask models; 0: this process, so that a model that "
                     "crashes ends the run.  [default: 1, or one a GPU]"),
        click.option("--executor", type=click.Choice(["local", "ray"]), default="local",
                     show_default=True, help="Where the workers are."),
        click.option("--ray-address", metavar="ADDRESS",
                     help="Of a running Ray cluster, e.g. auto.  [default: RAY_ADDRESS, or one "
                     "of its own]"),
        click.option("--ray-gpus", metavar="SHARE", type=click.FloatRange(min=0, min_open=True),
                     help="GPUs that each worker on Ray takes, e.g. 0.5.  [default: 1 where "
                     "models run on GPUs]"),
        click.option("--memory-limit", type=MemorySize(),
                     help="What a worker may use, e.g. 8GiB.  [default: no limit]"),
        click.option("--retries", metavar="N", type=click.IntRange(min=0), default=0,
                     show_default=True,
                     help="How often a cell is tried again after its model raised or died."),
        click.option("--fail-on-error", type=Failures(),
                     help="Stop when more cells than this have failed: a number, or a share "
                     "of all.  [default: never]"),
        click.option("--fail-fast", is_flag=True, help="Stop at the first cell that fails."),
        click.option("--shard", type=OneOf(),
                     help="Do this part of the run alone, into a folder of its own; "
                     "crucibench merge makes a run of all."),
        click.option("--no-cache", is_flag=True,
                     help="Ask models for everything, also where an earlier run did."),
    ]  # fmt: skip
    for decorate in reversed(decorators):
        gathering = decorate(gathering)
    return gathering
