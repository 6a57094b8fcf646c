"""Weights of `torch:`: state dicts in every wrapping, and files that hold something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from crucibench.contracts.data import DataCard
from crucibench.util.errors import InputError
from crucibench_adapters.torch_module import TorchAdapter

Write = Callable[[str, str], Path]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> TorchAdapter:
    adapter = TorchAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, TorchAdapter)
    return adapter


@pytest.fixture
def state(models: Path, opening: Any, digits_card: DataCard) -> dict[str, torch.Tensor]:
    module = opened(opening, "torch:models.py:cnn", digits_card)._module
    return {key: value + 0.5 for key, value in module.state_dict().items()}


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pt_weights(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    wrap: str | None,
    suffix: str,
) -> None:
    stored = {wrap: state, "epoch": 3} if wrap else state
    torch.save(stored, tmp_path / f"w{suffix}")
    adapter = opened(opening, f"torch:models.py:cnn?weights=w{suffix}", digits_card)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])
    assert adapter.diagnostics()["notes"] == []


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_wrapper_s_prefix_is_taken_off_and_said_so(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    prefix: str,
) -> None:
    wrapped = {f"{prefix}{key}": value for key, value in state.items()}
    save_file(wrapped, tmp_path / "w.safetensors")
    adapter = opened(opening, "torch:models.py:cnn?weights=w.safetensors", digits_card)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])
    assert adapter.diagnostics()["notes"] == [
        f"the prefix {prefix!r} was taken off all names in w.safetensors"
    ]


def test_tied_weights_may_be_stored_once(
    opening: Any, write: Write, digits_card: DataCard, tmp_path: Path
) -> None:
    write(
        "models.py",
        """
        from torch import nn
        def tied():
            layers = [nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)]
            net = nn.Sequential(nn.Flatten(), *layers)
            net[2].weight = net[1].weight
            return net
        """,
    )
    module = opened(opening, "torch:models.py:tied", digits_card)._module
    state = {key: value + 1 for key, value in module.state_dict().items() if key != "2.weight"}
    save_file(state, tmp_path / "w.safetensors")
    adapter = opened(opening, "torch:models.py:tied?weights=w.safetensors", digits_card)
    assert torch.equal(adapter._module.state_dict()["2.weight"], state["1.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda state: [state.pop(key) for key in ("conv.weight", "conv.bias")],
            "2 missing (conv.weight, conv.bias)",
        ),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected (extra)"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(10, 64)}),
            "1 of another shape (fc.weight: (10, 64) in the file, (10, 128) in the model)",
        ),
        (
            lambda state: [state.update({f"net.{key}": state.pop(key)}) for key in sorted(state)],
            "8 missing (conv.weight, conv.bias, norm.weight, ...), "
            "9 unexpected (net.conv.bias, net.conv.weight, net.fc.bias, ...)",
        ),
    ],
)
def test_weights_that_do_not_fit(
    opening: Any,
    digits_card: DataCard,
    tmp_path: Path,
    state: dict[str, torch.Tensor],
    change: Callable[[dict[str, torch.Tensor]], Any],
    told: str,
) -> None:
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        opened(opening, "torch:models.py:cnn?weights=w.pt", digits_card)
    assert str(caught.value) == f"weights w.pt don't fit models.py:cnn: {told}"


class Pickled:
    pass


def test_pickled_weights_need_the_flag(
    opening: Any, digits_card: DataCard, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({"state_dict": state, "config": Pickled()}, tmp_path / "w.pt")
    uri = "torch:models.py:cnn?weights=w.pt"
    with pytest.raises(InputError) as caught:
        opened(opening, uri, digits_card)
    assert str(caught.value) == (
        "weights w.pt hold more than tensors: save the state dict alone, best as .safetensors, "
        "or pass --allow-pickle, which lets the file run code"
    )
    assert "Pickled" in (caught.value.detail or "")
    adapter = opened(opening, uri, digits_card, allow_pickle=True)
    assert torch.equal(adapter._module.state_dict()["fc.bias"], state["fc.bias"])


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ([torch.zeros(1)], "weights w.pt: expected a state dict, got list"),
        (
            {"epoch": 3, "net": {}},
            "weights w.pt: expected a state dict (perhaps under state_dict, model, "
            "model_state_dict), and it has other entries: epoch, net",
        ),
        (
            {},
            "weights w.pt: expected a state dict (perhaps under state_dict, model, "
            "model_state_dict), and it is empty",
        ),
    ],
)
@pytest.mark.usefixtures("models")
def test_what_is_no_state_dict(
    opening: Any, digits_card: DataCard, tmp_path: Path, stored: Any, told: str
) -> None:
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        opened(opening, "torch:models.py:cnn?weights=w.pt", digits_card)
    assert str(caught.value) == told


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.usefixtures("models")
def test_damaged_weights(opening: Any, digits_card: DataCard, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(InputError, match=rf"^weights {name} (can't be read|hold more than)"):
        opened(opening, f"torch:models.py:cnn?weights={name}", digits_card)
