"""Every registered corruption keeps its promises, and each planted defect is caught by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from crucibench.contracts.corruption import (
    Corruption,
    CorruptionContext,
    KnownAnswer,
    Level,
    corruptions,
    each,
)
from crucibench.testing import check_corruption


@pytest.mark.parametrize("name", corruptions().names())
def test_every_registered_corruption(name: str) -> None:
    check_corruption(corruptions().get(name))


@pytest.mark.parametrize("name", corruptions().names())
def test_a_registered_corruption_that_does_nothing_is_found(name: str) -> None:
    def idle(inputs: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
        yield from (inputs for _ in levels)

    entry = corruptions().get(name)
    with pytest.raises(AssertionError, match=f"{name}: known answer: expected"):
        check_corruption(replace(entry, function=idle))
    nothing = KnownAnswer(inputs=list, measure=lambda before, after: 0, expected=0, severity=1)
    with pytest.raises(AssertionError, match=f"{name}: change: it leaves the samples as they are"):
        check_corruption(replace(entry, function=idle, known_answer=nothing))


def noise(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    drawn = context.tensors(images.device).uniform("noise", images.shape[1:])
    for (share,) in levels:
        yield torch.lerp(images, drawn, share)


GOOD = Corruption(
    name="good", family="test", modality="image", function=noise, random=True,
    levels=each(0.1, 0.2, 0.3), known_answer=KnownAnswer(
        inputs=lambda: torch.zeros(4, 1, 32, 32), tolerance=0.01, expected=0.15, severity=3,
        measure=lambda before, after: float(after.mean()),
    ),
)  # fmt: skip


def with_order(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    places = torch.arange(len(images)).reshape(-1, 1, 1, 1) / 16
    yield from (changed * (1 - places) + places for changed in noise(images, levels, context))


def with_torch(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    drawn = torch.from_numpy(np.random.default_rng().random(images.shape)).to(images)
    yield from (torch.lerp(images, drawn, share) for (share,) in levels)


def in_place(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from (images.copy_(changed) for changed in noise(images.clone(), levels, context))


def one_short(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from noise(images, levels[:1], context)


def too_bright(images: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
    yield from (changed * 1.5 for changed in noise(images, levels, context))


@pytest.mark.parametrize(
    ("defect", "promise"),
    [
        ({"known_answer": None}, "known answer: it has none"),
        ({"levels": each(0.1, 0.2, 0.4)}, "known answer: expected 0.15, got"),
        ({"family": ""}, "declaration: it has no family"),
        ({"levels": each(0.2, 0.1, 0.3)}, "severities: a higher severity lies closer"),
        ({"random": False}, "draws: it is not said to be random"),
        ({"function": with_order}, "draws: at severity 1 a sample depends on the others"),
        ({"function": with_torch}, "draws: "),
        ({"function": in_place}, "inputs: it changes the samples given in place"),
        ({"function": one_short}, "form: 1 results for 3 levels"),
        ({"function": too_bright}, "form: at severity 1 values reach from"),
    ],
)  # fmt: skip
def test_a_planted_defect_is_found(defect: dict[str, Any], promise: str) -> None:
    check_corruption(GOOD)
    broken = replace(GOOD, **defect)
    if "function" in defect:
        answer = KnownAnswer(
            inputs=lambda: torch.zeros(4, 1, 8, 8), measure=lambda *_: 0, expected=0, severity=1
        )
        broken = replace(broken, known_answer=answer)
    with pytest.raises(AssertionError, match=f"good: {promise}"):
        check_corruption(broken)


def test_texts_and_tables_of_another_package_are_measured() -> None:
    def louder(texts: Any, levels: Sequence[Level], context: CorruptionContext) -> Iterator[Any]:
        for (share,) in levels:
            yield [
                " ".join(
                    word.upper() if drawn < share else word
                    for word, drawn in zip(
                        text.split(), context.draws.uniform([one], "word", (99,))[0], strict=False
                    )
                )
                for text, one in zip(texts, context.ids, strict=True)
            ]

    entry = Corruption(
        name="louder", family="test", modality="text", function=louder, random=True,
        levels=each(0.3, 1.0), known_answer=KnownAnswer(
            inputs=lambda: ["a b"], measure=lambda before, after: after, expected=["A B"],
            severity=2,
        ),
    )  # fmt: skip
    check_corruption(entry)
