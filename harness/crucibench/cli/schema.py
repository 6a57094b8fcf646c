"""``crucibench schema``."""

from __future__ import annotations

from typing import Any, Literal, get_args

import click

from crucibench.cli._options import examples
from crucibench.cli._output import warn, write
from crucibench.util.errors import InputError

What = Literal["spec", "policy", "verdict", "notes"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command(epilog=examples("crucibench schema spec > crucibench.schema.json"))
@click.argument("what", type=click.Choice(get_args(What)), default="spec",
                metavar=f"[{'|'.join(get_args(What))}]")  # fmt: skip
def command(*, what: What) -> int:
    """Print the JSON Schema of a file.

    spec is what you write, with the settings of every installed suite; policy is what you write for
    a gate, and verdict the verdict.json that it makes; notes is what you write of rows of a
    leaderboard.
    """
    import json

    made = {"spec": _spec, "policy": _policy, "verdict": _verdict, "notes": _notes}
    schema = made[what]()
    write(json.dumps({"$schema": _DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n")
    return 0


def _spec() -> dict[str, Any]:
    from pydantic.json_schema import models_json_schema

    from crucibench import registry
    from crucibench.spec.models import Spec

    configs: dict[str, Any] = {}
    known = registry.suites()
    for name in known.names():
        try:
            configs[name] = known.get(name).config
        except InputError as error:
            warn(str(error))
    parts, schema = models_json_schema(
        [(Spec, "validation"), *((config, "validation") for config in configs.values())]
    )
    main: dict[str, Any] = schema["$defs"].pop("Spec")
    sections = (main["properties"]["suites"], schema["$defs"]["Track"]["properties"]["settings"])
    for settings in sections:
        settings["properties"] = {
            name: parts[config, "validation"] for name, config in configs.items()
        }
    return {**main, "title": "Crucibench spec", "$defs": schema["$defs"]}


def _policy() -> dict[str, Any]:
    from crucibench.gating.policy import Policy

    return {**Policy.model_json_schema(), "title": "Crucibench gate policy"}


def _verdict() -> dict[str, Any]:
    from crucibench.gating.result import verdict_schema

    return verdict_schema()


def _notes() -> dict[str, Any]:
    from crucibench.spec.notes import Notes

    return {**Notes.model_json_schema(), "title": "Crucibench leaderboard notes"}
