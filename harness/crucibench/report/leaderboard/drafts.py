"""A model's numbers from one or several runs, gathered where it is the same model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from crucibench.contracts.rows import MetricRow
from crucibench.report.numbers import names_in_order
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from crucibench.store.run import Run


@dataclass
class Draft:
    """A line while numbers gather in it."""

    model: str
    identity: str
    numbers: dict[str, MetricRow]
    runs: list[Run] = field(default_factory=list)

    def takes(self, identity: str, numbers: Mapping[str, MetricRow]) -> bool:
        """Whether these numbers are of the same model and contradict none of its own."""
        return self.identity == identity and all(
            _same(self.numbers[name], numbers[name]) for name in self.numbers.keys() & numbers
        )


class Part(NamedTuple):
    """What one run has of one data set.

    Attributes:
        run: the run.
        models: that met the data, those whose inspection failed too.
        numbers: by model and place.
    """

    run: Run
    models: set[str]
    numbers: dict[str, dict[str, MetricRow]]


def parts_of(runs: Iterable[Run], numbers: Iterable[Sequence[MetricRow]]) -> dict[str, list[Part]]:
    """Returns what runs have of each data set, given the numbers of each run."""
    parts: dict[str, list[Part]] = {}
    for run, own in zip(runs, numbers, strict=True):
        by_data: dict[str, Part] = {}
        for model, data in pairs_of(run):
            by_data.setdefault(data, Part(run, set(), {})).models.add(model)
        for number in own:
            if number.data in by_data:
                by_data[number.data].numbers.setdefault(number.model, {})[number.place] = number
        for data, part in by_data.items():
            parts.setdefault(data, []).append(part)
    return parts


def drafts_of(data: str, parts: Sequence[Part]) -> list[Draft]:
    """Gathers the numbers of a data set by model, joining runs that measured the same model."""
    drafts: list[Draft] = []
    of_model: dict[str, list[Draft]] = {}
    for run, models, numbers in parts:
        # Reading the spec takes a fifth of the time of a run: one name needs no order.
        ordered = names_in_order(run.spec, "models", models) if len(models) > 1 else models
        for model in ordered:
            own = numbers.get(model, {})
            identity = _identity(run, model, data)
            namesakes = of_model.setdefault(model, [])
            for draft in namesakes:
                if draft.takes(identity, own):
                    draft.numbers |= own
                    draft.runs.append(run)
                    break
            else:
                drafts.append(Draft(model, identity, dict(own), [run]))
                namesakes.append(drafts[-1])
    return drafts


def pairs_of(run: Run) -> set[tuple[str, str]]:
    """Returns the (model, data set) pairs of a run, those whose inspection failed too."""
    return run.models.keys() | run.uninspected


def _identity(run: Run, model: str, data: str) -> str:
    # Without a fingerprint nobody can tell whether the model of another run is the same.
    info = run.models.get((model, data))
    if info is None or info.fingerprint is None:
        return f"run {run.root}"
    return data_digest(dict(info.fingerprint))


def _same(a: MetricRow, b: MetricRow) -> bool:
    return (a.value, a.lower, a.upper, a.n, a.key) == (b.value, b.lower, b.upper, b.n, b.key)


def labels_of(drafts: Sequence[Draft]) -> list[str]:
    """Returns what drafts are called: model names, with the run where names repeat."""
    counts = Counter(draft.model for draft in drafts)
    return [
        draft.model if counts[draft.model] == 1 else f"{draft.model} ({draft.runs[0].id})"
        for draft in drafts
    ]
