"""``(X, y)``: frames, texts, and arrays of features or images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from crucibench.contracts.source import DataOpening, RawData
from crucibench.data.arrays import (
    IMAGE,
    TARGET,
    array_form,
    chunked,
    column_array,
    to_numpy,
    write_arrays,
)
from crucibench.data.columnar import Conversion, convert
from crucibench.data.frames import named_frame
from crucibench.data.objects.frame import read_frames
from crucibench.data.objects.live import Roles, layout_of, no_sample
from crucibench.data.objects.texts import text_columns
from crucibench.data.options import DataOptions, Kind, choose_columns
from crucibench.util.errors import InputError


def read_pairs(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads pairs ``(X, y)``."""
    named = getattr(roles["test"][1], "name", None)
    options = replace(options, target=options.target or (str(named) if named else TARGET))
    tables = {role: _table(X) for role, (X, _) in roles.items()}
    if tables["test"] is None:
        return _image_arrays(roles, opening, options, more)
    frames = {}
    for role, table in tables.items():
        if table is None:
            raise InputError(f"X of {role} is unlike X of test")
        if options.target in table.columns:
            raise InputError(f"(X, y): X has the target column {options.target!r} too")
        target = column_array(roles[role][1], len(table), "y", "X").to_pandas()
        frames[role] = table.assign(**{options.target: target})
    texts = tables["test"].attrs.get("texts", ())
    if texts and not options.features:
        options = replace(options, input=texts)
    return read_frames(frames, opening, options, more)


def _table(X: Any) -> pd.DataFrame | None:
    """Returns X as a frame; None if it is an array of images."""
    if isinstance(X, pd.DataFrame):
        return named_frame(X).reset_index(drop=True)
    if isinstance(X, pd.Series):
        X = X.to_numpy()
    if texts := text_columns(X):
        # Not as strings: those of Arrow hold no lone surrogate.
        frame = pd.DataFrame(texts, dtype=object)
        frame.attrs["texts"] = tuple(texts)
        return frame
    try:
        array = to_numpy(X)
    except ValueError:
        raise InputError("X: expected samples of one shape, got several") from None
    if array.ndim > 2:
        return None
    if array.ndim == 2 and array.dtype == object:
        frame = pd.DataFrame(array).infer_objects()
    else:
        array_form(array.shape, array.dtype, "X")
        frame = pd.DataFrame(array.reshape(len(array), -1))
    return frame.set_axis([f"x{number}" for number in range(frame.shape[1])], axis=1)


def _image_arrays(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    arrays = {role: (to_numpy(X), y) for role, (X, y) in roles.items()}
    test = arrays["test"][0]
    form = array_form(test.shape, test.dtype, "X", layout=layout_of(opening))
    for role, (X, _) in arrays.items():
        if X.shape[1:] != test.shape[1:] or X.dtype != test.dtype:
            raise InputError(
                f"X of {role} is {X.dtype} of shape {X.shape}, unlike X of test: "
                f"{test.dtype} of shape {test.shape}"
            )
    kinds: dict[str, Kind] = {IMAGE: "image", options.target: "other"}
    columns = choose_columns(kinds, options, no_sample)

    def fill(conversion: Conversion) -> None:
        for role, (X, y) in arrays.items():
            target = column_array(y, len(X), "y", "X")
            others = {options.target: target}
            write_arrays(conversion, role, form, chunked(X), others=others, what="X")

    done = convert(opening.scratch, fill)
    shaped = {"image_shape": form.image_shape, "key": done.key}
    return columns.raw(done.roles, options, **more, **shaped)
