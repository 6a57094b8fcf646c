"""What a generator is: it turns a sample of the test role into one that the model never met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from crucibench.contracts.batch import Batch
from crucibench.util.draws import Draws

Kind = Literal["near", "far", "validation"]


@dataclass(frozen=True)
class Making:
    """What a generator works with.

    Attributes:
        batch: samples of the test role in canonical form.
        draws: keyed draws of the generator's stream.
        partners: for each sample another of the test role, of another class where there is one;
            None where the generator did not ask for them.
    """

    batch: Batch
    draws: Draws
    partners: Batch | None = None


class Generator(ABC):
    """Makes one sample of another.

    Attributes:
        name: as users type it.
        kind: whether what it makes is near to the known data or far from it; ``validation`` sets
            choose hyper-parameters and are never scored.
        definition: one or two sentences that a reader can make the samples again from.
        version: raised whenever the same sample and draws would give another.
        partners: whether it mixes two samples.
        default: whether it is used where the settings name none.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    definition: ClassVar[str]
    version: ClassVar[int] = 1
    partners: ClassVar[bool] = False
    default: ClassVar[bool] = True

    @abstractmethod
    def make(self, making: Making) -> Any:
        """Returns inputs of the batch's form: each depends on its own sample and draws alone."""
