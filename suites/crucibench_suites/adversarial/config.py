"""What a user may set under ``suites: {adversarial: ...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, StrictStr, ValidationError, field_validator
from pydantic_core.core_schema import ValidationInfo

from crucibench.contracts.attack import Attack, attacks
from crucibench.contracts.suite import SuiteConfig
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown
from crucibench_suites.adversarial.blackbox.scenario import BlackBoxAttack
from crucibench_suites.adversarial.foolbox_names import PREFIX, FoolboxName
from crucibench_suites.adversarial.protocol import Precision
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.threat import ImageNorm, ThreatModel


def listed(value: object) -> object:
    """Returns one entry as a list, and ``0.1,8/255`` of a command line as two."""
    if isinstance(value, str) and "," in value:
        return [part.strip() for part in value.split(",")]
    return value if isinstance(value, list | tuple) else [value]


TextAttackName = Literal["characters", "substitutions"]

SUFFIXES = (".json", ".csv")


class TextConfig(SuiteConfig):
    """Settings of attacks on texts."""

    texts: Annotated[
        tuple[TextAttackName, ...],
        BeforeValidator(listed),
        Field(min_length=1, strict=False),
    ] = ("characters", "substitutions")
    """Attacks on texts: edits of ``characters``, and ``substitutions`` of words for words."""

    words: Annotated[
        tuple[Annotated[Number, Field(ge=0, le=1)], ...],
        BeforeValidator(listed),
        Field(min_length=1, max_length=64, strict=False),
    ] = (0.1, 0.2, 0.3)
    """The shares of a text's words that may be changed."""

    label_only: bool = False
    """Whether models with scores are also attacked by what they name alone; models without scores
    are so in any case."""

    stop_words: (
        Literal["english", "none"]
        | Annotated[tuple[StrictStr, ...], BeforeValidator(listed), Strict(False)]
    ) = "english"
    """Words that attacks leave alone: those of ``english``, ``none``, or a list of your own."""

    protect: Annotated[tuple[StrictStr, ...], BeforeValidator(listed), Strict(False)] = ()
    """Text columns that attacks leave alone."""

    substitutions: StrictStr | None = None
    """A file of words and what may replace them (``.json``: an object from words to lists of words;
    ``.csv``: a word a line, and others after it); left out, the model's own embeddings tell, where
    it has some."""

    @field_validator("texts", "words")
    @classmethod
    def _once(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"expected each once, got {list(value)}")
        return value

    @field_validator("substitutions")
    @classmethod
    def _form(cls, value: str | None) -> str | None:
        if value is not None and PurePath(value).suffix not in SUFFIXES:
            raise ValueError(f"expected a .json or .csv file, got {value!r}")
        return value

    def files(self) -> Mapping[str, str]:
        """Returns the list of substitutions, if there is one."""
        return {} if self.substitutions is None else {"substitutions": self.substitutions}


class AdversarialConfig(TextConfig):
    """Settings of the adversarial suite."""

    norm: Annotated[
        tuple[ImageNorm, ...],
        BeforeValidator(listed),
        Field(min_length=1, strict=False, json_schema_extra={"examples": ["linf", ["linf", "l2"]]}),
    ] = ("linf",)
    """``linf``, ``l2``, ``l1``, or a list of them."""

    constraints: Constraints | None = None
    """What may be changed in a row of a table: tables are attacked only where it is declared."""

    eps: (
        Annotated[tuple[Number, ...], BeforeValidator(listed), Field(min_length=1, strict=False)]
        | None
    ) = None
    """One radius or a grid of them, e.g. ``8/255``; left out, what suits the size of the images.
    Of tables in units of each column's spread."""

    protocol: Literal["quick", "standard", "rand"] | None = None
    """Which series of attacks; left out, the preset's: ``quick`` or ``standard``."""

    precision: Precision = "fp32"
    """In what attacks compute: ``fp32`` or ``bf16``. Examples are confirmed in float32."""

    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many samples; left out, the preset's 200, 1,000 or all."""

    seed: Annotated[int, Field(ge=0)] | None = None
    """Of all draws; left out, the run's."""

    attacks: Annotated[tuple[StrictStr, ...], BeforeValidator(listed), Strict(False)] = ()
    """Attacks to run beside the protocol: those that packages register, by name, and foolbox's as
    ``foolbox:LInfFMNAttack``, with options of its constructor as ``foolbox:LinfPGD?steps=100``."""

    force: bool = False
    """Whether an attack that fails its self-test is run all the same: its numbers are suspect."""

    blackbox: (
        Annotated[tuple[BlackBoxAttack, ...], BeforeValidator(listed), Strict(False)] | None
    ) = None
    """Attacks without gradients: ``square`` on scores, ``hopskipjump`` and ``boundary`` (L2 alone)
    on labels; left out, the first three for models that have no gradients."""

    floor: bool = False
    """Whether a lower bound is computed beside the attacks: of ReLU networks, linear models, trees,
    forests and boosting on images; others are told why not."""

    queries: Annotated[int, Field(ge=1)] | None = None
    """What an attack without gradients may ask about each sample, Square at each radius; left out,
    the preset's 500 or 5,000."""

    surrogate: StrictStr | None = None
    """A model of the run whose gradients make examples that the others are asked about."""

    supplied: StrictStr | None = None
    """A file of adversarial inputs from elsewhere (``.npz``, ``.safetensors`` or ``.parquet``), to
    be checked and to count in the worst case."""

    flips: StrictStr | None = None
    """Where samples have several labels: the one whose change counts; left out, any of them."""

    save_adversarials: bool = False
    """Whether the inputs that attacks found are kept, as artefacts of their cells."""

    def files(self) -> Mapping[str, str]:
        """Returns the files of supplied examples and of substitutions, if there are some."""
        supplied = {} if self.supplied is None else {"supplied": self.supplied}
        return {**supplied, **super().files()}

    def registered(self, space: str) -> list[Attack]:
        """Returns the registered attacks on a space that are named.

        Raises:
            InputError: if one is on another.
        """
        found = [attacks().get(name) for name in self.attacks if not is_of_foolbox(name)]
        for one in found:
            if one.space != space:
                raise InputError(
                    f"adversarial.attacks: {one.name!r} attacks {one.space}s, the data are {space}s"
                )
        return found

    def check_installed(self) -> None:
        """Makes each attack of foolbox once: wrong options, and missing packages, show now."""
        for text in filter(is_of_foolbox, self.attacks):
            from crucibench_suites.adversarial.of_foolbox import FoolboxAttack

            named = FoolboxName.parse(text)
            FoolboxAttack(named, named.norms[0])

    @field_validator("norm", "blackbox")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError(f"expected each once, got {list(value)}")
        return value

    @field_validator("eps")
    @classmethod
    def _radii(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        norm = info.data.get("norm", ())
        if value is None or not norm:
            return value
        if len(norm) > 1:
            raise ValueError("radii of two norms mean different things: name one norm")
        try:
            table = info.data.get("constraints") is not None
            ThreatModel(norm=norm[0], eps=value, unit="spreads" if table else "pixels")
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ").removeprefix("eps: ")
            raise ValueError(reason) from None
        return value

    @field_validator("blackbox")
    @classmethod
    def _of_the_norm(
        cls, value: tuple[BlackBoxAttack, ...] | None, info: ValidationInfo
    ) -> tuple[BlackBoxAttack, ...] | None:
        norms = info.data.get("norm", ())
        for method in value or ():
            _check_norms(method, attacks().get(method).norms, norms)
        return value

    @field_validator("attacks")
    @classmethod
    def _known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        norms = info.data.get("norm", ())
        for text in value:
            if text.startswith(PREFIX):
                _check_norms(text, FoolboxName.parse(text).norms, norms)
            elif text not in attacks().names():
                raise ValueError(_unknown(text))
            elif (attack := attacks().get(text)).space != "text":
                _check_norms(text, attack.norms, norms)
        names = [text.partition("?")[0] for text in value]
        if len(set(names)) != len(names):
            raise ValueError(f"expected each attack once, got {list(value)}")
        return value


def is_of_foolbox(name: str) -> bool:
    """Whether an attack is named as one of foolbox."""
    return name.startswith(PREFIX)


def _check_norms(name: str, known: Sequence[str], norms: Sequence[str]) -> None:
    """Raises ValueError if an attack meets none of the norms asked for."""
    if norms and not set(norms) & set(known):
        raise ValueError(
            f"{name!r} is an attack in {' and '.join(known)}, not in {' or '.join(norms)}"
        )


def _unknown(name: str) -> str:
    """Returns what is wrong with the name of no attack, with the nearest that there is."""
    try:
        FoolboxName.parse(name)
    except ValueError as error:
        if "did you mean" in str(error):
            return str(error)
    return unknown("attack", name, attacks().names())
