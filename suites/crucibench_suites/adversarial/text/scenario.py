"""Attacks on texts as scenarios: edits of characters, and words for words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.suite import NamedFile
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.blackbox.metrics import QUERY_METRICS
from crucibench_suites.adversarial.metrics import METRICS
from crucibench_suites.adversarial.threat import ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench.util.draws import Draws
    from crucibench_suites.adversarial.text.texts import Maker

SELF_TEST = "self-test"

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Left:
    """What an attack leaves alone.

    Attributes:
        stop_words: ``english``, ``none``, or words.
        columns: numbers of text columns.
    """

    stop_words: str | tuple[str, ...] = "english"
    columns: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextAttack(OneAttack):
    """Words of a text replaced greedily, within shares of the words and a query budget."""

    left: Left

    kind: ClassVar[str]
    """What scenario, attack and self-test are called."""

    metrics: ClassVar[tuple[MetricInfo, ...]] = (*METRICS, *QUERY_METRICS)
    draws: ClassVar = "sample"
    intensive: ClassVar[bool] = True

    @classmethod
    def of(
        cls, suite: str, threat: ThreatModel, limit: int | None, left: Left,
        candidates: Mapping[str, Any], **fields: Any,
    ) -> Self:  # fmt: skip
        """Returns the scenario.

        Args:
            suite: the suite's name.
            threat: shares of words, and the query budget.
            limit: at most so many samples.
            left: what is left alone.
            candidates: what tells which candidates there are, as parameters.
            fields: of the subclass.
        """
        told = ("norm", "eps", "access", "targeted", "queries", "seed")
        parameters = threat.as_parameters()
        chosen = left.stop_words
        return cls(
            suite=suite,
            name=cls.kind,
            threat=threat,
            left=left,
            parameters={
                "attack": cls.kind,
                "threat": {key: parameters[key] for key in told},
                "stop_words": chosen if isinstance(chosen, str) else sorted(chosen),
                "protected_columns": list(left.columns),
                **candidates,
            },
            points=("", *(point_of(share) for share in threat.eps)),
            limit=limit,
            **fields,
        )

    @abstractmethod
    def maker(self, context: MapContext) -> Maker:
        """Returns what makes candidates."""

    @property
    def stop_words(self) -> frozenset[str]:
        """The words that are left alone, as `plain_word` writes them."""
        from crucibench_suites.adversarial.text.stop_words import ENGLISH, plain_word

        chosen = self.left.stop_words
        if isinstance(chosen, str):
            return ENGLISH if chosen == "english" else frozenset()
        return frozenset(map(plain_word, chosen))

    @property
    def most_questions(self) -> int:
        """The budget, and an example to confirm."""
        return self.threat.queries + 1

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.shown import show
        from crucibench_suites.adversarial.text.texts import attacked
        from crucibench_suites.adversarial.text.words import parsed

        stop_words, protected = self.stop_words, frozenset(self.left.columns)
        columns = attacked(
            self.threat, work, context.adapter, self.drawn(context), make=self.maker(context),
            cut=lambda sample: parsed(sample, stop_words, protected), at_once=context.batch_size,
            shown=partial(show, self.threat, self.attack, work, context),
        )  # fmt: skip
        return {"id": list(work.batch.ids), "attack": [self.attack] * len(work.batch), **columns}

    def drawn(self, context: MapContext) -> Draws:
        """Returns draws of the threat model's own seed, if it has one."""
        from crucibench.util.draws import Draws

        seed = self.threat.seed
        return context.draws if seed is None else Draws(seed, self.stream)

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Tests the attack where the answer is known: the probe ``self-test``."""
        from crucibench_suites.adversarial.native import as_columns
        from crucibench_suites.adversarial.text.self_tests import tested

        return {SELF_TEST: as_columns([tested(self.kind)])}

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.adversarial.blackbox.curve import with_queries

        return with_queries(self.series, self.threat.queries, evidence, super().score(evidence))

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.adversarial.text.audits import audit_texts

        return audit_texts(self.series, evidence)


@dataclass(frozen=True, kw_only=True)
class CharacterEdits(TextAttack):
    """One edit of a character in each word that is changed."""

    kind: ClassVar[str] = "character-edits"

    def maker(self, context: MapContext) -> Maker:
        """Returns what makes candidates: edits drawn by sample."""
        from crucibench_suites.adversarial.text.texts import edited

        return edited(self.drawn(context))


@dataclass(frozen=True, kw_only=True)
class ListedWords(TextAttack):
    """Words for words, from a list."""

    file: NamedFile

    kind: ClassVar[str] = "word-substitutions"

    def maker(self, context: MapContext) -> Maker:
        """Returns what makes candidates: the list."""
        from crucibench_suites.adversarial.text.substitutions import read_substitutions
        from crucibench_suites.adversarial.text.texts import listed

        return listed(read_substitutions(self.file.path, self.file.digest))


@dataclass(frozen=True, kw_only=True)
class NearWords(TextAttack):
    """Words for words, from those near in the model's own embeddings."""

    kind: ClassVar[str] = "word-substitutions"
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.EMBEDDINGS, Capability.ANY_INPUT}
    )

    def maker(self, context: MapContext) -> Maker:
        """Returns what makes candidates: the model's own neighbourhoods."""
        from crucibench_suites.adversarial.text.texts import near

        parameters = self.parameters
        return near(
            context.adapter, parameters["neighbours"], parameters["similarity"], self.stop_words
        )
