"""What the suite may report."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench_suites.adversarial.protocol import BALLS, PROTOCOLS

_UPPER = "It is an upper bound: a stronger attack may find more."

ROBUST = MetricInfo(
    id="robust-accuracy",
    name="robust accuracy",
    direction="higher",
    definition="The share of samples that are right as they are, and that no attack made wrong "
    f"within eps: the worst case of each sample, then the mean. {_UPPER}",
    source="Croce and Hein 2020",
    lower=0.0,
    upper=1.0,
)

CLEAN = MetricInfo(
    id="clean-accuracy",
    name="clean accuracy",
    direction="higher",
    definition="The share of the attacked samples that are right as they are, by the largest "
    "score.",
    lower=0.0,
    upper=1.0,
)

CERTIFIED = MetricInfo(
    id="certified-accuracy",
    name="certified accuracy",
    direction="higher",
    definition="The share of samples that are right as they are, and that nothing within eps can "
    "make wrong, by what the model computes: a lower bound of robust accuracy.",
    source="Zhang et al. 2018 (CROWN); Chen et al. 2019 (trees)",
    lower=0.0,
    upper=1.0,
)

SAFE = MetricInfo(
    id="without-confident-error",
    name="without a confident error",
    direction="higher",
    definition="The share of samples on which the model is right or abstains as they are, and that "
    f"no attack within eps made it name another class without abstaining on. {_UPPER}",
    lower=0.0,
    upper=1.0,
)

COVERAGE = MetricInfo(
    id="coverage",
    name="coverage",
    direction="higher",
    definition="The share of the attacked samples that the model gives an answer to, as they are.",
    lower=0.0,
    upper=1.0,
)

ANSWERED = MetricInfo(
    id="accuracy-where-answered",
    name="accuracy where answered",
    direction="higher",
    definition="The share of the samples that it answers that it answers rightly, as they are.",
    lower=0.0,
    upper=1.0,
)

LARGEST = MetricInfo(
    id="robust-accuracy-at-largest-eps",
    name="robust accuracy at the largest eps",
    direction="higher",
    definition=f"Robust accuracy at the largest eps of the grid. {_UPPER}",
    lower=0.0,
    upper=1.0,
)

AREA = MetricInfo(
    id="robust-accuracy-area",
    name="area under robust accuracy",
    direction="higher",
    definition="The mean of robust accuracy over eps from 0, where it is clean accuracy, to the "
    "largest eps of the grid, by the trapezoidal rule.",
    lower=0.0,
    upper=1.0,
)

DISTANCES = {
    norm: MetricInfo(
        id=f"median-minimal-distance-{norm}",
        name=f"median minimal distance ({norm})",
        direction="higher",
        definition="The median over samples of the distance of the nearest example that was found"
        f"{', the share of words changed' if norm == 'words' else ''}; "
        "0 for samples that are wrong as they are. It is an upper bound, and coarse where no "
        "attack that minimises distance ran.",
        lower=0.0,
    )
    for norm in (*BALLS, "words")
}

AFTER = {
    attack: MetricInfo(
        id=f"robust-accuracy-after-{attack}",
        name=f"robust accuracy after {attack}",
        direction="higher",
        definition=f"The share of samples that are right and withstand all attacks of the series "
        f"up to and with {attack}: each attack asks only about what those before left.",
        lower=0.0,
        upper=1.0,
    )
    for attack in dict.fromkeys(
        [*(one for protocol in PROTOCOLS.values() for one in protocol.attacks)]
    )
}

COSTS = {
    kind: MetricInfo(
        id=f"{kind}-per-sample",
        name=f"{kind} per sample",
        direction="lower",
        definition=f"{what}, over all eps of the grid, divided by the number of samples.",
        lower=0.0,
    )
    for kind, what in (
        ("forwards", "Passes of samples through the model, confirmations with them"),
        ("backwards", "Gradients of samples"),
        ("queries", "Passes of attacks that see scores alone"),
    )
}

METRICS = (
    ROBUST,
    LARGEST,
    AREA,
    CLEAN,
    SAFE,
    COVERAGE,
    ANSWERED,
    *DISTANCES.values(),
    *AFTER.values(),
    *COSTS.values(),
)


MEDIAN_QUERIES = MetricInfo(
    id="median-queries",
    name="median queries to an example",
    direction="higher",
    definition="The median over the samples that are right as they are of the questions until the "
    "attack had an example within eps; null where the budget was not enough for half of them.",
    lower=0.0,
)

SUCCESS_AT_BUDGET = MetricInfo(
    id="success-within-budget",
    name="success within the query budget",
    direction="lower",
    definition="The share of the samples that are right as they are for which the attack had an "
    "example within eps before its query budget was spent.",
    lower=0.0,
    upper=1.0,
)

SUCCESS_AT_TENTH = MetricInfo(
    id="success-within-a-tenth",
    name="success within a tenth of the query budget",
    direction="lower",
    definition="The same with a tenth of the questions: how early success comes.",
    lower=0.0,
    upper=1.0,
)

QUERY_METRICS = (MEDIAN_QUERIES, SUCCESS_AT_BUDGET, SUCCESS_AT_TENTH)


MEDIAN_CHANGED = MetricInfo(
    id="median-changed-columns",
    name="median of changed columns",
    direction="higher",
    definition="The median over the samples with an example of how many columns the nearest one "
    "changes.",
    lower=1.0,
)

TABLE_METRICS = (MEDIAN_CHANGED,)
