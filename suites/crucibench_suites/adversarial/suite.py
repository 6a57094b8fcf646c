"""The suite's declaration: its scenarios, its settings, and how the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, get_args

from crucibench.contracts.capability import Capability
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Preset, Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.adversarial.abstaining import Abstention
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.blackbox.scenario import BlackBoxAttack
from crucibench_suites.adversarial.blackbox.scenario import scenarios as black_box
from crucibench_suites.adversarial.blackbox.surrogate import SurrogateTransfer, TransferSource
from crucibench_suites.adversarial.config import AdversarialConfig, is_of_foolbox
from crucibench_suites.adversarial.floors.scenario import Floor
from crucibench_suites.adversarial.foolbox_names import FoolboxName
from crucibench_suites.adversarial.labels import on_labels
from crucibench_suites.adversarial.metrics import (
    CERTIFIED,
    COSTS,
    DISTANCES,
    METRICS,
    QUERY_METRICS,
    TABLE_METRICS,
)
from crucibench_suites.adversarial.named import NamedAttack
from crucibench_suites.adversarial.protocol import BALLS, PROTOCOLS
from crucibench_suites.adversarial.saved import ADVERSARIALS
from crucibench_suites.adversarial.scenario import SCENARIOS, AutoAttack
from crucibench_suites.adversarial.supplied import SuppliedExamples, checked
from crucibench_suites.adversarial.tables.attacks import PLANNED
from crucibench_suites.adversarial.tables.scenario import (
    DEFAULT_EPS,
    columns_scenario,
    table_attacks,
)
from crucibench_suites.adversarial.text.planning import NAMES as TEXT_NAMES
from crucibench_suites.adversarial.text.planning import text_scenarios
from crucibench_suites.adversarial.threat import ImageNorm, ThreatModel
from crucibench_suites.adversarial.transfer import Transfer
from crucibench_suites.adversarial.worst_case import AcrossNorms, WorstCase

_BUNDLED: dict[str, dict[ImageNorm, tuple[float, ...]]] = {
    # 8 x 8 pixels of 17 grey levels: a change that people don't see is larger than of a photo.
    "sklearn:digits": {
        "linf": (0.05, 0.1, 0.15, 0.2, 0.3),
        "l2": (0.25, 0.5, 0.75, 1.0, 1.5),
        "l1": (0.5, 1.0, 1.5, 2.0, 3.0),
    },
}
_SMALL: dict[ImageNorm, tuple[float, ...]] = {"linf": (8 / 255,), "l2": (0.5,), "l1": (12.0,)}
_LARGE: dict[ImageNorm, tuple[float, ...]] = {"linf": (4 / 255,), "l2": (3.0,), "l1": (255.0,)}
_LARGE_SIDE = 64

_LIMITS: dict[Preset, int | None] = {"quick": 200, "standard": 1000, "full": None}
_QUERIES: dict[Preset, int] = {"quick": 500, "standard": 5000, "full": 5000}
_PRESETS: dict[Preset, Literal["quick", "standard"]] = {
    "quick": "quick",
    "standard": "standard",
    "full": "standard",
}

_NAMES = tuple(
    f"{name}-{norm}"
    for name in (
        *(protocol.name for protocol in PROTOCOLS.values()),
        *(*get_args(BlackBoxAttack), "surrogate", *sorted(PLANNED), "worst-case"),
    )
    for norm in BALLS
)


class AdversarialSuite(Suite):
    """AutoAttack over a grid of eps, and whether its number can be believed."""

    name: ClassVar[str] = "adversarial"
    axis: ClassVar[str] = "attack"
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "evasion": ("*",),
        "guarantees": ("*certified*", "exact-tree*"),
    }
    libraries: ClassVar[tuple[str, ...]] = ("foolbox",)
    description: ClassVar[str] = (
        "How many predictions withstand the worst small change that attacks can find, by how large "
        "the change may be."
    )
    headline: ClassVar[tuple[str, ...]] = tuple(
        f"{name}/{metric}"
        for name in (*_NAMES, *TEXT_NAMES)
        for metric in ("robust-accuracy-at-largest-eps", "robust-accuracy-area")
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Robust accuracy by eps",
            kind="line",
            table="curve",
            x="eps",
            y="robust_accuracy",
            note="The share of samples that no attack made wrong within eps (of texts the share "
            "of words changed); at 0 it is clean accuracy. Each number is an upper bound of what a "
            "stronger attack would leave.",
        ),
        Section(
            title="Certified and attacked",
            kind="table",
            table="bounds",
            note="Robust accuracy lies between the two: nothing within eps makes wrong what is "
            "certified, and attacks did what is beyond. Not settled is what lies between: bounds "
            "of networks are coarse, and the search through a forest ends after 1,000 nodes.",
        ),
        Section(
            title="What each attack broke",
            kind="table",
            table="attacks",
            note="Attacks run in order; each asks only about samples that those before left at "
            "some eps. The stage 'again' repeats them below what FAB-T or Square broke.",
        ),
        Section(
            title="Success against queries",
            kind="line",
            table="success",
            x="queries",
            y="success",
            note="Of attacks without gradients, at the largest eps: the share of samples that have "
            "an example after so many questions. Square's are those of its search at this eps.",
        ),
        Section(
            title="Distances",
            kind="metrics",
            metrics=tuple(info.id for info in DISTANCES.values()),
            note="Of the nearest examples found: an upper bound, and coarse where no attack that "
            "minimises distance ran.",
        ),
        Section(
            title="What it cost",
            kind="metrics",
            metrics=tuple(info.id for info in COSTS.values()),
            note="Counted over all eps of the grid: a number found with few passes is worth less.",
        ),
        Section(
            title="Samples",
            kind="gallery",
            note="Of the samples that an attack broke, some drawn by id, each with the nearest "
            "example found. They show what an attack does, not how often it succeeds.",
        ),
        Section(title="All numbers", kind="metrics"),
    )
    config: ClassVar[type[SuiteConfig]] = AdversarialConfig
    scoring = ("audits", "known_answers", "scoring")
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        *METRICS, CERTIFIED, *QUERY_METRICS, *TABLE_METRICS
    )  # fmt: skip

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios of each norm, or of texts, or why none applies."""
        task, config = request.data.task, request.config
        assert isinstance(config, AdversarialConfig)
        if reason := _not_attacked(task, config):
            return reason
        if task.modality is not Modality.IMAGE and Abstention.of(
            request.model.decision, safe=False
        ):
            return f"it goes by `abstains:` on images alone, and not on {task.modality} samples"
        found = self._attacks(request, config)
        if isinstance(found, str) or task.one_class:
            return found
        return [on_labels(one, task, config.flips) for one in found]

    def _attacks(
        self, request: SuiteRequest, config: AdversarialConfig
    ) -> Sequence[Scenario] | str:
        """Returns the scenarios as of a classifier."""
        task = request.data.task
        limit = config.limit if config.limit is not None else _LIMITS[request.preset]
        queries = config.queries or _QUERIES[request.preset]
        if task.modality is Modality.TEXT:
            return text_scenarios(
                self.name, request, config, queries=queries, limit=limit, seed=config.seed,
                keep=config.save_adversarials, named=config.registered("text"),
            )  # fmt: skip
        if task.modality is Modality.TABLE:
            return _of_tables(self.name, request, config)
        if task.modality is Modality.IMAGE:
            return _of_images(self.name, request, config, limit=limit, queries=queries)
        return f"it knows no attack on {task.modality} samples"


def _not_attacked(task: Task, config: AdversarialConfig) -> str:
    """Returns why nothing of a data set is attacked, or nothing."""
    if config.flips is not None and not task.definition.label_threshold:
        raise InputError(f"adversarial.flips: {task.kind} has no labels that flip by themselves")
    if task.definition.label_threshold:
        _check_labels(task, config)
    elif not task.one_class:
        return f"it attacks classifiers, of one class or of several labels, and not {task.kind}"
    if task.modality is Modality.TABLE and config.constraints is None:
        return "tables are attacked within declared constraints: suites.adversarial.constraints"
    if len(task.classes) < 2:
        return f"an attack needs at least two classes, the data has {len(task.classes)}"
    return ""


def _check_labels(task: Task, config: AdversarialConfig) -> None:
    """Raises InputError for a label that there is not, and for what is of one class alone."""
    if config.flips is not None and config.flips not in task.classes:
        raise InputError(f"adversarial.flips: {unknown('label', config.flips, task.classes)}")
    for name in ("floor", "save_adversarials", "supplied", "surrogate"):
        if getattr(config, name):
            raise InputError(f"adversarial.{name}: of several labels there is none yet")


def _of_images(
    suite: str, request: SuiteRequest, config: AdversarialConfig, *, limit: int | None, queries: int
) -> Sequence[Scenario]:
    """Returns the scenarios of images: the protocol and what is asked for beside it, by norm."""
    _check_surrogate(request, config)
    key = config.protocol or _PRESETS[request.preset]
    registered = config.registered("image")
    unseen = [one.name for one in registered if one.access != "white-box"]
    rules = [Abstention.of(request.model.decision, safe=safe) for safe in (False, True)]
    _check_abstaining(request, config, rules[0])
    found: list[Scenario] = []
    parts: list[WorstCase] = []
    for norm in config.norm:
        eps = config.eps or _default_eps(request, norm)
        threat = ThreatModel(norm=norm, eps=eps, seed=config.seed, **PROTOCOLS[key].budget(norm))
        if rules[0] is not None:
            found += [
                SCENARIOS[key].of(suite, threat, limit, config.precision, one) for one in rules
            ]
            continue
        cells: list[AutoAttack | OneAttack] = [
            SCENARIOS[key].of(suite, threat, limit, config.precision)
        ]
        cells += [
            NamedAttack.of_foolbox(
                suite, named, (norm, eps, config.seed), force=config.force, limit=limit
            )
            for named in map(FoolboxName.parse, filter(is_of_foolbox, config.attacks))
            if norm in named.norms
        ]
        cells += [
            NamedAttack.of_plugin(suite, one.name, threat, force=config.force, limit=limit)
            for one in registered
            if one.access == "white-box" and norm in one.norms
        ]
        if "supplied" in request.files:
            file = checked(request.files["supplied"], request.data.counts["test"])
            cells.append(SuppliedExamples.of(suite, file, norm, eps, limit=limit))
        cells += black_box(
            suite,
            dict.fromkeys((*_methods(request, config), *unseen)),
            (norm, eps, config.seed),
            queries=queries,
            limit=limit,
        )
        if config.surrogate is not None:
            source = TransferSource.of(suite, norm, eps, limit)
            if config.surrogate == request.model.name:
                found.append(source)
            else:
                cells.append(SurrogateTransfer.of(source, config.surrogate, config.seed))
        if config.save_adversarials:
            cells = [replace(cell, keeps=frozenset({ADVERSARIALS})) for cell in cells]
        found += cells
        # What the model can't be asked is skipped, with its reason, and joined with nothing.
        able = [cell for cell in cells if cell.requires <= request.model.capabilities]
        if able:
            parts.append(WorstCase.of(suite, able))
        if len(able) > 1:
            found.append(parts[-1])
        if config.floor and able:
            found.append(Floor.of(suite, able))
        others = [name for name in request.models if name != request.model.name]
        if config.save_adversarials and others:
            found.append(Transfer.of(suite, cells[0], others))
    if len(parts) > 1:
        found.append(AcrossNorms.of(suite, parts))
    return found


def _check_abstaining(
    request: SuiteRequest, config: AdversarialConfig, rule: Abstention | None
) -> None:
    """Raises InputError for what does not go by a declared abstention, where there is one."""
    beside = ("attacks", "blackbox", "surrogate", "supplied", "floor", "save_adversarials")
    asked = [name for name in beside if getattr(config, name)]
    if rule is not None and asked:
        raise InputError(
            f"adversarial.{asked[0]}: {request.model.name} declares when it abstains, and only the "
            "protocol goes by that"
        )


def _of_tables(suite: str, request: SuiteRequest, config: AdversarialConfig) -> Sequence[Scenario]:
    """Returns the scenarios of a table, with one that records what its columns hold."""
    assert config.constraints is not None
    config.constraints.check(request.data.features)
    if "l1" in config.norm:
        raise InputError("adversarial.norm: tables are attacked in linf and l2, not in l1")
    role = "train" if "train" in request.data.counts else "test"
    spread = columns_scenario(suite, role)
    found: list[Scenario] = [spread]
    for norm in config.norm:
        cells = table_attacks(
            suite, request.model.capabilities, config.constraints,
            (norm, config.eps or DEFAULT_EPS[norm], config.seed),
            queries=config.queries or _QUERIES[request.preset],
            limit=config.limit if config.limit is not None else _LIMITS[request.preset],
            spread=spread,
            named=[one.name for one in config.registered("table")],
        )  # fmt: skip
        if config.save_adversarials:
            cells = [replace(cell, keeps=frozenset({ADVERSARIALS})) for cell in cells]
        found += cells
        if len(cells) > 1:
            found.append(WorstCase.of(suite, cells))
    return found


def _check_surrogate(request: SuiteRequest, config: AdversarialConfig) -> None:
    """Raises InputError if no model of the run has the surrogate's name."""
    if config.surrogate is not None and config.surrogate not in request.models:
        message = unknown("model", config.surrogate, request.models)
        raise InputError(f"adversarial.surrogate: {message}")


def _methods(request: SuiteRequest, config: AdversarialConfig) -> tuple[BlackBoxAttack, ...]:
    """Returns the attacks without gradients: those named, else what the model can answer."""
    if config.blackbox is not None:
        return config.blackbox
    held = request.model.capabilities
    if Capability.GRADIENTS in held:
        return ()
    labels: tuple[BlackBoxAttack, ...] = ("hopskipjump", "restore")
    return ("square", *labels) if Capability.SCORES in held else labels


def _default_eps(request: SuiteRequest, norm: ImageNorm) -> tuple[float, ...]:
    """Returns what bundled data names, else what is usual for images of the size."""
    bundled = _BUNDLED.get(request.data.uri.partition("?")[0])
    if bundled is not None:
        return bundled[norm]
    size = request.model.geometry.get("size") or ()
    return (_LARGE if size and min(size) > _LARGE_SIDE else _SMALL)[norm]
