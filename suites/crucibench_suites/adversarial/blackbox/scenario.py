"""Attacks on images without gradients, as scenarios: on scores or on labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from crucibench.contracts.attack import Attack, Norm, attacks
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Need, Work
from crucibench_suites.adversarial.attacked import QueryAttack, labels_beside
from crucibench_suites.adversarial.threat import ThreatModel

CROSS_CHECK = "hopskipjump"
"""On labels: what an attack on scores should be no weaker than."""

BlackBoxAttack = Literal["square", "hopskipjump", "restore", "boundary"]

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class BlackBox(QueryAttack):
    """An attack on images without gradients.

    One on scores searches at each radius that nothing larger has withstood; one on labels looks for
    the nearest example, which answers for every radius.
    """

    @classmethod
    def of(
        cls, suite: str, method: str, threat: ThreatModel, limit: int | None,
        needs: tuple[Need, ...] = (),
    ) -> BlackBox:  # fmt: skip
        """Returns the scenario of one attack; `needs` are beside the clean pass."""
        return cls(
            suite=suite,
            name=f"{method}-{threat.norm}",
            method=method,
            threat=threat,
            parameters={"attack": method, "threat": threat.query_parameters()},
            points=threat.points,
            limit=limit,
            needs=(*cls.needs, *needs),
        )

    @property
    def most_questions(self) -> int:
        """The budget and an example to confirm: on scores at each radius, and its start."""
        if self.threat.access == "score":
            return len(self.threat.eps) * (self.threat.queries + 2)
        return super().most_questions

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.blackbox.images import attack_images

        found = attack_images(attacks().get(self.method), self.threat, work, context)
        return {
            **self.image_columns(work, context, found.ledger),
            **self.query_columns(found.ledger, found.queries_to, found.first),
        }


def scenarios(
    suite: str,
    methods: Iterable[str],
    threat: tuple[Norm, tuple[float, ...], int | None],
    *,
    queries: int,
    limit: int | None,
) -> list[BlackBox]:
    """Returns the attacks that meet the norm, those on labels first.

    Args:
        suite: the suite's name.
        methods: which.
        threat: norm, radii and seed.
        queries: the budget of each sample.
        limit: at most so many samples.
    """
    norm, eps, seed = threat
    methods = list(methods)
    beside = (labels_beside(f"{suite}/{CROSS_CHECK}-{norm}"),) if CROSS_CHECK in methods else ()

    def scenario(one: Attack) -> BlackBox:
        model = ThreatModel(norm=norm, eps=eps, seed=seed, access=one.access, queries=queries)
        needs = beside if one.access == "score" else ()
        return BlackBox.of(suite, one.name, model, limit, needs)

    chosen = [one for one in map(attacks().get, methods) if norm in one.norms]
    return [
        scenario(one) for access in ("decision", "score") for one in chosen if one.access == access
    ]
