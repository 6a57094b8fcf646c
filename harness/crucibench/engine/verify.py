"""Verify: is a run what its manifest, its records and its metric rows say?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from crucibench.contracts.verdict import Status
from crucibench.engine.rescore import rescored
from crucibench.store.cells import CellFile
from crucibench.store.manifest import differences
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError


def verify(run: Run) -> list[str]:
    """Re-hashes a run, counts its samples and scores its records again.

    Returns:
        One sentence for each difference; none means sound.

    Raises:
        UnreadableError: if there is no finished run.
    """
    found = differences(run.layout)
    if found:
        return found  # what is computed from changed files would only repeat the news
    if run.packed:
        return []  # it was checked when it was opened, and holds no probes to score again with
    for file in run.cells.values():
        found += [f"{file.cell}: {sentence}" for sentence in _accounting(run, file)]
    try:
        _, table, _, _ = rescored(run)
    except CrucibenchError as error:
        return [*found, f"the records can't be scored again: {error}"]
    return found + list(_row_differences(run.metrics(), table.to_pandas()))


def _accounting(run: Run, file: CellFile) -> Iterator[str]:
    if file.status is not Status.OK or file.kind != "mapped":
        return
    records = run.cell_records(file.cell)
    keys = pd.DataFrame({"id": records.ids, "point": records.array("point")})
    if len(file.stages) == 1 and keys.duplicated().any():
        yield f"{int(keys.duplicated().sum())} samples have two records at one point"
    first = file.stages[0]
    if first.samples == file.n and keys["id"].nunique() != file.n:
        yield f"expected records of {file.n} samples, got {keys['id'].nunique()}"
    planned = run.samples(file.data, file.role).ids
    strangers = int((~np.isin(keys["id"].unique(), planned)).sum())
    if strangers:
        yield f"{strangers} samples have records but are not in the sample table"


def _row_differences(stored: pd.DataFrame, computed: pd.DataFrame) -> Iterator[str]:
    if len(stored) != len(computed):
        yield f"metrics.parquet: expected {len(computed)} rows, got {len(stored)}"
        return
    for name in computed.columns:
        same = (stored[name] == computed[name]) | (stored[name].isna() & computed[name].isna())
        if not same.all():
            row = int(np.flatnonzero(~same.to_numpy())[0])
            yield (
                f"metrics.parquet: row {row} ({stored['metric'][row]} of {stored['model'][row]}): "
                f"{name} is {stored[name][row]!r}, the records give {computed[name][row]!r}"
            )
