"""Attacks on tables, as scenarios: which of them a model can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.attack import Norm, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.columns import carried
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Need, Selection, StageView, Work
from crucibench.contracts.statistic import Number
from crucibench.passes.inputs import RecordedInputs, read_facts
from crucibench_suites.adversarial.attacked import QueryAttack, labels_beside
from crucibench_suites.adversarial.metrics import TABLE_METRICS
from crucibench_suites.adversarial.saved import ADVERSARIALS, disagreements
from crucibench_suites.adversarial.tables.attacks import PLANNED
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.threat import ThreatModel

_SPREAD_SAMPLES = 20_000
_SPREAD = "spread"

DEFAULT_EPS: dict[Norm, tuple[float, ...]] = {
    "linf": (0.1, 0.25, 0.5, 1.0),
    "l2": (0.25, 0.5, 1.0, 2.0),
}


@dataclass(frozen=True, kw_only=True)
class AttackedTable(QueryAttack):
    """One attack on the rows of a table, within constraints; distances are in units of spread.

    Attributes:
        constraints: what may be changed.
    """

    constraints: Constraints

    metrics: ClassVar[tuple[MetricInfo, ...]] = (*QueryAttack.metrics, *TABLE_METRICS)
    audits: ClassVar[tuple[str, ...]] = (*QueryAttack.audits, "broken-constraints")

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right, and says what the columns hold."""
        seen = view()
        keep = super().select(stage, view).keep
        facts = read_facts(seen.needs[_SPREAD].records)
        return Selection(keep, carried(facts, len(seen.samples)))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.tables.attacking import attack_rows

        attack = attacks().get(self.method)
        found = attack_rows(attack, self.threat, self.constraints, work, context)
        examples = (
            found.kept(self.threat, work, self.attack) if ADVERSARIALS in self.keeps else None
        )
        return {
            **self.columns(work, found.ledger, self.attack, examples),
            **self.query_columns(found.ledger, found.queries_to, found.first),
            "changed": found.changed,
            "breaches": found.breaches,
        }

    def recheck(self, own: CellEvidence, context: MapContext) -> Sequence[str]:
        """Asks the plain model about saved rows: do they show what the records say?"""
        from crucibench_suites.adversarial.tables.attacking import CHECKED, rows_judged

        judge = rows_judged(self.threat, self.constraints, context)
        return disagreements(self.threat, own, context, judge, CHECKED)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns what every attack with a budget has, and the columns that examples change."""
        from crucibench_suites.adversarial.scoring import changed_numbers

        return [*super().numbers(evidence), *changed_numbers(evidence)]


def columns_scenario(suite: str, role: str) -> RecordedInputs:
    """Returns the scenario that records what the columns hold."""
    return RecordedInputs.of(suite, role, _SPREAD_SAMPLES if role == "train" else None)


def table_attacks(
    suite: str, held: frozenset[Capability], constraints: Constraints,
    threat: tuple[Norm, tuple[float, ...], int | None], *, queries: int, limit: int | None,
    spread: RecordedInputs, named: Sequence[str] = (),
) -> list[AttackedTable]:  # fmt: skip
    """Returns the attacks that a model can be asked.

    Args:
        suite: the suite's name.
        held: what the model can give.
        constraints: as declared.
        threat: norm, radii and seed.
        queries: the budget of each sample.
        limit: at most so many samples.
        spread: what tells the columns' spread and range.
        named: registered attacks to run beside the usual ones.
    """
    norm, eps, seed = threat
    beside = labels_beside(f"{suite}/table-hopskipjump-{norm}")
    found: list[AttackedTable] = []
    for name in dict.fromkeys((*PLANNED, *named)):
        attack = attacks().get(name)
        if norm not in attack.norms:
            continue
        if attack.access != "decision" and not attack.requires <= held:
            continue
        if constraints.relations and not attack.relations:
            continue  # columns no longer move each by itself
        model = ThreatModel(
            norm=norm, eps=eps, seed=seed, access=attack.access, queries=queries, unit="spreads"
        )
        found.append(
            AttackedTable(
                suite=suite,
                name=f"{name}-{norm}",
                method=name,
                constraints=constraints,
                threat=model,
                parameters={
                    "attack": name,
                    "threat": model.query_parameters(),
                    "constraints": constraints.model_dump(mode="json"),
                    "spread": f"of the role {spread.role}",
                },
                points=model.points,
                limit=limit,
                needs=(
                    *AttackedTable.needs,
                    Need(alias=_SPREAD, cell=spread.address),
                    # What a search on scores should be no weaker than.
                    *([beside] if attack.access == "score" else ()),
                ),
            )
        )
    return found
