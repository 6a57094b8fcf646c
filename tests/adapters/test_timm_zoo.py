"""`timm:`: real architectures, their own preprocessing, local checkpoints, a whole run."""

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

pytest.importorskip("timm", reason="timm is not installed")

import timm

import crucibench as cb
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.data.images import fit
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.timm_zoo import TimmAdapter

SCORES = frozenset({"scores", "labels"})
TINY = (64, 64)


def card(classes: Sequence[str], images: str = "3x64x64") -> DataCard:
    task = Task(kind="classification", modality=Modality.IMAGE, classes=tuple(classes))
    return DataCard(name="data", uri="npz:data.npz", task=task, features={"image": images})


THREE = card(("a", "b", "c"))


def images(count: int = 4, size: tuple[int, int] = TINY) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((count, 3, *size), generator=generator)
    return Batch(tuple(f"{at:04x}" for at in range(count)), inputs)


@pytest.fixture
def opened(open_with: Any) -> Callable[..., TimmAdapter]:
    return lambda uri, data=THREE, **options: open_with(TimmAdapter, uri, data, **options)


def refused(opened: Any, uri: str, data: DataCard = THREE) -> str:
    with pytest.raises(InputError) as caught:
        opened(uri, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_convolutional_model_keeps_the_contract(opened: Any) -> None:
    check_adapter(lambda: opened("timm:resnet18?num_classes=3", size=TINY), images())
    adapter = opened("timm:resnet18?num_classes=3", size=TINY)
    assert {Capability.GRADIENTS, Capability.HEAD, Capability.LOGITS} <= adapter.capabilities
    assert adapter.diagnostics()["notes"][:2] == [
        "random weights, the same each time: the address names none",
        "preprocessing is that of timm's resnet18.a1_in1k: the address does not say",
    ]


def test_a_transformer(opened: Any) -> None:
    adapter = opened("timm:vit_tiny_patch16_224?num_classes=3")
    again = opened("timm:vit_tiny_patch16_224?num_classes=3")
    asked = images(3, (224, 224))
    a, b = (one.predict(asked, SCORES | {"features"}) for one in (adapter, again))
    np.testing.assert_array_equal(a.scores, b.scores)
    assert adapter.fingerprint() == again.fingerprint()
    weight, bias = adapter.head()
    np.testing.assert_allclose(a.features @ weight.T + bias, a.scores, atol=1e-4)
    assert adapter.with_variant("bf16").predict(asked, SCORES).scores.shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "shape", "mode"),
    [
        ("resnet18", (300, 407), "center"),
        ("vit_tiny_patch16_224", (281, 230), "center"),
        ("resnet18", (281, 407), "squash"),
    ],
)
def test_preprocessing_is_the_librarys_own(
    opened: Any, monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, int], mode: str
) -> None:
    told = timm.data.resolve_model_data_config
    monkeypatch.setattr(
        timm.data, "resolve_model_data_config", lambda model: {**told(model), "crop_mode": mode}
    )
    adapter = opened(f"timm:{name}?num_classes=3", card(("a", "b", "c"), ""))
    assert adapter.input_spec.fit == {"center": "crop", "squash": "stretch"}[mode]
    model = timm.create_model(name, num_classes=3)
    config = timm.data.resolve_model_data_config(model)
    small = np.random.default_rng(0).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC)
    expected = timm.data.create_transform(**config, is_training=False)(image)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)
    ours = fit(pixels, adapter.input_spec)
    assert ours.shape == expected.shape
    assert adapter.normalisation is not None
    mean, std = (
        torch.tensor(part).reshape(-1, 1, 1)
        for part in (adapter.normalisation.mean, adapter.normalisation.std)
    )
    # Pillow resizes in 8 bits, rounding after each direction; the harness in floats.
    levels = ((ours - mean) / std - expected).abs() * std * 255
    assert levels.max() < 3.0 and levels.mean() < 0.6


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_local_checkpoint(tmp_path: Path, opened: Any, suffix: str) -> None:
    torch.manual_seed(7)
    model = timm.create_model("resnet18", num_classes=3).eval()
    file = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), file)
    else:
        torch.save({"state_dict": model.state_dict()}, file)
    uri = f"timm:resnet18?num_classes=3&checkpoint={file.name}"
    adapter = opened(uri, size=TINY)
    mean, std = (
        torch.tensor(part).reshape(-1, 1, 1)
        for part in (adapter.normalisation.mean, adapter.normalisation.std)
    )
    with torch.no_grad():
        expected = model((images().inputs - mean) / std).numpy()
    np.testing.assert_allclose(adapter.predict(images(), SCORES).scores, expected, atol=1e-5)
    found = TimmAdapter.sources(parse_uri(uri), tmp_path)
    assert found.files == (file.resolve(),) and found.facts == {"timm": timm.__version__}
    a, b = adapter.fingerprint(), opened("timm:resnet18?num_classes=3", size=TINY).fingerprint()
    assert [key for key in a if a[key] != b[key]] == ["weights"]
    assert a["library"] == f"timm {timm.__version__}"


def test_a_thousand_classes_meet_a_few(opened: Any) -> None:
    expected = None
    for classes in (
        ("n02102040", "n01440764", "n02979186"),
        ("english_springer", "Tench", "cassette_player"),
    ):
        few = opened("timm:resnet18", card(classes), size=TINY)
        scores = few.predict(images(), SCORES).scores
        expected = scores if expected is None else expected
        np.testing.assert_array_equal(scores, expected)
        assert (
            few.diagnostics()["classes"] == "3 of the model's 1000 classes speak for the data's 3"
        )


def test_what_the_harness_can_not_do_is_refused(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = timm.data.resolve_model_data_config

    def with_changes(**changes: Any) -> None:
        monkeypatch.setattr(
            timm.data, "resolve_model_data_config", lambda model: {**told(model), **changes}
        )

    with_changes(crop_mode="squash", crop_pct=1.0)
    sizes = card(("a", "b", "c"), "3x40x60 to 3x90x70")
    squashed = opened("timm:resnet18?num_classes=3", sizes, size=TINY)
    assert squashed.input_spec.fit == "stretch"
    with_changes(crop_mode="border", crop_pct=1.0)
    message = refused(opened, "timm:resnet18?num_classes=3", sizes)
    assert message.startswith("timm:resnet18: its preprocessing adds borders to make images 224")
    cropped = opened("timm:resnet18?num_classes=3&fit=crop", sizes, size=TINY)
    assert any("fit=crop" in note for note in cropped.diagnostics()["notes"])
    opened("timm:resnet18?num_classes=3", size=TINY)  # of one shape with the model's: no stretching
    with_changes(interpolation="lanczos")
    assert refused(opened, "timm:resnet18?num_classes=3") == (
        "timm:resnet18: its preprocessing resizes by lanczos: expected bilinear, bicubic or nearest"
    )


def test_mistakes_are_one_sentence(tmp_path: Path, opened: Any) -> None:
    assert refused(opened, "timm:resnt18").startswith(
        "unknown model of timm: 'resnt18'; did you mean 'resnet18'? ("
    )
    assert refused(opened, "timm:resnet18.none").startswith(
        "unknown model of timm: 'resnet18.none'; did you mean 'resnet18."
    )
    assert refused(opened, "timm:hf-hub:someone/model").startswith("unknown model of timm: 'hf-hub")
    assert refused(opened, "timm:resnet18?pretrained=true&checkpoint=a.pth") == (
        "timm:resnet18: pretrained and checkpoint: expected one of them"
    )
    assert refused(opened, "timm:resnet18?checkpoint=a.bin") == (
        "weights 'a.bin': expected .safetensors, .pt or .pth"
    )
    assert "pretrained weights come with their own head" in refused(
        opened, "timm:resnet18?pretrained=true&num_classes=3"
    )


def test_pretrained_weights_without_network_are_one_sentence(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client tries ten times
    message = refused(opened, "timm:resnet18.a1_in1k?pretrained=true")
    assert message.startswith(
        "timm:resnet18.a1_in1k: its weights could not be downloaded, and are not in the cache: "
    )


def test_a_whole_run(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for at in range(18):
        folder = tmp_path / "photos" / ("cat", "dog", "fox")[at % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (40 + at, 64, 3)
        Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{at}.png")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    run = cb.run(
        models={"net": f"timm:test_resnet?num_classes=3&checkpoint={tmp_path}/mine.safetensors"},
        data=f"imagefolder:{tmp_path}/photos",
        suites=["accuracy"],
        out=tmp_path / "results",
    )
    metrics = run.metrics()
    assert metrics.loc[metrics["metric"] == "top-1", "n"].iloc[0] == 18


def test_the_absence_of_timm_is_one_sentence() -> None:
    code = """
import sys
sys.modules["timm"] = None
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "timm":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from pathlib import Path
from crucibench.contracts.uri import parse_uri
from crucibench_adapters.timm_zoo import TimmAdapter
try:
    TimmAdapter.sources(parse_uri("timm:resnet18"), Path())
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'timm is not installed: pip install "crucibench[vision]"\n', done.stderr
