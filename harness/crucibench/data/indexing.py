"""Makes the index of a data set, by one pass over its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.data import NO_GROUP, OF_OBJECTS, Samples
from crucibench.contracts.lists import Lists, few_strings, from_arrow, is_list, to_arrow
from crucibench.contracts.source import LeftOut, MainData, RawData
from crucibench.contracts.task import Target, Task, task_kinds
from crucibench.data import ids
from crucibench.data.bad_samples import WAY_OUT, BadSampleTally, joined, note, plain, refuse
from crucibench.data.cache import cached_folder
from crucibench.data.columnar import arrow_batches, as_text
from crucibench.data.modalities import ModalityReader, RolePass, reader_of
from crucibench.data.options import listed
from crucibench.data.subset import choose_test
from crucibench.tasks.classification.targets import like_classes
from crucibench.tasks.columns import guess_kind, is_number, shown_rows
from crucibench.util import doors
from crucibench.util.doors import storing
from crucibench.util.errors import InputError
from crucibench.util.hashing import canonical_json, data_digest
from crucibench.util.names import Names

if TYPE_CHECKING:
    import datasets

_GROUP = "group_"
_GROUPS_AT_MOST = 50


def build_index(
    raw: RawData,
    scratch: Path,
    progress: Callable[[int, int], None],
    main: MainData | None = None,
) -> Index:
    """Opens the index of a data set; makes it first where the cache does not hold it.

    Args:
        raw: the data.
        scratch: the cache.
        progress: called with the number of samples done and their total.
        main: the main data set, where this is a suite's own.

    Raises:
        InputError: if the data can't be evaluated.
    """

    def fill(folder: Path) -> None:
        targets = read_targets(raw, main)
        reader = reader_of(raw.modality)(raw)
        with reader.keeping(folder):
            contents = read_contents(reader, targets.bad, progress, casts)
        facts = _write_index(folder, reader, targets, contents)
        doors.write_bytes(folder / "index.json", json.dumps(facts).encode())

    _check(raw)
    casts: Mapping[str, Any] = {}
    if main is not None:
        casts = reader_of(raw.modality).casts(main, raw.roles["test"].data.schema)
    key = _key(raw) if raw.key else ""
    if key and main is not None:
        key = data_digest({"key": key, "like": main.as_dict()})
    return open_index(cached_folder(scratch / "index", key, fill))


@dataclass(frozen=True)
class Contents:
    """What one role of a source's data holds.

    Attributes:
        digests: of each sample's content.
        texts: the group, cluster and id columns as Arrow arrays of strings.
        samples: which samples are bad, and what the modality's reader noted.
    """

    digests: NDArray[np.bytes_]
    texts: Mapping[str, Any]
    samples: RolePass

    def __len__(self) -> int:
        return len(self.digests)


def read_contents(
    reader: ModalityReader,
    without: Mapping[str, NDArray[np.bool_]],
    progress: Callable[[int, int], None],
    casts: Mapping[str, Any],
) -> dict[str, Contents]:
    """Goes once over the data and returns what each role holds.

    Args:
        reader: of the data.
        without: by role: the samples that are bad already and not looked at.
        progress: called with the number of samples done and their total.
        casts: the types that columns are cast to first.

    Raises:
        InputError: if a sample has no cluster or no id, or arrays hold no images.
    """
    raw = reader.raw
    named = tuple(dict.fromkeys(name for name in (*raw.groups, raw.cluster, raw.id) if name))
    columns = tuple(dict.fromkeys((*raw.inputs, *named)))
    total = sum(map(len, raw.roles.values()))
    contents: dict[str, Contents] = {}
    before = 0
    for role, dataset in raw.roles.items():
        samples = RolePass(without[role].copy())
        digests: list[NDArray[np.bytes_]] = []
        texts: dict[str, list[Any]] = {name: [] for name in named}
        progress(before, total)
        for table in arrow_batches(dataset, columns, reader.rows_at_once()):
            digests.append(reader.digests(table, casts, samples))
            for name in named:
                texts[name].append(as_text(table.column(name), f"column {name!r}"))
            samples.done += table.num_rows
            progress(before + samples.done, total)
        before += samples.done
        joined = {
            name: pa.chunked_array(chunks, pa.large_string()).combine_chunks()
            for name, chunks in texts.items()
        }
        for option, name in (("cluster", raw.cluster), ("id", raw.id)):
            if name:
                _require_present(option, name, joined[name], role)
        contents[role] = Contents(np.concatenate(digests), joined, samples)
    return contents


def _require_present(option: str, name: str, column: Any, role: str) -> None:
    if count := column.null_count:
        raise InputError(
            f"option {option}: {count} of {len(column)} values of column {name!r} "
            f"{'is' if count == 1 else 'are'} missing in {role}"
        )


@dataclass(frozen=True)
class _Role:
    """Which samples of the source's role `origin` make a role."""

    origin: str
    rows: NDArray[np.int64]


def _write_index(
    folder: Path, reader: ModalityReader, targets: Targets, contents: Mapping[str, Contents]
) -> dict[str, Any]:
    """Writes a file for each role and returns the facts of the index."""
    raw = reader.raw
    bad_samples = _bad_samples(raw, targets, contents)
    roles, split = _roles(raw, targets, contents)
    unique: dict[str, NDArray[np.bytes_]] = {}
    digests: dict[str, tuple[str, str, str]] = {}
    for number, (role, chosen) in enumerate(roles.items()):
        part = contents[chosen.origin]
        order, unique[role] = ids.sorted_contents(part.digests[chosen.rows])
        table = _table(raw, role, chosen, targets.values[chosen.origin], part, order=order)
        _write(folder / f"{number}.arrow", table)
        # Ids of contents that all differ have the order of these; numbers of repetitions have not.
        digests[role] = _digests(table, order if len(unique[role]) == len(order) else None)
    passes = {role: part.samples for role, part in contents.items()}
    form = reader.form(passes)
    features = reader.features(form)
    fingerprint = {
        "task": targets.task.as_dict(),
        "features": [list(pair) for pair in features.items()],
        "roles": {role: whole for role, (_, whole, _) in digests.items()},
    }
    of_groups = {
        role: data_digest([list(raw.groups), groups]) for role, (_, _, groups) in digests.items()
    }
    return {
        "task": targets.task.as_dict(),
        "groups": list(raw.groups),
        "origins": {role: chosen.origin for role, chosen in roles.items()},
        "counts": {role: len(chosen.rows) for role, chosen in roles.items()},
        "class_counts": {
            role: _class_counts(targets, chosen) if raw.target else []
            for role, chosen in roles.items()
        },
        "ids_digest": {role: names for role, (names, _, _) in digests.items()},
        "group_digests": of_groups if raw.groups else {},
        "fingerprint": data_digest(fingerprint),
        "features": features,
        "form": form,
        "split": split,
        "bad_samples": {role: part | plain(left) for role, (left, part) in bad_samples.items()},
        "notes": [
            *raw.notes,
            *(note(left, role, part["of"]) for role, (left, part) in bad_samples.items()),
            *_repeat_notes(roles, unique),
            *reader.notes(passes),
            *_group_notes(raw, contents),
        ],
    }


def _bad_samples(
    raw: RawData, targets: Targets, contents: Mapping[str, Contents]
) -> dict[str, tuple[LeftOut, dict[str, int]]]:
    """Returns, by role that has some, what is left out, its count and of how many."""
    found = {}
    for role, part in contents.items():
        unstored = raw.left_out.get(role, LeftOut())
        left_out = joined(unstored, targets.left_out[role], part.samples.tally.left_out())
        of = len(part) + unstored.count
        refuse(left_out, role, of, raw.on_bad_sample)
        if left_out.count:
            found[role] = (left_out, {"left_out": left_out.count, "of": of})
    return found


def _class_counts(targets: Targets, chosen: _Role) -> list[int]:
    if not targets.task.one_class:
        return []
    values = targets.values[chosen.origin][chosen.rows]
    counts: list[int] = np.bincount(values, minlength=len(targets.task.classes)).tolist()
    return counts


def _roles(
    raw: RawData, targets: Targets, contents: Mapping[str, Contents]
) -> tuple[dict[str, _Role], str]:
    """Returns the roles, and how they came about."""
    if raw.test_share is None:
        whole = {
            role: _Role(role, np.flatnonzero(~part.samples.bad).astype(np.int64))
            for role, part in contents.items()
        }
        return whole, raw.split
    if tuple(contents) != ("test",):
        raise InputError(f"option split: the data is split already, into {', '.join(contents)}")
    part = contents["test"]
    good = np.flatnonzero(~part.samples.bad).astype(np.int64)
    values = targets.values["test"][good]
    clusters = part.texts[raw.cluster].take(pa.array(good)).to_pylist() if raw.cluster else None
    units = part.digests[good].tolist() if clusters is None else clusters
    classes = targets.task.one_class
    strata = values if classes else np.zeros(len(values), dtype=np.int64)
    test = choose_test(raw.test_share, units, strata)
    if test.all() or not test.any():
        raise InputError(
            f"option split: {raw.test_share:g} of {len(test)} samples leaves no "
            f"{'train' if test.all() else 'test'} sample"
        )
    how = [f"{raw.test_share:.4g} test, the rest train, by content hash"]
    how += ["stratified by class"] if classes else []
    how += [f"each {raw.cluster!r} whole"] if raw.cluster else []
    rows = {"test": good[test], "train": good[~test]}
    return {role: _Role("test", chosen) for role, chosen in rows.items()}, ", ".join(how)


def _table(
    raw: RawData,
    role: str,
    chosen: _Role,
    targets: NDArray[Any],
    part: Contents,
    *,
    order: NDArray[np.intp],
) -> Any:
    """Returns the sample table of a role, whose contents are sorted by `order`."""
    place = pa.array(chosen.rows)
    keys = part.texts[raw.id].take(place) if raw.id else None
    if keys is not None:
        _require_unique_keys(raw.id, role, keys)
    columns = {
        "row": place,
        "id": ids.identify(part.digests[chosen.rows], keys, order),
        "target": to_arrow(targets[chosen.rows]),
    }
    for number, name in enumerate(raw.groups):
        columns[f"{_GROUP}{number}"] = pc.fill_null(part.texts[name].take(place), NO_GROUP)
    if raw.cluster:
        columns["cluster"] = part.texts[raw.cluster].take(place)
    if keys is not None:
        columns["key"] = keys
    return pa.table(columns)


def _write(path: Path, table: Any) -> None:
    with storing(path):
        stream = doors.open_file(path, "wb")
    for at, name in enumerate(table.column_names):
        if name.startswith(_GROUP):
            table = table.set_column(at, name, table.column(name).dictionary_encode())
    with stream as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches(max_chunksize=BATCH):
            writer.write(batch)


def _repeat_notes(
    roles: Mapping[str, _Role], unique: Mapping[str, NDArray[np.bytes_]]
) -> Iterator[str]:
    for role, chosen in roles.items():
        if repeats := len(chosen.rows) - len(unique[role]):
            verb = "repeats" if repeats == 1 else "repeat"
            yield f"{repeats} of {len(chosen.rows)} samples of {role} {verb} another exactly"
    for role in roles:
        if role == "test":
            continue
        if both := len(np.intersect1d(unique["test"], unique[role], assume_unique=True)):
            verb = "is" if both == 1 else "are"
            yield f"{both} of {len(unique['test'])} unlike samples of test {verb} in {role} too"


def _group_notes(raw: RawData, contents: Mapping[str, Contents]) -> Iterator[str]:
    for name in raw.groups:
        if name.startswith(OF_OBJECTS):
            continue  # it holds lists
        columns = pa.chunked_array([part.texts[name] for part in contents.values()])
        if (count := pc.count_distinct(columns).as_py()) > _GROUPS_AT_MOST:
            yield f"group column {name!r} has {count} distinct values"


def _check(raw: RawData) -> None:
    if "test" not in raw.roles:
        raise InputError(f"the data has no role test (roles: {', '.join(raw.roles)})")
    first: Any = None
    if raw.on_bad_sample == "error":
        # Before a target that only they hold is missed.
        for role, left_out in raw.left_out.items():
            of = len(raw.roles[role]) + left_out.count
            refuse(left_out, role, of, raw.on_bad_sample)
    for role, dataset in raw.roles.items():
        if not len(dataset):
            raise InputError("the data has no rows" if role == "test" else f"{role} has no rows")
        features = dataset.features  # each look at them copies all
        for name in dict.fromkeys((*raw.inputs, *raw.targets, *raw.groups, raw.cluster, raw.id)):
            if name and name not in features:
                raise InputError(
                    f"{role} has no column {name!r} (columns: {listed(dataset.column_names)})"
                )
        kinds = {name: features[name] for name in (*raw.inputs, *raw.targets)}
        first = kinds if first is None else first
        for name, kind in kinds.items():
            if kind != first[name]:
                raise InputError(
                    f"column {name!r} holds {first[name]} in test and {kind} in {role}"
                )


def _key(raw: RawData) -> str:
    features = next(iter(raw.roles.values())).features
    return data_digest(
        {
            "format": FORMAT,
            "data": raw.key,
            "roles": {role: len(dataset) for role, dataset in raw.roles.items()},
            "modality": str(raw.modality),
            "inputs": [[name, str(features[name])] for name in raw.inputs],
            "target": [raw.target, *(str(features[name]) for name in raw.targets)],
            "kind": raw.kind,
            "classes": list(raw.classes) if raw.classes is not None else None,
            "groups": list(raw.groups),
            "cluster": raw.cluster,
            "id": raw.id,
            "image_shape": list(raw.image_shape or ()),
            "split": raw.split,
            "share": repr(raw.test_share),
            "notes": list(raw.notes),
            "on_bad_sample": raw.on_bad_sample,
            "left_out": {role: plain(left) for role, left in raw.left_out.items()},
        }
    )


def _require_unique_keys(name: str, role: str, keys: Any) -> None:
    if len(keys.unique()) == len(keys):
        return
    counts = pc.value_counts(keys)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    count = len(repeated)
    raise InputError(
        f"option id: {count} {'value names' if count == 1 else 'values name'} more than one "
        f"sample of {role} in column {name!r}, e.g. {repeated[0]['values'].as_py()!r}; name "
        "what is drawn together with cluster="
    )


def _digests(table: Any, order: NDArray[np.intp] | None) -> tuple[str, str, str]:
    """Returns digests of the ids, of the ids with targets and clusters, and of the ids with groups.

    The order of the rows moves none of them.

    Args:
        table: the sample table.
        order: of its ids; None where it is not known.
    """
    order = pc.sort_indices(table.column("id")) if order is None else pa.array(order)
    columns = [name for name in table.column_names if name not in {"row", "key"}]
    ids_digest, whole, groups = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for name in columns:
        column = table.column(name).take(order).combine_chunks()
        header = canonical_json([name, str(column.type), len(column)]).encode()
        into = (groups,) if name.startswith(_GROUP) else (whole,)
        for digest in (ids_digest, whole, groups) if name == "id" else into:
            digest.update(header)
            for part in _bytes(column):
                digest.update(part)
    return ids_digest.hexdigest(), whole.hexdigest(), groups.hexdigest()


def _bytes(column: Any) -> Iterator[bytes]:
    if pa.types.is_large_string(column.type):
        lengths = pc.binary_length(column).to_numpy().astype("<i8")
        yield lengths.tobytes()
        if len(column):
            _, offsets, texts = column.buffers()
            first = int(np.frombuffer(offsets, "<i8")[column.offset])
            yield texts[first : first + int(lengths.sum())] if texts else b""
    elif is_list(column.type):
        yield pc.list_value_length(column).to_numpy().astype("<i8").tobytes()
        yield from _bytes(column.flatten())
    elif pa.types.is_fixed_size_list(column.type):
        yield from _bytes(column.flatten())
    elif pa.types.is_string(column.type):
        yield from _bytes(column.cast(pa.large_string()))
    else:
        yield np.ascontiguousarray(column.to_numpy()).tobytes()


# What the target column asks, and its values as class indices or numbers.


@dataclass(frozen=True)
class Targets:
    """The target of a data set.

    Attributes:
        task: what it asks.
        values: by role: class indices (int64) or numbers (float64); those of bad samples mean
            nothing.
        bad: by role: whether a sample has no usable target.
        left_out: by role: these, counted.
    """

    task: Task
    values: Mapping[str, Any]
    bad: Mapping[str, NDArray[np.bool_]]
    left_out: Mapping[str, LeftOut]


def read_targets(raw: RawData, main: MainData | None = None) -> Targets:
    """Reads the target column.

    It asks for a class where `raw.kind` or `raw.classes` says so, where its values are no numbers,
    and where they are whole numbers of at most 20 distinct values; whole numbers beside images and
    texts are always classes. Else it asks for a number.

    Classes come in this order: as given or as the feature type knows them; numbers by size, those
    beside images from 0 without a gap; strings by code point; False before True.

    Raises:
        InputError: if values are missing or not finite and may not be left out, or not covered by
            the classes, or if there is only one class.

    With `main`, the task is that of the main data set: classes are matched by their names. Without
    a target column, targets are those of samples without a label.
    """
    kind = "" if main is None else main.kind
    if main is not None and not raw.target:
        missing = task_kinds().get(kind).unlabelled
        unlabelled: dict[str, Any] = {
            role: missing[np.zeros(len(dataset), np.int64)]
            if isinstance(missing, Lists)
            else np.full(len(dataset), missing)
            for role, dataset in raw.roles.items()
        }
        bad = {role: np.zeros(len(dataset), dtype=np.bool_) for role, dataset in raw.roles.items()}
        task = Task(kind=kind, modality=raw.modality, classes=main.classes)
        return Targets(task, unlabelled, bad, dict.fromkeys(raw.roles, LeftOut()))
    name = raw.target
    if raw.labels:
        known: tuple[str, ...] | None = raw.labels
    else:
        feature = next(iter(raw.roles.values())).features[name]
        known = _names(feature)
    declared = kind or raw.kind or ("multilabel" if raw.labels else "")
    lists = bool(declared) and task_kinds().get(declared).list_targets
    if raw.labels and not lists:
        raise InputError(f"target {name!r}: {declared} takes one column, task=multilabel several")
    whole = {
        role: _flags(dataset, role, raw.labels) if raw.labels else _column(dataset, name, lists)
        for role, dataset in raw.roles.items()
    }
    absent = {
        role: _absent(name, role, column, unnamed=bool(known), refuse=raw.on_bad_sample == "error")
        for role, column in whole.items()
    }
    # A bad sample's target becomes one that is there: positions and classes stay what they are.
    columns = {role: _filled(column, absent[role][0]) for role, column in whole.items()}
    values: Mapping[str, Any]
    target = Target(name=name, modality=raw.modality, classes=raw.classes, known=known)
    if main is not None and main.classes and not lists:
        classes = main.classes
        own = known or raw.classes
        target = replace(target, classes=classes, known=own)
        values = like_classes(target, columns, main.name)
    else:
        if main is not None and main.classes:
            target = replace(target, classes=main.classes)
        kind = declared or guess_kind(target, columns)
        classes, values = task_kinds().get(kind).read_targets(target, columns)
    task = Task(kind=kind, modality=raw.modality, classes=classes)
    bad = {role: found for role, (found, _) in absent.items()}
    return Targets(task, values, bad, {role: left_out for role, (_, left_out) in absent.items()})


def _names(feature: Any) -> tuple[str, ...] | None:
    """Returns the class names that a feature of `datasets` knows, perhaps of what is in it."""
    if isinstance(feature, dict):
        return next(filter(None, map(_names, feature.values())), None)
    names = getattr(feature, "names", None) or _names(getattr(feature, "feature", {}))
    return tuple(names) if names else None


def _flags(dataset: datasets.Dataset, role: str, names: tuple[str, ...]) -> Any:
    """Returns columns of 0 and 1 as lists of one length, missing where one of them is."""
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    columns = []
    for name in names:
        column = table.column(name).combine_chunks()
        if not (pa.types.is_boolean(column.type) or is_number(column.type)):
            raise InputError(
                f"target {name!r}: expected 0 or 1 for each label, got values of type {column.type}"
                f" ({role})"
            )
        columns.append(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    matrix = np.stack(columns, axis=1)
    missing = np.isnan(matrix).any(axis=1)
    flat = pa.array(np.where(missing[:, None], 0.0, matrix).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, len(names), mask=pa.array(missing))


def _column(dataset: datasets.Dataset, name: str, lists: bool) -> Any:
    table = dataset.select_columns([name]).with_format("arrow")[:]
    column = table.column(0).combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if (pa.types.is_nested(column.type) and not lists) or pa.types.is_temporal(column.type):
        way = "; for a list of labels say task=multilabel" if is_list(column.type) else ""
        raise InputError(
            f"target {name!r}: expected classes or numbers, got values of type {column.type}{way}"
        )
    return pc.cast(column, pa.float64()) if pa.types.is_decimal(column.type) else column


def _absent(
    name: str, role: str, column: Any, *, unnamed: bool, refuse: bool
) -> tuple[NDArray[np.bool_], LeftOut]:
    """Returns which samples have no usable target, and counts them.

    Args:
        name: of the target.
        role: of the column.
        column: the targets.
        unnamed: whether -1 is how class indices say that there is no label, as `datasets` has it.
        refuse: whether there may be none.

    Raises:
        InputError: if there are such samples and `refuse` is set, or if there are no others.
    """
    found = {
        "missing": column.is_null(nan_is_null=not pa.types.is_nested(column.type)).to_numpy(
            zero_copy_only=False
        )
    }
    if pa.types.is_floating(column.type):
        found["infinite"] = np.isinf(column.to_numpy(zero_copy_only=False))
    if unnamed and pa.types.is_integer(column.type):
        found["-1 (no label)"] = np.asarray(
            pc.fill_null(pc.equal(column, -1), False).to_numpy(zero_copy_only=False)
        )
    bad = np.logical_or.reduce(list(found.values()))
    sentences = [
        f"target {name!r}: {int(each.sum()):,} of {len(each):,} values "
        f"{'is' if each.sum() == 1 else 'are'} {what} ({role} {shown_rows(each)})"
        for what, each in found.items()
        if each.any()
    ]
    if bad.any() and (refuse or bad.all()):
        raise InputError("; ".join(sentences) + (WAY_OUT if refuse and not bad.all() else ""))
    tally = BadSampleTally()
    for what, each in found.items():
        for row in np.flatnonzero(each).tolist():
            tally.add(f"target {what}", f"row {row:,}: the target {name!r} is {what}")
    return bad, tally.left_out()


def _filled(column: Any, bad: NDArray[np.bool_]) -> Any:
    if not bad.any():
        return column
    return column.take(pa.array(np.where(bad, np.argmin(bad), np.arange(len(bad)))))


# The index of a data set: ids, targets, groups, clusters and the user's names, role by role.
#
# It is made once for each content, in O(n) memory without the inputs, and then mapped from disk.

FORMAT = 6
"""Of the index files; 3: each modality has its own form; 5: pixels are kept; 6: groups as codes."""

BATCH = 65_536
"""Rows of every record batch of an index file but the last."""

Rows = Sequence[int] | NDArray[np.int64] | range


@dataclass(frozen=True)
class RoleIndex:
    """The index of one role, memory-mapped.

    Attributes:
        path: an Arrow file of record batches of `BATCH` rows.
        groups: the group columns' names.
    """

    path: Path
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        self._reader  # noqa: B018 - mapped now

    def samples(self) -> Samples:
        """Returns the whole sample table."""
        return self._samples(self._reader.read_all())

    def at(self, rows: Rows) -> tuple[Samples, NDArray[np.int64]]:
        """Returns the sample table at `rows`, and where they stand in the source's own data.

        In O(rows) memory.
        """
        chosen = as_rows(rows)
        for known, samples, origins in self._last[:]:  # a copy: threads may ask for other rows
            if np.array_equal(known, chosen):
                return samples, origins
        table = self._table(chosen)
        samples = self._samples(table)
        origins = np.asarray(table.column("row").to_numpy(), dtype=np.int64)
        self._last[:] = [(chosen.copy(), samples, origins)]
        return samples, origins

    @cached_property
    def _last(self) -> list[tuple[NDArray[np.int64], Samples, NDArray[np.int64]]]:
        """What was taken last: a batch is asked for as inputs, and as samples."""
        return []

    @cached_property
    def _reader(self) -> Any:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    def _table(self, rows: NDArray[np.int64]) -> Any:
        reader = self._reader
        if not len(rows):
            return reader.schema.empty_table()
        if follow(rows):
            first, end = int(rows[0]), int(rows[-1]) + 1
            return pa.Table.from_batches(
                reader.get_batch(number).slice(max(0, first - number * BATCH))
                for number in range(first // BATCH, (end - 1) // BATCH + 1)
            ).slice(0, end - first)
        batches, places = np.divmod(rows, BATCH)
        order = np.argsort(batches, kind="stable")
        parts = []
        for number in np.unique(batches).tolist():
            batch = reader.get_batch(number)
            within = places[order][batches[order] == number]
            parts.append(batch.take(pa.array(within)))
        table = pa.Table.from_batches(parts)
        if (order == np.arange(len(order))).all():
            return table
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return table.combine_chunks().take(pa.array(back))

    def _samples(self, table: Any) -> Samples:
        held = table.column_names
        return Samples(
            ids=Names(table.column("id")),
            targets=from_arrow(table.column("target")),
            groups=partial(_groups, table, self.groups),
            clusters=Names(table.column("cluster")).array if "cluster" in held else None,
            keys=Names(table.column("key")) if "key" in held else None,
        )


def _groups(table: Any, names: Sequence[str]) -> pd.DataFrame:
    columns = {
        name: few_strings(table.column(f"{_GROUP}{number}")) for number, name in enumerate(names)
    }
    return pd.DataFrame(columns, index=range(table.num_rows), dtype=object)


@dataclass(frozen=True)
class Index:
    """The index of a data set.

    Attributes:
        folder: where it lies.
        roles: by name.
        origins: the role of the source's data that each role was taken from.
        task: what the data asks.
        facts: plain data for the card and for batches: ``fingerprint``, ``ids_digest``,
            ``counts``, ``features``, ``form`` (what the modality's reader needs), ``split``,
            ``notes``, ``bad_samples`` (by role of the source's data: ``left_out``, ``of``,
            ``kinds`` and the ``first`` few; empty where all are good).
    """

    folder: Path
    roles: Mapping[str, RoleIndex]
    origins: Mapping[str, str]
    task: Task
    facts: Mapping[str, Any]


def open_index(folder: Path) -> Index:
    """Opens what `crucibench.data.indexing` wrote.

    The files stay mapped, so that whoever clears the cache meanwhile does no harm.
    """
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    roles = {
        role: RoleIndex(folder / f"{number}.arrow", tuple(facts["groups"]))
        for number, role in enumerate(facts["counts"])
    }
    return Index(folder, roles, facts["origins"], Task.from_dict(facts["task"]), facts)


def as_rows(rows: Rows) -> NDArray[np.int64]:
    """Returns row numbers as an array."""
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    return np.asarray(rows, dtype=np.int64)


def follow(rows: NDArray[np.int64]) -> bool:
    """Whether rows, at least one, follow each other: then they are a view."""
    return int(rows[-1] - rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all())
