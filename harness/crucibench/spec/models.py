"""The spec file as pydantic models: strict, closed, and exported as JSON Schema."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.task import task_name
from crucibench.contracts.uri import with_scheme
from crucibench.spec.secrets import address_mistake, header_mistake
from crucibench.util.errors import InputError
from crucibench.util.numbers import Duration, Number

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _name(value: str) -> str:
    if not value.strip() or len(value) > 200:
        raise ValueError("expected a name of 1 to 200 characters")
    if _CONTROL.search(value) or ":" in value:
        raise ValueError("a name can't hold ':' or control characters")
    return value


Name = Annotated[str, AfterValidator(_name)]


def _class_name(value: Any) -> Any:
    # YAML reads a class that is called 0 as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _task_kind(name: str) -> str:
    try:
        return task_name(name)
    except InputError as error:
        raise ValueError(str(error)) from error


ClassName = Annotated[str, BeforeValidator(_class_name, json_schema_input_type=str | int)]
"""The name of a class; a whole number is welcome."""


def _abstains(value: Any) -> Any:
    if isinstance(value, bool | list | dict) or (
        isinstance(value, float) and not 0.0 < value < 1.0
    ):
        raise ValueError("expected a class, or a probability between 0 and 1")
    return _class_name(value)


Abstains = Annotated[float | str, BeforeValidator(_abstains)]
"""A class that stands for no answer, or the probability of the best class that an answer needs."""


def _without_secret(value: str) -> str:
    if mistake := address_mistake(value):
        raise ValueError(mistake)
    return value


AddressText = Annotated[str, AfterValidator(_without_secret)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class InputSettings(_Part):
    """How a model wants its pixels, where the model does not say so itself."""

    range: list[Number] = Field(default_factory=lambda: [0.0, 1.0], min_length=2, max_length=2)
    """What the canonical [0, 1] is stretched to before mean and std."""
    mean: list[Number] = Field(default_factory=lambda: [0.0], min_length=1)
    std: list[Annotated[Number, Field(gt=0)]] = Field(default_factory=lambda: [1.0], min_length=1)
    size: list[int] | None = Field(default=None, min_length=2, max_length=2)
    """[height, width] in pixels."""

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: list[float]) -> list[float]:
        if value[0] >= value[1]:
            raise ValueError("range must go from low to high")
        return value


class DecisionSettings(_Part):
    """How a binary model's score becomes a decision, or a label's."""

    positive: str | int | bool | None = None
    """The positive class, by name; of labels there is none."""
    threshold: Number = Field(default=0.5, ge=0, le=1)
    thresholds: dict[ClassName, Annotated[Number, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Of several labels, by name; the others keep `threshold`."""
    chosen_on: str | None = None
    """The role on which the threshold of each label is chosen, by F1: any but ``test``."""


class RemoteSettings(_Part):
    """Limits for a model behind a network address."""

    concurrency: int = Field(default=8, ge=1)
    requests_per_second: Number | None = Field(default=None, gt=0)
    max_requests: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    """Sent and received."""
    max_seconds: Duration | None = Field(default=None, gt=0)
    """From the first request to the last."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Of prompts and answers, where a server counts them."""
    max_cost: Number | None = Field(default=None, gt=0)
    """In the unit of the prices that the model's address names."""
    timeout: Duration = Field(default=60.0, gt=0)
    """Of one request."""
    intensive: bool = False
    """Whether attacks and load searches, which ask many times, may be run on it."""


class ModelSpec(_Part):
    """One model."""

    name: Name
    uri: Annotated[AddressText, AfterValidator(partial(with_scheme, what="model"))]
    variants: list[str] = Field(default_factory=list)
    """Further forms of the model, each a model of its own in the results: ``fp32``, ``bf16``."""
    input: InputSettings | None = None
    device: str = "auto"
    decision: DecisionSettings | None = None
    abstains: Abstains | None = None
    """When it gives no answer: a class that stands for that, or the probability of its best class
    below which it gives none. Attacks on images go by it."""
    classes: list[ClassName] | dict[ClassName, ClassName] | None = None
    """The model's class names in the order of its scores, or its names to the data's."""
    card: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    remote: RemoteSettings | None = None
    group: str | None = None
    """The recipe: models that differ by training seed alone share it."""
    replicate_of: str | None = None
    """Another model that was trained by the same recipe, which then goes by that model's name."""
    seed: int | None = Field(default=None, ge=0)
    """Of the training; two trainings of a recipe have two."""
    repeat: int = Field(default=1, ge=1, le=1000)
    """How often a plain pass asks about each sample: more than once for a stochastic model."""

    @field_validator("headers")
    @classmethod
    def _without_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        if mistake := header_mistake(value):
            raise ValueError(mistake)
        return value


class DataSpec(_Part):
    """One data set; what stands here goes before the same option in the URI."""

    name: Name
    uri: Annotated[AddressText, AfterValidator(partial(with_scheme, what="data"))]
    target: str | None = None
    id: str | None = None
    groups: list[str] = Field(default_factory=list)
    cluster: str | None = None
    features: list[str] = Field(default_factory=list)
    input: list[str] = Field(default_factory=list)
    classes: list[ClassName] = Field(default_factory=list)
    split: Number | None = Field(default=None, gt=0, lt=1)
    task: Annotated[str, AfterValidator(_task_kind)] | None = None
    on_bad_sample: Literal["error", "skip"] | None = None
    """What becomes of samples that can't be used: damaged images, rows without a target."""


def _with_sections(value: Any) -> Any:
    """Returns settings by suite; `accuracy:` with nothing below it means its defaults."""
    if isinstance(value, dict):
        return {key: {} if entry is None else entry for key, entry in value.items()}
    return value


BySuite = Annotated[dict[str, dict[str, Any]], BeforeValidator(_with_sections)]
"""Settings by suite."""


class Track(_Part):
    """Which models meet which data in which suites."""

    name: Name
    models: list[str] = Field(min_length=1)
    data: str
    suites: list[str] | None = None
    settings: BySuite = Field(default_factory=dict)
    """Settings by suite that hold in this track: a key goes before the same one in ``suites``."""


class Defaults(_Part):
    """What holds for the whole run."""

    preset: Literal["quick", "standard", "full"] = "quick"
    seed: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    """At most so many samples of each data set."""
    timeout: Duration = Field(default=1800.0, gt=0)
    batch_size: int | Literal["auto"] = "auto"
    device: str = "auto"
    threads: int | Literal["auto"] = "auto"
    level: Number = Field(default=0.95, gt=0.5, lt=1)
    replicates: int = Field(default=2000, ge=100)
    min_group_size: int = Field(default=30, ge=1)
    check_parity: Number | None = Field(default=None, ge=0)
    """The models of a track are forms of one model: how far their probabilities may differ."""
    until_decided: str | None = None
    """A gate's policy file: samples are asked in blocks, in the order of their content hashes,
    until its required rules are decided of every model against the first."""
    gallery: bool = True
    """Whether cells keep a few samples, to be shown in the report of the run."""

    @field_validator("batch_size", "threads")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("expected 'auto' or a whole number from 1 up")
        return value

    @property
    def scoring(self) -> ScoringOptions:
        """How the numbers are made."""
        return ScoringOptions(
            seed=self.seed, level=self.level, replicates=self.replicates,
            min_group_size=self.min_group_size,
        )  # fmt: skip


class Spec(_Part):
    """A run, as a user writes it down."""

    schema_version: Literal[1] = 1
    defaults: Defaults = Field(default_factory=Defaults)
    models: list[ModelSpec] = Field(min_length=1)
    data: list[DataSpec] = Field(min_length=1)
    tracks: list[Track] = Field(default_factory=list)
    suites: BySuite = Field(default_factory=dict)
