"""A model's numbers from one or several runs, gathered where it is the same model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crucibench.report.numbers import Number, names_in_order
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from crucibench.store.run import Run


@dataclass
class Draft:
    """A line while numbers gather in it."""

    model: str
    identity: str
    numbers: dict[str, Number]
    runs: list[Run] = field(default_factory=list)

    def takes(self, identity: str, numbers: Mapping[str, Number]) -> bool:
        """Whether these numbers are of the same model and contradict none of its own."""
        return self.identity == identity and all(
            _same(self.numbers[name], numbers[name]) for name in self.numbers.keys() & numbers
        )


def drafts_of(data: str, gathered: Sequence[tuple[Run, Sequence[Number]]]) -> list[Draft]:
    """Gathers the numbers of a data set by model, joining runs that measured the same model."""
    drafts: list[Draft] = []
    for run, numbers in gathered:
        by_model: dict[str, dict[str, Number]] = {}
        for number in numbers:
            if number.data == data:
                by_model.setdefault(number.model, {})[number.place] = number
        found = {model for model, name in pairs_of(run) if name == data}
        # Reading the spec takes a fifth of the time of a run: one name needs no order.
        ordered = names_in_order(run.spec, "models", found) if len(found) > 1 else found
        for model in ordered:
            own = by_model.get(model, {})
            identity = _identity(run, model, data)
            for draft in drafts:
                if draft.model == model and draft.takes(identity, own):
                    draft.numbers |= own
                    draft.runs.append(run)
                    break
            else:
                drafts.append(Draft(model, identity, dict(own), [run]))
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


def _same(a: Number, b: Number) -> bool:
    return (a.value, a.lower, a.upper, a.n, a.key) == (b.value, b.lower, b.upper, b.n, b.key)


def labels_of(drafts: Sequence[Draft]) -> list[str]:
    """Returns what drafts are called: model names, with the run where names repeat."""
    counts = Counter(draft.model for draft in drafts)
    return [
        draft.model if counts[draft.model] == 1 else f"{draft.model} ({draft.runs[0].id})"
        for draft in drafts
    ]
