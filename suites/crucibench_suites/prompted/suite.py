"""The suite's declaration: its tasks, its settings, and how the report shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Need, Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench.util.templates import fields_of
from crucibench_suites.prompted.asking import CHOICES, LETTERS, Answers, required
from crucibench_suites.prompted.config import AskSettings, PromptedTask
from crucibench_suites.prompted.metrics import METRICS, pass_at_metric
from crucibench_suites.prompted.scoring import ANSWERS, Judged

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LIST = re.compile(r"list\[(\d+)\]")


class PromptedConfig(SuiteConfig):
    """Settings of the prompted suite."""

    tasks: dict[str, PromptedTask] = Field(default_factory=dict)
    """Tasks by name: how items are asked about, and how answers are judged."""

    @field_validator("tasks")
    @classmethod
    def _named(cls, tasks: dict[str, PromptedTask]) -> dict[str, PromptedTask]:
        for name in tasks:
            if not _NAME.fullmatch(name) or name.endswith(f"-{ANSWERS}"):
                raise ValueError(f"{name!r}: expected small letters, digits, . _ and -")
        return tasks


class PromptedSuite(Suite):
    """Multiple choice, written answers and likelihoods of language models, and prompts' spread."""

    name: ClassVar[str] = "prompted"
    axis: ClassVar[str] = "prompted"
    description: ClassVar[str] = (
        "What a language model answers to items with references: right choices, written answers, "
        "bits per byte, and how far the numbers hang on the wording of the prompt."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "accuracy": ("*",),
        "discrimination": ("*bbq*",),
    }
    sections: ClassVar[tuple[Section, ...]] = (
        Section(title="All numbers", kind="metrics"),
        Section(
            title="What asking took", kind="table", table="asked",
            note="Questions that were asked; attempts are the requests that they took.",
        ),
        Section(
            title="Transcripts", kind="table", table="transcripts",
            note="Prompt as sent, answer, and verdict; wrong answers first. Of choices by "
            "log-likelihood, the answer is that of each choice in nats.",
        ),
    )  # fmt: skip
    config: ClassVar[type[SuiteConfig]] = PromptedConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS
    scoring = ("audits", "judging", "known_answers", "metrics", "scoring")

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns two scenarios a task: one asks, one judges."""
        config = request.settings(PromptedConfig)
        if request.data.task.kind != "generation":
            return "prompted asks about items (items:FILE.jsonl?target=FIELD)"
        if not config.tasks:
            return "suites.prompted.tasks names no task"
        found: list[Scenario] = []
        for name, task in config.tasks.items():
            found += self._task(name, task, request.data.features)
        return found

    def _task(
        self, name: str, task: PromptedTask, features: Mapping[str, str]
    ) -> tuple[Answers, Judged]:
        for point, ask in task.prompts.items():
            where = f"suites.prompted.tasks.{name}{f' ({point})' if point else ''}"
            _require(ask, features, where)
        points = tuple(task.prompts)
        prompts = {point: ask.model_dump() for point, ask in task.prompts.items()}
        answers = Answers(
            suite=self.name, name=f"{name}-{ANSWERS}", points=points, prompts=task.prompts,
            parameters={"prompts": prompts, "bbq": task.bbq}, bbq=task.bbq,
            requires=frozenset().union(*map(required, task.prompts.values())),
            most=len(points) * _questions(task, features),
        )  # fmt: skip
        judging = task.model_dump(include={"kind", "by", "extract", "normalise", "pass_at", "bbq"})
        judged = Judged(
            suite=self.name, name=name, task=task,
            points=points if points == ("",) else (*points, ""),
            parameters={"prompts": prompts, "judging": judging},
            needs=(Need(alias=ANSWERS, cell=answers.address),),
            metrics=(*METRICS, *map(pass_at_metric, task.pass_at)),
        )  # fmt: skip
        return answers, judged


def _require(ask: AskSettings, features: Mapping[str, str], where: str) -> None:
    names = ask.choices if isinstance(ask.choices, list) else [ask.choices] * bool(ask.choices)
    known = [*features, *([CHOICES] if ask.choices else [])]
    for what, wanted, among in (
        ("template", fields_of(ask.template), known), ("choices", names, list(features)),
        ("turns", [ask.turns] * bool(ask.turns), list(features)),
    ):  # fmt: skip
        for name in wanted:
            if name not in among:
                raise InputError(f"{where}.{what}: {unknown('field', name, among)}")


def _questions(task: PromptedTask, features: Mapping[str, str]) -> int:
    """Returns how many questions an item takes at most."""
    if not task.choices or task.writes:
        return 1
    if isinstance(task.choices, list):
        return len(task.choices)
    if task.kind == "pair":
        return 2
    return max(map(int, _LIST.findall(features[task.choices])), default=len(LETTERS))
