"""The kind ``detection``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.lists import Column, Lists, from_arrow, is_list, item_type, to_arrow
from crucibench.contracts.section import Section
from crucibench.contracts.task import (
    AnswerField,
    OutputError,
    Target,
    Task,
    TaskKind,
    require_finite,
)
from crucibench.tasks.detection.matching import KINDS, found_objects, match
from crucibench.tasks.detection.moving import moved
from crucibench.tasks.detection.precision import (
    RECALLS,
    DetectionView,
    calibration_bins,
    precision_by_recall,
)
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.rows import Row

_WIDTH = 7
_REPLICATES = 200
_CATEGORIES = ("category", "category_id", "categories", "label", "labels")
"""What data on the hub call the classes of objects."""


def _check_boxes(array: NDArray[Any], _: Task) -> None:
    require_finite("boxes", array)
    if array.shape[1] != 4:
        raise OutputError(f"boxes: expected shape (m, 4), got {array.shape}")
    bad = np.asarray((array[:, 2:] < array[:, :2]).any(axis=1))
    if bad.any():
        raise OutputError(
            f"boxes: {int(bad.sum())} of {len(bad)} in a batch end before they begin, e.g. "
            f"{array[bad][0].tolist()}: expected left, top, right, bottom; are they left, top, "
            "width, height?"
        )


def _check_labels(array: NDArray[Any], task: Task) -> None:
    known = np.isin(array, np.arange(len(task.classes)))
    if not known.all():
        raise OutputError(
            f"labels: expected class indices from 0 to {len(task.classes) - 1}, got "
            f"{array[~known][0].item()!r}"
        )


class Detection(TaskKind):
    """Each sample is an image with any number of objects, each with a box and a class.

    A target is a list of objects of 5 to 7 numbers: left, top, width and height in pixels, class
    index, area in square pixels (default: of the box), and 1 for a crowd or 2 for an object that
    does not count (default 0). `Lists` of all 7, float64, are stored. Or it is what data on the
    hub call ``objects``: ``bbox``, ``category``, and perhaps ``area`` and ``iscrowd`` of each.

    Records of a pass keep the ``boxes`` answered, class and score of each (``prediction``), and
    what a comparison needs without them, see `crucibench.tasks.detection.matching`.
    """

    name: ClassVar[str] = "detection"
    fields: ClassVar[tuple[AnswerField, ...]] = (
        AnswerField(name="boxes", dimensions=2, check=_check_boxes, lists=True, pixels=True),
        AnswerField(name="labels", dimensions=1, check=_check_labels, lists=True),
        AnswerField(
            name="scores", dimensions=1, lists=True,
            check=lambda array, _: require_finite("scores", array),
        ),
    )  # fmt: skip
    list_targets: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "detection-ap", "detection-ap50", "detection-ap75", "detection-ap-small",
        "detection-ap-medium", "detection-ap-large", "detection-ar-1", "detection-ar-10",
        "detection-ar-100", "detection-ap-class", "detection-missed", "detection-badly-localised",
        "detection-wrong-class", "detection-duplicate", "detection-background", "detection-ece",
    )  # fmt: skip
    headline: ClassVar[str] = "detection-ap"
    group_metrics: ClassVar[tuple[str, ...]] = ("detection-found",)
    perturbed_metrics: ClassVar[tuple[str, ...]] = (
        "detection-ap", "detection-ap50", "detection-ar-100", "detection-missed",
    )  # fmt: skip
    sections: ClassVar[tuple[Section, ...]] = (
        Section(title="Detection", kind="metrics", scenario="clean", metrics=metrics[:9]),
        Section(title="By class", kind="table", scenario="clean", table="per-class"),
        Section(title="At other IoU thresholds", kind="metrics", scenario="other-ious"),
        Section(
            title="Precision and recall", kind="line", scenario="clean", table="precision-recall",
            x="recall", y="precision",
            note="At an IoU of 0.5, the mean over classes that have objects, precision being the "
            "highest at that recall or above. Bands hold 95 % of resampled sets, image by image, "
            "as if images were independent.",
        ),
        Section(
            title="Scores", kind="reliability", scenario="clean", table="scores",
            x="mean_score", y="right",
            note="The share of right detections by score, at an IoU of 0.5, in 15 bins of one "
            "width; bars are Wilson intervals, as if detections, its samples, were independent.",
        ),
        Section(
            title="Errors", kind="bars", scenario="clean", table="errors", x="error",
            y="per_object",
            note="For each object, among detections with a score of at least 0.5, at an IoU of "
            "0.5; a badly localised or wrongly named object is missed, too.",
        ),
        Section(
            title="Images with the least found", kind="boxes", scenario="worst-images",
            note="True boxes beside those found with a score of at least 0.5: no fair sample of "
            "the images.",
        ),
        Section(title="All numbers", kind="metrics", scenario="clean"),
    )  # fmt: skip

    @property
    def unlabelled(self) -> Lists:
        """An image without objects."""
        return Lists.of([0], np.zeros((0, _WIDTH)))

    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Column]]:
        """Returns the class names, or indices as names where none are declared, and the objects."""
        found = {role: _objects(target.name, role, column) for role, column in columns.items()}
        most = max((int(one.values[:, 4].max(initial=-1)) for one in found.values()), default=-1)
        classes = target.classes or target.known or tuple(str(at) for at in range(most + 1))
        if most >= len(classes):
            raise InputError(
                f"target {target.name!r}: class index {most} is unknown: there are "
                f"{len(classes)} classes"
            )
        return classes, dict(found)

    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns ``boxes``, with which labels and scores come."""
        return "boxes"

    def prediction(self, answer: Answer) -> Lists:
        """Returns class and score of each box, (m, 2)."""
        _, labels, scores = self._parts(answer)
        columns = np.column_stack([labels.values, scores.values]).astype(np.float64)
        return Lists(labels.offsets, columns)

    def outcome_columns(self, answer: Answer, targets: Any, score_kind: str) -> dict[str, Column]:
        """Returns ``matches`` and ``objects``, see `crucibench.tasks.detection.matching`."""
        return match(*self._parts(answer), targets)._asdict()

    def _parts(self, answer: Answer) -> tuple[Lists, Lists, Lists]:
        boxes, labels, scores = (answer.lists(field.name) for field in self.fields)
        for other in (labels, scores):
            if not np.array_equal(boxes.offsets, other.offsets):
                raise OutputError(
                    "boxes, labels and scores: expected as many of each in every sample"
                )
        return boxes, labels, scores

    def moved(
        self, targets: Lists, maps: NDArray[np.float64], sides: tuple[int, int],
        stored: Sequence[tuple[int, int]],
    ) -> Lists:  # fmt: skip
        """Returns the objects where they are moved to, by `crucibench.tasks.detection.moving`."""
        return moved(targets, maps, sides, stored)

    def numbers(self, answer: Answer) -> NDArray[np.float64]:
        """Returns sums over boxes of scores, and of classes and corners weighed by them.

        The order of boxes whose scores are all but equal is noise, and no part of it.
        """
        boxes, labels, scores = self._parts(answer)
        items = np.column_stack([np.ones(len(scores.values)), 1 + labels.values, boxes.values])
        found = np.zeros((len(boxes), items.shape[1]))
        np.add.at(found, boxes.rows, items * scores.values[:, None].astype(np.float64))
        return found

    def held_at(self, cell: CellEvidence, ious: Sequence[float]) -> Mapping[str, Column]:
        """Returns ``matches`` and ``objects`` of a pass at other IoU thresholds, ascending.

        The pass has its boxes, and the samples theirs: it is none of a pack.
        """
        held = match(*_stored(cell), cell.samples.targets, np.array(ious))
        return {"id": cell.samples.ids, **held._asdict()}

    def found(self, cell: CellEvidence) -> Mapping[str, Column]:
        """Returns ``found`` of a pass with its boxes: of each object the share of IoU thresholds.

        In the order of the objects, NaN for one that does not count.
        """
        found = found_objects(*_stored(cell), cell.samples.targets)
        return {"id": cell.samples.ids, "found": found}

    def packed(self, targets: Lists) -> Lists:
        """Returns class, area and flag of each object, of what is packed already as well."""
        return Lists(targets.offsets, targets.values[:, -3:])

    def judged(self, answer: Answer, targets: Any, score_kind: str) -> dict[str, Column]:
        """Returns the same."""
        return self.outcome_columns(answer, targets, score_kind)

    def view(
        self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None
    ) -> DetectionView:
        """Reads a plain pass."""
        rows = cell.samples.ids if ids is None else ids
        records = cell.records.aligned(rows)
        return DetectionView(rows, task.classes, records.lists("matches"), records.lists("objects"))

    def view_of_outcomes(
        self, columns: Mapping[str, Any], cell: CellEvidence, task: Task
    ) -> DetectionView:
        """Reads ``matches`` and ``objects``."""
        return DetectionView(cell.samples.ids, task.classes, columns["matches"], columns["objects"])

    def quality(self, view: DetectionView) -> NDArray[np.float64]:
        """Returns the share of each image's objects that is found: AP is no mean over images."""
        return view.shares

    def by_sample(
        self, view: DetectionView
    ) -> Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Returns the share of objects found, of images that have some."""
        return [(view.shares, view.counts[0].any(axis=0))]

    def tables(
        self, view: DetectionView, rows: Sequence[Row], level: float
    ) -> dict[str, pd.DataFrame]:
        """Returns ``per-class``, ``errors``, ``precision-recall`` and ``scores``."""
        import pandas as pd

        objects = dict(zip(view.classes, view.counts[0].sum(axis=1), strict=True))
        table = pd.DataFrame(
            [
                {"class": row.group, "objects": int(objects[row.group]), "ap": row.value,
                 "lower": row.lower, "upper": row.upper, "reason": row.reason}
                for row in rows if row.metric == "detection-ap-class"
            ]
        )  # fmt: skip
        if not (len(table) and table["reason"].any()):
            table = table.drop(columns="reason", errors="ignore")
        names = {f"detection-{kind}": kind.replace("-", " ") for kind in ("missed", *KINDS)}
        errors = pd.DataFrame(
            [
                {"error": names[row.metric], "per_object": row.value, "lower": row.lower,
                 "upper": row.upper}
                for row in rows if row.metric in names and row.value is not None
            ],
            columns=["error", "per_object", "lower", "upper"],
        ).astype({"lower": np.float64, "upper": np.float64})  # fmt: skip
        return {
            "per-class": table,
            "errors": errors,
            "precision-recall": _curve_table(view, level),
            "scores": _score_table(view),
        }

    def outcomes(self, view: DetectionView) -> OutcomeView:
        """Returns the share found as the score; an image is neither right nor wrong."""
        point = np.full(len(view), "", dtype=object)
        unknown = np.full(len(view), np.nan)
        return OutcomeView(view.ids, point, view.matches.lengths, view.shares, unknown)


def _stored(cell: CellEvidence) -> tuple[Lists, Lists, Lists]:
    records = cell.records.aligned(cell.samples.ids)
    found = records.lists("prediction")
    labels, scores = (Lists(found.offsets, found.values[:, at]) for at in (0, 1))
    return records.lists("boxes"), labels, scores


def _score_table(view: DetectionView) -> pd.DataFrame:
    import pandas as pd

    counts, scores, right = (one.sum(axis=0) for one in calibration_bins(view))
    there = counts > 0
    columns = {"mean_score": scores[there] / counts[there], "right": right[there] / counts[there],
               "count": counts[there], "hits": right[there]}  # fmt: skip
    return pd.DataFrame(columns)


def _curve_table(view: DetectionView, level: float) -> pd.DataFrame:
    """Returns precision by recall, with bounds of what resampled images give.

    Images are drawn by their ids, the same for every model (Poisson's bootstrap).
    """
    import pandas as pd

    curve = precision_by_recall(view)
    if curve is None:
        return pd.DataFrame()
    uniform = Draws(0, "detection/precision-recall").uniform(
        view.ids.tolist(), "image", (_REPLICATES,)
    )
    # How often an image is drawn: by the distribution of Poisson's counts of mean 1.
    steps = np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 9)]))
    drawn = np.searchsorted(steps, uniform.T).astype(np.float64)
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(curve(drawn), [(1 - level) / 2, (1 + level) / 2], axis=0)
    value = curve(np.ones((1, len(view))))[0]
    columns = {"recall": RECALLS, "precision": value, "lower": low, "upper": high}
    return pd.DataFrame(columns)


def _numbers(column: Any, expected: str) -> pa.Array:
    """Returns lists of ``bbox``, ``category``, ... by object as lists of numbers.

    They are a list of entries each, or an entry of lists, as `datasets` stores them.
    """
    if is_list(column.type):
        entries = column.flatten()
        fields = {field.name: entries.field(field.name) for field in entries.type}
        lengths = np.asarray(column.value_lengths())
    else:
        fields = {field.name: column.field(field.name).flatten() for field in column.type
                  if is_list(field.type)}  # fmt: skip
        lengths = (
            np.asarray(column.field("bbox").value_lengths()) if "bbox" in fields else np.zeros(0)
        )
    names = next((name for name in _CATEGORIES if name in fields), "")
    if "bbox" not in fields or not names or any(one.null_count for one in fields.values()):
        raise InputError(f"{expected}, or bbox and category of each, got {column.type}")
    boxes = fields["bbox"].flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    parts = [fields[name].to_numpy(zero_copy_only=False)[:, None]
             for name in (names, "area", "iscrowd") if name in fields]  # fmt: skip
    if len(boxes) != 4 * len(parts[0]) or any(part.dtype.kind not in "biuf" for part in parts):
        raise InputError(f"{expected}, or bbox and category of each, got {column.type}")
    boxes = boxes.reshape(-1, 4)
    if "area" not in fields:
        parts.insert(1, boxes[:, 2:3] * boxes[:, 3:4])
    return to_arrow(Lists.of(lengths, np.concatenate([boxes, *parts], axis=1).astype(np.float64)))


def _objects(name: str, role: str, column: Any) -> Lists:
    """Returns a target column as lists of all 7 numbers."""
    expected = (
        f"target {name!r}: expected lists of objects of 5 to 7 numbers (left, top, width, height, "
        "class index, area, flag)"
    )
    if pa.types.is_struct(item_type(column.type)):
        column = _numbers(column, expected)
    try:
        found = from_arrow(column)
    except (ValueError, pa.ArrowException):
        raise InputError(f"{expected}, got {column.type}") from None
    if not isinstance(found, Lists):
        raise InputError(f"{expected}, got {column.type}")
    values = found.values
    if not len(values):
        return Lists(found.offsets, np.zeros((0, _WIDTH)))
    if values.ndim != 2 or not 5 <= values.shape[1] <= _WIDTH or values.dtype.kind not in "iuf":
        raise InputError(f"{expected}, got {column.type}")
    values = values.astype(np.float64)
    if values.shape[1] == 5:
        values = np.column_stack([values, values[:, 2] * values[:, 3]])
    if values.shape[1] == 6:
        values = np.column_stack([values, np.zeros(len(values))])
    checks: tuple[tuple[str, Any], ...] = (
        ("a number that is not finite", ~np.isfinite(values).all(axis=1)),
        ("a negative width or height", (values[:, 2:4] < 0).any(axis=1)),
        ("a class that is no index", (values[:, 4] < 0) | (values[:, 4] % 1 != 0)),
        ("a negative area", values[:, 5] < 0),
        ("a flag other than 0, 1 and 2", ~np.isin(values[:, 6], (0, 1, 2))),
    )
    for what, bad in checks:
        if bad.any():
            first = int(np.argmax(bad))
            raise InputError(
                f"target {name!r}: {int(bad.sum())} of {len(bad)} objects have {what} ({role} row "
                f"{found.rows[first]}: {values[first].tolist()})"
            )
    return Lists(found.offsets, values)
