"""`torch:`: mistakes of the user's, told before a model is loaded or once it has answered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.data import DataCard
from crucibench.contracts.uri import parse_uri
from crucibench.util.errors import InputError
from crucibench_adapters.torch_module import TorchAdapter

Write = Callable[[str, str], Path]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> TorchAdapter:
    adapter = TorchAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, TorchAdapter)
    return adapter


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("torch:models.py:cmn", "unknown function of models.py 'cmn'; did you mean 'cnn'?"),
        ("torch:model.py:cnn", "file 'model.py' does not exist in"),
        ("torch:models.py:cnn?weight=w.pt", "unknown option of torch: 'weight'; did you mean 'we"),
        ("torch:models.py:cnn?weights=w.bin", "weights 'w.bin': expected .safetensors, .pt or .p"),
        ("torch:models.py:cnn?weights=w.pt", "weights 'w.pt' does not exist"),
        ("torch:models.py:cnn?output=logit", "unknown output of torch: 'logit'; did you mean 'l"),
    ],
)
@pytest.mark.usefixtures("models")
def test_mistakes_show_before_anything_is_loaded(tmp_path: Path, uri: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        TorchAdapter.sources(parse_uri(uri), tmp_path)
    assert str(caught.value).startswith(told)


def test_every_file_that_matters_is_named(write: Write, tmp_path: Path) -> None:
    write("models.py", "import utils\ndef cnn(): ...")
    write("utils.py", "")
    write("w.pt", "")
    sources = TorchAdapter.sources(parse_uri("torch:models.py:cnn?weights=w.pt"), tmp_path)
    assert [file.name for file in sources.files] == ["models.py", "utils.py", "w.pt"]


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("raises", "models.py:raises raised FileNotFoundError: no weights here"),
        (
            "nothing",
            "models.py:nothing: expected the factory to return a torch.nn.Module or an Adapter, "
            "got NoneType",
        ),
        (
            "five",
            "models.py:five: the data has 10 classes, the model answers 4 samples with shape "
            "(4, 5)",
        ),
        (
            "fails",
            "models.py:fails raised RuntimeError: Given groups=1, weight of size [4, 3, 3, 3], "
            "expected input[4, 1, 8, 8] to have 3 channels, but got 1 channels instead on "
            "made-up samples of shape (4, 1, 8, 8)",
        ),
    ],
)
@pytest.mark.usefixtures("models")
def test_factories_that_give_no_usable_model(
    opening: Any, digits_card: DataCard, factory: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        opened(opening, f"torch:models.py:{factory}", digits_card)
    assert str(caught.value) == told
    if factory == "raises":
        assert 'raise FileNotFoundError("no weights here")' in (caught.value.detail or "")
    if factory == "fails":
        assert "crucibench" not in (caught.value.detail or "crucibench")


@pytest.mark.usefixtures("models")
def test_spec_and_factory_must_not_contradict_each_other(
    opening: Any, digits_card: DataCard
) -> None:
    with pytest.raises(InputError) as caught:
        opened(
            opening,
            "torch:models.py:normalised",
            digits_card,
            normalisation=Normalisation(mean=(0.5,)),
        )
    assert str(caught.value) == (
        "normalisation: the spec says Normalisation(scale=1.0, mean=(0.5,), std=(1.0,)), "
        "models.py:normalised declares Normalisation(scale=1.0, mean=(0.3,), std=(0.4,)); "
        "keep one of them"
    )
    with pytest.raises(InputError) as caught:
        opened(opening, "torch:models.py:normalised", digits_card, size=(16, 16))
    assert str(caught.value) == (
        "size: the spec says (16, 16), models.py:normalised declares (8, 8); keep one of them"
    )


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"means": [0.5]}, "unknown key of crucibench_input 'means'; did you mean 'mean'?"),
        ({"mean": 0.5}, "crucibench_input: expected range: [low, high] and lists of numbers as"),
        ({"std": [0.0]}, "crucibench_input: expected std above 0 and range from low to high"),
        ({"size": 8}, "crucibench_input: size: expected [height, width], got 8"),
        ({"channels": 2}, "channels: expected 1 or 3, got 2"),
        ({"mean": [0.1, 0.2]}, "mean and std: expected one number, or one for each of 3 channels"),
        ({"resize": "linear"}, "unknown resize 'linear'; did you mean 'bilinear'?"),
        ([0.5], "crucibench_input: expected a dict, got list"),
    ],
)
def test_declarations_that_can_not_be_read(
    opening: Any, digits_card: DataCard, declared: Any, told: str
) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.crucibench_input = declared
    with pytest.raises(InputError) as caught:
        opened(opening, "live:m", digits_card, live=module)
    assert str(caught.value).startswith(f"the live module: {told}")
