"""`torchvision:`: real architectures, their own preprocessing, local checkpoints, a whole run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

pytest.importorskip("torchvision", reason="torchvision is not installed")

import torchvision

import crucibench as cb
from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.data.images import fit
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.torchvision_zoo import TorchvisionAdapter

SCORES = frozenset({"scores", "labels"})
TINY = (64, 64)


def card(classes: Sequence[str], *, images: str = "3x64x64", kind: Any = None) -> DataCard:
    task = Task(kind=kind or "classification", modality=Modality.IMAGE, classes=tuple(classes))
    return DataCard(name="data", uri="npz:data.npz", task=task, features={"image": images})


THREE = card(("a", "b", "c"))


def images(count: int = 4, size: tuple[int, int] = TINY) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((count, 3, *size), generator=generator)
    return Batch(tuple(f"{at:04x}" for at in range(count)), inputs)


def picture(rows: int, columns: int) -> Any:
    small = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC)


@pytest.fixture
def opened(open_with: Any) -> Callable[..., TorchvisionAdapter]:
    return lambda uri, data=THREE, **options: open_with(TorchvisionAdapter, uri, data, **options)


def refused(opened: Any, uri: str, data: DataCard = THREE, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(uri, data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_model_keeps_the_contract(opened: Any, name: str) -> None:
    def open_adapter() -> TorchvisionAdapter:
        return opened(f"torchvision:{name}?num_classes=3", size=TINY)  # type: ignore[no-any-return]

    check_adapter(open_adapter, images())
    adapter = open_adapter()
    assert {Capability.GRADIENTS, Capability.HEAD, Capability.LOGITS} <= adapter.capabilities
    assert adapter.diagnostics()["notes"][0].startswith("random weights, the same each time")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet18", (300, 407)), ("efficientnet_b0", (281, 230)), ("resnet50", (40, 61))],
)
def test_preprocessing_is_the_librarys_own(opened: Any, name: str, shape: tuple[int, int]) -> None:
    adapter = opened(f"torchvision:{name}?num_classes=3", card(("a", "b", "c"), images=""))
    preset = torchvision.models.get_model_weights(name).DEFAULT
    image = picture(*shape)
    expected = preset.transforms()(image)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)
    ours = fit(pixels, adapter.input_spec)
    assert ours.shape == expected.shape
    mean, std = (torch.tensor(part).reshape(-1, 1, 1) for part in _norm(adapter.normalisation))
    # Pillow resizes in 8 bits, rounding after each direction; the harness in floats.
    levels = ((ours - mean) / std - expected).abs() * std * 255
    assert levels.max() < 3.0 and levels.mean() < 0.6
    assert adapter.diagnostics()["preprocessing"]["resize"].endswith("224 x 224, antialiased")


def _norm(normalisation: Normalisation | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert normalisation is not None and normalisation.scale == 1.0
    return normalisation.mean, normalisation.std


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_checkpoint(tmp_path: Path, opened: Any, suffix: str) -> None:
    torch.manual_seed(7)
    model = torchvision.models.resnet18(num_classes=3).eval()
    file = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(model.state_dict(), file)
    uri = f"torchvision:resnet18?num_classes=3&weights={file.name}"
    adapter = opened(uri, size=TINY)
    mean, std = (torch.tensor(part).reshape(-1, 1, 1) for part in _norm(adapter.normalisation))
    with torch.no_grad():
        expected = model((images().inputs - mean) / std).numpy()
    np.testing.assert_allclose(adapter.predict(images(), SCORES).scores, expected, atol=1e-5)
    found = TorchvisionAdapter.sources(parse_uri(uri), tmp_path)
    assert found.files == (file.resolve(),)
    assert found.facts == {"torchvision": torchvision.__version__.partition("+")[0]}
    random = opened("torchvision:resnet18?num_classes=3", size=TINY)
    a, b = adapter.fingerprint(), random.fingerprint()
    assert [key for key in a if a[key] != b[key]] == ["weights"]
    assert set(a) == {"weights", "preprocessing", "output", "library", "architecture"}
    assert a["architecture"] == "resnet18 num_classes=3"


def test_a_checkpoint_that_does_not_fit(tmp_path: Path, opened: Any) -> None:
    model = torchvision.models.resnet18(num_classes=3)
    save_file(model.state_dict(), tmp_path / "three.safetensors")
    message = refused(opened, "torchvision:resnet18?num_classes=4&weights=three.safetensors")
    assert message.startswith("weights three.safetensors don't fit torchvision:resnet18: 2 of anot")
    torch.save(model, tmp_path / "whole.pth")
    message = refused(opened, "torchvision:resnet18?num_classes=3&weights=whole.pth")
    assert "--allow-pickle" in message


def test_a_thousand_classes_meet_a_few(opened: Any) -> None:
    full = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    whole = opened("torchvision:resnet18", card(full), size=TINY)
    expected = whole.predict(images(), SCORES).scores[:, [217, 0, 482]]
    for classes in (
        ("English springer", "tench", "cassette player"),
        ("english_springer", "Tench", "cassette_player"),
        ("n02102040", "n01440764", "n02979186"),
    ):
        few = opened("torchvision:resnet18", card(classes), size=TINY)
        np.testing.assert_array_equal(few.predict(images(), SCORES).scores, expected)
        assert (
            few.diagnostics()["classes"] == "3 of the model's 1000 classes speak for the data's 3"
        )
    message = refused(opened, "torchvision:resnet18", card(("tench", "griffin")))
    assert message.startswith("torchvision:resnet18: its classes are not the data's")
    message = refused(opened, "torchvision:resnet18?num_classes=5")
    assert "the data has 3 classes" in message


def test_variants(opened: Any) -> None:
    adapter = opened("torchvision:resnet18?num_classes=3", size=TINY)
    half = adapter.with_variant("bf16")
    assert isinstance(half, TorchvisionAdapter)
    assert half.fingerprint() == {**adapter.fingerprint(), "variant": "bf16"}
    assert half.numerics()["dtype"] == "bfloat16"
    assert half.diagnostics()["library"].startswith("torchvision ")


def test_an_architecture_with_auxiliary_heads(opened: Any) -> None:
    adapter = opened("torchvision:googlenet?num_classes=3", size=TINY)
    assert adapter.predict(images(), SCORES).scores.shape == (4, 3)
    assert "transform_input=False" in adapter.fingerprint()["architecture"]


def test_the_spec_goes_before_the_library(opened: Any) -> None:
    own = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    adapter = opened("torchvision:resnet18?num_classes=3", size=TINY, normalisation=own)
    assert adapter.normalisation == own and adapter.input_spec.size == TINY
    notes = adapter.diagnostics()["notes"]
    assert "size: [64, 64] of the spec instead of [224, 224]" in notes
    assert "range, mean and std are the spec's, not the library's" in notes


def test_whose_preprocessing_is_taken_can_be_said(opened: Any) -> None:
    first = opened("torchvision:resnet50?num_classes=3&preprocessing=IMAGENET1K_V1")
    assert first.input_spec.crop == 224 / 256
    second = opened("torchvision:resnet50?num_classes=3")
    assert second.input_spec.crop == 224 / 232
    a, b = first.fingerprint(), second.fingerprint()
    assert [key for key in a if a[key] != b[key]] == ["preprocessing"]


def test_mistakes_are_one_sentence(opened: Any) -> None:
    assert refused(opened, "torchvision:resnt18").startswith(
        "unknown model of torchvision: 'resnt18'; did you mean 'resnet18'? ("
    )
    assert refused(opened, "torchvision:resnet18?weights=IMAGENET1K").startswith(
        "unknown weights of torchvision:resnet18: 'IMAGENET1K'; did you mean 'IMAGENET1K_V1'?"
    )
    assert refused(opened, "torchvision:resnet18?num_classes=0") == (
        "torchvision:resnet18: option num_classes: expected 1 or more, got '0'"
    )
    assert refused(opened, "torchvision:resnet18?weights=none.pth") == (
        "weights 'none.pth' does not exist"
    )
    assert "num_classes: weights IMAGENET1K_V1 come with" in refused(
        opened, "torchvision:resnet18?weights=DEFAULT&num_classes=3"
    )
    texts = DataCard(
        name="t", uri="csv:t.csv",
        task=Task(kind="classification", modality=Modality.TEXT, classes=("a", "b")),
    )  # fmt: skip
    assert refused(opened, "torchvision:resnet18", texts) == (
        "torchvision:resnet18 takes images, the data holds texts"
    )
    assert "num_classes=1 makes it give one number" in refused(
        opened, "torchvision:resnet18", card((), kind="regression")
    )


def test_named_weights_without_network_are_one_sentence(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    message = refused(opened, "torchvision:resnet18?weights=IMAGENET1K_V1")
    assert message.startswith(
        "torchvision:resnet18: weights IMAGENET1K_V1 are not in torch's cache and could not be "
        "downloaded: "
    )


def test_named_weights_are_read_as_tensors_alone(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What torchvision would have downloaded, put where it looks first.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    file = hub / preset.url.rpartition("/")[2]
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), file)
    data = card(("tench", "goldfish"))
    adapter = opened("torchvision:resnet18?weights=IMAGENET1K_V1", data, size=TINY)
    assert adapter.predict(images(), SCORES).scores.shape == (4, 2)
    assert not [note for note in adapter.diagnostics()["notes"] if "preprocessing" in note]
    torch.save(model, file)  # more than tensors: code could hide in it
    message = refused(opened, "torchvision:resnet18?weights=IMAGENET1K_V1", data)
    assert "UnpicklingError" in message


def test_a_whole_run(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        images=draws.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8),
        labels=np.arange(24) % 3,
    )
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(num_classes=3)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    uri = f"torchvision:mobilenet_v3_small?num_classes=3&weights={tmp_path}/mine.safetensors"
    run = cb.run(
        models={"net": uri},
        data=f"npz:{tmp_path}/data.npz",
        suites=["accuracy"],
        out=tmp_path / "results",
    )
    metrics = run.metrics()
    assert metrics.loc[metrics["metric"] == "top-1", "n"].iloc[0] == 24


def test_the_absence_of_torchvision_is_one_sentence() -> None:
    code = """
import sys
sys.modules["torchvision"] = None
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "torchvision":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from pathlib import Path
from crucibench.contracts.uri import parse_uri
from crucibench_adapters.torchvision_zoo import TorchvisionAdapter
try:
    TorchvisionAdapter.sources(parse_uri("torchvision:resnet18"), Path())
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = 'torchvision is not installed: pip install "crucibench[vision]"\n'
    assert done.stdout == expected, done.stderr


def suppressed(boxes: torch.Tensor, scores: torch.Tensor, most: float) -> torch.Tensor:
    """Non-maximum suppression by its definition: torchvision's needs operators built for CUDA."""
    corner, left = boxes.split(2, dim=1)[0], scores.argsort(descending=True).tolist()
    size = boxes[:, 2:] - corner
    kept: list[int] = []
    while left:
        best, *left = left
        kept.append(best)
        low = torch.maximum(corner[best], corner[left])
        high = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        both = (high - low).clamp(min=0).prod(1)
        iou = both / (size[best].prod() + size[left].prod(1) - both)
        left = [row for row, one in zip(left, iou.tolist(), strict=True) if one <= most]
    return torch.tensor(kept, dtype=torch.long)


def test_a_detector_finds_what_torchvision_finds_in_images_of_their_own_sizes(
    opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torchvision.ops.boxes, "nms", suppressed)
    name, data = "ssdlite320_mobilenet_v3_large", card(("cat", "dog"), kind="detection")
    torch.manual_seed(0)
    known = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0
    ).eval()
    save_file(known.state_dict(), tmp_path / "ssd.safetensors")
    adapter = opened(f"torchvision:{name}?weights=ssd.safetensors", data)
    assert adapter.input_spec.own_sizes
    pictures = [torch.rand(3, *size) for size in ((80, 120), (64, 50))]
    answer = adapter.predict(Batch(("0", "1"), pictures), frozenset({"boxes"}))
    for row, image in enumerate(pictures):
        with torch.no_grad():
            (found,) = known([image])
        mine = {one: answer.lists(one)[np.array([row])].values for one in answer.names}
        kept = found["scores"] > 0.001  # of the model that the address names
        assert kept.any()
        assert mine["boxes"] == pytest.approx(found["boxes"][kept].numpy(), abs=1e-3)
        assert mine["labels"].tolist() == (found["labels"][kept] - 1).tolist()
        assert mine["scores"] == pytest.approx(found["scores"][kept].numpy(), abs=1e-6)
    assert "normalises by itself" in refused(
        opened, f"torchvision:{name}", data, normalisation=Normalisation(mean=(0.5,))
    )
    assert "unknown model of torchvision's detectors: 'resnet18'" in refused(
        opened, "torchvision:resnet18", data
    )
    assert "3, got 5" in refused(opened, f"torchvision:{name}?num_classes=5", data)
