"""Generators: what they make, and that nothing but the sample and its draws counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.batch import Batch
from crucibench.contracts.task import Modality
from crucibench.util.draws import Draws
from crucibench_suites.ood.asking import measured
from crucibench_suites.ood.generators import Making, generators
from crucibench_suites.ood.generators.texts import DOMAINS
from crucibench_suites.ood.sets import kept_apart, partners

TEXTS = [f"the {noun} was {word} and rather long" for noun in ("film", "dog", "day")
         for word in ("good", "bad")]  # fmt: skip


def batch_of(modality: Modality, n: int = 6, shape: tuple[int, ...] = (3, 9, 8)) -> Batch:
    ids = tuple(f"s{row}" for row in range(n))
    rng = np.random.default_rng(0)
    if modality is Modality.IMAGE:
        return Batch(ids, torch.from_numpy(rng.random((n, *shape), dtype=np.float32)))
    if modality is Modality.TEXT:
        return Batch(ids, TEXTS[:n])
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.normal(5, 1, n), "kind": list("xyzxyz")[:n],
         "count": np.arange(n), "c": rng.normal(size=n).astype(np.float32)}
    )  # fmt: skip
    frame.loc[0, "b"] = np.nan
    return Batch(ids, frame)


def made(modality: Modality, name: str, batch: Batch) -> Any:
    generator = generators(modality)[name]
    others = [int(identity[1:]) for identity in batch.ids]
    whole = batch_of(modality)
    others = [(row + 1) % len(whole) for row in others]
    partner = whole.take(others) if generator.partners else None
    return generator.make(Making(batch, Draws(0, f"ood/{name}"), partner))


MODALITIES = (Modality.IMAGE, Modality.TEXT, Modality.TABLE)
EVERY = [(modality, name) for modality in MODALITIES for name in generators(modality)]


@pytest.mark.parametrize(("modality", "name"), EVERY, ids=str)
def test_a_sample_depends_on_itself_alone(modality: Modality, name: str) -> None:
    batch = batch_of(modality)
    whole = Batch(batch.ids, made(modality, name, batch))
    order = [4, 1, 5]
    again = Batch(batch.ids, made(modality, name, batch)).take(order)
    part = Batch(tuple(f"s{row}" for row in order), made(modality, name, batch.take(order)))
    other = Batch(batch.ids, generators(modality)[name].make(
        Making(batch, Draws(1, f"ood/{name}"), batch.take([1, 2, 3, 4, 5, 0]))))  # fmt: skip
    if modality is Modality.IMAGE:
        assert torch.equal(again.inputs, part.inputs)
        assert whole.inputs.shape == batch.inputs.shape
        assert whole.inputs.dtype == torch.float32
        assert float(whole.inputs.min()) >= 0.0 and float(whole.inputs.max()) <= 1.0
        assert not torch.equal(whole.inputs, batch.inputs)
        seeded = name not in {"inverted", "class-mixture", "strips"}
        assert torch.equal(whole.inputs, other.inputs) is not seeded
    elif modality is Modality.TEXT:
        assert again.inputs == part.inputs
        assert len(whole.inputs) == len(batch) and whole.inputs != batch.inputs
    else:
        pd.testing.assert_frame_equal(again.inputs, part.inputs)
        assert list(whole.inputs.dtypes) == list(batch.inputs.dtypes)
        assert not whole.inputs.equals(batch.inputs)
        assert list(batch.inputs["count"]) == list(range(6))  # the batch itself is left alone


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 1, 1), (1, 2, 3)])
@pytest.mark.parametrize("name", list(generators(Modality.IMAGE)))
def test_images_of_every_size(name: str, shape: tuple[int, ...]) -> None:
    batch = batch_of(Modality.IMAGE, shape=shape)
    generator = generators(Modality.IMAGE)[name]
    found = generator.make(Making(batch, Draws(0, name), batch))
    assert found.shape == batch.inputs.shape and bool(torch.isfinite(found).all())


def test_pixels_are_the_same_pixels() -> None:
    batch = batch_of(Modality.IMAGE)
    found = made(Modality.IMAGE, "pixel-permutation", batch)
    for before, after in zip(batch.inputs, found, strict=True):
        pixels = [sorted(map(tuple, image.flatten(1).T.tolist())) for image in (before, after)]
        assert pixels[0] == pixels[1]


def test_phases_change_and_amplitudes_stay() -> None:
    # Low contrast, so that nothing is cut off.
    batch = batch_of(Modality.IMAGE, shape=(3, 16, 16))
    calm = batch.with_inputs(0.5 + 0.05 * (batch.inputs - 0.5))
    found = generators(Modality.IMAGE)["phase-scrambling"].make(Making(calm, Draws(0, "x")))
    before, after = (torch.fft.fft2(part.double()) for part in (calm.inputs, found))
    torch.testing.assert_close(before.abs(), after.abs(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(calm.inputs.mean(dim=(2, 3)), found.mean(dim=(2, 3)))
    turned = (after / before).angle()
    assert float(turned.std()) > 1.0
    # The same turn in all channels: what is alike in them stays alike.
    torch.testing.assert_close(turned[:, 0].cos(), turned[:, 1].cos(), atol=1e-3, rtol=0)


def test_patches_are_the_same_patches_elsewhere() -> None:
    batch = batch_of(Modality.IMAGE, shape=(1, 4, 4))
    found = made(Modality.IMAGE, "patch-shuffle", batch)
    for before, after in zip(batch.inputs[:, 0], found[:, 0], strict=True):
        corners = [
            {tuple(image[r : r + 2, c : c + 2].flatten().tolist()) for r in (0, 2) for c in (0, 2)}
            for image in (before, after)
        ]
        assert corners[0] == corners[1]
        assert not torch.equal(before, after)


def test_a_mixture_is_the_mean_of_two() -> None:
    batch = batch_of(Modality.IMAGE)
    found = made(Modality.IMAGE, "class-mixture", batch)
    torch.testing.assert_close(found[0], (batch.inputs[0] + batch.inputs[1]) / 2)


def test_texts() -> None:
    batch = batch_of(Modality.TEXT)
    for before, after in zip(TEXTS, made(Modality.TEXT, "shuffled-words", batch), strict=True):
        assert sorted(before.split()) == sorted(after.split())
    for before, after in zip(TEXTS, made(Modality.TEXT, "random-letters", batch), strict=True):
        assert [len(word) for word in before.split()] == [len(word) for word in after.split()]
    for before, after in zip(TEXTS, made(Modality.TEXT, "repeated-word", batch), strict=True):
        assert len(set(after.split())) == 1 and len(after.split()) == len(before.split())
        assert after.split()[0] in before.split()
    elsewhere = made(Modality.TEXT, "other-domain", batch)
    assert [len(text.split()) for text in elsewhere] == [len(text.split()) for text in TEXTS]
    assert len(set(elsewhere)) == len(elsewhere)
    pairs = Batch(("s0", "s1"), [("a b c", "d e f"), ("", "g")])
    found = generators(Modality.TEXT)["random-letters"].make(Making(pairs, Draws(0, "x")))
    assert [[len(text) for text in pair] for pair in found] == [[5, 5], [0, 1]]


@settings(max_examples=30, deadline=None)
@given(words=st.integers(0, 400), seed=st.integers(0, 5))
def test_other_domains_are_sentences_of_one_domain(words: int, seed: int) -> None:
    batch = Batch(("s",), [" ".join(["word"] * words)])
    generator = generators(Modality.TEXT)["other-domain"]
    (found,) = generator.make(Making(batch, Draws(seed, "x")))
    assert len(found.split()) == max(words, 1)
    assert "{" not in found
    starts = [[template.split("{")[0] for template in domain] for domain in DOMAINS]
    ended = [at for at, word in enumerate(found.split()[:-1]) if word.endswith(".")]
    sentences = [found.split()[at + 1] for at in [-1, *ended]]
    # Every sentence begins as one of the same domain's templates does.
    assert any(
        all(any(start.split()[0] == first for start in domain) for first in sentences)
        for domain in starts
    )


def test_tables() -> None:
    batch = batch_of(Modality.TABLE)
    frame = batch.inputs
    mixed = made(Modality.TABLE, "column-mixture", batch)
    partner = frame.iloc[[1, 2, 3, 4, 5, 0]].reset_index(drop=True)
    for name in frame.columns:
        from_own = mixed[name].eq(frame[name]) | (mixed[name].isna() & frame[name].isna())
        from_other = mixed[name].eq(partner[name]) | (mixed[name].isna() & partner[name].isna())
        assert (from_own | from_other).all()
    moved = made(Modality.TABLE, "column-permutation", batch)
    for row in range(1, 6):
        before, after = (sorted(part.loc[row, ["a", "b", "c"]]) for part in (frame, moved))
        np.testing.assert_allclose(after, before, rtol=1e-6)
    far = made(Modality.TABLE, "out-of-range", batch)
    apart = (far["a"] - frame["a"]).abs() / (1 + frame["a"].abs())
    assert apart.between(10, 20).all()
    assert bool(np.isnan(far.loc[0, "b"]))  # what is missing stays missing


def test_a_table_without_floating_point_numbers_stays() -> None:
    frame = pd.DataFrame({"kind": ["x", "y"], "count": [1, 2]})
    batch = Batch(("s0", "s1"), frame)
    for name in ("column-permutation", "out-of-range", "stretched"):
        found = generators(Modality.TABLE)[name].make(Making(batch, Draws(0, name)))
        pd.testing.assert_frame_equal(found, frame)


def test_every_modality_has_near_far_and_validation() -> None:
    for modality in MODALITIES:
        kinds = {entry.kind for entry in generators(modality).values()}
        assert kinds == {"near", "far", "validation"}
        for name, entry in generators(modality).items():
            assert entry.name == name and entry.definition.endswith(".")


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), classes=st.integers(1, 4), seed=st.integers(0, 9))
def test_partners_are_of_another_class(n: int, classes: int, seed: int, maker: Any) -> None:
    rng = np.random.default_rng(seed)
    samples = maker.samples([f"s{row}" for row in range(n)])
    object.__setattr__(samples, "targets", rng.integers(0, classes, n))
    among = rng.random(n) < 0.7
    if not among.any():
        return
    found = partners(samples, among)
    assert among[found[among]].all()
    if len(set(samples.targets[among])) > 1:
        assert (samples.targets[found[among]] != samples.targets[among]).all()


def test_what_is_kept_apart_follows_from_content(maker: Any) -> None:
    ids = [f"{row:032x}" for row in range(4000)]
    apart = kept_apart(maker.samples(ids), 0.2)
    assert apart.mean() == pytest.approx(0.2, abs=0.02)
    again = kept_apart(maker.samples(ids[::-1]), 0.2)
    np.testing.assert_array_equal(again[::-1], apart)
    # A repetition goes with what it repeats, a cluster stays whole, a larger share holds a smaller.
    repeated = kept_apart(maker.samples([*ids, *(f"{name}-1" for name in ids)]), 0.2)
    np.testing.assert_array_equal(repeated[:4000], repeated[4000:])
    clusters = [f"c{row // 4}" for row in range(4000)]
    whole = kept_apart(maker.samples(ids, clusters), 0.2).reshape(-1, 4)
    assert (whole.all(axis=1) == whole.any(axis=1)).all()
    assert (kept_apart(maker.samples(ids), 0.3) >= apart).all()
    assert not kept_apart(maker.samples(ids), 0.0).any()


def test_statistics_of_inputs() -> None:
    images = torch.zeros(2, 1, 4, 4)
    images[0] = 0.25
    images[1, :, :, ::2] = 1.0
    found = measured(Batch(("a", "b"), images), Modality.IMAGE)
    assert {name: values.tolist() for name, values in found.items()} == {
        "input_brightness": [0.25, 0.5], "input_contrast": [0.0, 0.5],
        "input_roughness": [0.0, 1.0],
    }  # fmt: skip
    texts = measured(Batch(("a", "b"), ["one two two", ("x", "y")]), Modality.TEXT)
    assert texts["input_characters"].tolist() == [11.0, 3.0]
    assert texts["input_words"].tolist() == [3.0, 2.0]
    assert texts["input_distinct-words"].tolist() == [2 / 3, 1.0]
    table = measured(batch_of(Modality.TABLE), Modality.TABLE)
    assert table["input_missing-values"].tolist() == [0.2, 0, 0, 0, 0, 0]
