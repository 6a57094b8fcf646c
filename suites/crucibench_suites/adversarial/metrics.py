"""What the suite may report."""

from __future__ import annotations

from crucibench.contracts.metric import MetricInfo
from crucibench_suites.adversarial.protocol import PROTOCOLS

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
    for norm in ("linf", "l2", "words")
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

METRICS = (ROBUST, LARGEST, AREA, CLEAN, *DISTANCES.values(), *AFTER.values(), *COSTS.values())
