"""Results of other tools, as they state them: reported, not measured.

Nothing of them can be paired, checked or audited: they have no records, so they stand apart from
what was measured and have no rank.

| form | file | read of it |
| --- | --- | --- |
| RobustBench | ``model_info/DATA/THREAT/MODEL.json`` | accuracies, eps, architecture |
| lm-evaluation-harness | ``results_*.json`` | every metric with its standard error, n, shots |
| Inspect | a log, ``.json`` or ``.eval`` | every metric of every scorer, n, status |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from crucibench.util.errors import InputError
from crucibench.util.untrusted.archive import ZipReader
from crucibench.util.untrusted.content import DOCUMENT_AT_MOST, text_of
from crucibench.util.untrusted.json_text import parse_json, read_json


class Reported(NamedTuple):
    """One number as somebody else's file states it.

    Attributes:
        tool: what wrote the file.
        file: its name.
        model: as the file calls it.
        data: the data set or task.
        metric: as the file calls it.
        value: as it stands there, in its unit; None where it is no number.
        unit: ``%`` where the tool writes per cent, else "".
        error: the standard error that the file states; None without.
        n: samples; None where the file does not say.
        conditions: what the number holds under, e.g. ``eps 8/255``.
    """

    tool: str
    file: str
    model: str
    data: str
    metric: str
    value: float | None
    unit: str = ""
    error: float | None = None
    n: int | None = None
    conditions: str = ""


def read_reported(path: Path) -> list[Reported]:
    """Reads one file of another tool; which one, its content tells.

    Raises:
        InputError: if it is of none of the forms, or holds no number.
    """
    if path.suffix == ".eval":
        with ZipReader(path, path.name) as archive:
            text = text_of(archive.content("header.json", DOCUMENT_AT_MOST), path.name)
        document = parse_json(text, path.name)
    else:
        document = read_json(path, path.name)
    for tool, (fields, read) in FORMS.items():
        if isinstance(document, dict) and fields <= document.keys():
            try:
                found = [one._replace(tool=tool, file=path.name) for one in read(document, path)]
            except (TypeError, KeyError, AttributeError, ValueError) as error:
                raise InputError(f"{path}: not as {tool} writes it: {error!r}") from error
            if not found:
                raise InputError(f"{path}: a file of {tool} without a number")
            return found
    raise InputError(f"{path}: expected results of {', '.join(FORMS)}")


def _number(value: object) -> float | None:
    """Returns a finite number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _conditions(entries: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in entries.items() if value not in {None, ""}
    )


_ROBUSTBENCH = {
    "clean_acc": "clean accuracy",
    "autoattack_acc": "AutoAttack accuracy",
    "external": "accuracy under other attacks",
    "reported": "robust accuracy, by the authors",
    "corruptions_acc": "corrupted accuracy",
    "corruptions_mce": "mean corruption error",
}


def _robustbench(document: Mapping[str, Any], path: Path) -> Iterator[Reported]:
    noted = _conditions(
        {"eps": document.get("eps"), "architecture": document.get("architecture"),
         "threat model": path.resolve().parent.name}
    )  # fmt: skip
    for field, metric in _ROBUSTBENCH.items():
        if field in document:
            yield Reported(
                "", "", path.stem, str(document["dataset"]), metric, _number(document[field]), "%",
                conditions=noted,
            )  # fmt: skip


def _lm_eval(document: Mapping[str, Any], path: Path) -> Iterator[Reported]:
    config = document.get("config", {})
    model = str(document.get("model_name") or config.get("model_args") or config.get("model"))
    for task, numbers in document["results"].items():
        counts = document.get("n-samples", {}).get(task, {})
        for key, value in numbers.items():
            metric, _, filtered = key.partition(",")
            if _number(value) is None or metric.endswith("_stderr") or metric == "sample_len":
                continue
            error = numbers.get(f"{metric}_stderr,{filtered}" if filtered else f"{metric}_stderr")
            noted = _conditions(
                {"shots": document.get("n-shot", {}).get(task),
                 "filter": "" if filtered == "none" else filtered,
                 "version": document.get("versions", {}).get(task)}
            )  # fmt: skip
            yield Reported(
                "", "", model, task, metric, _number(value), error=_number(error),
                n=counts.get("effective"), conditions=noted,
            )  # fmt: skip


def _inspect(document: Mapping[str, Any], path: Path) -> Iterator[Reported]:
    asked, results = document["eval"], document.get("results") or {}
    status = document.get("status")
    for score in results.get("scores", []):
        metrics = score["metrics"]
        error = metrics.get("stderr", {}).get("value")
        for name, metric in metrics.items():
            if name != "stderr":
                noted = _conditions(
                    {"scorer": score.get("scorer"), "reducer": score.get("reducer"),
                     "status": "" if status == "success" else status}
                )  # fmt: skip
                yield Reported(
                    "", "", str(asked["model"]), str(asked["task"]), name,
                    _number(metric["value"]), conditions=noted,
                    # Inspect's standard error is of the mean, and of no other metric.
                    error=_number(error) if name in {"accuracy", "mean"} else None,
                    n=score.get("scored_samples") or results.get("completed_samples"),
                )  # fmt: skip


_Reader = Callable[[Mapping[str, Any], Path], Iterator[Reported]]

FORMS: dict[str, tuple[frozenset[str], _Reader]] = {
    "RobustBench": (frozenset({"dataset", "clean_acc"}), _robustbench),
    "lm-evaluation-harness": (frozenset({"results", "versions"}), _lm_eval),
    "Inspect": (frozenset({"eval", "status"}), _inspect),
}
"""By tool: fields that its files have and the others' lack, and what reads them."""
