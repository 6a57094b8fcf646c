"""Operations of a model, counted by hand."""

from __future__ import annotations

import pytest
import torch

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench_suites.throughput.clock import SystemClock
from crucibench_suites.throughput.work import ceiling, count_flops


class Net(Adapter):
    capabilities = frozenset({Capability.GRADIENTS})

    def __init__(self) -> None:
        conv = torch.nn.Conv2d(1, 4, 3)
        self.net = torch.nn.Sequential(
            conv, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10)
        )

    @classmethod
    def open(cls, opening: object) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: frozenset[str]):  # noqa: ANN202
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        return self.net

    def encode(self, batch: Batch) -> torch.Tensor:
        return batch.inputs


def test_operations_are_those_of_the_formulas() -> None:
    found = count_flops(Net(), Batch(("a", "b"), torch.zeros(2, 1, 8, 8)))
    # 2 x outputs x inputs of each: 6 x 6 x 4 places of 9 weights, and 144 x 10.
    assert found["flops"] == 2 * 36 * 4 * 9 + 2 * 144 * 10
    assert found["parameters"] == 4 * 9 + 4 + 1440 + 10
    assert [name for name in found if "relu" in name] == ["uncounted:relu"]


def test_a_ceiling_is_measured_only_within_torch() -> None:
    found = ceiling(Net(), SystemClock())
    assert found["peak-flops"] > 1e6
    assert found["peak-bandwidth"] > 1e7
    other = Net()
    other.capabilities = frozenset({Capability.SCORES})  # type: ignore[misc]
    assert ceiling(other, SystemClock()) == {}
    assert count_flops(other, Batch(("a",), torch.zeros(1, 1, 8, 8))) == {}
    with pytest.raises(NotImplementedError):
        Net.open(None)
