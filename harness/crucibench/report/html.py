"""The report: one HTML file that holds all it needs and opens offline."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucibench.comparing.claims import claims_of
from crucibench.comparing.run_parity import pairs_of
from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Severity, Verdict
from crucibench.gating.policy import Policy
from crucibench.report import leaderboard_text, plots
from crucibench.report.decision import decisions_of
from crucibench.report.facts import (
    card_facts,
    comparison_fields,
    digests_of,
    environment_facts,
    model_facts,
    plain,
    run_facts,
)
from crucibench.report.findings import (
    IMPRECISE_MARK,
    IMPRECISE_WORDS,
    VERDICT_MARKS,
    VERDICT_WORDS,
    address_of,
    findings_of,
    nothing_found,
    verdict_summary,
)
from crucibench.report.format import (
    counted,
    direction_words,
    listed,
    show_count,
    show_level,
    show_plain,
)
from crucibench.report.gaps import by_reason, gaps_of
from crucibench.report.leaderboard import Board, leaderboard
from crucibench.report.numbers import (
    ShownMetric,
    declared_metrics,
    metric_of,
    names_in_order,
    numbers_of,
)
from crucibench.report.page import (
    Anchors,
    FilledSection,
    ModelHead,
    environment,
    part,
    source_digest,
)
from crucibench.report.scorecard import recipe_views, scorecard_view
from crucibench.report.sections import ComparedTables, declared_sections, evidence_of, filled
from crucibench.store.run import Run
from crucibench.util.atomic import write_text
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from jinja2 import Environment


def render_html(
    run: Run, *, gallery: bool = True, policy: Policy | None = None,
    compared: ComparedTables | None = None,
) -> str:  # fmt: skip
    """Returns the report of a run. The same run gives the same bytes.

    Args:
        run: the run.
        gallery: whether it shows samples, where the run kept some.
        policy: of a gate, which the decision then keeps to.
        compared: tables that say what changed against a baseline, by cell and name.
    """
    return _Report(run, gallery=gallery, policy=policy, compared=compared or {}).render()


def render_section(section: FilledSection) -> str:
    """Returns one section as it stands in a report."""
    templates = _environment()
    macros = templates.get_template("macros.html.j2").module
    return templates.get_template("section.html.j2").render(section=section, m=macros)


class _Report:
    """Gathers what a report holds, once, and renders it."""

    def __init__(
        self, run: Run, *, gallery: bool, policy: Policy | None, compared: ComparedTables
    ) -> None:
        self.run = run
        self.compared = compared
        self.policy = policy
        self.gallery = gallery
        self.anchors = Anchors()
        self.numbers = numbers_of(run)
        self.by_suite: defaultdict[tuple[str, str], list[MetricRow]] = defaultdict(list)
        for number in self.numbers:
            self.by_suite[number.data, number.address.suite].append(number)
        self.metrics = declared_metrics(run.suites)
        self.claims = claims_of(run)
        self.sections = declared_sections(run.suites)
        cells = run.cells.values()
        found = {cell.model for cell in cells} | {model for model, _ in run.models}
        self.models = names_in_order(run.spec, "models", found)
        found = {cell.data for cell in cells} | set(run.cards)
        self.data = names_in_order(run.spec, "data", found)

    def render(self) -> str:
        run = self.run
        boards = [self._scorecard(board) for board in leaderboard([run]).boards]
        gaps = gaps_of(run, self.numbers, self.metrics, self.models, self.data)
        findings = findings_of(run)
        template = _environment().get_template("report.html.j2")
        script = part("report.js")
        return template.render(
            run=run,
            css=part("report.css"),
            script=script,
            script_digest=source_digest(script),
            title=f"{listed(self.models, most=3)} on {listed(self.data, most=2)}",
            decisions=decisions_of(run, self.policy),
            summary=verdict_summary(run),
            overview=self._overview(),
            boards=boards,
            recipes=recipe_views(run, self.metrics),
            findings=[entry for entry in findings if entry.severity is not Severity.INFO],
            nothing_found=nothing_found(run.cells.values(), "No audit found a fault."),
            notes=[entry for entry in findings if entry.severity is Severity.INFO],
            cells=list(run.cells.values()),
            parity=pairs_of(run),
            anchor=self.anchors,
            gaps=gaps,
            undefined=by_reason(gaps.undefined),
            unbounded=by_reason(gaps.unbounded),
            **self._provenance(),
            definitions=self._definitions(),
        )

    def _overview(self) -> dict[str, str]:
        run = self.run
        defaults: Mapping[str, Any] = run.spec.get("defaults") or {}
        suites = [
            name if info.get("axis") in {None, name} else f"{info['axis']} ({name})"
            for name, info in run.suites.items()
            if any(cell.suite == name for cell in run.cells.values())
        ]
        samples = [
            f"{shorten(visible(name), 40)} ({self._samples(name)})" if name in run.cards else name
            for name in self.data
        ]
        facts = {
            counted(len(self.models), "model"): listed(self.models, most=12),
            counted(len(self.data), "data set"): listed(samples, most=12),
            "measured": listed(suites, most=12),
        }
        settings = [
            f"{name} {plain(defaults[name])}"
            for name in ("preset", "seed", "limit")
            if defaults.get(name) is not None
        ]
        if defaults.get("level") is not None:
            settings.append(f"intervals of {show_level(float(defaults['level']))}")
        facts["settings"] = ", ".join(settings)
        return {name: text for name, text in facts.items() if text}

    def _samples(self, data: str) -> str:
        counts = self.run.cards[data].counts
        return ", ".join(f"{show_count(n)} {role}" for role, n in counts.items())

    def _scorecard(self, board: Board) -> dict[str, Any]:
        return scorecard_view(
            board,
            about=self._about(board.data),
            head=partial(self._head, board.data),
            href=self._href,
            anchors=self.anchors,
            suites=self._suites(board.data),
            claims=self.claims,
        )

    def _about(self, data: str) -> str:
        card = self.run.cards.get(data)
        if card is None:
            return ""
        about = f"{card.task.modality} {card.task.kind}, {self._samples(data)} samples"
        if card.task.classes:
            about += f", {counted(len(card.task.classes), 'class', 'classes')}"
        return about

    def _own_models(self, data: str) -> list[str]:
        """Returns the models that met a data set, in order: their places are their colours.

        Where the page has a colour for every model of the run, each has the same on all data sets.
        """
        met = {cell.model for cell in self.run.cells.values() if cell.data == data}
        few = len(self.models) <= plots.COLOURS
        return self.models if few else [model for model in self.models if model in met]

    def _head(self, data: str, model: str) -> ModelHead:
        models = self._own_models(data)
        place = models.index(model) if model in models else len(models)
        return ModelHead(name=model, colour=place % plots.COLOURS, dash=plots.dash(place))

    def _suites(self, data: str) -> list[dict[str, Any]]:
        views = []
        for name, info in self.run.suites.items():
            evidence = evidence_of(
                self.run,
                data,
                name,
                models=self._own_models(data),
                rows=self.by_suite[data, name],
                metrics=self.metrics,
                anchors=self.anchors,
                gallery=self.gallery,
                compared=self.compared,
            )
            declared = self.sections.get((name, data), self.sections[name, ""])
            drawn = [filled(section, kind, evidence) for section, kind in declared]
            sections = [section for section in drawn if section is not None]
            if sections:
                views.append(
                    {
                        "anchor": self.anchors("suite", data, name),
                        "axis": info.get("axis") or name,
                        "name": name,
                        "description": info.get("description") or "",
                        "sections": sections,
                        "absent": evidence.absent(),
                    }
                )
        return views

    def _href(self, metric: ShownMetric) -> str:
        return self.anchors("metric", metric.suite, metric.id)

    def _provenance(self) -> dict[str, Any]:
        run = self.run
        grouped: dict[str, list[tuple[str, dict[str, str]]]] = {}
        for (model, data), info in run.models.items():
            facts = model_facts(info)
            for place, (names, known) in enumerate(grouped.get(model, [])):
                if known == facts:
                    grouped[model][place] = (f"{names}, {data}", known)
                    break
            else:
                grouped.setdefault(model, []).append((data, facts))
        return {
            "run_facts": run_facts(run),
            "cards": [
                (name, card_facts(run.cards[name])) for name in self.data if name in run.cards
            ],
            "model_cards": [
                (model, data, facts)
                for model in self.models
                for data, facts in grouped.get(model, [])
            ],
            "environment": environment_facts(run),
            "comparison": comparison_fields(run),
            "digests": {name: digests_of(cell) for name, cell in run.cells.items()},
            "spec": run.layout.spec.read_text(encoding="utf-8"),
        }

    def _definitions(self) -> list[dict[str, Any]]:
        methods: dict[tuple[str, str], dict[str, None]] = {}
        used: dict[tuple[str, str], ShownMetric] = {}
        for number in self.numbers:
            key = (number.address.suite, number.address.metric)
            used.setdefault(key, metric_of(self.metrics, number))
            if number.method:
                level = f" ({show_level(number.level)})" if number.level else ""
                methods.setdefault(key, {})[f"{number.method}{level}"] = None
        return [
            {
                "metric": metric,
                "anchor": self._href(metric),
                "axis": self.run.suites.get(metric.suite, {}).get("axis") or metric.suite,
                "words": direction_words(metric.direction),
                "bounds": _bounds(metric),
                "methods": ", ".join(methods.get(key, {})),
            }
            for key, metric in sorted(
                used.items(), key=lambda item: (item[0][0], item[1].name.lower(), item[0][1])
            )
        ]


def _bounds(metric: ShownMetric) -> str:
    low, high = (
        "no bound" if end is None else show_plain(float(f"{end:.4g}"))
        for end in (metric.lower, metric.upper)
    )
    return "" if metric.lower is None and metric.upper is None else f"{low} to {high}"


@cache
def _environment() -> Environment:
    made = environment("crucibench.report")
    made.filters["plain"] = plain
    made.filters["counted"] = counted
    made.filters["address"] = address_of
    made.filters["listed"] = lambda names: listed(names, most=12)
    made.globals["imprecise_mark"], made.globals["imprecise_words"] = (
        IMPRECISE_MARK,
        IMPRECISE_WORDS,
    )
    made.globals["verdict_words"] = {
        str(verdict): words for verdict, words in VERDICT_WORDS.items()
    }
    made.globals["verdict_marks"] = {
        str(verdict): mark or "✓" for verdict, mark in VERDICT_MARKS.items()
    }
    made.globals["VALID"] = Verdict.VALID
    return made


def write_views(
    run: Run, *, gallery: bool = True, policy: Policy | None = None,
    compared: ComparedTables | None = None,
) -> list[Path]:  # fmt: skip
    """Writes ``report.html``, ``leaderboard.md`` and ``leaderboard.csv`` into the run directory.

    The manifest does not list them. If it is written before, the report shows its digest. With
    `gallery` the report shows the samples that the run kept for it; with a gate's `policy` its
    decision keeps to that; `compared` tables of `tables_against` stand in place of those stored.
    """
    claims_of(run)  # boards show the baselines that are scored with them
    collecting = gc.isenabled()
    gc.disable()  # looking for garbage among what a page is made of takes a tenth of the time
    try:
        board = leaderboard([run])
        texts = {
            run.layout.report: render_html(run, gallery=gallery, policy=policy, compared=compared),
            run.layout.leaderboard("md"): leaderboard_text.markdown(board),
            run.layout.leaderboard("csv"): leaderboard_text.csv(board),
        }
    finally:
        if collecting:
            gc.enable()
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)
