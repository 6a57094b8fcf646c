"""What inspection found."""

from __future__ import annotations

from dataclasses import dataclass, field

from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.engine.fixed_probe import ProbeAnswer
from crucibench.util.errors import CrucibenchError


@dataclass
class Inspection:
    """What inspection found.

    Attributes:
        data: the opened data sets by name.
        models: by (model, data set).
        seconds_per_sample: measured on the probe batch, by (model, data set).
        batch_sizes: what ``auto`` comes to, by (model, data set).
        probes: what each model answers to the fixed probe, by (model, data set), where it does.
        errors: why a model could not be inspected, by (model, data set); `UnavailableError` of a
            form of a model that can't be had on this machine.
        reads: files that models and data read besides those that the spec names, by absolute path,
            with their SHA-256.
    """

    data: dict[str, EvalSet] = field(default_factory=dict)
    models: dict[tuple[str, str], ModelInfo] = field(default_factory=dict)
    seconds_per_sample: dict[tuple[str, str], float] = field(default_factory=dict)
    batch_sizes: dict[tuple[str, str], int] = field(default_factory=dict)
    probes: dict[tuple[str, str], ProbeAnswer] = field(default_factory=dict)
    errors: dict[tuple[str, str], CrucibenchError] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)

    @property
    def cards(self) -> dict[str, DataCard]:
        """The data cards by name."""
        return {name: evalset.card for name, evalset in self.data.items()}
