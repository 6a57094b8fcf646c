"""`sklearn:NAME`: the data sets that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.arrays import (
    TARGET,
    array_form,
    array_raw,
    chunked,
    column_array,
    write_arrays,
)
from crucibench.data.columnar import Conversion, convert
from crucibench.data.columns import Columns, choose_columns
from crucibench.data.frames import frame_batches, frame_schema
from crucibench.data.options import LABELLED, ColumnKind, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

_UCI = "CC BY 4.0"
_OVER_50 = "age>=50"


@dataclass(frozen=True)
class _Bundled:
    """What scikit-learn does not say of one of its sets in a form that can be used."""

    citation: str
    licence: str = ""
    groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    options: tuple[str, ...] = (*LABELLED, "features", "groups", "cluster")


_SETS = {
    "breast_cancer": _Bundled(
        "Wolberg, W., Mangasarian, O., Street, N. and Street, W. (1993). Breast Cancer Wisconsin "
        "(Diagnostic). UCI Machine Learning Repository. https://doi.org/10.24432/C5DW2B",
        _UCI,
    ),
    "diabetes": _Bundled(
        "Efron, B., Hastie, T., Johnstone, I. and Tibshirani, R. (2004). Least angle regression. "
        "Annals of Statistics 32, 407-499. https://doi.org/10.1214/009053604000000067",
        groups=("sex", _OVER_50),
        notes=("the source codes sex as 1 and 2 and does not say which is which",),
        options=(*LABELLED, "features", "groups", "cluster", "threshold"),
    ),
    "digits": _Bundled(
        "Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits. "
        "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49",
        _UCI,
        options=LABELLED,
    ),
    "iris": _Bundled(
        "Fisher, R. A. (1936). Iris. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C56C76",
        _UCI,
    ),
    "wine": _Bundled(
        "Aeberhard, S. and Forina, M. (1992). Wine. UCI Machine Learning Repository. "
        "https://doi.org/10.24432/C5PC7J",
        _UCI,
    ),
}


class SklearnSource(DataSource):
    """Reads digits, breast_cancer, wine, iris or diabetes.

    A digit is a grey image of 8 by 8 pixels: its 0 to 16 over 16, exact in float32. The others are
    tables of scikit-learn's own columns.

    Diabetes is a regression in natural units (``load_diabetes(scaled=False)``);
    ``?threshold=140`` asks instead whether the disease progressed further than 140, with the
    classes ``<=140`` and ``>140``. Its groups are sex, ``1`` and ``2`` as the source has it, and
    ``age>=50``, ``yes`` and ``no``; the latter is no feature.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns scikit-learn's version: the data comes with it."""
        _bundled(uri)
        _threshold(uri)
        return Sources(facts=_facts())

    def read(self, opening: DataOpening) -> RawData:
        """Reads the set."""
        bundled, options = _bundled(opening.uri)
        facts: dict[str, Any] = {
            "licence": options.licence or bundled.licence,
            "citation": options.citation or bundled.citation,
            "notes": bundled.notes,
            "facts": _facts(),
            "revision": f"scikit-learn {version('scikit-learn')}",
        }
        read = _digits if opening.uri.rest == "digits" else _table
        return read(opening, options, bundled, facts)


def _digits(
    opening: DataOpening, options: DataOptions, bundled: _Bundled, facts: dict[str, Any]
) -> RawData:
    from sklearn.datasets import load_digits

    images = np.empty((0, 8, 8), dtype=np.float32)
    form = array_form(images.shape, images.dtype, "digits")

    def fill(conversion: Conversion) -> None:
        data = load_digits()
        pixels = (data.images / 16.0).astype(np.float32)
        target = column_array(data.target, len(pixels), "target", "digits")
        others = {TARGET: target}
        write_arrays(conversion, "test", form, chunked(pixels), others=others, what="digits")

    done = convert(
        opening.scratch, fill, settings={"source": "sklearn", "set": "digits"} | _facts()
    )
    classes = options.classes or tuple(map(str, range(10)))
    return array_raw(form, done.roles, options, key=done.key, **facts, classes=classes)


def _table(
    opening: DataOpening, options: DataOptions, bundled: _Bundled, facts: dict[str, Any]
) -> RawData:
    name = opening.uri.rest
    threshold = _threshold(opening.uri)
    options = replace(options, target=TARGET, groups=options.groups or bundled.groups)

    def fill(conversion: Conversion) -> None:
        frame, classes = _load(name)
        if threshold is not None:
            low, high = frame[TARGET].min(), frame[TARGET].max()
            if not low <= threshold < high:
                raise InputError(
                    f"sklearn: option threshold: expected a number from {low:g} to below "
                    f"{high:g}, got {threshold:g}"
                )
            frame[TARGET] = (frame[TARGET] > threshold).astype(np.int64)
            classes = (f"<={threshold:g}", f">{threshold:g}")
        schema = frame_schema(frame)
        kinds: dict[str, ColumnKind] = dict.fromkeys(map(str, frame.columns), "other")
        columns = choose_columns(kinds, options, leave_out=(_OVER_50,))
        conversion.facts.update(columns=columns.as_dict(), classes=classes)
        conversion.write("test", schema, frame_batches(frame, schema))

    settings = {
        "source": "sklearn",
        "set": name,
        "threshold": repr(threshold),
        "columns": options.choice(),
    }
    done = convert(opening.scratch, fill, settings=settings | _facts())
    classes = options.classes or (tuple(done.facts["classes"]) or None)
    columns = Columns.from_dict(done.facts["columns"])
    return columns.raw(done.roles, options, key=done.key, **facts, classes=classes)


def _load(name: str) -> tuple[pd.DataFrame, Sequence[str]]:
    """Returns the features and the target, and the names of the classes."""
    from sklearn import datasets

    load: Callable[..., Any] = getattr(datasets, f"load_{name}")
    data = load(scaled=False) if name == "diabetes" else load()
    frame = pd.DataFrame(data.data, columns=list(map(str, data.feature_names)))
    if name == "diabetes":
        frame[_OVER_50] = np.where(frame["age"] >= 50, "yes", "no")
    frame[TARGET] = data.target
    return frame, [str(name) for name in getattr(data, "target_names", ())]


def _bundled(uri: URI) -> tuple[_Bundled, DataOptions]:
    if uri.rest not in _SETS:
        raise InputError(unknown("data set of scikit-learn", uri.rest, _SETS))
    bundled = _SETS[uri.rest]
    return bundled, DataOptions.parse(uri, *bundled.options)


def _threshold(uri: URI) -> float | None:
    if "threshold" not in uri.query:
        return None
    value = parse_number(uri.query["threshold"])
    if not isinstance(value, float) or not np.isfinite(value):
        raise InputError(
            f"sklearn: option threshold: expected a number, got {uri.query['threshold']!r}"
        )
    return value


def _facts() -> dict[str, str]:
    return {"scikit-learn": version("scikit-learn")}
