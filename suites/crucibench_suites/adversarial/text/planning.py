"""Which attacks on texts a run has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from crucibench.contracts.attack import Attack, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.scenario import Need, Scenario
from crucibench.contracts.suite import NamedFile, SuiteRequest
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.adversarial.attacked import labels_beside
from crucibench_suites.adversarial.config import TextConfig
from crucibench_suites.adversarial.saved import ADVERSARIALS
from crucibench_suites.adversarial.text.scenario import (
    CharacterEdits,
    LeftAlone,
    ListedWords,
    NearWords,
    TextAttack,
)
from crucibench_suites.adversarial.threat import ThreatModel
from crucibench_suites.adversarial.worst_case import WorstCase

NAMES = (
    *(
        f"{kind}{how}"
        for kind in (CharacterEdits.kind, ListedWords.kind)
        for how in ("", "-labels")
    ),
    "worst-case-words",
)
"""What the scenarios are called."""

NEIGHBOURS, SIMILARITY = 12, 0.5
"""How many near words are tried for each, and the least cosine: of each other's sense they need
not be."""


def text_scenarios(
    suite: str, request: SuiteRequest, config: TextConfig, *, queries: int,
    limit: int | None, seed: int | None, keep: bool = False, named: Sequence[Attack] = (),
) -> Sequence[Scenario]:  # fmt: skip
    """Returns one scenario an attack, and their worst case where there are two.

    Args:
        suite: the suite's name.
        request: of one model and its texts.
        config: the user's settings.
        queries: the budget of each sample.
        limit: at most so many samples.
        seed: of draws; None for the run's.
        keep: whether the texts that broke the model are saved.
        named: registered attacks to run beside the usual ones.

    Raises:
        InputError: if a protected column is unknown, or all are.
    """
    scores = Capability.SCORES in request.model.capabilities
    cells: list[TextAttack] = []
    # Those on labels first: a search on scores is held against them.
    own = ["text-by-labels"] if config.label_only or not scores else []
    own += ["text-greedy"] if scores else []
    for method in dict.fromkeys((*own, *(one.name for one in named))):
        threat = ThreatModel(
            norm="words",
            unit="words",
            eps=config.words,
            access=attacks().get(method).access,
            queries=queries,
            seed=seed,
        )
        cells += _attacks(suite, request, config, threat, method=method, limit=limit, others=cells)
    if keep:
        cells = [replace(cell, keeps=frozenset({ADVERSARIALS})) for cell in cells]
    # What the model can't be asked is skipped, with its reason, and joined with nothing.
    able = [cell for cell in cells if cell.requires <= request.model.capabilities]
    return [*cells, WorstCase.of(suite, able)] if len(able) > 1 else cells


def _attacks(
    suite: str, request: SuiteRequest, config: TextConfig, threat: ThreatModel, *,
    method: str, limit: int | None, others: Sequence[TextAttack],
) -> list[TextAttack]:  # fmt: skip
    """Returns the attacks of one threat model; those of `others` of the same name are needed."""
    left = LeftAlone(stop_words=config.stop_words, columns=_protected(request, config))

    def needs(kind: str) -> tuple[Need, ...]:
        if threat.access == "decision":
            return ()
        same = [one.address for one in others if one.name == f"{kind}-labels"]
        return tuple(labels_beside(cell) for cell in same)

    chosen: list[tuple[type[TextAttack], dict[str, Any], dict[str, Any]]] = []
    if "characters" in config.texts:
        from crucibench_suites.adversarial.text.edits import KINDS, TRIES

        chosen.append((CharacterEdits, {"edits": list(KINDS), "tries": TRIES}, {}))
    if "substitutions" in config.texts:
        file = request.files.get("substitutions")
        if file is not None:
            of_list = {"substitutions": file.digest}
            chosen.append((ListedWords, of_list, {"file": _checked(file)}))
        else:
            near = {"neighbours": NEIGHBOURS, "similarity": SIMILARITY}
            chosen.append((NearWords, near, {}))
    return [
        kind.of(
            suite, threat, limit, left, candidates, method=method, needs=needs(kind.kind), **fields
        )
        for kind, candidates, fields in chosen
    ]


def _protected(request: SuiteRequest, config: TextConfig) -> tuple[int, ...]:
    columns = list(request.data.features)
    for name in config.protect:
        if name not in columns:
            raise InputError(f"adversarial.protect: {unknown('text column', name, columns)}")
    if config.protect and set(config.protect) == set(columns):
        raise InputError(
            f"adversarial.protect: expected to leave a text column to attack, got all of "
            f"{', '.join(columns)}"
        )
    return tuple(sorted({columns.index(name) for name in config.protect}))


def _checked(file: NamedFile) -> NamedFile:
    """Looks into the file, where it is at hand as it was."""
    from crucibench.util.hashing import file_digest
    from crucibench_suites.adversarial.text.edits import read_substitutions

    # A run that is only read needs no file: its records say what became of the texts.
    if file.path.is_file() and file_digest(file.path) == file.digest:
        read_substitutions(file.path, file.digest)
    return replace(file, path=file.path.absolute())
