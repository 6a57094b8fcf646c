"""The lines of a board: a model's numbers from one or several runs, and what is known of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from crucibench.comparing.recipes import RecipeRow, recipe_rows
from crucibench.contracts.data import DataCard
from crucibench.contracts.rows import RECIPE, MetricRow
from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.model import About, Column, Line, Retired, Spread
from crucibench.report.numbers import names_in_order
from crucibench.spec.notes import RowNote
from crucibench.store.run import Run
from crucibench.util.hashing import data_digest, differing_fields

FIELDS = ("authors", "paper", "licence", "trained_on")
"""Fields of a model's card that stand on its row."""


@dataclass
class LineDraft:
    """A line while numbers gather in it."""

    model: str
    identity: str
    numbers: dict[str, MetricRow]
    runs: list[Run] = field(default_factory=list)
    called: dict[str, str] = field(default_factory=dict)
    """What each run calls the data set, by the run's id."""

    def takes(self, identity: str, numbers: Mapping[str, MetricRow]) -> bool:
        """Whether these numbers are of the same model and contradict none of its own."""
        return self.identity == identity and all(
            _same(self.numbers[name], numbers[name]) for name in self.numbers.keys() & numbers
        )


class LinePart(NamedTuple):
    """What one run has of one data set.

    Attributes:
        run: the run.
        data: what the run calls it.
        models: that met the data, those whose inspection failed too.
        numbers: by model and place.
    """

    run: Run
    data: str
    models: set[str]
    numbers: dict[str, dict[str, MetricRow]]


def parts_of(
    runs: Iterable[Run], numbers: Iterable[Sequence[MetricRow]]
) -> dict[str, list[LinePart]]:
    """Returns what runs have of each data set, given the numbers of each run.

    The same data under another name are the same data set, called as the first run calls it.
    """
    parts: dict[str, list[LinePart]] = {}
    first: dict[str, str] = {}
    for run, own in zip(runs, numbers, strict=True):
        by_data: dict[str, LinePart] = {}
        for model, data in pairs_of(run):
            by_data.setdefault(data, LinePart(run, data, set(), {})).models.add(model)
        for number in own:
            if number.data in by_data:
                by_data[number.data].numbers.setdefault(number.model, {})[number.place] = number
        for data, part in by_data.items():
            card = run.cards.get(data)
            name = data if card is None else first.setdefault(card.fingerprint or data, data)
            # Two of one run are kept apart: it asked for both.
            parts.setdefault(data if name in by_data else name, []).append(part)
    return parts


def drafts_of(parts: Sequence[LinePart]) -> list[LineDraft]:
    """Gathers the numbers of a data set by model, joining runs that measured the same model."""
    drafts: list[LineDraft] = []
    of_model: dict[str, list[LineDraft]] = {}
    for run, own_name, models, numbers in parts:
        # Reading the spec takes a fifth of the time of a run: one name needs no order.
        ordered = names_in_order(run.spec, "models", models) if len(models) > 1 else models
        for model in ordered:
            own = numbers.get(model, {})
            identity = _identity(run, model, own_name)
            namesakes = of_model.setdefault(model, [])
            for draft in namesakes:
                if draft.takes(identity, own):
                    draft.numbers |= own
                    draft.runs.append(run)
                    draft.called[run.id] = own_name
                    break
            else:
                called = {run.id: own_name}
                drafts.append(LineDraft(model, identity, dict(own), [run], called))
                namesakes.append(drafts[-1])
    return drafts


def pairs_of(run: Run) -> set[tuple[str, str]]:
    """Returns the (model, data set) pairs of a run, those whose inspection failed too."""
    return run.models.keys() | run.uninspected


def _identity(run: Run, model: str, data: str) -> str:
    # Without a fingerprint it is unknown whether the model of another run is the same.
    info = run.models.get((model, data))
    if info is None or info.fingerprint is None:
        return f"run {run.root}"
    return data_digest(dict(info.fingerprint))


def _same(a: MetricRow, b: MetricRow) -> bool:
    return (a.value, a.lower, a.upper, a.n, a.key) == (b.value, b.lower, b.upper, b.n, b.key)


def labels_of(drafts: Sequence[LineDraft]) -> list[str]:
    """Returns what drafts are called: model names, with the run where names repeat."""
    counts = Counter(draft.model for draft in drafts)
    return [
        draft.model if counts[draft.model] == 1 else f"{draft.model} ({draft.runs[0].id})"
        for draft in drafts
    ]


def joined_key(column: Column, drafts: Sequence[LineDraft]) -> str:
    """Returns the comparison key that most numbers of a column have; of equals the first."""
    keys = [draft.numbers[column.place].key for draft in drafts if column.place in draft.numbers]
    return Counter(keys).most_common(1)[0][0]


def differing(
    draft: LineDraft, drafts: Sequence[LineDraft], column: Column, joined: str
) -> tuple[str, ...]:
    """Returns in what a draft's number differs from those that are joined in its column."""
    fields = _comparison(draft, column)
    for other in drafts:
        number = other.numbers.get(column.place)
        if number is not None and number.key == joined:
            names = differing_fields(_comparison(other, column), fields)
            return tuple(names) or ("the metric's version or the scoring options",)
    raise AssertionError("a joined key belongs to a number")


def _comparison(draft: LineDraft, column: Column) -> dict[str, object]:
    number = draft.numbers[column.place]
    for run in draft.runs:
        if run.id == number.run and number.cell in run.cells:
            return dict(run.cells[number.cell].comparison)
    return {}


def about(draft: LineDraft, data: str, notes: Sequence[RowNote]) -> About:
    """Returns what the runs' model cards and the notes say of a line.

    A card's keys ``withdrawn`` and ``superseded`` (with ``superseded_by``) hold the reason; a note
    goes before them. Its key ``variant_of`` names the model that this one is another form of.
    """
    card: dict[str, Any] = {}
    group = variant_of = ""
    for run in draft.runs:
        info = run.models.get((draft.model, draft.called[run.id]))
        if info is not None:
            group = group or info.group
            variant_of = draft.model.removesuffix(f"@{info.variant}") if info.variant else ""
            card |= {name: value for name, value in info.card.items() if value not in (None, "")}
    if "license" in card:
        card.setdefault("licence", card["license"])
    runs = tuple(run.id for run in draft.runs)
    return About(
        card={name: words(card[name]) for name in FIELDS if name in card},
        group=group,
        variant_of=words(card.get("variant_of")) or variant_of,
        trained_on_test=_named_in(_entries(card.get("trained_on")), _cards(draft)),
        retired=_retired(card, next((n for n in notes if n.fits(draft.model, data, runs)), None)),
    )


def under_models(lines: Sequence[Line]) -> list[Line]:
    """Puts variants under the line of their model, which alone counts as a rival.

    Where the model has no line that counts, the first of its variants stands for it.

    Args:
        lines: in the order in which they were declared.
    """
    families: dict[str, list[str]] = {}
    for line in lines:
        if line.about.retired is None:
            families.setdefault(_root(line, lines), []).append(line.label)
    heads = {
        label: root if root in family else family[0]
        for root, family in families.items()
        for label in family
    }
    return [
        replace(line, under="" if (head := heads.get(line.label, "")) == line.label else head)
        for line in lines
    ]


def _root(line: Line, lines: Sequence[Line]) -> str:
    """Returns the label of the model that a line is a form of, or its name where it has no line."""
    seen = set()
    while line.about.variant_of and line.label not in seen:
        seen.add(line.label)
        bases = [other for other in lines if other.model == line.about.variant_of]
        if not bases:
            return line.about.variant_of
        # Of several models of that name, the one that was measured beside it.
        line = next((base for base in bases if {*base.runs} & {*line.runs}), bases[0])
    return line.label


def words(value: Any) -> str:
    """Returns a field of a card as one text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {words(entry)}" for key, entry in value.items())
    return ", ".join(_entries(value))


def _entries(value: Any) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list | tuple | set) else [value]
    return [str(entry) for entry in values]


def _cards(draft: LineDraft) -> list[DataCard]:
    found = (run.cards.get(draft.called[run.id]) for run in draft.runs)
    return [card for card in found if card is not None]


def _named_in(trained_on: Sequence[str], cards: Sequence[DataCard]) -> str:
    """Returns the entry of `trained_on` that names the test data, or ""."""
    known = set()
    for card in cards:
        address = card.uri.partition("?")[0]
        named = (card.name, card.uri, address, address.partition(":")[2], card.fingerprint)
        known |= {name.casefold() for name in named if name}
    return next((entry for entry in trained_on if entry.strip().casefold() in known), "")


def _retired(card: Mapping[str, Any], note: RowNote | None) -> Retired | None:
    if note is not None:
        if note.withdrawn is not None:
            return Retired("withdrawn", note.withdrawn)
        return Retired("superseded", note.superseded or "", note.by)
    if card.get("withdrawn"):
        return Retired("withdrawn", words(card["withdrawn"]))
    if card.get("superseded"):
        return Retired("superseded", words(card["superseded"]), words(card.get("superseded_by")))
    return None


def recipes_in(parts: Sequence[LinePart]) -> dict[tuple[str, str], RecipeRow]:
    """Returns the numbers of recipes by name and place; those that several runs have are left out.

    So are those of runs whose records the installed suites can't read.
    """
    found: dict[tuple[str, str], list[RecipeRow]] = {}
    for part in parts:
        try:
            rows = recipe_rows(part.run)
        except Exception:
            continue
        for one in rows:
            if one.row.data == part.data:
                name = one.row.model.removesuffix(RECIPE)
                found.setdefault((name, one.row.place), []).append(one)
    return {key: rows[0] for key, rows in found.items() if len(rows) == 1}


def spreads_of(
    columns: Sequence[Column],
    lines: Sequence[Line],
    recipes: Mapping[tuple[str, str], RecipeRow],
) -> tuple[Spread, ...]:
    """Returns the spread of each group of two seeds or more, in each column.

    Numbers that are invalid, missing or of rows that no longer count are left out.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.about.group and line.about.retired is None:
            groups.setdefault(line.about.group, []).append(line)
    spreads = []
    for group, members in groups.items():
        for column in columns:
            numbers = [line.entries[column.place].number for line in members]
            known = [
                number
                for number in numbers
                if number is not None
                and number.value is not None
                and number.verdict is not Verdict.INVALID
            ]
            values = [number.value for number in known if number.value is not None]
            if len(values) < 2:
                continue
            halves = [(i[1] - i[0]) / 2 for number in known if (i := number.interval) is not None]
            recipe = recipes.get((group, column.place))
            if recipe is not None and len(recipe.trainings) != len(values):
                recipe = None
            spreads.append(
                Spread(
                    group=group, column=column, seeds=len(values), mean=statistics.fmean(values),
                    deviation=statistics.stdev(values), lowest=min(values), highest=max(values),
                    half_width=statistics.fmean(halves) if halves else None,
                    interval=None if recipe is None else recipe.row.interval,
                    training=(recipe and recipe.parts and recipe.parts.training) or 0.0,
                )
            )  # fmt: skip
    return tuple(spreads)
