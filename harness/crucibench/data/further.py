"""A data set whose roles are its own and those of further data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar, final

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import NO_GROUP, DataCard, EvalSet, Samples
from crucibench.contracts.task import Modality
from crucibench.data.evalset import ArrowEvalSet
from crucibench.data.index import Rows

_TEST = "test"

T = TypeVar("T")


@final
class ExtendedEvalSet(EvalSet):
    """The main data set with the role ``test`` of each further one under a name of its own.

    Images of a further set have the main set's channels, and its size where that is one and the
    model takes any: what a model was inspected with. A group column that a further set lacks holds
    the group of samples without one.
    """

    def __init__(self, main: ArrowEvalSet, further: Mapping[str, ArrowEvalSet]) -> None:
        """Takes data sets that are open, the further ones by role."""
        self._main = main
        self._further = dict(further)
        self.card = _card(main, self._further)

    @property
    def bad_samples(self) -> Mapping[str, Mapping[str, Any]]:
        """What was left out, by role; see `ArrowEvalSet.bad_samples`."""
        found = dict(self._main.bad_samples)
        for role, evalset in self._further.items():
            if _TEST in evalset.bad_samples:
                found[role] = evalset.bad_samples[_TEST]
        return found

    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""
        further = self._further.get(role)
        if further is None:
            return self._main.samples(role)
        return self._with_groups(further.samples(_TEST))

    def slice(self, role: str, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        further = self._further.get(role)
        if further is None:
            return self._main.slice(role, rows)
        return self._with_groups(further.slice(_TEST, rows))

    def batch(self, role: str, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Raises:
            InputError: if the data can't be brought into that form.
        """
        further = self._further.get(role)
        if further is None:
            return self._main.batch(role, rows, spec)
        if self.task.modality is Modality.IMAGE:
            channels, size = self._main.image_form
            spec = replace(spec, channels=spec.channels or channels, size=spec.size or size)
        return replace(further.batch(_TEST, rows, spec), role=role)

    def _with_groups(self, samples: Samples) -> Samples:
        groups = samples.groups.reindex(columns=list(self.card.groups), fill_value=NO_GROUP)
        return replace(samples, groups=groups)


def _card(main: ArrowEvalSet, further: Mapping[str, ArrowEvalSet]) -> DataCard:
    card = main.card
    # Sorted, as a stored card is: a suite that goes through them does so in one order.
    cards = {role: further[role].card for role in sorted(further)}
    notes = []
    for role, own in cards.items():
        what = f"{role} is {own.uri}"
        notes.append(what if own.target else f"{what}, without labels")
        notes += [f"{role}: {note}" for note in own.notes]
        if lacking := [name for name in card.groups if name not in own.groups]:
            notes.append(f"{role} has no group column {', '.join(map(repr, lacking))}")
    return replace(
        card,
        counts=_sorted(card.counts, {role: own.counts[_TEST] for role, own in cards.items()}),
        class_counts=_sorted(
            card.class_counts, {role: own.class_counts[_TEST] for role, own in cards.items()}
        ),
        ids_digest=_sorted(
            card.ids_digest, {role: own.ids_digest[_TEST] for role, own in cards.items()}
        ),
        notes=(*card.notes, *notes),
        unlabelled=tuple(role for role, own in cards.items() if not own.target),
        further={role: own.fingerprint for role, own in cards.items()},
    )


def _sorted(own: Mapping[str, T], further: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted({**own, **further}.items()))
