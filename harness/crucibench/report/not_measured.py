"""What a run did not measure, as sentences: for whoever reads what is published of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Status
from crucibench.report.findings import address_of
from crucibench.report.format import listed
from crucibench.report.gaps import gaps_of
from crucibench.report.numbers import declared_metrics, names_in_order, numbers_of

if TYPE_CHECKING:
    from crucibench.store.run import Run

WITHHELD = "the run itself says why"
"""Stands for the reason of a failure: an error's words may quote a sample."""


def not_measured(run: Run, numbers: Sequence[MetricRow] | None = None) -> list[str]:
    """Returns a sentence for each axis, cell and number that is missing, failures first.

    Args:
        run: the run.
        numbers: its metric rows, where they have been read already.
    """
    if numbers is None:
        numbers = numbers_of(run)
    models = names_in_order(run.spec, "models", {name for name, _ in run.models})
    data = names_in_order(run.spec, "data", set(run.cards))
    gaps = gaps_of(run, numbers, declared_metrics(run.suites), models, data)
    sentences = [
        f"{cell.model} on {cell.data}, {address_of(cell)} failed: {WITHHELD}."
        for cell in run.cells.values()
        if cell.status is Status.FAILED
    ]
    sentences += gaps.sentences
    for why, kind in (
        ("skipped", gaps.skipped), ("not applicable", gaps.inapplicable),
        ("no value", gaps.undefined), ("no interval", gaps.unbounded),
    ):  # fmt: skip
        sentences += [
            f"{gap.what} on {gap.data} ({listed(gap.models)}), {why}: {gap.reason}" for gap in kind
        ]
    return sentences
