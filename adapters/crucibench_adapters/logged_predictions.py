"""``predictions:``: what a model once answered, from a file; there is no model.

Answers are joined to samples by ``id=COL``, against the data's own ``id`` column, or else by row
order, which the length of the file is checked against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.lists import Lists
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import URI, existing_file, parse_uri
from crucibench.util.coco import read_annotations, read_results
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line
from crucibench_adapters._classes import ClassMap, Declared, LabelMap, plain_name
from crucibench_adapters._outputs import capabilities_of

_OPTIONS = ("id", "draw", "prediction", "score", "scores", "positive", "threshold")
_SUFFIXES = (".csv", ".parquet", ".json")
_PREFIX = "proba_"
_ROLE = "test"
_SHOWN = 3


@dataclass(frozen=True)
class _Columns:
    """Which columns say what.

    Attributes:
        id: names the sample, or "".
        draw: tells the answers to one sample apart, or "".
        prediction: the label or value, or "".
        scores: class probabilities in class order; one for a binary task is the second class's.
        positive: the categories in `prediction` that stand for the second class.
        threshold: from which number in `prediction` on it stands for the second class, or None.
        classes: how the score columns become the data's classes.
        labels: how predicted names become the data's classes; None for regression.
    """

    id: str = ""
    draw: str = ""
    prediction: str = ""
    scores: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    threshold: float | None = None
    classes: ClassMap = field(default_factory=lambda: ClassMap.by_position(0))
    labels: LabelMap | None = None

    @property
    def used(self) -> tuple[str, ...]:
        return tuple(name for name in (self.id, self.draw, self.prediction, *self.scores) if name)


@dataclass(frozen=True)
class _Named:
    """Answers by the names of samples.

    Attributes:
        names: Arrow strings, none twice.
        rows: the row of each in the file.
    """

    names: pa.LargeStringArray
    rows: NDArray[np.int64]

    @cached_property
    def index(self) -> pd.Index[Any]:
        """The names as pandas looks them up."""
        names: NDArray[np.object_] = self.names.to_numpy(zero_copy_only=False)
        return pd.Index(names, dtype=object)

    def rows_of(self, batch: Batch) -> NDArray[np.int64]:
        """Returns the row of each sample, -1 for none."""
        at = np.array(batch.rows, dtype=np.int64)
        keys = pa.array(batch.keys, pa.large_string())
        # Most files have the order of the data: then nothing has to be looked up.
        there = len(at) == len(keys) and at.max(initial=0) < len(self.names)
        if there and self.names.take(pa.array(at)).equals(keys):
            return self.rows[at]
        at = self.index.get_indexer(pd.Index(batch.keys, dtype=object))
        return np.where(at < 0, -1, self.rows[at])


@dataclass(frozen=True)
class _Logged:
    """What the file says, row by row.

    Attributes:
        scores: shape (rows, K), or None.
        labels: shape (rows,), class indices, or None.
        values: shape (rows,), or None.
        places: for each draw where its answers are; empty if rows are joined by order.
        rows: their number.
    """

    scores: NDArray[np.float64] | None
    labels: NDArray[np.int64] | None
    values: NDArray[np.float64] | None
    rows: int
    places: Sequence[_Named] = ()


class PredictionsAdapter(Adapter):
    """Logged predictions.

    Options: ``id=COL``; ``draw=COL`` (numbers that tell several answers to a sample apart: as many
    are asked for, in their order, as the model's ``repeat`` says); ``prediction=COL`` (labels by
    name, or values; the default is a column ``prediction`` if there is one); ``scores=COL,COL``
    (class probabilities in class order, or in that of the spec's ``classes``; the default are
    columns ``proba_CLASS`` if there is one for each class, where those of other classes are left
    out and the rest renormalised); ``score=COL`` (binary: the probability of the second class);
    ``positive=A,B`` (binary: the categories in the prediction column that count as the second
    class, all others as the first); ``threshold=T`` (binary: the prediction column holds numbers on
    any scale, of which those from T on count as the second class).

    Boxes come from a ``.json`` file of COCO results, without options: see `LoggedDetections`.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        if "score" in uri.query and "scores" in uri.query:
            raise InputError("options score and scores exclude each other")
        if "draw" in uri.query and "id" not in uri.query:
            raise InputError("option draw: answers to one sample are told by its name: id=COL")
        _threshold(uri)
        return Sources((_file(uri, base),))

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        file = cls.sources(opening.uri, opening.base).files[0]
        if file.suffix == ".json" or opening.data.task.kind == "detection":
            return LoggedDetections(file, opening)
        return cls(file, opening)

    def __init__(self, file: Path, opening: Opening) -> None:
        self.task = opening.data.task
        self.input_spec = InputSpec()
        self._file = file
        self._columns = _choose(_names(file), opening, file)
        self._logged = _read(file, self._columns, self.task)
        if not self._columns.id:
            self._check_length(opening.data.counts)
        self.capabilities = self._claimed()

    def _predict(self, batch: Batch, want: Request) -> Answer:
        rows = self._rows(batch)
        logged = self._logged
        scores = None if logged.scores is None else logged.scores[rows]
        labels = None if logged.labels is None else logged.labels[rows]
        if labels is None and scores is not None and self.task.one_class:
            labels = scores.argmax(axis=1)
        return Answer(
            scores=scores,
            labels=labels,
            values=None if logged.values is None else logged.values[rows],
        )

    def fingerprint(self) -> Mapping[str, str] | None:
        return {
            "file": file_digest(self._file),
            "columns": data_digest([*self._columns.used, "positive", *self._columns.positive]),
            "threshold": repr(self._columns.threshold),
            **(self._columns.labels.fingerprint() if self._columns.labels else {}),
            **self._columns.classes.fingerprint(),
        }

    def diagnostics(self) -> Mapping[str, Any]:
        how = f"by column {self._columns.id!r}" if self._columns.id else "by row order"
        return {
            "notes": [f"logged predictions, joined {how}"],
            "preprocessing": {"encoding": "none: the inputs are not looked at"},
            **(self._columns.classes.diagnostics() if self._columns.scores else {}),
        }

    def _claimed(self) -> frozenset[Capability]:
        kind = "labels" if self._logged.scores is None else "probabilities"
        found = capabilities_of("values" if self.task.one_number else kind)
        return found - {Capability.ANY_INPUT}

    def _rows(self, batch: Batch) -> NDArray[np.int64]:
        name = self._file.name
        if not self._columns.id:
            if batch.role != _ROLE or len(batch.rows) != len(batch):
                raise InputError(
                    f"{name} is joined by row order, which is that of the role {_ROLE!r}; for "
                    f"{batch.role!r} name samples with id=COL"
                )
            return np.array(batch.rows, dtype=np.int64)
        if len(batch.keys) != len(batch):
            raise InputError(
                f"{name} names its samples by {self._columns.id!r}, and the data names none: give "
                "the data id=COL, or leave id out to join by row order"
            )
        draw = batch.draw if self._columns.draw else 0
        drawn = draw < len(self._logged.places)
        rows = self._logged.places[draw].rows_of(batch) if drawn else np.full(len(batch), -1)
        missing = [batch.keys[row] for row in np.flatnonzero(rows < 0)]
        if missing:
            raise InputError(
                f"{name} lacks {len(missing)} of {len(batch)} samples of a batch, e.g. "
                f"{_examples(missing)}{f' (asked for the time {draw + 1})' if draw else ''}"
            )
        return rows

    def _check_length(self, counts: Mapping[str, int]) -> None:
        wanted = counts.get(_ROLE)
        if wanted is not None and wanted != self._logged.rows:
            raise InputError(
                f"{self._file.name} has {self._logged.rows} rows, the data has {wanted} samples of "
                f"the role {_ROLE!r}: join them by name with id=COL"
            )


def _file(uri: URI, base: Path) -> Path:
    if Path(uri.rest).suffix not in _SUFFIXES:
        raise InputError(f"predictions {uri.rest!r}: expected {' or '.join(_SUFFIXES)}")
    return existing_file(base, uri.rest, "predictions")


def _threshold(uri: URI) -> float | None:
    """Returns where the prediction column is cut, or None."""
    given = uri.query.get("threshold")
    if given is None:
        return None
    if "positive" in uri.query:
        raise InputError("options positive and threshold exclude each other")
    if "prediction" not in uri.query:
        raise InputError(
            "option threshold: cuts the numbers of the prediction column, say prediction=COL (the "
            "threshold of probabilities, score=COL, is the spec's decision: {threshold: ...})"
        )
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"option threshold: expected a number, got {given!r}")
    return number


def _names(file: Path) -> list[str]:
    import pandas as pd

    try:
        if file.suffix == ".csv":
            return [str(name) for name in pd.read_csv(file, nrows=0).columns]
        import pyarrow.parquet

        return list(pyarrow.parquet.read_schema(file).names)
    except Exception as error:
        raise InputError(f"predictions {file.name} can't be read: {one_line(error)}") from error


def _choose(names: Sequence[str], opening: Opening, file: Path) -> _Columns:
    """Decides which columns say what, by the options or by their names.

    Raises:
        InputError: if a named column is not there, or none says anything.
    """
    uri, task, declared = opening.uri, opening.data.task, opening.classes
    regression = task.one_number
    prediction = _prediction(uri, names, task)
    scores = uri.names("scores") or uri.names("score")
    threshold = _threshold(uri)
    if regression and (scores or uri.names("positive") or threshold is not None):
        raise InputError("options score, scores, positive and threshold are for classification")
    given = bool(scores)
    if not given and not regression:
        proba = tuple(name for name in names if name.startswith(_PREFIX))
        covered = {_renamed(name, declared) for name in proba}
        scores = proba if covered >= set(task.classes) else ()
    chosen = _Columns(
        uri.query.get("id", ""), uri.query.get("draw", ""), prediction, scores,
        uri.names("positive"), threshold,
    )  # fmt: skip
    for name in chosen.used:
        if name not in names:
            raise InputError(unknown(f"column of {file.name}", name, names))
    if not prediction and not scores:
        raise InputError(
            f"{file.name}: which column holds the predictions? Say prediction=COL"
            + ("" if regression else ", score=COL or scores=COLS")
            + f" (it has: {', '.join(names)})"
        )
    single = task.binary and len(scores) == 1
    if given and declared is None and not single and len(scores) != len(task.classes):
        raise InputError(
            f"{file.name}: scores: expected {len(task.classes)} columns in the order "
            f"{', '.join(task.classes)}, got {len(scores)}"
        )
    if (chosen.positive or threshold is not None) and not (task.binary and prediction):
        which = "positive" if chosen.positive else "threshold"
        raise InputError(f"option {which}: needs a binary task and a prediction column")
    if regression:
        return chosen
    classes = ClassMap.by_position(len(task.classes))
    if single and isinstance(declared, tuple):
        classes = ClassMap.match(None, task, file.name, declared=declared, width=2)
    elif scores and not single and (declared or not given):
        own = [name.removeprefix(_PREFIX) for name in scores]
        own_classes: Declared = declared if given else {}
        if isinstance(declared, Mapping):  # it may name predictions that have no column
            own_classes = {name: of_data for name, of_data in declared.items() if name in own}
        classes = ClassMap.match(own, task, file.name, declared=own_classes)
        if classes.width != len(scores):
            raise InputError(
                f"{file.name}: scores: expected a column for each of the {classes.width} names of "
                f"classes, got {len(scores)}"
            )
    labels = LabelMap(task, file.name, declared=declared)
    return replace(chosen, classes=classes, labels=labels)


def _prediction(uri: URI, names: Sequence[str], task: Task) -> str:
    """Returns the column of labels or values, "" for none: of several labels there are scores."""
    if task.one_class or task.one_number:
        return uri.query.get("prediction", "prediction" if "prediction" in names else "")
    if "prediction" in uri.query:
        raise InputError(f"option prediction: {task.kind} takes scores=COLS, one a label")
    return ""


def _renamed(column: str, declared: Declared) -> str:
    name = column.removeprefix(_PREFIX)
    return declared.get(name, name) if isinstance(declared, Mapping) else name


def _read(file: Path, columns: _Columns, task: Task) -> _Logged:
    import pandas as pd

    used = list(dict.fromkeys(columns.used))
    numeric = task.one_number or columns.threshold is not None
    text = {columns.id: str} | ({} if numeric else {columns.prediction: str})
    try:
        if file.suffix == ".csv":
            types = {name: kind for name, kind in text.items() if name}
            frame = pd.read_csv(
                file, usecols=used, dtype=types, keep_default_na=False, na_values=[""]
            )
        else:
            frame = pd.read_parquet(file, columns=used)
    except Exception as error:
        raise InputError(f"predictions {file.name} can't be read: {one_line(error)}") from error
    for name in used:
        count = int(frame[name].isna().sum())
        if count:
            raise InputError(f"{file.name}: column {name!r}: {count} of {len(frame)} are missing")
    classification = task.one_class
    labels = values = None
    if columns.threshold is not None:
        cut = _numbers(frame, columns.prediction, file) >= columns.threshold
        labels = cut.astype(np.int64)
    elif columns.prediction and classification:
        labels = _labels(frame[columns.prediction], columns, task, file)
    elif columns.prediction:
        values = _numbers(frame, columns.prediction, file)
    scores = _scores(frame, columns, file) if columns.scores else None
    if labels is not None and scores is not None:
        _agreeing(labels, scores, columns, task, file)
    return _Logged(
        scores=scores,
        labels=labels,
        values=values,
        rows=len(frame),
        places=_places(frame, columns, file) if columns.id else (),
    )


def _agreeing(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    columns: _Columns,
    task: Task,
    file: Path,
) -> None:
    """Refuses labels that are not those of the highest scores: only one can be the answer."""
    rows = np.flatnonzero(scores[np.arange(len(labels)), labels] < scores.max(axis=1))
    if not len(rows):
        return
    predicted = task.classes[labels[rows[0]]]
    raise InputError(
        f"{file.name}: in {len(rows)} of {len(labels)} rows column {columns.prediction!r} is not "
        f"the class with the highest score, e.g. row {rows[0] + 1}: {predicted!r}, whose score is "
        f"{scores[rows[0], labels[rows[0]]]:.4g}; leave the scores out, or the labels "
        "(prediction=) and say where scores decide: decision: {positive: ..., threshold: ...}"
    )  # fmt: skip


def _labels(column: Any, columns: _Columns, task: Task, file: Path) -> NDArray[np.int64]:
    names = [plain_name(entry) for entry in column.tolist()]
    if columns.positive:
        strange = [name for name in columns.positive if name not in set(names)]
        if strange:
            raise InputError(
                f"{file.name}: option positive: "
                + unknown(f"category of column {columns.prediction!r}", strange[0], set(names))
            )
        return np.array([name in columns.positive for name in names], dtype=np.int64)
    places = columns.labels.places if columns.labels else {}
    names = [name if name in places else _whole(name) for name in names]
    strange = sorted({name for name in names if name not in places})
    if strange:
        count = sum(name not in places for name in names)
        raise InputError(
            f"{file.name}: column {columns.prediction!r}: {count} of {len(names)} predictions are "
            f"no class of the data, e.g. {_examples(strange)} (known: {', '.join(task.classes)})"
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _whole(name: str) -> str:
    """Returns 1 for 1.0: whole numbers that were written as floats."""
    try:
        return plain_name(float(name))
    except ValueError:
        return name


def _scores(frame: Any, columns: _Columns, file: Path) -> NDArray[np.float64]:
    scores = np.stack([_numbers(frame, name, file) for name in columns.scores], axis=1)
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    try:
        return columns.classes.apply_scores(scores, "probabilities")
    except OutputError as error:
        raise InputError(f"{file.name}: {error}") from error


def _numbers(frame: Any, name: str, file: Path) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(frame[name].to_numpy(dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{file.name}: column {name!r}: expected numbers: {one_line(error)}"
        ) from error
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise InputError(f"{file.name}: column {name!r}: {bad} of {len(numbers)} are not finite")
    return numbers


def _places(frame: Any, columns: _Columns, file: Path) -> list[_Named]:
    given = frame[columns.id]
    if isinstance(given.dtype, pd.StringDtype):
        names = pa.array(given, pa.large_string())
    else:
        names = pa.array([plain_name(entry) for entry in given.tolist()], pa.large_string())
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    draws = np.zeros(len(frame), dtype=np.int64)
    if columns.draw:
        draws = np.unique(_numbers(frame, columns.draw, file), return_inverse=True)[1]
    each = [np.flatnonzero(draws == draw) for draw in range(draws.max(initial=0) + 1)]
    places = [_Named(names.take(pa.array(rows)) if len(each) > 1 else names, rows) for rows in each]
    if all(len(one.names.unique()) == len(one.names) for one in places):
        return places
    twice = [name for one in places for name in one.index[one.index.duplicated()]]
    raise InputError(
        f"{file.name}: column {columns.id!r}: {len(twice)} of {len(names)} names occur more "
        f"than once, e.g. {_examples(list(dict.fromkeys(twice)))}"
        f"{'' if columns.draw else ' (draw=COL tells several answers to a sample apart)'}"
    )


def _examples(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:_SHOWN])


# COCO results: what a detector once answered, joined to the annotations by image and category.


class LoggedDetections(Adapter):
    """A list of ``image_id``, ``category_id``, ``bbox`` (left, top, width, height) and ``score``.

    Which image and which class an id means, the annotations of the data say: of ``coco:`` data
    alone. An image without an entry has no detections.
    """

    capabilities = frozenset({Capability("boxes"), Capability.LABELS, Capability.SCORES})

    def __init__(self, file: Path, opening: Opening) -> None:
        """Reads the file.

        Raises:
            InputError: if the data is no ``coco:`` data, or an entry can't be meant.
        """
        self.task = opening.data.task
        # Nothing is asked of pixels, which may be shown: whatever sizes images have.
        self.input_spec = InputSpec(own_sizes=self.task.modality is Modality.IMAGE)
        self._file = file
        address = parse_uri(opening.data.uri)
        if file.suffix != ".json" or address.scheme != "coco":
            raise InputError(
                f"{file.name}: expected COCO results (.json) for data of the kind coco:, got "
                f"{file.suffix} for {address.scheme}:"
            )
        self._annotations = existing_file(opening.base, address.rest, "annotations")
        known = read_annotations(self._annotations)
        self._found = {str(key): one for key, one in read_results(file, known).items()}

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        """Opens the file that the address names."""
        return cls(existing_file(opening.base, opening.uri.rest, "predictions"), opening)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        images = [self._found[key] for key in batch.keys]
        found = [one for image in images for one in image]
        lengths = [len(image) for image in images]
        boxes = np.array([one.box for one in found], dtype=np.float64).reshape(-1, 4)
        return Answer(
            boxes=Lists.of(lengths, boxes),
            labels=Lists.of(lengths, np.array([one.place for one in found], dtype=np.int64)),
            scores=Lists.of(lengths, np.array([one.score for one in found], dtype=np.float64)),
        )

    def fingerprint(self) -> Mapping[str, str] | None:
        """Returns the digests of the file, and of what says which images and classes ids mean."""
        return {"file": file_digest(self._file), "annotations": file_digest(self._annotations)}

    def diagnostics(self) -> Mapping[str, Any]:
        """Returns how answers are joined."""
        return {
            "notes": ["logged predictions, joined by image_id and category_id"],
            "preprocessing": {"encoding": "none: the inputs are not looked at"},
        }
