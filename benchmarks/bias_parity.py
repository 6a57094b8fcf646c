"""The bias suite's numbers beside AIF360's, fairlearn's and scikit-learn's, on random decisions.

AIF360 is no dependency of this project: `pip install aif360` first. Everything else here is held by
tests, too; what is written to a run's metrics is compared.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import fairlearn.metrics as fm
import numpy as np
import pandas as pd
from _report import publish, table
from sklearn import metrics as sk

import crucibench as cb


def decisions(seed: int) -> pd.DataFrame:
    """Returns random decisions about two groups, 0 and 1."""
    rng = np.random.default_rng(seed)
    n = 3000
    group, truth = rng.integers(0, 2, n), rng.integers(0, 2, n)
    p = np.where(truth == 1, 0.6, 0.3) + 0.1 * group
    return pd.DataFrame({"group": group, "truth": truth, "said": (rng.random(n) < p).astype(int)})


def ours(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Returns the metric rows of a run of the suite, by metric and group."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.csv"
        frame.to_csv(path, index=False)
        run = cb.run(
            models={"logged": f"predictions:{path}?prediction=said"},
            data=f"csv:{path}?target=truth&groups=group",
            suites=["bias"], settings={"bias.reference": {"group": "1"}},
            out=Path(folder) / "out", workers=0,
        )  # fmt: skip
        rows = run.metrics()
    return {
        (row.metric, row.group): row.value for row in rows.itertuples() if row.scenario == "groups"
    }


def of_aif360(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    # It warns of each of its own optional parts that is not installed.
    logging.disable(logging.WARNING)
    from aif360.datasets import BinaryLabelDataset
    from aif360.metrics import ClassificationMetric

    def data(column: str) -> Any:
        columns = frame[["group", column]].astype(float).set_axis(["group", "y"], axis=1)
        return BinaryLabelDataset(
            df=columns, label_names=["y"], protected_attribute_names=["group"],
            favorable_label=1.0, unfavorable_label=0.0,
        )  # fmt: skip

    theirs = ClassificationMetric(
        data("truth"), data("said"), unprivileged_groups=[{"group": 0}],
        privileged_groups=[{"group": 1}],
    )  # fmt: skip
    impact = theirs.disparate_impact()
    found = {
        ("selection-rate-minus-reference", "group=0"): theirs.statistical_parity_difference(),
        ("tpr-minus-reference", "group=0"): theirs.equal_opportunity_difference(),
        ("fpr-minus-reference", "group=0"): theirs.false_positive_rate_difference(),
        ("top-1-minus-reference", "group=0"): -theirs.error_rate_difference(),
        ("ppv-minus-reference", "group=0"): -theirs.false_discovery_rate_difference(),
        ("demographic-parity-ratio", "group"): min(impact, 1 / impact),
        ("equalized-odds-difference", "group"): theirs.equalized_odds_difference(),
        ("equalized-odds-difference-mean", "group"): theirs.average_abs_odds_difference(),
        ("generalized-entropy-2", ""): theirs.generalized_entropy_index(),
        ("theil-index", ""): theirs.theil_index(),
    }
    for place, privileged in ((0, False), (1, True)):
        group = f"group={place}"
        found |= {
            ("top-1", group): theirs.accuracy(privileged),
            ("base-rate", group): theirs.base_rate(privileged),
            ("selection-rate", group): theirs.selection_rate(privileged),
            ("tpr", group): theirs.true_positive_rate(privileged),
            ("fnr", group): theirs.false_negative_rate(privileged),
            ("fpr", group): theirs.false_positive_rate(privileged),
            ("tnr", group): theirs.true_negative_rate(privileged),
            ("ppv", group): theirs.positive_predictive_value(privileged),
            ("npv", group): theirs.negative_predictive_value(privileged),
        }
    return found


def of_fairlearn(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    given = {"y_true": frame["truth"], "y_pred": frame["said"],
             "sensitive_features": frame["group"]}  # fmt: skip
    found = {
        ("demographic-parity-difference", "group"): fm.demographic_parity_difference(**given),
        ("demographic-parity-ratio", "group"): fm.demographic_parity_ratio(**given),
        ("equal-opportunity-difference", "group"): fm.equal_opportunity_difference(**given),
        ("equal-opportunity-ratio", "group"): fm.equal_opportunity_ratio(**given),
        ("equalized-odds-difference", "group"): fm.equalized_odds_difference(**given),
        ("equalized-odds-difference-mean", "group"): fm.equalized_odds_difference(
            **given, agg="mean"
        ),
        ("equalized-odds-ratio", "group"): fm.equalized_odds_ratio(**given),
        ("top-1-difference", "group"): fm.accuracy_score_difference(**given),
    }
    for name, metric in {
        "selection-rate": fm.selection_rate, "tpr": fm.true_positive_rate,
        "fnr": fm.false_negative_rate, "fpr": fm.false_positive_rate,
        "tnr": fm.true_negative_rate,
    }.items():  # fmt: skip
        for place, value in fm.MetricFrame(metrics=metric, **given).by_group.items():
            found[name, f"group={place}"] = float(value)
    return found


def of_sklearn(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    found = {}
    for place, own in frame.groupby("group"):
        given = own["truth"], own["said"]
        found |= {
            ("top-1", f"group={place}"): sk.accuracy_score(*given),
            ("tpr", f"group={place}"): sk.recall_score(*given),
            ("ppv", f"group={place}"): sk.precision_score(*given),
            ("npv", f"group={place}"): sk.precision_score(*given, pos_label=0),
            ("tnr", f"group={place}"): sk.recall_score(*given, pos_label=0),
        }
    return found


def main() -> None:
    frame = decisions(0)
    own, rows = ours(frame), []
    for name, theirs in (("aif360", of_aif360), ("fairlearn", of_fairlearn),
                         ("scikit-learn", of_sklearn)):  # fmt: skip
        found = theirs(frame)
        apart = max(abs(own[key] - value) for key, value in found.items())
        metrics = sorted({metric for metric, _ in found})
        rows.append((name, len(found), f"{apart:.1e}", ", ".join(f"`{one}`" for one in metrics)))
        assert apart < 1e-12, (name, apart)
    publish(
        "bias-parity",
        "The bias suite's numbers and others' own",
        [
            f"{len(frame):,} random decisions about two groups. AIF360's differences are the "
            "signed contrasts; those of errors and false discoveries have the other sign.",
            "",
            *table(["", "numbers", "furthest apart", "metrics"], rows),
        ],
        "aif360", "fairlearn", "scikit-learn", "numpy",
    )  # fmt: skip


if __name__ == "__main__":
    main()
