"""Plan: which cells there are, what they need, and in which order they run.

A pure function of the resolved spec and of what inspection found, so that a finished run can be
scored again without its models and data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.examples import EXAMPLES
from crucibench.contracts.scenario import Mapped, Need, Scenario, Timed, needs_of
from crucibench.contracts.suite import Suite, SuiteRequest
from crucibench.engine.plan.roles import largest_batch, shard_size
from crucibench.engine.resolve.resolve import Resolved
from crucibench.passes.scenario import SUITE as PASS
from crucibench.passes.scenario import Pass, best_answer, lacking
from crucibench.spec.suite_files import named_files
from crucibench.store.layout import ARTIFACTS, slug
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest

Key = tuple[str, str, str]
"""(model, data set, SUITE/SCENARIO)."""


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One cell: a scenario that one model meets on one data set.

    Attributes:
        id: its folder's name.
        scenario: what is asked.
        model: of whom.
        data: on what.
        needs: alias to cell id; an optional need that can't be had is absent.
        outputs: what a pass is asked for, merged over all who need it; of other scenarios the
            artefacts that they keep, as ``artifacts/NAME``.
        batch_size: the canonical batch boundaries.
        skip: why it is not run, or "".
    """

    id: str
    scenario: Scenario
    model: ModelInfo
    data: DataCard
    needs: Mapping[str, str] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    batch_size: int = 1
    skip: str = ""

    @property
    def key(self) -> Key:
        """What names the cell in a run."""
        return self.model.name, self.data.name, self.scenario.address

    @property
    def kind(self) -> Literal["mapped", "derived", "timed"]:
        """The kind of its scenario."""
        if isinstance(self.scenario, Timed):
            return "timed"
        return "mapped" if isinstance(self.scenario, Mapped) else "derived"

    @property
    def mapped(self) -> Mapped:
        """Its scenario.

        Raises:
            TypeError: if that is not `Mapped`.
        """
        if not isinstance(self.scenario, Mapped):
            raise TypeError(f"{self.scenario.address} is not a Mapped scenario")
        return self.scenario

    @property
    def shard_size(self) -> int:
        """Samples to a shard: a whole number of batches, and a block of data asked in blocks."""
        return self.data.block or shard_size(self.samples, self.batch_size)

    @property
    def limit(self) -> int | None:
        """At most so many samples."""
        return self.scenario.limit

    @property
    def samples(self) -> int:
        """How many samples it asks about."""
        count = self.data.counts.get(self.scenario.role, 0)
        return count if self.limit is None else min(count, self.limit)


@dataclass(frozen=True)
class Plan:
    """All cells of a run, needs before those who need them."""

    cells: tuple[PlannedCell, ...]
    not_applicable: Mapping[tuple[str, str, str], str]
    """(model, data set, suite) to why the suite does not apply."""

    def __iter__(self) -> Iterator[PlannedCell]:
        return iter(self.cells)

    def cohorts(self) -> Iterator[tuple[PlannedCell, ...]]:
        """Yields what is collected together: one cell, or all models of one timed scenario."""
        done: set[str] = set()
        for cell in self.cells:
            if cell.id in done:
                continue
            together: tuple[PlannedCell, ...] = (cell,)
            if isinstance(cell.scenario, Timed):
                together = tuple(
                    other
                    for other in self.cells
                    if other.data.name == cell.data.name
                    and other.scenario.address == cell.scenario.address
                )
            done |= {other.id for other in together}
            yield together


def make_plan(
    resolved: Resolved, models: Mapping[tuple[str, str], ModelInfo], cards: Mapping[str, DataCard]
) -> Plan:
    """Plans a run.

    Args:
        resolved: the spec.
        models: what inspection found, by (model, data set); a model that failed inspection is
            absent, and so are its cells.
        cards: the data cards.

    Raises:
        InputError: if cells need one another in a circle, or two scenarios have one name.
    """
    asked: dict[Key, tuple[Scenario, ModelInfo, DataCard]] = {}
    not_applicable: dict[tuple[str, str, str], str] = {}
    requests = list(_requests(resolved, models, cards))
    for suite, request in requests:
        found = suite.scenarios(request)
        if isinstance(found, str):
            not_applicable[request.model.name, request.data.name, suite.name] = found
        else:
            _ask(asked, suite, request, found)
    readable: dict[tuple[str, str], list[Scenario]] = {}
    for (name, data, _), (scenario, _, _) in asked.items():
        if scenario.gives_outcomes:
            readable.setdefault((name, data), []).append(scenario)
    for suite, request in requests:
        others = [
            scenario for scenario in readable.get((request.model.name, request.data.name), ())
            if scenario.suite != suite.name
        ]  # fmt: skip
        _ask(asked, suite, request, suite.across(request, others))
    builder = _Builder(resolved, models, asked)
    for key in asked:
        builder.cell(key, ())
    if resolved.spec.defaults.check_parity is not None:
        for track in resolved.tracks:
            for name in track.models:
                if (name, track.data) in models:
                    builder.add_parity_pass(name, cards[track.data])
    # Insertion order has needs first: a sort by model would break it across models.
    return Plan(tuple(builder.cells.values()), not_applicable)


def _requests(
    resolved: Resolved, models: Mapping[tuple[str, str], ModelInfo], cards: Mapping[str, DataCard]
) -> Iterator[tuple[Suite, SuiteRequest]]:
    """Yields every suite with each model and data set that it meets."""
    for track in resolved.tracks:
        present = [name for name in track.models if (name, track.data) in models]
        for name in present:
            for suite_name in track.suites or ():
                entry = resolved.suites[suite_name]
                yield entry.suite, SuiteRequest(
                    model=models[name, track.data], data=cards[track.data],
                    config=entry.of(track.name),
                    preset=resolved.spec.defaults.preset, models=tuple(present),
                    min_group_size=resolved.spec.defaults.min_group_size,
                    files=named_files(resolved.digests, suite_name, track.name, resolved.base),
                )  # fmt: skip


def _ask(
    asked: dict[Key, tuple[Scenario, ModelInfo, DataCard]],
    suite: Suite,
    request: SuiteRequest,
    found: Sequence[Scenario],
) -> None:
    """Notes what a suite asks.

    Raises:
        InputError: if two scenarios have one name, or thresholds can't be chosen.
    """
    if request.model.decision.chosen_on and request.data.block:
        # Nothing is known of another role's pass between two looks.
        raise InputError("decision.chosen_on: not with --until-decided; declare the thresholds")
    for scenario in found:
        key = (request.model.name, request.data.name, scenario.address)
        if key in asked and asked[key][0] != scenario:
            raise InputError(f"suite {suite.name!r} has two scenarios {scenario.name!r}")
        asked[key] = (scenario, request.model, request.data)


class _Builder:
    """Turns asked scenarios into cells, adding the passes that they need."""

    def __init__(
        self,
        resolved: Resolved,
        models: Mapping[tuple[str, str], ModelInfo],
        asked: Mapping[Key, tuple[Scenario, ModelInfo, DataCard]],
    ) -> None:
        self.resolved = resolved
        self.models = models
        self.asked = asked
        self.cells: dict[Key, PlannedCell] = {}

    def cell(self, key: Key, path: Sequence[Key]) -> PlannedCell:
        """Plans one asked scenario with all that it needs."""
        if key in path:
            circle = " -> ".join(entry[2] for entry in [*path, key])
            raise InputError(f"scenarios need one another in a circle: {circle}")
        if key in self.cells:
            return self.cells[key]
        scenario, model, card = self.asked[key]
        needs: dict[str, str] = {}
        skip = _unfit(scenario, model, card)
        for need in () if skip else needs_of(scenario, model):
            other = self._need(need, key, [*path, key])
            if isinstance(other, PlannedCell):
                needs[need.alias] = other.id
            elif not need.optional:
                skip = other
                break
        scenario = self._limited(scenario)
        if scenario.shows and self.resolved.spec.defaults.gallery:
            scenario = replace(scenario, keeps=scenario.keeps | {EXAMPLES})
        self.cells[key] = PlannedCell(
            id=_cell_id(key), scenario=scenario, model=model, data=card,
            needs=needs, batch_size=self._batch_size(model, card), skip=skip,
            outputs=frozenset(f"{ARTIFACTS}{name}" for name in scenario.keeps),
        )  # fmt: skip
        return self.cells[key]

    def add_parity_pass(self, name: str, card: DataCard) -> None:
        """Plans the pass by which a model is compared with the others of its track."""
        model = self.models[name, card.name]
        self._pass((name, card.name, f"{PASS}/test"), "test", frozenset(), model, card)

    def _need(self, need: Need, key: Key, path: Sequence[Key]) -> PlannedCell | str:
        name = need.model or key[0]
        other: Key = (name, key[1], need.cell)
        suite, _, rest = need.cell.partition("/")
        if suite != PASS:
            if other not in self.asked:
                return f"it needs {need.cell} of {name!r}, which is not in this run"
            cell = self.cell(other, path)
            return f"it needs {need.cell} of {name!r}: {cell.skip}" if cell.skip else cell
        model = self.models.get((name, key[1]))
        card = self.asked[key][2]
        if model is None:
            return f"it needs a pass of {name!r}, which does not meet this data set"
        if rest not in card.counts:
            return f"the data has no role {rest!r}"
        reason = lacking(need.outputs, card.task, model)
        return reason if reason else self._pass(other, rest, need.outputs, model, card)

    def _pass(
        self, key: Key, role: str, outputs: frozenset[str], model: ModelInfo, card: DataCard
    ) -> PlannedCell:
        outputs = outputs | best_answer(card.task, model)
        planned = self.cells.get(key)
        if planned is None:
            planned = PlannedCell(
                id=_cell_id(key), scenario=self._limited(Pass.of(role, model)), model=model,
                data=card, outputs=outputs, batch_size=self._batch_size(model, card),
            )  # fmt: skip
        else:
            planned = replace(planned, outputs=planned.outputs | outputs)
        self.cells[key] = planned
        return planned

    def _limited(self, scenario: Scenario) -> Scenario:
        limit = self.resolved.spec.defaults.limit
        if limit is None or (scenario.limit is not None and scenario.limit <= limit):
            return scenario
        return replace(scenario, limit=limit)

    def _largest(self, model: ModelInfo, card: DataCard) -> int:
        asked = self.resolved.spec.defaults.batch_size
        if isinstance(asked, int):
            return asked
        known = self.resolved.batch_sizes.get(model.name, {}).get(card.name)
        return known or largest_batch(model.geometry, card.task.modality)

    def _batch_size(self, model: ModelInfo, card: DataCard) -> int:
        size = self._largest(model, card)
        # Blocks are powers of two: they hold whole batches, of every model.
        return min(card.block, 1 << (size.bit_length() - 1)) if card.block else size


def _unfit(scenario: Scenario, model: ModelInfo, card: DataCard) -> str:
    missing = sorted(str(entry) for entry in scenario.requires - model.capabilities)
    if missing:
        return f"the model can't give: {', '.join(missing)}"
    if scenario.perturbs and not scenario.any_sizes and model.geometry.get("own_sizes"):
        return "it changes images of one size, and the model takes them in their own sizes"
    if not model.intensive and (scenario.intensive or isinstance(scenario, Timed)):
        return "it asks a served model many times: remote: {intensive: true} allows it"
    roles = [role for role in (scenario.role, *scenario.roles) if role not in card.counts]
    if roles and (roles[0] != scenario.role or isinstance(scenario, Mapped | Timed)):
        return f"the data has no role {roles[0]!r}"
    return ""


def _cell_id(key: Key) -> str:
    parts = [slug(part)[:40] for part in key]
    return f"{parts[0]}.{parts[1]}.{parts[2]}.{data_digest(list(key))[:8]}"
