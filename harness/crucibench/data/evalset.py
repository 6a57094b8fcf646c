"""Opens data for the engine: sources, ids, targets, roles and batches in canonical form.

A suite's own data are opened beside the main data set, and become roles of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import NO_GROUP, DataCard, EvalSet, Samples
from crucibench.contracts.source import DataOpening, DataSource, Labels, MainData, RawData
from crucibench.data.hub import switch_off
from crucibench.data.indexing import Index, Rows, as_rows, build_index, follow
from crucibench.data.modalities import reader_of
from crucibench.util.draws import order_key
from crucibench.util.errors import InputError

_TEST = "test"


def open_data(source: DataSource, opening: DataOpening) -> ArrowEvalSet:
    """Reads, converts and indexes data, or finds that done in the cache, and opens it.

    Raises:
        InputError: if there is no such data, or it can't be evaluated.
    """
    switch_off()  # for a model's code, too, which may import `datasets` later
    raw = source.read(opening)
    index = build_index(raw, opening.scratch, opening.progress)
    return ArrowEvalSet(_card(opening, raw, index), raw, index)


def open_suite_data(
    source: DataSource, opening: DataOpening, main: ArrowEvalSet, labels: Labels
) -> ArrowEvalSet:
    """Opens a suite's own data; its role ``test`` has the task and the columns of `main`.

    Raises:
        InputError: if there is no such data, or it does not go with `main`.
    """
    declared = main.main_data(labels)
    raw = conform_to(declared, source.read(replace(opening, main=declared)))
    index = build_index(raw, opening.scratch, opening.progress, declared)
    return ArrowEvalSet(_card(opening, raw, index), raw, index, main)


@final
class ArrowEvalSet(EvalSet):
    """A data set whose inputs and index are mapped from disk: memory does not grow with it."""

    def __init__(
        self, card: DataCard, raw: RawData, index: Index, main: ArrowEvalSet | None = None
    ) -> None:
        """Takes an index of `raw`; a suite's own data take the form of `main`'s samples."""
        self.card = card
        self._raw = raw
        self._index = index
        self._inputs = {
            role: dataset.select_columns(list(raw.inputs)).with_format("arrow")
            for role, dataset in raw.roles.items()
        }
        self.reader = reader_of(raw.modality)(raw)
        of_main = None if main is None else main.reader
        self.reader.open(index.facts["form"], index.folder, of_main)

    def main_data(self, labels: Labels) -> MainData:
        """Returns what a suite's own data have to share with this."""
        raw = self._raw
        return MainData(
            name=self.card.name, modality=raw.modality, inputs=raw.inputs,
            types=self.reader.input_types(), target=raw.target, groups=raw.groups,
            cluster=raw.cluster, id=raw.id, classes=self.task.classes, kind=self.task.kind,
            labels=labels,
        )  # fmt: skip

    @property
    def bad_samples(self) -> Mapping[str, Mapping[str, Any]]:
        """What was left out, by role of the source's data; empty where all can be used.

        ``left_out`` samples ``of`` so many, by ``kinds``, and a sentence for each of the ``first``.
        """
        facts: Mapping[str, Mapping[str, Any]] = self._index.facts["bad_samples"]
        return facts

    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""
        return self._index.roles[role].samples()

    def slice(self, role: str, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        return self._index.roles[role].at(rows)[0]

    def batch(self, role: str, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Raises:
            InputError: if the data can't be brought into that form.
        """
        have, name = self.task.modality, self.card.name
        if spec.modality is not None and spec.modality != have:
            raise InputError(f"the model takes {spec.modality} input, the data {name!r} is {have}")
        origin = self._index.origins[role]
        self.reader.check(spec, origin, name)
        samples, origins = self._index.roles[role].at(rows)
        table = _rows_of(self._inputs[origin], origins)
        inputs, stored = self.reader.inputs(table, origin, origins, spec)
        return Batch(
            ids=tuple(samples.ids),
            inputs=inputs,
            role=role,
            rows=tuple(as_rows(rows).tolist()),
            keys=() if samples.keys is None else tuple(samples.keys),
            stored=tuple(stored),
        )


@final
class ExtendedEvalSet(EvalSet):
    """The main data set, and the role ``test`` of each data set of a suite under its own name.

    Samples have the form with which a model was inspected: images of a suite have the main data
    set's channels, and its size where that is one and the model takes any. A group column that is
    not there holds the group of samples without one.
    """

    def __init__(self, main: ArrowEvalSet, suite_data: Mapping[str, ArrowEvalSet]) -> None:
        """Takes data sets that are open, those of suites by role."""
        self._main = main
        self._suite_data = dict(suite_data)
        self.card = _extended_card(main, self._suite_data)

    @property
    def bad_samples(self) -> Mapping[str, Mapping[str, Any]]:
        """What was left out, by role; see `ArrowEvalSet.bad_samples`."""
        found = dict(self._main.bad_samples)
        for role, evalset in self._suite_data.items():
            if _TEST in evalset.bad_samples:
                found[role] = evalset.bad_samples[_TEST]
        return found

    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""
        own = self._suite_data.get(role)
        if own is None:
            return self._main.samples(role)
        return self._with_groups(own.samples(_TEST))

    def slice(self, role: str, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        own = self._suite_data.get(role)
        if own is None:
            return self._main.slice(role, rows)
        return self._with_groups(own.slice(_TEST, rows))

    def batch(self, role: str, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Raises:
            InputError: if the data can't be brought into that form.
        """
        own = self._suite_data.get(role)
        if own is None:
            return self._main.batch(role, rows, spec)
        spec = self._main.reader.same_form(spec)
        return replace(own.batch(_TEST, rows, spec), role=role)

    def _with_groups(self, samples: Samples) -> Samples:
        groups = samples.groups.reindex(columns=list(self.card.groups), fill_value=NO_GROUP)
        return samples.replaced(groups=groups)


BLOCKS = 64
"""A data set that is asked in blocks has at most so many, and more than half as many."""

_FEWEST = 16


@final
class InHashOrder(EvalSet):
    """A data set whose role test comes in the order of content hashes, and is asked in blocks.

    That order has nothing to do with what a model answers, so that the samples asked so far are
    drawn like all of them.
    """

    def __init__(self, evalset: EvalSet, seed: int, order: NDArray[np.int64] | None = None) -> None:
        """Takes an open data set with a role test, and the order of its rows where it is known."""
        self._evalset, self._seed = evalset, seed
        if order is None:
            ids = evalset.samples(_TEST).ids
            keys = np.array([order_key(seed, name) for name in ids], dtype=np.uint64)
            order = np.argsort(keys, kind="stable")
        self._order = order
        block = max(_FEWEST, 1 << (-(-len(order) // BLOCKS) - 1).bit_length())
        self.card = replace(evalset.card, block=evalset.card.block or block)

    def first(self, count: int) -> InHashOrder:
        """Returns the first `count` samples of it, as a data set of its own."""
        found = InHashOrder(self._evalset, self._seed, self._order[:count])
        card = self.card
        samples, whole = found.samples(_TEST), len(self._order)
        class_counts = dict(card.class_counts)
        if _TEST in class_counts:
            present = np.bincount(samples.targets, minlength=len(class_counts[_TEST]))
            class_counts[_TEST] = present.tolist()
        note = f"asked in blocks until a policy was decided: {count:,} of {whole:,} samples"
        found.card = replace(
            card, counts={**card.counts, _TEST: count}, class_counts=class_counts,
            notes=(*card.notes, note),
            ids_digest={role: one for role, one in card.ids_digest.items() if role != _TEST},
        )  # fmt: skip
        return found

    @property
    def bad_samples(self) -> Mapping[str, Mapping[str, Any]]:
        """What was left out, by role; see `ArrowEvalSet.bad_samples`."""
        found: Mapping[str, Mapping[str, Any]] = getattr(self._evalset, "bad_samples", {})
        return found

    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""
        samples = self._evalset.samples(role)
        return samples.take(self._order) if role == _TEST else samples

    def slice(self, role: str, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        return self._evalset.slice(role, self._own(role, rows))

    def batch(self, role: str, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Raises:
            InputError: if the data can't be brought into that form.
        """
        batch = self._evalset.batch(role, self._own(role, rows), spec)
        return replace(batch, rows=tuple(as_rows(rows).tolist()))

    def _own(self, role: str, rows: Rows) -> Rows:
        return self._order[as_rows(rows)] if role == _TEST else rows


def conform_to(main: MainData, raw: RawData) -> RawData:
    """Returns what of a suite's own data goes with the main data set: its role test.

    Raises:
        InputError: if it has another modality, or lacks a column.
    """
    if raw.modality != main.modality:
        raise InputError(
            f"its samples are of modality {raw.modality}, those of {main.name!r} of {main.modality}"
        )
    changes: dict[str, Any] = {"inputs": reader_of(raw.modality).matching_inputs(raw, main)}
    if main.labels == "ignored":
        changes["target"] = ""
    if raw.test_share is None:
        changes["roles"] = {role: part for role, part in raw.roles.items() if role == "test"}
        changes["left_out"] = {role: part for role, part in raw.left_out.items() if role == "test"}
    return _without_empty_target(replace(raw, **changes))


def _without_empty_target(raw: RawData) -> RawData:
    """Returns the data as unlabelled where its target column holds nothing at all."""
    if not raw.target or raw.labels:
        return raw
    dataset = raw.roles["test"]
    column = dataset.select_columns([raw.target]).with_format("arrow")[:].column(0)
    feature = dataset.features[raw.target]
    if column.null_count == len(column):
        return replace(raw, target="")
    if pa.types.is_floating(column.type) and bool(np.isnan(column.to_numpy()).all()):
        return replace(raw, target="")
    if getattr(feature, "names", None) and pc.all(pc.equal(column, -1)).as_py():
        return replace(raw, target="")  # `datasets` says so that there is no label
    return raw


def _card(opening: DataOpening, raw: RawData, index: Index) -> DataCard:
    facts: Mapping[str, Any] = index.facts
    return DataCard(
        name=opening.name,
        uri=str(opening.uri),
        task=index.task,
        features=facts["features"],
        target=raw.target,
        groups=raw.groups,
        cluster=raw.cluster,
        counts=facts["counts"],
        class_counts=facts["class_counts"],
        fingerprint=facts["fingerprint"],
        group_digests=facts["group_digests"],
        ids_digest=facts["ids_digest"],
        revision=raw.revision,
        split=facts["split"],
        licence=raw.licence,
        citation=raw.citation,
        notes=tuple(facts["notes"]),
    )


def _extended_card(main: ArrowEvalSet, suite_data: Mapping[str, ArrowEvalSet]) -> DataCard:
    card = main.card
    # Sorted, as a stored card is: a suite that goes through them does so in one order.
    cards = {role: suite_data[role].card for role in sorted(suite_data)}
    notes = []
    for role, own in cards.items():
        what = f"{role} is {own.uri}"
        notes.append(what if own.target else f"{what}, without labels")
        notes += [f"{role}: {note}" for note in own.notes]
        if lacking := [name for name in card.groups if name not in own.groups]:
            notes.append(f"{role} has no group column {', '.join(map(repr, lacking))}")

    def merged(field: str) -> dict[str, Any]:
        found = {role: getattr(own, field) for role, own in cards.items()}
        own = {role: by_role[_TEST] for role, by_role in found.items() if _TEST in by_role}
        return dict(sorted({**getattr(card, field), **own}.items()))

    return replace(
        card,
        counts=merged("counts"),
        class_counts=merged("class_counts"),
        group_digests=merged("group_digests"),
        ids_digest=merged("ids_digest"),
        notes=(*card.notes, *notes),
        unlabelled=tuple(role for role, own in cards.items() if not own.target),
        role_fingerprints={role: own.fingerprint for role, own in cards.items()},
    )


def _rows_of(dataset: Any, rows: NDArray[np.int64]) -> Any:
    """Returns an Arrow table of some rows; rows that follow each other are a view."""
    if not len(rows):
        return dataset[:0]
    return dataset[int(rows[0]) : int(rows[-1]) + 1] if follow(rows) else dataset[rows]
