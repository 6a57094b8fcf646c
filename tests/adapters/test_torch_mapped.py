"""Weights that are mapped from their file: shared pages, and otherwise as if they were copied."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from crucibench.contracts.task import OutputError
from crucibench_adapters._torch_mapped import map_weights, placement
from crucibench_adapters._torch_weights import fit_weights, read_weights, weights_digest

SIDE = 512
"""A float32 matrix of this side is one mebibyte: the least that is mapped."""


class Net(nn.Module):
    """One layer that is worth mapping, one that is not, and a large buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE)
        self.norm = nn.BatchNorm1d(SIDE)
        self.register_buffer("table", torch.zeros(SIDE, SIDE))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.norm(self.large(inputs)) @ self.table


class Tied(nn.Module):
    """Two names for one matrix, of which a file holds one; and a list that refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(SIDE, SIDE, bias=False)
        self.second = nn.Linear(SIDE, SIDE, bias=False)
        self.second.weight = self.first.weight
        self.listed = [self.first.weight]


class Aliased(nn.Module):
    """Keeps a view of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE, bias=False)
        self.turned = self.large.weight.detach().T


class Hooked(nn.Module):
    """Loads in its own way: what is stored is twice what is used."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(SIDE, SIDE, bias=False)
        self.register_load_state_dict_pre_hook(self._halved)

    @staticmethod
    def _halved(module: nn.Module, state: dict[str, torch.Tensor], *rest: Any) -> None:
        for key in list(state):
            state[key] = state[key] / 2


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[dict[str, torch.Tensor]], Path]:
    def store(state: dict[str, torch.Tensor]) -> Path:
        save_file(
            {key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors"
        )
        return tmp_path / "w.safetensors"

    return store


def fit(module: nn.Module, file: Path) -> None:
    fit_weights(module, read_weights(file, allow_pickle=False), file, "the module")


def random_state(module: nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        key: torch.rand_like(value) if value.is_floating_point() else value.clone()
        for key, value in module.state_dict().items()
    }


def test_mapped_weights_are_the_files_and_all_else_stays(stored: Any) -> None:
    net, copied = Net(), Net()
    net.large.weight.requires_grad_(False)
    own = {name: id(value) for name, value in (*net.named_parameters(), *net.named_buffers())}
    state = random_state(net)
    fit(net, stored(state))
    copied.load_state_dict(state)
    assert placement(net).startswith("mapped, +") and placement(copied) == ""
    assert own == {name: id(part) for name, part in (*net.named_parameters(), *net.named_buffers())}
    assert not net.large.weight.requires_grad and net.large.bias.requires_grad
    assert weights_digest(net) == weights_digest(copied)
    inputs = torch.randn(4, SIDE)
    assert torch.allclose(net.eval()(inputs), copied.eval()(inputs), rtol=1e-4, atol=1e-4)


def test_what_is_tied_stays_tied_also_where_it_is_only_listed(stored: Any) -> None:
    net = Tied()
    file = stored({"first.weight": torch.randn(SIDE, SIDE)})
    fit(net, file)
    assert placement(net)
    assert net.first.weight is net.second.weight is net.listed[0]
    assert torch.equal(net.second.weight, read_weights(file, allow_pickle=False)["first.weight"])


def test_a_view_of_the_weights_goes_on_to_show_them(stored: Any) -> None:
    net = Aliased()
    fit(net, stored(random_state(net)))
    assert placement(net) == ""
    assert torch.equal(net.turned, net.large.weight.T)


def test_a_module_that_loads_in_its_own_way_does_so(stored: Any) -> None:
    net = Hooked()
    state = random_state(net)
    fit(net, stored(state))
    assert placement(net) == ""
    assert torch.equal(net.large.weight, state["large.weight"] / 2)


@pytest.mark.parametrize(
    "changed",
    [
        lambda net: net.half(),
        lambda net: net.double(),
        lambda net: setattr(net.large, "weight", nn.Parameter(torch.zeros(SIDE, SIDE).T)),
        lambda net: setattr(net.large, "weight", nn.Parameter(torch.zeros(2, SIDE, SIDE)[1])),
    ],
    ids=["half", "double", "strides", "slice"],
)
def test_what_does_not_fit_is_copied(stored: Any, changed: Callable[[nn.Module], Any]) -> None:
    net = Aliased()
    del net.turned
    state = random_state(net)
    changed(net)
    before = net.large.weight.dtype, net.large.weight.stride(), net.large.weight.data_ptr()
    fit(net, stored(state))
    after = net.large.weight.dtype, net.large.weight.stride(), net.large.weight.data_ptr()
    assert before == after and placement(net) == ""
    assert torch.equal(net.large.weight, state["large.weight"].to(before[0]))


def test_small_weights_are_copied(stored: Any) -> None:
    net = nn.Linear(8, 8)
    state = random_state(net)
    assert map_weights(net, state, stored(state)) == set()


def test_training_on_leaves_the_file_as_it_is(stored: Any) -> None:
    net = Net()
    file = stored(random_state(net))
    content = file.read_bytes()
    fit(net, file)
    torch.optim.SGD(net.parameters(), lr=1.0).zero_grad()
    net(torch.randn(4, SIDE)).sum().backward()
    assert net.large.weight.grad is not None
    with torch.no_grad():
        net.large.weight += net.large.weight.grad
    assert file.read_bytes() == content
    assert not torch.equal(net.large.weight, read_weights(file, allow_pickle=False)["large.weight"])


def test_a_file_that_changes_under_the_model_ends_its_answers(stored: Any, tmp_path: Path) -> None:
    net = Net().eval()
    file = stored(random_state(net))
    fit(net, file)
    net(torch.zeros(1, SIDE))
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes())
    other.replace(file)
    with pytest.raises(OutputError, match=r"weights w\.safetensors were changed while the model"):
        net(torch.zeros(1, SIDE))


_CHILD = """
import json, sys
from pathlib import Path
import torch
from crucibench_adapters._torch_weights import fit_weights, read_weights, weights_digest

def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":") for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {key: int(value.split()[0]) >> 10 for key, value in found.items()}

file = Path(sys.argv[1])
with torch.inference_mode():
    torch.nn.Linear(8, 8)(torch.zeros(1, 8))
before = memory()
net = torch.nn.Sequential(*(torch.nn.Linear(2048, 2048) for _ in range(12)))
made = memory()
fit_weights(net, read_weights(file, allow_pickle=False), file, "net")
with torch.inference_mode():
    net(torch.zeros(1, 2048))
weights_digest(net)
print(json.dumps([before, made, memory()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_two_hundred_megabytes_of_weights_cost_little_memory_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    net = nn.Sequential(*(nn.Linear(2048, 2048, device="meta") for _ in range(12)))
    save_file({key: torch.ones(part.shape) for key, part in net.state_dict().items()}, file)
    assert file.stat().st_size > 200 * 10**6
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(file)], capture_output=True, text=True, check=True
    )
    before, made, after = json.loads(done.stdout)
    assert made["RssAnon"] - before["RssAnon"] > 180, "the factory's own weights"
    assert after["RssAnon"] - before["RssAnon"] < 20
    assert after["RssFile"] - before["RssFile"] > 180, "all of it was read"
