"""Attacks on texts as scenarios: edits of characters, and words for words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from crucibench.contracts.attack import SelfTestResult, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Need, Work
from crucibench.contracts.suite import NamedFile
from crucibench_suites.adversarial.attacked import QueryAttack
from crucibench_suites.adversarial.saved import ADVERSARIALS, disagreements
from crucibench_suites.adversarial.threat import ThreatModel

if TYPE_CHECKING:
    from crucibench_suites.adversarial.text.texts import MakeCandidates
    from crucibench_suites.adversarial.text.words import SplitSample

# What computes is imported where it is needed: listing suites must stay cheap.


SEARCHES = {"text-greedy": "", "text-by-labels": "-labels"}
"""The searches that a run has without being asked, and how each names its cells."""


@dataclass(frozen=True, kw_only=True)
class LeftAlone:
    """What an attack leaves alone.

    Attributes:
        stop_words: ``english``, ``none``, or words.
        columns: numbers of text columns.
    """

    stop_words: str | tuple[str, ...] = "english"
    columns: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextAttack(QueryAttack):
    """Words of a text replaced greedily, within shares of the words and a query budget."""

    left: LeftAlone
    method: str = "text-greedy"

    audits: ClassVar[tuple[str, ...]] = (
        "attack-self-tests", "attack-records", "attacked-texts", "questions-gain",
        "labels-beat-scores",
    )  # fmt: skip
    kind: ClassVar[str]
    """What scenario, attack and self-test are called, on labels alone with ``-labels``."""
    made: ClassVar[str]
    """What kind of candidates there are."""
    embeds: ClassVar[bool] = False
    """Whether candidates are made of the model's embeddings."""

    @classmethod
    def of(
        cls, suite: str, threat: ThreatModel, limit: int | None, left: LeftAlone,
        candidates: Mapping[str, Any], *, method: str = "text-greedy",
        needs: tuple[Need, ...] = (), **fields: Any,
    ) -> Self:  # fmt: skip
        """Returns the scenario.

        Args:
            suite: the suite's name.
            threat: shares of words, and the query budget.
            limit: at most so many samples.
            left: what is left alone.
            candidates: what tells which candidates there are, as parameters.
            method: the attack, by the name that it is registered under.
            needs: beside the clean pass.
            fields: of the subclass.
        """
        if attacks().get(method).access != threat.access:
            raise ValueError(f"threat: expected the access of {method}, got {threat.access!r}")
        name = cls.kind + SEARCHES.get(method, f"-{method}")
        chosen = left.stop_words
        return cls(
            suite=suite,
            name=name,
            threat=threat,
            left=left,
            method=method,
            parameters={
                "attack": name,
                "threat": threat.query_parameters(),
                "stop_words": chosen if isinstance(chosen, str) else sorted(chosen),
                "protected_columns": list(left.columns),
                **candidates,
            },
            points=threat.points,
            limit=limit,
            needs=(*cls.needs, *needs),
            **fields,
        )

    @property
    def requires(self) -> frozenset[Capability]:  # type: ignore[override]
        """What the search and its candidates need of a model."""
        found = set(super().requires)
        if self.threat.access == "decision":
            found.add(Capability.LABELS)
        if self.embeds:
            found.add(Capability.EMBEDDINGS)
        return frozenset(found)

    @abstractmethod
    def made_of(self, context: MapContext) -> tuple[Any, ...]:
        """Returns what candidates are made of."""

    def maker(self, context: MapContext) -> MakeCandidates:
        """Returns what makes candidates."""
        from crucibench_suites.adversarial.text.texts import CANDIDATES

        return CANDIDATES[self.made].make(*self.made_of(context))

    @property
    def stop_words(self) -> frozenset[str]:
        """The words that are left alone, as `plain_word` writes them."""
        from crucibench_suites.adversarial.text.words import ENGLISH, plain_word

        chosen = self.left.stop_words
        if isinstance(chosen, str):
            return {"english": ENGLISH, "none": frozenset[str]()}[chosen]
        return frozenset(map(plain_word, chosen))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.saved import show
        from crucibench_suites.adversarial.text.texts import attacked

        columns, searches = attacked(
            self.threat, work, context.adapter, self.threat.draws(context.draws),
            attack=attacks().get(self.method), make=self.maker(context),
            cut=self.cut(), at_once=context.batch_size,
        )  # fmt: skip
        show(
            self.threat, self.attack, work, context, level=np.asarray(columns["level"]),
            found=lambda rows: [searches[row].example for row in rows],
        )  # fmt: skip
        if ADVERSARIALS in self.keeps:
            from crucibench_suites.adversarial.text.texts import texts_kept

            level = np.asarray(columns["level"])
            kept = texts_kept(self.threat, work.batch.ids, searches, level, self.attack)
            work.keep(ADVERSARIALS, kept)
        return {"id": list(work.batch.ids), "attack": [self.attack] * len(work.batch), **columns}

    def cut(self) -> Callable[[Any], SplitSample]:
        """Returns what cuts a sample into words."""
        from crucibench_suites.adversarial.text.words import split_sample

        stop_words, protected = self.stop_words, frozenset(self.left.columns)
        return lambda sample: split_sample(sample, stop_words, protected)

    def recheck(self, own: CellEvidence, context: MapContext) -> Sequence[str]:
        """Asks the plain model about saved texts: do they show what the records say?"""
        from crucibench_suites.adversarial.text.texts import CHECKED, texts_judged

        judge = texts_judged(self.threat, self.cut(), context)
        return disagreements(self.threat, own, context, judge, CHECKED)

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack."""
        from crucibench_suites.adversarial.text.self_tests import tested
        from crucibench_suites.adversarial.text.texts import CANDIDATES

        return [tested(self.name, CANDIDATES[self.made], attacks().get(self.method))]


@dataclass(frozen=True, kw_only=True)
class CharacterEdits(TextAttack):
    """One edit of a character in each word that is changed."""

    kind: ClassVar[str] = "character-edits"
    made: ClassVar[str] = "edits"

    def made_of(self, context: MapContext) -> tuple[Any, ...]:
        """Returns draws, by sample."""
        return (self.threat.draws(context.draws),)


@dataclass(frozen=True, kw_only=True)
class ListedWords(TextAttack):
    """Words for words, from a list."""

    file: NamedFile

    kind: ClassVar[str] = "word-substitutions"
    made: ClassVar[str] = "listed"

    def made_of(self, context: MapContext) -> tuple[Any, ...]:
        """Returns the list."""
        from crucibench_suites.adversarial.text.edits import read_substitutions

        return (read_substitutions(self.file.path, self.file.digest),)


@dataclass(frozen=True, kw_only=True)
class NearWords(TextAttack):
    """Words for words, from those near in the model's own embeddings."""

    kind: ClassVar[str] = "word-substitutions"
    made: ClassVar[str] = "near"
    embeds: ClassVar[bool] = True

    def made_of(self, context: MapContext) -> tuple[Any, ...]:
        """Returns the model, and what of its neighbourhoods counts."""
        neighbours, similarity = self.parameters["neighbours"], self.parameters["similarity"]
        return context.adapter, neighbours, similarity, self.stop_words
