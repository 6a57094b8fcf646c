"""foolbox's attacks by name: norm, kind and access, known without importing foolbox.

A test holds the table against the installed foolbox. What is left out can't meet a threat model of
this suite: attacks in L0 and L1, `GenAttack` (targeted alone), `VirtualAdversarialAttack` (no
default of its steps), `SpatialAttack` (no norm), `DatasetAttack` and `PointwiseAttack` (they need
other samples or examples), `BinarizationRefinementAttack` (it refines others' examples),
`GaussianBlurAttack` (it needs the axis of channels).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from crucibench.contracts.attack import Access, Norm
from crucibench.util.suggest import hint

PREFIX = "foolbox:"

Option = int | float | bool | str

_GRADIENT_STEPS = (
    "FastGradientAttack", "BasicIterativeAttack", "AdamBasicIterativeAttack", "PGD",
    "ProjectedGradientDescentAttack", "AdamPGD", "AdamProjectedGradientDescentAttack",
    "MomentumIterativeFastGradientMethod",
)  # fmt: skip
_NOISE_L2 = tuple(
    f"L2{clipping}{repeated}Additive{kind}NoiseAttack"
    for clipping in ("", "ClippingAware")
    for repeated in ("", "Repeated")
    for kind in ("Gaussian", "Uniform")
)
_NOISE_LINF = ("LinfAdditiveUniformNoiseAttack", "LinfRepeatedAdditiveUniformNoiseAttack")
_BRENDEL_BETHGE = ("LinfinityBrendelBethgeAttack", "L2BrendelBethgeAttack")
_ANY_NORM = (
    "BinarySearchContrastReductionAttack", "LinearSearchContrastReductionAttack",
    "LinearSearchBlendedUniformNoiseAttack", "InversionAttack",
)  # fmt: skip

FIXED: Mapping[Norm, frozenset[str]] = {
    "linf": frozenset(
        {*(f"Linf{name}" for name in _GRADIENT_STEPS), *_NOISE_LINF}
        | {"FGSM", "PGD", "AdamPGD", "MIFGSM"}
    ),
    "l2": frozenset(
        {*(f"L2{name}" for name in _GRADIENT_STEPS), *_NOISE_L2, "FGM", "L2ContrastReductionAttack"}
    ),
}
"""Attacks that are given a radius, and are run for each."""

MINIMAL: Mapping[Norm, frozenset[str]] = {
    "linf": frozenset({"LInfFMNAttack", "LinfDeepFoolAttack", _BRENDEL_BETHGE[0], *_ANY_NORM}),
    "l2": frozenset(
        {
            "BoundaryAttack", "DDNAttack", "HopSkipJumpAttack", "L2CarliniWagnerAttack",
            "L2DeepFoolAttack", "L2FMNAttack", "NewtonFoolAttack", "SaltAndPepperNoiseAttack",
            _BRENDEL_BETHGE[1], *_ANY_NORM,
        }
    ),
}  # fmt: skip
"""Attacks that look for the nearest example, and so answer for every radius at once."""

NEEDS_DISTANCE = frozenset(_ANY_NORM)
NEEDS_NUMBA = frozenset(_BRENDEL_BETHGE)

_BLACK_BOX = frozenset(
    {"BoundaryAttack", "HopSkipJumpAttack", "SaltAndPepperNoiseAttack", "L2ContrastReductionAttack"}
    | {*_NOISE_L2, *_NOISE_LINF, *_ANY_NORM}
)
_NAMES = frozenset.union(*FIXED.values(), *MINIMAL.values())


@dataclass(frozen=True)
class FoolboxName:
    """An attack of foolbox, as the spec names it: ``foolbox:NAME[?option=value&...]``.

    Attributes:
        name: of the class in ``foolbox.attacks``.
        options: of its constructor; the rest is as foolbox has it.
    """

    name: str
    options: tuple[tuple[str, Option], ...] = ()

    @classmethod
    def parse(cls, text: str) -> FoolboxName:
        """Reads what a user wrote.

        Raises:
            ValueError: if there is no such attack, or an option can't be read.
        """
        name, _, query = text.removeprefix(PREFIX).partition("?")
        if not text.startswith(PREFIX) or name not in _NAMES:
            meant = hint(text.partition("?")[0], [PREFIX + one for one in _NAMES])
            raise ValueError(f"unknown attack {text!r}{meant}")
        options = {}
        for part in filter(None, query.split("&")):
            key, equals, value = part.partition("=")
            if not equals or not key.isidentifier() or not value:
                raise ValueError(f"{text!r}: expected ?OPTION=VALUE&..., got {part!r}")
            options[key] = _value(value)
        return cls(name, tuple(sorted(options.items())))

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self.options)
        return f"{PREFIX}{self.name}" + (f"?{query}" if query else "")

    @property
    def norms(self) -> tuple[Norm, ...]:
        """The norms whose threat model it meets."""
        both: tuple[Norm, ...] = ("linf", "l2")
        return tuple(norm for norm in both if self.name in FIXED[norm] | MINIMAL[norm])

    @property
    def fixed(self) -> bool:
        """Whether it must be given a radius."""
        return any(self.name in names for names in FIXED.values())

    @property
    def access(self) -> Access:
        """What it sees of the model."""
        return "decision" if self.name in _BLACK_BOX else "white-box"


def _value(text: str) -> Option:
    if text in {"true", "false"}:
        return text == "true"
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return found if isinstance(found, int | float) else text
