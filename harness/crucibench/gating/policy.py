"""The policy file: which numbers a candidate must hold, and how closely."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from crucibench.contracts.rows import parse_address
from crucibench.spec.check import Mistakes, add_validation_errors
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number, parse_number
from crucibench.util.suggest import unknown
from crucibench.util.untrusted.yaml_text import read_yaml


def fits(pattern: str, text: str) -> bool:
    """Whether `pattern` fits the whole of `text`.

    ``*`` stands for any characters, slashes included, and ``?`` for one. Brackets are literal,
    since an address has them around its point: ``*:shift/*[severity=3]/top-1``.
    """
    return fnmatchcase(text, literal_brackets(pattern))


def literal_brackets(pattern: str) -> str:
    """Returns the pattern as `fnmatch` reads it, to which brackets are sets of characters."""
    return pattern.replace("[", "[[]")


def is_pattern(text: str) -> bool:
    """Whether `text` may fit more than itself."""
    return "*" in text or "?" in text


Tier = Literal["required", "supporting", "advisory"]
TIERS: tuple[Tier, ...] = ("required", "supporting", "advisory")

OnInconclusive = Literal["block", "warn", "pass"]
RequiredVerdict = Literal["valid", "suspect"]
TreatAs = Literal["inconclusive", "regression", "pass"]

_PERCENT = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*%\s*")


class Size(NamedTuple):
    """How much may be lost: in the metric's own unit, or as a share of the baseline's value."""

    value: float
    relative: bool = False

    def of(self, baseline: float) -> float:
        """Returns the size in the metric's unit."""
        return self.value * abs(baseline) if self.relative else self.value

    def __str__(self) -> str:
        return f"{100 * self.value:.6g} %" if self.relative else f"{self.value:.6g}"


def parse_size(value: Any) -> Size:
    """Parses ``0.01`` or ``2%``.

    Raises:
        ValueError: if it is neither, or not above 0.
    """
    if isinstance(value, Size):
        return value
    percent = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    number = parse_number(percent[1] if percent else value)
    if isinstance(number, bool) or not isinstance(number, float) or not math.isfinite(number):
        raise ValueError(
            "expected a number in the metric's unit (0.01) or a share of the baseline (2%)"
        )
    if number <= 0:
        raise ValueError("expected more than 0; for no loss at all say no_worse and detect")
    if percent and number >= 100:
        raise ValueError("expected less than 100 %")
    return Size(number / 100, relative=True) if percent else Size(number)


def _parse_date(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a date like 2027-03-31") from None


SizeField = Annotated[
    InstanceOf[Size],
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*[0-9.]+([eE][-+]?[0-9]+)?\s*%?\s*$"},
            ]
        }
    ),
]


class _PolicyPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Rule(_PolicyPart):
    """What one number, or all that a pattern fits, must hold."""

    address: str = Field(min_length=1)
    """``MODEL:SUITE/SCENARIO[POINT]/METRIC[@GROUP]``: ``*``, ``?`` are wild, brackets literal."""
    name: str = ""
    """What tables and waivers call the rule; its address where it has none."""
    data: str = "*"
    """Only on data sets whose name this pattern fits."""
    margin: SizeField | None = None
    """The loss that is tolerated: ``0.01`` in the metric's unit, or ``2%`` of the baseline."""
    no_worse: bool = False
    """No loss at all is tolerated; then `detect` says what must have been seen if it were there."""
    detect: SizeField | None = None
    """With `no_worse`: the loss that the samples must be able to show for a pass."""
    floor: Number | None = None
    """The worst value allowed: a floor where higher is better, a ceiling where lower is."""
    require_verdict: RequiredVerdict | None = None
    """How far both numbers must be trusted; ``valid`` by default if required, else ``suspect``."""
    on_inconclusive: OnInconclusive | None = None
    """``block`` by default if required, else ``warn``."""
    primary: bool | None = None
    """A primary endpoint: tested at the full level, uncorrected for the rules that are none; by
    default what is a headline number of its suite."""
    treat_as: TreatAs | None = None
    """With `margin`: what a loss counts as that is not shown to be more than the margin;
    ``inconclusive`` by default."""

    @model_validator(mode="after")
    def _complete(self) -> Rule:
        if self.margin is None and not self.no_worse and self.floor is None:
            raise ValueError("expected margin, no_worse or floor")
        if self.margin is not None and self.no_worse:
            raise ValueError("expected margin or no_worse, not both")
        if self.no_worse and self.detect is None:
            raise ValueError(
                "no_worse needs detect: the loss that the samples must be able to show"
            )
        if self.detect is not None and not self.no_worse:
            raise ValueError("detect goes with no_worse")
        if self.treat_as is not None and self.margin is None:
            raise ValueError("treat_as goes with margin")
        if self.floor is not None and not math.isfinite(self.floor):
            raise ValueError("floor: expected a finite number")
        return self

    @property
    def title(self) -> str:
        """The name, or the address."""
        return self.name or self.address


class Waiver(_PolicyPart):
    """A loss that is known and put up with for a time. It never excuses an invalid number."""

    rule: str = Field(min_length=1)
    """The name of a rule (its address where it has none), or the address of one number."""
    until: Annotated[
        date, BeforeValidator(_parse_date), WithJsonSchema({"type": "string", "format": "date"})
    ]
    """The last day (UTC) on which it holds; after it the gate fails until the line is removed."""
    reason: str = Field(min_length=1)
    """Printed every time."""

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.until

    def covers(self, rule: Rule, address: str) -> bool:
        """Whether it speaks of this number under this rule."""
        return self.rule in {rule.title, rule.address, address}


class SpeedRule(_PolicyPart):
    """What speed must hold, where ``--rerun`` measures it."""

    tier: Tier = "advisory"
    """``required`` stops the gate: a slowdown that is confirmed, and a machine too busy to tell."""
    margin: SizeField = Size(0.05, relative=True)
    """The slowdown that is tolerated, as a share of the baseline's time: ``5%``."""

    @model_validator(mode="after")
    def _share(self) -> SpeedRule:
        if not self.margin.relative:
            raise ValueError("margin: expected a share of the baseline's time, such as 5%")
        return self


def _parse_speed(value: Any) -> Any:
    return {"tier": value} if isinstance(value, str) else value


class Policy(_PolicyPart):
    """A gate's policy."""

    schema_version: Literal[1] = 1
    required: list[Rule] = Field(default_factory=list)
    """These decide the gate."""
    supporting: list[Rule] = Field(default_factory=list)
    """These warn."""
    advisory: list[Rule] = Field(default_factory=list)
    """These inform."""
    speed: Annotated[SpeedRule, BeforeValidator(_parse_speed)] = SpeedRule()
    """A tier, or a tier and a margin: ``speed: required``, ``{tier: required, margin: 10%}``."""
    power: float = Field(default=0.8, gt=0.5, lt=1.0)
    """With which a loss must be shown: what n shows and needs is planned by it."""
    waivers: list[Waiver] = Field(default_factory=list)
    code: Literal["warn", "refuse"] = "warn"
    """Where the code of a suite differs between the two sides, and its version does not: a note, or
    an invalid gate."""
    anchor: str | None = None
    """A second, older baseline, held to the same margins, against slow erosion: a run or a pack,
    relative to this file."""
    history: list[str] = Field(default_factory=list)
    """Earlier runs or packs, relative to this file, in which the recipe was trained several times:
    a candidate of one training borrows the spread of its recipe's trainings from them."""

    def rules(self) -> list[tuple[Tier, Rule]]:
        """Returns all rules with their tiers, required ones first."""
        return [(tier, rule) for tier in TIERS for rule in self.tier(tier)]

    def tier(self, tier: Tier) -> Sequence[Rule]:
        """Returns the rules of a tier."""
        rules: list[Rule] = getattr(self, tier)
        return rules


def required_verdict(tier: Tier, rule: Rule) -> RequiredVerdict:
    """Returns how far a rule's numbers must be trusted."""
    return rule.require_verdict or ("valid" if tier == "required" else "suspect")


def on_inconclusive(tier: Tier, rule: Rule) -> OnInconclusive:
    """Returns what an inconclusive result of a rule does."""
    return rule.on_inconclusive or ("block" if tier == "required" else "warn")


def read_policy(path: Path) -> Policy:
    """Reads and checks a policy file.

    Raises:
        InputError: all mistakes at once, with their paths.
    """
    return parse_policy(read_yaml(path), str(path))


def parse_policy(data: Any, where: str) -> Policy:
    """Checks a policy.

    Raises:
        InputError: all mistakes at once, with their paths.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping with required rules")
    mistakes = Mistakes(where)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        keys = [name for part in (Policy, Rule, SpeedRule, Waiver) for name in part.model_fields]
        add_validation_errors(mistakes, error, "", keys)
        mistakes.report()
        raise AssertionError from error  # unreachable: a ValidationError holds an error
    _check(policy, mistakes)
    mistakes.report()
    return policy


def _check(policy: Policy, mistakes: Mistakes) -> None:
    if not policy.rules():
        mistakes.add("required", "expected at least one rule in a tier")
    for tier in TIERS:
        for position, rule in enumerate(policy.tier(tier)):
            path = f"{tier}[{position}]"
            if tier != "required" and rule.on_inconclusive == "block":
                mistakes.add(f"{path}.on_inconclusive", f"only required rules block, not {tier}")
            if not is_pattern(rule.address):
                _check_address(rule.address, f"{path}.address", mistakes)
    names = [rule.name for _, rule in policy.rules() if rule.name]
    for name, count in Counter(names).items():
        if count > 1:
            mistakes.add("", f"the name {name!r} is given to {count} rules")
    for position, waiver in enumerate(policy.waivers):
        if not _known(waiver, policy):
            titles = [rule.title for _, rule in policy.rules()]
            mistakes.add(f"waivers[{position}].rule", unknown("rule", waiver.rule, titles))


def _check_address(address: str, path: str, mistakes: Mistakes) -> None:
    try:
        parse_address(address)
    except ValueError as error:
        mistakes.add(path, str(error))


def _known(waiver: Waiver, policy: Policy) -> bool:
    return any(
        waiver.rule in {rule.title, rule.address} or fits(rule.address, waiver.rule)
        for _, rule in policy.rules()
    )
