"""Live modules: taken, given back as they were, and told apart by all that changes answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.testing import check_adapter
from crucibench_adapters.torch_module import TorchAdapter


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> TorchAdapter:
    adapter = TorchAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, TorchAdapter)
    return adapter


class Live(nn.Module):
    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(x.flatten(1)) / self.temperature
        return logits


def live(temperature: float = 1.0) -> Live:
    torch.manual_seed(0)
    return Live(temperature)


def test_live_modules(opening: Any, digits_card: DataCard, digits: Batch) -> None:
    assert TorchAdapter.accepts(live())
    assert not TorchAdapter.accepts(print)
    check_adapter(lambda: opened(opening, "live:m", digits_card, live=live()), digits)


def test_a_live_module_is_given_back_as_it_was(opening: Any, digits_card: DataCard) -> None:
    module = live()
    module.fc.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    adapter = opened(opening, "live:m", digits_card, live=module)
    assert not module.training
    adapter.close()
    assert module.training
    assert not module.fc.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_the_fingerprint_of_a_live_module_follows_all_that_changes_its_answers(
    opening: Any, digits_card: DataCard
) -> None:
    def fingerprint(module: nn.Module) -> dict[str, str] | None:
        found = opened(opening, "live:m", digits_card, live=module).fingerprint()
        return None if found is None else dict(found)

    first = fingerprint(live())
    assert first is not None
    assert set(first) == {"weights", "source", "configuration", "preprocessing", "output"}
    assert fingerprint(live()) == first

    other = fingerprint(live(temperature=2.0))
    assert other is not None
    assert {key for key in first if first[key] != other[key]} == {"configuration"}

    retrained = live()
    with torch.no_grad():
        retrained.fc.bias[0] += 1
    other = fingerprint(retrained)
    assert other is not None
    assert {key for key in first if first[key] != other[key]} == {"weights"}

    hooked = live()
    hooked.register_forward_hook(lambda *_: None)
    assert fingerprint(hooked) is None

    opaque = live()
    opaque.scale = lambda x: x  # type: ignore[assignment]
    assert fingerprint(opaque) is None

    made: dict[str, Any] = {"nn": nn, "__name__": "nowhere"}
    exec("class Sourceless(nn.Flatten):\n    pass", made)
    module = nn.Sequential(made["Sourceless"](), nn.Linear(64, 10))
    assert fingerprint(module) is None
