"""Results in the shared schema of Every Eval Ever (evaleval/every_eval_ever, version 0.3.0).

A file holds one model on one data set in one run. The schema asks whether lower is better: numbers
without a better direction, and those of single classes and groups, are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.rows import MetricRow
from crucibench.report.format import iso
from crucibench.report.leaderboard.lines import words
from crucibench.report.numbers import ShownMetric, declared_metrics, metric_of, numbers_of
from crucibench.report.site.links import sealed
from crucibench.store.layout import slug
from crucibench.store.run import Run
from crucibench.util.hashing import data_digest
from crucibench.util.text import shorten, visible

SCHEMA_VERSION = "0.3.0"
UNKNOWN = "unknown"


def every_eval_ever(run: Run) -> dict[str, str]:
    """Returns the files of a finished run: ``DATA/DEVELOPER/MODEL/DIGEST.json`` to text.

    Who provides the results, and what binds them to the model, is not known here.
    """
    metrics = declared_metrics(run.suites)
    numbers = [number for number in numbers_of(run) if not number.address.group]
    files = {}
    for (model, data), info in run.models.items():
        card = run.cards.get(data)
        own = [n for n in numbers if (n.model, n.data) == (model, data) and _can_stand(n)]
        if card is None or not own:
            continue
        document = _document(run, card, info, own, metrics) | {
            "source_metadata": {
                "source_name": "Crucibench",
                "source_type": "evaluation_run",
                "source_organization_name": UNKNOWN,
                "evaluator_relationship": "other",
            }
        }
        digest = data_digest([run.digest, model, data])[:32]
        parts = (slug(data), slug(_developer(info)), f"{slug(model)}-{data_digest(model)[:8]}")
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=True)
        files[f"{'/'.join(parts)}/{digest}.json"] = text + "\n"
    return files


def _can_stand(number: MetricRow) -> bool:
    value = number.value
    return value is not None and math.isfinite(value) and number.direction in {"higher", "lower"}


def _developer(info: ModelInfo) -> str:
    return words(info.card.get("authors")) or UNKNOWN


def _document(
    run: Run,
    card: DataCard,
    info: ModelInfo,
    numbers: Sequence[MetricRow],
    metrics: Mapping[tuple[str, str], ShownMetric],
) -> dict[str, Any]:
    made = str(int(run.dates.finished or 0))
    identity = f"{slug(_developer(info))}/{slug(info.name)}"
    details = {
        "deployment_type": UNKNOWN if info.remote else "self_deployed",
        "model_availability": UNKNOWN,
        "uri": shorten(info.uri, 500), "variant": info.variant, "run": run.id,
    }  # fmt: skip
    if info.fingerprint is not None:
        details["fingerprint"] = data_digest(dict(info.fingerprint))
    document = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{slug(card.name)}/{identity}/{made}-{run.digest[:12]}",
        "retrieved_timestamp": made,
        "eval_library": {
            "name": "crucibench",
            "version": str(run.manifest["crucibench_version"]),
            "additional_details": {"run_digest": run.digest},
        },
        "model_info": {
            "name": visible(info.name),
            "id": identity,
            "developer": visible(_developer(info)),
            "additional_details": {key: visible(value) for key, value in details.items() if value},
        },
        "evaluation_results": [
            _result(card, number, metric_of(metrics, number)) for number in numbers
        ],
    }
    if run.dates.started is not None:
        document["evaluation_timestamp"] = iso(run.dates.started)
    return document


def _result(card: DataCard, number: MetricRow, metric: ShownMetric) -> dict[str, Any]:
    config: dict[str, Any] = {
        "evaluation_description": metric.definition or metric.name,
        "metric_id": f"crucibench.{number.place}",
        "metric_name": metric.name,
        "metric_kind": metric.id,
        "metric_unit": metric.unit or ("proportion" if metric.percent else "none"),
        "lower_is_better": number.direction == "lower",
        "metric_parameters": {"point": number.address.point or None, "version": metric.version},
    }
    if metric.lower is not None and metric.upper is not None:
        config |= {"score_type": "continuous", "min_score": metric.lower, "max_score": metric.upper}
    score: dict[str, Any] = {
        "score": number.value,
        "details": {
            "verdict": str(number.verdict),
            "comparison_key": number.key,
            **({"reason": visible(number.reason)} if number.reason else {}),
        },
        "uncertainty": {"num_samples": number.n},
    }
    if number.interval is not None and all(map(math.isfinite, number.interval)):
        score["uncertainty"]["confidence_interval"] = {
            "lower": number.lower, "upper": number.upper, "confidence_level": number.level,
            "method": number.method,
        }  # fmt: skip
    scenario = f"{number.address.suite}/{number.address.scenario}"
    return {
        "evaluation_result_id": number.place,
        "evaluation_name": f"{visible(card.name)}: {scenario}",
        "source_data": _source(card, number.n),
        "metric_config": config,
        "score_details": score,
    }


def _source(card: DataCard, n: int) -> dict[str, Any]:
    details = {"uri": visible(card.uri), "data": sealed(card)}
    named = {"dataset_name": visible(card.name), "additional_details": details}
    address = card.uri.partition("?")[0]
    if address.startswith("hf:"):
        found = {"source_type": "hf_dataset", "hf_repo": address.removeprefix("hf:")}
        if card.revision:
            found["hf_revision"] = card.revision
        return {**named, **found, "hf_split": "test", "samples_number": n}
    rest = address.partition(":")[2]
    if rest.startswith(("https://", "http://")):
        return {**named, "source_type": "url", "url": [rest]}
    return {**named, "source_type": "other", "source_id": sealed(card)}
