"""More than two classes: each against the rest, by group, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.statistic import Number
from crucibench.metrics.catalogue_groups import Gap
from crucibench.stats import holm
from crucibench_suites.bias.gaps import GroupGap, find_gap, why_uncompared
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.measures import Decisions, Measured, View, of_class
from crucibench_suites.bias.numbers import bounds_of, gap_number, widest_number

MOST_CLASSES = 50
"""With more classes no class is looked at alone."""


def class_tables(
    answers: Decisions, views: Sequence[View], options: ScoringOptions, stream: str
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
            for rate, measure in of_class(answers, index).items():
                one = view.measure(measure)
                where = {"columns": grouping.title, "class": label, "rate": rate}
                rates += [{**where, **line} for line in _by_group(one, grouping, options.level)]
                found = find_gap(
                    Gap(f"{rate}-difference", (rate,), "difference"), grouping, {rate: one},
                    spans=view.spans, options=options,
                    stream=f"{stream}/{grouping.title}/class {index}/{rate}",
                )  # fmt: skip
                if found.value is None:
                    continue
                gaps.append(
                    {
                        **where,
                        "gap": found.value,
                        "gap_lower": found.lower,
                        "gap_upper": found.upper,
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


def worst_class_numbers(
    answers: Decisions, views: Sequence[View], options: ScoringOptions, stream: str
) -> list[Number]:
    """Returns the worst class's gaps, one against the rest: of all columns, and each grouping."""
    found = []
    for rate, metric in (
        ("selection-rate", "demographic-parity-difference-ovr-worst"),
        ("tpr", "equal-opportunity-difference-ovr-worst"),
    ):
        gap = Gap(metric, tuple(str(i) for i in range(len(answers.classes))), "difference")
        gaps = [_over_classes(gap, rate, answers, view, (options, stream)) for view in views]
        single = [pair for pair in gaps if len(pair[0].grouping.columns) == 1]
        found += [widest_number(gap, single), *(gap_number(*pair) for pair in gaps)]
    return found


def _over_classes(
    gap: Gap, rate: str, answers: Decisions, view: View, draws: tuple[ScoringOptions, str]
) -> tuple[GroupGap, View]:
    """Returns the widest gap of all classes, and the grouping with each class as a metric."""
    grouping, k, (options, stream) = view.grouping, len(answers.classes), draws
    if grouping.too_many or k > MOST_CLASSES:
        why = f"{k} classes, more than the {MOST_CLASSES} of which the worst is looked for"
        reason = why_uncompared(grouping) if grouping.too_many else why
        return GroupGap(gap=gap, grouping=grouping, reason=reason), view
    measures = {str(index): of_class(answers, index)[rate] for index in range(k)}
    measured = {name: view.measure(measure) for name, measure in measures.items()}
    # A class that too few groups have is left out, so that one rare class does not hide the rest.
    there = tuple(name for name, one in measured.items() if len(one.defined(grouping.compared)) > 1)
    found = find_gap(
        gap._replace(rates=there or gap.rates[:1]), grouping, measured, spans=view.spans,
        options=options, stream=f"{stream}/{grouping.title}/{gap.id}",
    )  # fmt: skip
    # Shares of one group in several classes are not independent, as the test would take them.
    return replace(found, tested=False), replace(view, measures=measures, measured=measured)
