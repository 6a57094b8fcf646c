"""The group of verbs. Importing it, and asking for help, imports nothing but click."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from crucibench.cli._errors import USAGE, broken_pipe, exit_code
from crucibench.cli._options import Verbs, examples
from crucibench.util.signals import heeded

_SECTIONS = {
    "Commands": {
        "demo": "Evaluate the bundled models on bundled data.",
        "init": "Look at your model and data and write a spec that runs.",
        "run": "Evaluate models on data.",
        "show": "Show a run, one of its cells, or a data set.",
        "compare": "Compare models sample by sample, with intervals and tests.",
        "gate": "Stop a change that makes a model worse, and nothing else.",
    },
    "Results": {
        "list": "List what is installed, or the runs that there are.",
        "leaderboard": "Put the models of one or several runs side by side.",
        "report": "Write the report of a run again.",
        "publish": "Publish runs: a site, model cards, or evidence to check.",
        "pack": "Make one small file of a run, to compare with later.",
    },
    "Runs and machines": {
        "parity": "Check that two forms of one model answer alike.",
        "verify": "Check that a run is what its manifest and its records say.",
        "score": "Compute the numbers of a run again from its records.",
        "merge": "Make one run of the parts that several machines did.",
        "cache": "List, prune or clear what is kept between runs.",
        "doctor": "Check what a run needs of this machine.",
        "schema": "Print the JSON Schema of a file.",
    },
}
VERBS = {verb: text for verbs in _SECTIONS.values() for verb, text in verbs.items()}
"""Each verb and the first sentence of its help, so that listing them imports none."""

_EPILOG = "\n\n".join(
    (
        examples(
            "crucibench demo",
            "crucibench init --model models.py --data people.csv",
            "crucibench run crucibench.yaml",
            "crucibench run --model torch:models.py:cnn --data sklearn:digits",
        ),
        "\b\nExit codes:\n"
        "    0  done; nothing failed, nothing is invalid\n"
        "    1  gate: a regression; verify, doctor: something is not as it should be\n"
        "    2  a mistake in what was asked for; nothing was run\n"
        "    3  gate: too few samples to tell\n"
        "    4  a cell failed or is invalid (the rest is kept); a run can't be read or compared\n"
        "   70  a bug of crucibench\n"
        "   74  the system refused (e.g. the disk is full, a folder is read-only)\n"
        "  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM; the same command resumes",
    )
)


class _Verbs(Verbs):
    """A group whose commands are modules beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"crucibench.cli.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Shows the help where no verb is given, without an error message."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, VERBS))
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.ljust(widest), text) for verb, text in verbs.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb. click ends a process whose reader has gone with 1, which means something."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return broken_pipe()

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a verb; all mistakes become a sentence and an exit code."""
        run = super().main
        kwargs["standalone_mode"] = False
        with heeded():
            code = exit_code(lambda: run(*args, **kwargs))
        sys.exit(code)


@click.group(
    cls=_Verbs,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, help="Print it.",
              callback=lambda context, option, asked: _version(context, asked))  # fmt: skip
def application() -> None:
    """Put a trained model through accuracy, shift, attack, bias and speed.

    Every number comes with an interval, a sample count, a direction and a verdict on its validity.
    """


def _version(context: click.Context, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"crucibench {version('crucibench')}")
        context.exit()
