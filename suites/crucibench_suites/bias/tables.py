"""Tables of the report: the groups, and the gaps with what chance says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crucibench.metrics.catalogue import metric_info
from crucibench.stats import holm
from crucibench_suites.bias.found import Found
from crucibench_suites.bias.views import View

MOST_ROWS = 2000
"""Of the table of groups."""


def group_table(views: Sequence[View]) -> pd.DataFrame:
    """Returns how many samples each group has, and whether it is compared."""
    rows = []
    for view in views:
        grouping = view.grouping
        order = np.argsort(-grouping.sizes, kind="stable") if grouping.too_many else None
        places = range(len(grouping)) if order is None else order[:10]
        for place in places:
            why_not = grouping.why_not[place] or ("too many groups" if grouping.too_many else "")
            rows.append(
                {
                    "columns": grouping.title,
                    "group": grouping.shown(int(place)),
                    "samples": int(grouping.sizes[place]),
                    "percent": 100 * float(grouping.sizes[place] / len(grouping.codes)),
                    "compared": f"no: {why_not}" if why_not else "yes",
                }
            )
    return pd.DataFrame(rows[:MOST_ROWS])


def adjusted(found: Sequence[Found]) -> dict[tuple[str, str], float]:
    """Returns Holm's p-values of all gaps that were tested, by columns and gap; one family."""
    tested = [one for one in found if not np.isnan(one.p_chance)]
    p_values = holm(np.array([one.p_chance for one in tested], dtype=np.float64))
    return {
        (one.grouping.title, one.gap.id): float(p) for one, p in zip(tested, p_values, strict=True)
    }


def gap_table(found: Sequence[Found]) -> pd.DataFrame:
    """Returns the differences that were tested, with chance, noise and what could be shown."""
    p_holm = adjusted(found)
    rows = []
    for one in found:
        if one.value is None or not one.tested:
            continue
        rows.append(
            {
                "columns": one.grouping.title,
                "gap": metric_info(one.gap.id).name,
                "value": one.value,
                "value_lower": np.nan if one.interval is None else one.interval.lower,
                "value_upper": np.nan if one.interval is None else one.interval.upper,
                "less_noise": round(one.less_noise, 4),
                "p_chance": round(one.p_chance, 4),
                "p_holm": round(p_holm.get((one.grouping.title, one.gap.id), np.nan), 4),
                "highest": one.highest,
                "lowest": one.lowest,
                "detectable": round(one.detectable, 3),
                "null": one.chance.method,
            }
        )
    return pd.DataFrame(rows)
