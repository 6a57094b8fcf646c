"""Data frames, one a role."""

from __future__ import annotations

from typing import Any

from crucibench.contracts.source import DataOpening, RawData
from crucibench.data.columnar import Conversion, column_kinds, convert
from crucibench.data.frames import frame_batches, frame_schema, named_frame
from crucibench.data.objects.live import SAMPLE, Roles
from crucibench.data.options import DataOptions, choose_columns
from crucibench.util.errors import InputError


def read_frames(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads data frames."""
    frames = {role: named_frame(frame) for role, frame in roles.items()}
    test = frames["test"]
    whole = column_kinds(frame_schema(test))
    columns = choose_columns(whole, options, lambda name: test[name].iloc[:SAMPLE].tolist())
    for role, frame in frames.items():
        if lacking := [name for name in columns.used if name not in frame.columns]:
            raise InputError(f"the frame of {role} has no column {lacking[0]!r}")

    def fill(conversion: Conversion) -> None:
        used = {role: frame[list(columns.used)] for role, frame in frames.items()}
        for role, frame in used.items():
            schema = frame_schema(frame, beside=list(used.values()))
            conversion.write(role, schema, frame_batches(frame, schema))

    done = convert(opening.scratch, fill)
    return columns.raw(done.roles, options, key=done.key, **more)
