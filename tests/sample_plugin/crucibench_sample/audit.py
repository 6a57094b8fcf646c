"""An audit: do many samples get the very same scores?"""

import numpy as np

from crucibench.contracts import audit
from crucibench.contracts.scenario import Derived
from crucibench.contracts.verdict import Finding, Severity


def find(evidence, scenario):
    records = evidence.needs["test"].records
    if "scores" not in records:
        return []
    different = len(np.unique(records.array("scores"), axis=0))
    if 2 * different > len(records):
        return []
    message = f"{len(records)} samples get {different} scores"
    return [Finding(code="repeated-scores", severity=Severity.SUSPECT, message=message)]


def case(scores):
    test = audit.example_cell({"scores": scores}, np.arange(len(scores)) % 2)
    evidence = audit.example_evidence(test, {"test": test})
    return audit.AuditCase(evidence, Derived(suite="s", name="n"))


repeated_scores = audit.Audit(
    name="repeated-scores",
    description="Do many samples get the very same scores?",
    function=find,
    scenarios=("accuracy/*",),
    known_answer=audit.KnownFindings(
        planted={"repeated-scores": lambda: case(np.full((20, 2), 0.5))},
        clean=lambda: case(np.linspace([0.1, 0.9], [0.9, 0.1], 20)),
    ),
)
