"""A Hugging Face model card of one model, with its results as metadata.

Results stand in the card's ``model-index`` and, of data sets of the Hub, in ``.eval_results/``,
the form that model pages and benchmark leaderboards read. Neither has a place for intervals: they
stand in the arguments of a metric there, and in the notes here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Verdict
from crucibench.report.facts import card_facts
from crucibench.report.findings import VERDICT_MARKS, findings_of
from crucibench.report.format import direction_words, iso, show_count
from crucibench.report.gaps import not_measured
from crucibench.report.leaderboard import Column
from crucibench.report.leaderboard.build import gather
from crucibench.report.leaderboard.lines import words
from crucibench.report.site.links import sealed
from crucibench.store.layout import slug
from crucibench.store.run import Run
from crucibench.store.seal import MARK
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import unknown
from crucibench.util.text import markdown_text, visible
from crucibench.util.untrusted.yaml_text import dump_yaml

UNKNOWN = "Not stated."

_COMMIT = re.compile(r"[0-9a-f]{40}")

_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "afl-3.0",
        "creativeml-openrail-m",
        "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0",
        "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
        "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "ecl-2.0", "epl-1.0", "epl-2.0", "agpl-3.0", "gpl",
        "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "mpl-2.0", "ms-pl", "ncsa",
        "osl-3.0", "unlicense", "wtfpl", "zlib", "unknown", "other",
    }
)  # fmt: skip


class MeasuredRun(NamedTuple):
    """What one run says of the model on one data set."""

    run: Run
    data: DataCard
    info: ModelInfo
    numbers: Sequence[MetricRow]


def measured(runs: Sequence[Run], models: Sequence[str]) -> dict[str, list[MeasuredRun]]:
    """Returns what runs say of models: of all, or of those that are named; groups left out.

    Raises:
        InputError: if no run has a model of a name.
    """
    found: dict[str, list[MeasuredRun]] = {}
    _, gathered = gather(runs)
    for run, numbers in zip(runs, gathered, strict=True):
        for (model, data), info in run.models.items():
            if data in run.cards:
                own = [n for n in numbers if (n.model, n.data) == (model, data)]
                found.setdefault(model, []).append(MeasuredRun(run, run.cards[data], info, own))
    for name in models:
        if name not in found:
            raise InputError(f"--model: {unknown('model', name, found)}")
    return {name: found[name] for name in models or found}


def card_files(
    model: str,
    parts: Sequence[MeasuredRun],
    *,
    hub_data: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Returns the files of a model's card.

    Args:
        model: its name.
        parts: where it was measured.
        hub_data: name of a data set to its repository on the Hub, ``OWNER/NAME``.

    Returns:
        ``README.md``, and ``.eval_results/NAME.yaml`` for each data set that is on the Hub.
    """
    columns = {column.place: column for column in gather([part.run for part in parts])[0]}
    files = {"README.md": _readme(model, parts, columns, hub_data or {})}
    entries: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        repo = _repository(part.data, hub_data or {})
        if repo:
            # Names alone would let two data sets share a file.
            name = f"{slug(part.data.name)}-{data_digest(repo)[:8]}"
            entries.setdefault(name, []).extend(_entries(part, repo, columns))
    for name, found in entries.items():
        if found:
            files[f".eval_results/{name}.yaml"] = dump_yaml(found)
    return files


def card_folders(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Returns where each card goes: one into the folder itself, several into folders of theirs."""
    names = list(names)
    if len(names) == 1:
        return {names[0]: folder}
    return {name: folder / f"{slug(name)}-{data_digest(name)[:8]}" for name in names}


def _repository(card: DataCard, hub_data: Mapping[str, str]) -> str:
    """Returns a data set's repository on the Hub, or ""."""
    if card.name in hub_data:
        return hub_data[card.name]
    address = card.uri.partition("?")[0]
    # A folder of the Hub's layout has no commit.
    if not address.startswith("hf:") or not _commit(card):
        return ""
    return "/".join(address.removeprefix("hf:").split("/")[:2])


def _commit(card: DataCard) -> str:
    """Returns the commit of the Hub that a data set was read at, or ""."""
    return card.revision if _COMMIT.fullmatch(card.revision) else ""


def _shown(parts: Sequence[MeasuredRun]) -> Iterable[tuple[MeasuredRun, MetricRow]]:
    for part in parts:
        for number in part.numbers:
            if number.value is not None and math.isfinite(number.value):
                yield part, number


def _entries(part: MeasuredRun, repo: str, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    entries = []
    for _, number in _shown([part]):
        if number.verdict is Verdict.INVALID:
            continue
        dataset = {"id": repo, "task_id": number.place}
        if _commit(part.data):
            dataset["revision"] = _commit(part.data)
        entry: dict[str, Any] = {"dataset": dataset, "value": number.value}
        if part.run.dates.finished is not None:
            entry["date"] = iso(part.run.dates.finished)
        entry["notes"] = _notes(number, columns[number.place])
        entries.append(entry)
    return entries


def _notes(number: MetricRow, column: Column) -> str:
    interval = (
        "no interval"
        if number.interval is None
        else f"{100 * (number.level or 0):.4g} % interval [{number.lower:.6g}, {number.upper:.6g}]"
    )
    return (
        f"{column.title}, {direction_words(number.direction)}; {interval}, n {number.n}, "
        f"{number.method}; verdict {number.verdict}; run {number.run}"
    )


def _task(card: DataCard) -> str:
    task = card.task
    modality = {"table": "tabular"}.get(str(task.modality), str(task.modality))
    return f"{modality}-{task.kind}"


def _metadata(
    model: str,
    parts: Sequence[MeasuredRun],
    columns: Mapping[str, Column],
    hub_data: Mapping[str, str],
) -> dict[str, Any]:
    card = parts[-1].info.card
    metadata: dict[str, Any] = {"tags": ["crucibench"]}
    licence = words(card.get("licence") or card.get("license"))
    if licence.lower() in _LICENCES:
        metadata["license"] = licence.lower()
    elif licence:
        metadata |= {"license": "other", "license_name": visible(licence)}
    tasks = {_task(part.data) for part in parts}
    if len(tasks) == 1:
        metadata["pipeline_tag"] = tasks.pop()
    results = []
    for part, number in _shown(parts):
        if number.verdict is Verdict.INVALID:
            continue
        column = columns[number.place]
        repo = _repository(part.data, hub_data)
        # A name that the Hub may know would claim results on somebody else's data.
        own = f"{slug(part.data.name)}-{sealed(part.data).removeprefix(MARK)[:12]}"
        dataset = {"name": visible(part.data.name), "type": repo or own}
        if _commit(part.data):
            dataset["revision"] = _commit(part.data)
        arguments = {
            "address": number.place, "lower": number.lower, "upper": number.upper,
            "level": number.level, "n": number.n, "method": number.method,
            "direction": number.direction, "verdict": str(number.verdict), "run": number.run,
        }  # fmt: skip
        result: dict[str, Any] = {
            "task": {"type": _task(part.data)},
            "dataset": {**dataset, "split": "test"},
            "metrics": [
                {
                    "type": number.address.metric,
                    "value": number.value,
                    "name": visible(column.title),
                    "args": {name: value for name, value in arguments.items() if value is not None},
                }
            ],
        }
        results.append(result)
    if results:
        metadata["model-index"] = [{"name": visible(model), "results": results}]
    return metadata


def _readme(
    model: str,
    parts: Sequence[MeasuredRun],
    columns: Mapping[str, Column],
    hub_data: Mapping[str, str],
) -> str:
    card = parts[-1].info.card
    metadata = _metadata(model, parts, columns, hub_data)

    def stated(*names: str) -> str:
        text = next((words(card[name]) for name in names if card.get(name)), "")
        return markdown_text(text, 2000) if text else UNKNOWN

    details = {
        "Developed by": stated("authors"), "Paper": stated("paper"),
        "License": stated("licence", "license"), "Address": markdown_text(parts[-1].info.uri),
    }  # fmt: skip
    lines = [f"# {markdown_text(model)}", "", "## Model Details", ""]
    lines += [f"- **{name}:** {text}" for name, text in details.items()]
    for title, key in (
        ("Uses", "uses"), ("Bias, Risks, and Limitations", "limitations"),
    ):  # fmt: skip
        lines += ["", f"## {title}", "", stated(key)]
    lines += ["", "## Training Details", "", f"Trained on: {stated('trained_on')}"]
    lines += ["", "## Evaluation", "", "### Testing Data", ""]
    for data in {part.data.name: part.data for part in parts}.values():
        facts = card_facts(data) | {"fingerprint": sealed(data)}
        lines += [f"#### {markdown_text(data.name)}", ""]
        lines += [f"- {name}: {markdown_text(text, 600)}" for name, text in facts.items()] + [""]
    groups = sorted({name for part in parts for name in part.data.groups})
    factors = f"Groups: {markdown_text(', '.join(groups))}" if groups else UNKNOWN
    lines += ["### Factors", "", factors, "", "### Metrics", ""]
    used = {columns[number.place].metric for _, number in _shown(parts)}
    lines += [
        f"- **{markdown_text(metric.name)}** ({direction_words(metric.direction)}): "
        f"{markdown_text(metric.definition, 600) or UNKNOWN}"
        for metric in sorted(used, key=lambda metric: (metric.suite, metric.id))
    ]
    lines += ["", "### Results", "", *_results(parts, columns), ""]
    lines += ["### What was not measured", ""]
    sentences = [text for run in _runs(parts) for text in not_measured(run)]
    lines += [f"- {markdown_text(text, 400)}" for text in dict.fromkeys(sentences)]
    lines += ["", "## Environmental Impact", "", UNKNOWN, "", "## Technical Specifications", ""]
    parameters = parts[-1].info.parameters
    lines.append(f"- Parameters: {UNKNOWN if parameters is None else show_count(parameters)}")
    lines += [
        f"- Run {markdown_text(run.id)}: digest {run.digest}, "
        f"started {iso(run.dates.started) or 'at a time not known'}"
        for run in _runs(parts)
    ]
    return f"---\n{dump_yaml(metadata)}---\n\n" + "\n".join(lines) + "\n"


def _runs(parts: Sequence[MeasuredRun]) -> list[Run]:
    return list({part.run.digest: part.run for part in parts}.values())


def _results(parts: Sequence[MeasuredRun], columns: Mapping[str, Column]) -> list[str]:
    lines = [
        "| data | metric | value | n | verdict | run |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for part, number in _shown(parts):
        column = columns[number.place]
        mark = VERDICT_MARKS[number.verdict]
        texts = (
            part.data.name, column.heading, str(column.metric.show(number)),
            show_count(number.n), f"{number.verdict} {mark}".strip(), number.run,
        )  # fmt: skip
        lines.append(f"| {' | '.join(markdown_text(text) for text in texts)} |")
    found = [
        f"- {markdown_text(f'{one.severity}: {one.code}: {one.message}', 600)}"
        for run in _runs(parts)
        for one in findings_of(run)
        if one.severity != "info" and one.model in {part.info.name for part in parts}
    ]
    return [*lines, "", *dict.fromkeys(found)] if found else lines
