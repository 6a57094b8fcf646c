"""`hf:` with images: geometry, normalisation and answers against `transformers` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers", reason="transformers is not installed")

import crucibench as cb
from crucibench.contracts.adapter import Normalisation
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality, Task
from crucibench.data.images import fit
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters._classes import imagenet_synsets, named_for

SCORES = frozenset({"scores", "labels"})
ANIMALS = ("bird", "cat", "dog")


def softmax(scores: Any) -> Any:
    return torch.from_numpy(scores).softmax(dim=1).numpy()


def vit(folder: Path, processor: Any, *, size: int = 32, **options: Any) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=size, patch_size=8, initializer_range=0.5,
        **{"id2label": {0: "cat", 1: "dog", 2: "bird"}, **options},
    )  # fmt: skip
    model = ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


def vit_processor(**options: Any) -> Any:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return ViTImageProcessorPil(**{"size": {"height": 32, "width": 32}, **options})


def cropping(**options: Any) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    sizes = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
    return CLIPImageProcessorPil(**{**sizes, **options})


def picture(rows: int, columns: int) -> Any:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC)


def canonical(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)


def normalised(pixels: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    mean, std = (
        torch.tensor(part).reshape(-1, 1, 1) for part in (normalisation.mean, normalisation.std)
    )
    return (pixels * normalisation.scale - mean) / std


@pytest.mark.parametrize(
    ("make", "images", "shape"),
    [
        (vit_processor, "3x48x48", (48, 48)),
        # Half pixels of a crop are rounded in another way: sides that leave an even rest.
        (cropping, "3x10x10 to 3x90x70", (60, 84)),
        (lambda: cropping(resample=2), "3x50x90", (50, 90)),
        # Stretched: wide, high, larger, and with a crop after it.
        (vit_processor, "3x10x10 to 3x90x70", (70, 90)),
        (lambda: vit_processor(resample=3), "3x80x50", (80, 50)),
        (lambda: vit_processor(resample=2), "3x20x30", (20, 30)),
        (
            lambda: cropping(size={"height": 40, "width": 40}, resample=2),
            "3x10x10 to 3x90x70",
            (60, 90),
        ),
    ],
)
def test_images_are_prepared_and_answered_as_transformers_does(
    tmp_path: Path, opened: Any, make: Any, images: str, shape: tuple[int, int], card: Any
) -> None:
    processor = make()
    model = vit(tmp_path / "vit", processor)
    data = card(ANIMALS, images=images)
    adapter = opened("hf:vit", data)
    assert adapter.input_spec.size == (32, 32) and adapter.input_spec.channels == 3
    image = picture(*shape)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    ours = fit(canonical(image), adapter.input_spec)
    # Pillow resizes in 8 bits, rounding after each direction; the harness in floats.
    levels = (normalised(ours, adapter.normalisation) - pixels[0]).abs()
    levels = levels * torch.tensor(adapter.normalisation.std).reshape(-1, 1, 1) * 255
    assert levels.max() < 3.0 and levels.mean() < 0.6
    # On the very same pixels, the answers are the same.
    exact = np.random.default_rng(1).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    plain = vit_processor(image_mean=processor.image_mean, image_std=processor.image_std)
    rows = plain(images=list(exact[:, :, :, None].repeat(3, 3)), return_tensors="pt")
    with torch.no_grad():
        expected = model(**rows).logits.softmax(dim=1).numpy()[:, [2, 0, 1]]
    inputs = torch.from_numpy(exact[:, None].repeat(3, 1).astype(np.float32) / 255)
    outputs = adapter.predict(Batch(("a", "b", "c"), inputs), SCORES)
    np.testing.assert_allclose(softmax(outputs.scores), expected, atol=1e-6)
    assert outputs.labels.tolist() == expected.argmax(axis=1).tolist()


def test_an_image_model_keeps_the_contract(tmp_path: Path, opened: Any, card: Any) -> None:
    vit(tmp_path / "vit", vit_processor())
    data = card(ANIMALS, images="3x32x32")
    generator = torch.Generator().manual_seed(0)
    asked = Batch(tuple("abcd"), torch.rand((4, 3, 32, 32), generator=generator))
    check_adapter(lambda: opened("hf:vit", data), asked)
    found = opened("hf:vit", data)
    assert {Capability.GRADIENTS, Capability.HEAD} <= found.capabilities
    assert Capability.EMBEDDINGS not in found.capabilities
    assert found.normalisation == Normalisation(mean=(0.5,) * 3, std=(0.5,) * 3)


def test_a_model_of_one_channel(tmp_path: Path, opened: Any, card: Any) -> None:
    processor = vit_processor(image_mean=[0.3], image_std=[0.4])
    model = vit(tmp_path / "vit", processor, num_channels=1)
    adapter = opened("hf:vit", card(ANIMALS, images="1x32x32"))
    assert adapter.input_spec.channels == 1
    inputs = torch.rand((3, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(pixel_values=(inputs - 0.3) / 0.4).logits.numpy()[:, [2, 0, 1]]
    scores = adapter.predict(Batch(("a", "b", "c"), inputs), SCORES).scores
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_an_image_is_stretched_as_the_processor_does_unless_cropping_is_asked_for(
    tmp_path: Path, opened: Any, card: Any
) -> None:
    vit(tmp_path / "vit", vit_processor())
    data = card(ANIMALS, images="3x10x10 to 3x90x70")
    adapter = opened("hf:vit", data)
    assert adapter.input_spec.fit == "stretch" and adapter.diagnostics()["notes"] == []
    told = adapter.diagnostics()["preprocessing"]["resize"]
    assert told == "bilinear stretched to 32 x 32, antialiased"
    cropping = opened("hf:vit?fit=crop", data)
    assert cropping.input_spec.fit == "crop"
    assert cropping.diagnostics()["notes"] == [
        "images are cropped, where the library stretches them (fit=crop)"
    ]
    assert cropping.fingerprint() != adapter.fingerprint()
    # With nothing to stretch, it takes what other models of its size take.
    assert opened("hf:vit", card(ANIMALS, images="3x48x48")).input_spec.fit == "crop"
    with pytest.raises(InputError, match=r"^hf:vit: option fit: expected crop, got 'squash'$"):
        opened("hf:vit?fit=squash", data)


def test_a_folder_of_images_needs_no_options(tmp_path: Path) -> None:
    model = vit(tmp_path / "vit", processor := vit_processor())
    draws = np.random.default_rng(0)
    shapes = [(40, 60), (64, 32), (33, 90), (32, 32)]
    for number in range(24):
        path = tmp_path / "photos" / ANIMALS[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 256, (*shapes[number % 4], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    run = cb.run(
        models={"vit": f"hf:{tmp_path / 'vit'}"}, data=f"imagefolder:{tmp_path / 'photos'}",
        suites=["accuracy"], out=tmp_path / "results",
    )  # fmt: skip
    right = 0
    for path in sorted((tmp_path / "photos").glob("*/*.png")):
        with torch.no_grad():
            inputs = processor(images=Image.open(path), return_tensors="pt")
            place = int(model(**inputs).logits.argmax())
        right += model.config.id2label[place] == path.parent.name
    metrics = run.metrics()
    (top,) = metrics.loc[metrics["metric"] == "top-1", "value"]
    # Resizing in floats instead of 8 bits may turn one of them.
    assert abs(top * 24 - right) <= 1


@pytest.mark.parametrize(
    ("make", "does"),
    [
        (lambda: vit_processor(resample=1), "resizes by LANCZOS"),
        (lambda: cropping(do_center_crop=False), "keeps the proportions of images and crops none"),
        (lambda: cropping(do_resize=False), "crops images without resizing them"),
        (
            lambda: cropping(crop_size={"height": 32, "width": 24}),
            "crops to 32 x 24 after resizing the shorter side",
        ),
    ],
)
def test_processors_that_do_something_else_are_refused(
    tmp_path: Path, opened: Any, make: Any, does: str, card: Any, refusal: Any
) -> None:
    vit(tmp_path / "vit", make())
    assert refusal(
        InputError, lambda: opened("hf:vit", card(ANIMALS, images="3x32x32"))
    ).startswith(f"hf:vit: its image processor {does}: expected ")


def test_a_processor_is_tried_out(tmp_path: Path, opened: Any, card: Any) -> None:
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    # Its settings look like any other's, and it divides by std a second time (include_top).
    size = {"height": 32, "width": 32}
    processor = EfficientNetImageProcessorPil(size=size, resample=2, include_top=True)
    vit(tmp_path / "vit", processor)
    with pytest.raises(InputError, match="does more than resizing, cropping, rescaling and normal"):
        opened("hf:vit", card(ANIMALS, images="3x32x32"))


def test_the_specs_normalisation_goes_before_the_librarys(
    tmp_path: Path, opened: Any, card: Any
) -> None:
    vit(tmp_path / "vit", vit_processor())
    data = card(ANIMALS, images="3x32x32")
    own = Normalisation(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    adapter = opened("hf:vit", data, normalisation=own)
    assert adapter.normalisation == own
    assert adapter.diagnostics()["notes"] == [
        "range, mean and std are the spec's, not the library's"
    ]


def test_imagenet_classes_are_found_by_synset_and_by_name() -> None:
    names = [f"name {at}" for at in range(1000)]
    names[0], names[217], names[999] = "tench, Tinca tinca", "English springer, x", "toilet tissue"
    synsets = imagenet_synsets(names)
    assert len(synsets) == 1000 and synsets[0] == "n01440764" and synsets[217] == "n02102040"

    def matched(*classes: str) -> list[int]:
        task = Task(kind="classification", modality=Modality.IMAGE, classes=classes)
        found, _ = named_for(task, names, synsets)
        return [found.index(name) for name in classes if name in found]

    assert matched("n02102040", "n01440764") == [217, 0]
    assert matched("english_springer", "Tench") == [217, 0]
    assert matched("Tinca Tinca", "name 4") == [0, 4]
    assert matched("tench", "Tinca tinca") == []  # two of the data's are one of the model's
    assert imagenet_synsets(names[:10]) == ()


def test_a_model_without_its_processor(tmp_path: Path, opened: Any, card: Any) -> None:
    vit(tmp_path / "blind", vit_processor())
    (tmp_path / "blind" / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"^hf:blind: its image processor can't be loaded: "):
        opened("hf:blind", card(ANIMALS, images="3x32x32"))
