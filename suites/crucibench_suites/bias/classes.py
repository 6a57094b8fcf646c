"""More than two classes: each against the rest, by group, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.metrics.catalogue_groups import Gap
from crucibench.stats import holm
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.bias.decisions import of_class
from crucibench_suites.bias.found import Found, Measured, find_gap, why_uncompared
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.rows import bounds_of, gap_row, widest_row
from crucibench_suites.bias.views import View, by_codes

MOST_CLASSES = 50
"""With more classes no class is looked at alone."""


def class_tables(
    answers: ClassView, views: Sequence[View], options: ScoringOptions, stream: str
) -> dict[str, pd.DataFrame]:
    """Returns rates by class and group, and the gap of each class and rate, of single columns.

    A class against the rest is a binary decision: the rates and gaps are those of binary tasks.
    Gaps are tested as those are; Holm's correction is over all lines of the table of gaps.
    """
    rates, gaps, p_values = [], [], []
    for view in views:
        grouping = view.grouping
        if grouping.too_many or len(grouping.columns) > 1 or len(answers.classes) > MOST_CLASSES:
            continue
        for index, label in enumerate(answers.classes):
            for rate, one in _of_class(answers, index, view).items():
                where = {"columns": grouping.title, "class": label, "rate": rate}
                rates += [{**where, **line} for line in _by_group(one, grouping, options.level)]
                found = find_gap(
                    Gap(f"{rate}-difference", (rate,), "difference"), grouping, {rate: one},
                    spans=view.spans, options=options,
                    stream=f"{stream}/{grouping.title}/class {index}/{rate}",
                )  # fmt: skip
                if found.value is None:
                    continue
                interval = found.interval
                gaps.append(
                    {
                        **where,
                        "gap": found.value,
                        "gap_lower": np.nan if interval is None else interval.lower,
                        "gap_upper": np.nan if interval is None else interval.upper,
                        "highest": found.highest,
                        "lowest": found.lowest,
                        "p_chance": found.p_chance,
                    }
                )
                p_values.append(found.p_chance)
    if gaps:
        tested = np.isfinite(p_values)
        corrected = np.full(len(gaps), np.nan)
        corrected[tested] = holm(np.array(p_values, dtype=np.float64)[tested])
        for line, p in zip(gaps, corrected, strict=True):
            line["p_holm"] = float(p)
    return {"class-rates": pd.DataFrame(rates), "class-gaps": pd.DataFrame(gaps)}


def _by_group(one: Measured, grouping: Grouping, level: float) -> Iterator[dict[str, object]]:
    for place in range(len(grouping)):
        value = one.by_group.values[place]
        lower, upper = bounds_of(one, place, level) or (np.nan, np.nan)
        why_not = grouping.why_not[place]
        yield {
            "group": grouping.shown(place),
            "value": float(value),
            "lower": lower,
            "upper": upper,
            "n": one.n(np.array([place])),
            "compared": f"no: {why_not}" if why_not else "yes",
        }


def _of_class(answers: ClassView, index: int, view: View) -> dict[str, Measured]:
    grouping = view.grouping
    return {
        rate: by_codes(measure, grouping.codes, len(grouping), view.clusters)
        for rate, measure in of_class(answers, index).items()
    }


def worst_class(
    answers: ClassView, views: Sequence[View], options: ScoringOptions, stream: str
) -> list[Row]:
    """The worst class's gaps, one against the rest, of each grouping."""
    rows = []
    for rate, metric in (
        ("selection-rate", "demographic-parity-difference-ovr-worst"),
        ("tpr", "equal-opportunity-difference-ovr-worst"),
    ):
        single = []
        for view in views:
            gap = Gap(metric, tuple(str(i) for i in range(len(answers.classes))), "difference")
            one = _over_classes(gap, rate, answers, view, options=options, stream=stream)
            rows.append(gap_row(one))
            if len(view.grouping.columns) == 1:
                single.append(one)
        rows.insert(len(rows) - len(views), widest_row(gap, single, level=options.level))
    return rows


def _over_classes(
    gap: Gap, rate: str, answers: ClassView, view: View, *, options: ScoringOptions, stream: str
) -> Found:
    grouping, k = view.grouping, len(answers.classes)
    if grouping.too_many or k > MOST_CLASSES:
        why = f"{k} classes, more than the {MOST_CLASSES} of which the worst is looked for"
        reason = why_uncompared(grouping) if grouping.too_many else why
        return Found(gap=gap, grouping=grouping, reason=reason)
    measured = {str(index): _of_class(answers, index, view)[rate] for index in range(k)}
    # A class that too few groups have is left out, so that one rare class does not hide the rest.
    there = tuple(name for name, one in measured.items() if len(one.defined(grouping.compared)) > 1)
    found = find_gap(
        gap._replace(rates=there or gap.rates[:1]), grouping, measured, spans=view.spans,
        options=options, stream=f"{stream}/{grouping.title}/{gap.id}",
    )  # fmt: skip
    # Shares of one group in several classes are not independent, as the test would take them.
    return replace(found, tested=False)
