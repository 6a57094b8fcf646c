"""`torch:FILE.pt2`: exported programs of every batch size, their gradients, and trust."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter, Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.torch_module import TorchAdapter

WANT = frozenset({"scores", "labels"})
Export = Callable[..., None]

pytestmark = pytest.mark.filterwarnings(
    # Torch's own treespecs, when a program is copied.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


@pytest.fixture
def export(tmp_path: Path, digits: Batch) -> Export:
    """Writes ``m.pt2`` from a module, for `samples` samples, or any number of them in a range."""

    def write(
        module: nn.Module,
        *examples: torch.Tensor,
        dynamic: Any = None,
        **extra: Any,
    ) -> None:
        examples = examples or (digits.inputs[:4],)
        shapes = None if dynamic is None else tuple({0: dynamic} for _ in examples)
        program = torch.export.export(module, examples, dynamic_shapes=shapes)
        files = {key: json.dumps(value) for key, value in extra.items()}
        torch.export.save(program, tmp_path / "m.pt2", extra_files=files)

    return write


def opened(opening: Any, card: DataCard, query: str = "", **options: Any) -> TorchAdapter:
    options = {"allow_pickle": True, **options}
    adapter = TorchAdapter.open(opening(f"torch:m.pt2{query}", card, **options))
    assert isinstance(adapter, TorchAdapter)
    return adapter


@pytest.mark.parametrize("batch", ["fixed", "any", "range"])
def test_batches(
    opening: Any,
    export: Export,
    trained_cnn: nn.Module,
    digits_card: DataCard,
    digits: Batch,
    batch: str,
) -> None:
    dims = {
        "fixed": None,
        "any": torch.export.Dim("samples"),
        "range": torch.export.Dim("samples", min=3, max=16),
    }
    export(trained_cnn, dynamic=dims[batch])

    def open_adapter() -> Adapter:
        return opened(opening, digits_card)

    check_adapter(open_adapter, digits)
    adapter = open_adapter()
    with torch.no_grad():
        expected = trained_cnn(digits.inputs).numpy()
    assert np.allclose(adapter.predict(digits, WANT).scores, expected, atol=1e-4)
    assert adapter.capabilities == {
        Capability.LABELS, Capability.SCORES, Capability.LOGITS, Capability.GRADIENTS,
        Capability.ANY_INPUT,
    }  # fmt: skip
    assert (adapter.input_spec.channels, adapter.input_spec.size) == (1, (8, 8))
    fixed = "the program takes 4 samples at a time, filled up by us"
    told = adapter.diagnostics()
    assert told["notes"] == ([fixed] if batch == "fixed" else [])
    assert told["training_modules"] == []
    assert set(adapter.fingerprint() or {}) == {"program", "preprocessing", "output"}


def test_gradients_are_those_of_the_module(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, digits: Batch
) -> None:
    export(trained_cnn)  # of four samples: the batch of six is filled up
    found = []
    for module in (opened(opening, digits_card).module(), trained_cnn):
        inputs = digits.inputs[:6].clone().requires_grad_()
        module(inputs).logsumexp(dim=1).sum().backward()
        found.append(inputs.grad)
    assert found[0] is not None and found[1] is not None
    assert torch.allclose(found[0], found[1], atol=1e-6)


class OfBytes(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.float() / 255)


def test_bytes_have_no_gradients(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, digits: Batch
) -> None:
    samples = torch.export.Dim("samples")
    export(OfBytes(trained_cnn), (digits.inputs[:4] * 255).to(torch.uint8), dynamic=samples)
    check_adapter(lambda: opened(opening, digits_card), digits)
    adapter = opened(opening, digits_card)
    assert Capability.GRADIENTS not in adapter.capabilities
    assert adapter.normalisation == Normalisation(scale=255.0)
    assert adapter.diagnostics()["preprocessing"]["dtype"] == "uint8"
    with torch.no_grad():
        expected = trained_cnn((digits.inputs * 255).round() / 255).numpy()
    assert np.allclose(adapter.predict(digits, WANT).scores, expected, atol=1e-4)
    with pytest.raises(InputError, match=r"^normalisation: the spec says .* m.pt2 declares"):
        opened(opening, digits_card, normalisation=Normalisation(mean=(0.5,)))


def test_what_the_archive_says_of_itself(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, digits: Batch
) -> None:
    export(
        trained_cnn,
        crucibench_input={"mean": [0.3], "std": [0.4]},
        crucibench_classes=[*map(str, range(1, 10)), "0"],
    )
    check_adapter(lambda: opened(opening, digits_card), digits)
    adapter = opened(opening, digits_card)
    assert adapter.normalisation == Normalisation(mean=(0.3,), std=(0.4,))
    with torch.no_grad():
        expected = trained_cnn((digits.inputs - 0.3) / 0.4).roll(1, dims=1).numpy()
    assert np.allclose(adapter.predict(digits, WANT).scores, expected, atol=1e-3)


def test_what_was_exported_in_train_mode_is_told(
    opening: Any, export: Export, digits_card: DataCard, trained_cnn: nn.Module
) -> None:
    other = type(trained_cnn)()
    export(other.train())
    names = opened(opening, digits_card).diagnostics()["training_modules"]
    assert sorted(names) == ["batch_norm", "dropout"]


def test_variants(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, refusal: Any
) -> None:
    export(trained_cnn)
    adapter = opened(opening, digits_card)
    assert adapter.with_variant("fp32") is adapter
    assert refusal(InputError, lambda: adapter.with_variant("bf16")) == (
        "m.pt2: an exported program has no variant 'bf16': it computes as it was exported"
    )


def test_the_fingerprint_is_the_file(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, tmp_path: Path
) -> None:
    export(trained_cnn)
    first = opened(opening, digits_card).fingerprint()
    assert first == opened(opening, digits_card).fingerprint()
    export(type(trained_cnn)().eval())
    other = opened(opening, digits_card).fingerprint()
    assert first is not None and other is not None
    assert {key for key in first if first[key] != other[key]} == {"program"}
    files = TorchAdapter.sources(parse_uri("torch:m.pt2"), tmp_path).files
    assert [file.name for file in files] == ["m.pt2"]


# Trust and mistakes.


def test_a_program_needs_the_flag(
    opening: Any, export: Export, trained_cnn: nn.Module, digits_card: DataCard, refusal: Any
) -> None:
    export(trained_cnn)
    assert refusal(InputError, lambda: opened(opening, digits_card, allow_pickle=False)) == (
        "m.pt2: torch loads an exported program in ways that can run any code in the file: pass "
        "--allow-pickle if you trust it, or export the model to ONNX"
    )


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


def test_the_flag_is_needed_for_a_reason(
    opening: Any,
    export: Export,
    trained_cnn: nn.Module,
    digits_card: DataCard,
    tmp_path: Path,
) -> None:
    export(trained_cnn)
    bomb, mark = tmp_path / "bomb.pt", tmp_path / "exploded"
    torch.save(Bomb(mark), bomb)
    inside = "sample_inputs/model.pt"
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        stored = {entry: archive.read(entry) for entry in archive.namelist()}
    (place,) = [name for name in stored if name.endswith(inside)]
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_STORED) as archive:
        for name, content in stored.items():
            archive.writestr(name, bomb.read_bytes() if name == place else content)
    with pytest.raises(InputError, match="pass --allow-pickle"):
        opened(opening, digits_card, allow_pickle=False)
    assert not mark.exists()
    with pytest.raises(InputError, match=r"^m.pt2 can't be read: "):
        opened(opening, digits_card)
    assert mark.exists()  # should torch stop doing this, the flag can go


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x + y).flatten(1)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_damaged_files(
    opening: Any, digits_card: DataCard, tmp_path: Path, content: bytes | None
) -> None:
    if content is None:
        with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
            archive.writestr("hello", "world")
    else:
        (tmp_path / "m.pt2").write_bytes(content)
    with pytest.raises(InputError, match=r"^m.pt2 can't be read: ") as caught:
        opened(opening, digits_card)
    assert "\n" not in str(caught.value)


def test_programs_that_do_not_suit(
    opening: Any,
    export: Export,
    trained_cnn: nn.Module,
    digits_card: DataCard,
    digits: Batch,
    tmp_path: Path,
    refusal: Any,
) -> None:
    images = digits.inputs[:4]
    export(Two(), images, images)
    assert (
        refusal(InputError, lambda: opened(opening, digits_card))
        == "m.pt2: expected a program of one tensor, got the inputs x, y"
    )
    export(nn.Embedding(4, 10), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match=r"expected an input of floats or uint8, got torch.int64$"):
        opened(opening, digits_card)
    export(trained_cnn)
    assert refusal(InputError, lambda: opened(opening, digits_card, size=(16, 16))) == (
        "size: the spec says (16, 16), m.pt2 declares (8, 8); keep one of them"
    )
    assert (
        refusal(
            InputError,
            lambda: TorchAdapter.sources(parse_uri("torch:m.pt2?weights=w.pt"), tmp_path),
        )
        == "'m.pt2': option weights: an exported program holds its own"
    )
    with pytest.raises(InputError, match=r"^exported program 'n.pt2' does not exist; did you mean"):
        TorchAdapter.sources(parse_uri("torch:n.pt2"), tmp_path)
