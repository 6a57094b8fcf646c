"""``crucibench schema``."""

from __future__ import annotations

from typing import Any, Literal, get_args

import click

from crucibench.cli._options import examples
from crucibench.cli._output import warn, write
from crucibench.util.errors import InputError

What = Literal["spec", "cell", "metrics", "policy", "verdict", "notes"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MEANING = {
    "model": "the model's name in the run",
    "data": "the data set's name in the run",
    "suite": "the suite",
    "scenario": "the scenario, named within its suite",
    "point": "where the scenario was read, e.g. severity=3; empty where there is one point",
    "group": "the class or group of samples; empty for all",
    "metric": "the metric's complete id",
    "value": "the number; null where it is undefined, then reason says why",
    "lower": "the interval's lower end, or null",
    "upper": "the interval's upper end, or null",
    "level": "the interval's level, e.g. 0.95",
    "method": "how the interval was made and what it covers",
    "n": "the denominator: samples or queries",
    "direction": "higher, lower, target=X or none",
    "unit": "the unit; empty where there is none",
    "estimand": "what the interval speaks of, e.g. model/population",
    "mark": "biased or imprecise, made from the data seen; empty where neither",
    "reason": "why value or interval is missing",
    "verdict": "how far the number can be trusted",
    "cell": "the cell it was computed from",
    "comparison_key": "only numbers of one key may be set side by side",
}


@click.command(epilog=examples("crucibench schema spec > crucibench.schema.json"))
@click.argument("what", type=click.Choice(get_args(What)), default="spec",
                metavar=f"[{'|'.join(get_args(What))}]")  # fmt: skip
def command(*, what: What) -> int:
    """Print the JSON Schema of a file.

    spec is what you write, with the settings of every installed suite; cell is a run's cell.json;
    metrics is a row of its metrics.parquet; policy is what you write for a gate, and verdict the
    verdict.json that it makes; notes is what you write of rows of a leaderboard.
    """
    import json

    made = {
        "spec": _spec, "cell": _cell, "metrics": _metrics, "policy": _policy, "verdict": _verdict,
        "notes": _notes,
    }  # fmt: skip
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


def _cell() -> dict[str, Any]:
    from crucibench.store.cells import CellFile

    return CellFile.model_json_schema(mode="serialization")


def _policy() -> dict[str, Any]:
    from crucibench.gating.policy import Policy

    return {**Policy.model_json_schema(), "title": "Crucibench gate policy"}


def _verdict() -> dict[str, Any]:
    from crucibench.gating.result import verdict_schema

    return verdict_schema()


def _notes() -> dict[str, Any]:
    from crucibench.spec.notes import Notes

    return {**Notes.model_json_schema(), "title": "Crucibench leaderboard notes"}


def _metrics() -> dict[str, Any]:
    import pyarrow as pa

    from crucibench.contracts.verdict import Verdict
    from crucibench.store.tables import METRICS_SCHEMA

    properties: dict[str, Any] = {}
    for field in METRICS_SCHEMA:
        kind = "number" if pa.types.is_floating(field.type) else "string"
        kind = "integer" if pa.types.is_integer(field.type) else kind
        nullable = kind == "number"
        properties[field.name] = {
            "type": [kind, "null"] if nullable else kind,
            "description": _MEANING[field.name],
        }
    properties["verdict"]["enum"] = [str(verdict) for verdict in Verdict]
    return {
        "title": "Crucibench metric row",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
