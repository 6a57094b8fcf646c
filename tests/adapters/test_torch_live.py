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


SEEN: dict[tuple[int, ...], int] = {}


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
    assert set(first) == {"weights", "configuration", "preprocessing", "output"}
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
    negated = live()
    negated.register_forward_hook(lambda module, inputs, output: -output)
    assert len({str(fingerprint(module)) for module in (live(), hooked, negated)}) == 3

    scaled = [live(), live()]
    scaled[0].scale = lambda x: x  # type: ignore[assignment]
    scaled[1].scale = lambda x: 2 * x  # type: ignore[assignment]
    assert fingerprint(scaled[0]) != fingerprint(scaled[1])

    made: dict[str, Any] = {"nn": nn, "__name__": "nowhere"}
    prints = []
    for text in ("1", "2"):
        forward = f"def forward(self, x): return {text} * super().forward(x)"
        exec(f"class Sourceless(nn.Flatten):\n    {forward}", made)
        prints.append(fingerprint(nn.Sequential(made["Sourceless"](), nn.Linear(64, 10))))
    assert None not in prints
    assert prints[0] != prints[1]


def test_a_module_that_nobody_can_tell_says_what_of_it(opening: Any, digits_card: DataCard) -> None:
    def why(module: nn.Module) -> str:
        adapter = opened(opening, "live:m", digits_card, live=module)
        assert (adapter.fingerprint() is None) == bool(adapter.unidentified())
        return adapter.unidentified()

    assert why(live()) == ""
    module = nn.Sequential(live())
    module[0].table = iter([])
    assert why(module) == "attribute 0.table is an iterator"
    module[0].table = {"a": [object(), (x for x in ())]}
    assert why(module) == "attribute 0.table['a'][1] is a generator"

    class Counting(Live):
        asked = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.asked += 1
            return super().forward(x)

    assert why(Counting()) == "attribute asked is another after each question"

    class Remembering(Live):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            SEEN[tuple(x.shape)] = 1
            return super().forward(x)

    told = "Remembering.forward (global SEEN) is another after each question"
    assert told in why(Remembering())
