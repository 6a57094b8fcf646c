"""Draws as tensors: the same words as on the host, alone and in any batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crucibench.util import tensor_draws
from crucibench.util.draws import Draws
from crucibench.util.tensor_draws import TensorDraws

CPU = torch.device("cpu")
HOST = Draws(3, "shift/anything")


@pytest.mark.parametrize("shape", [(1,), (5,), (3, 4, 5), (2, 8)])
def test_words_and_uniforms_are_those_of_the_host(shape: tuple[int, ...]) -> None:
    ids = ("a", "b", "c")
    draws = TensorDraws(HOST, ids, CPU)
    count = int(np.prod(shape))
    words = HOST.words(ids, "step", count).astype(np.int64)
    assert np.array_equal(draws.words("step", shape).numpy(), words.reshape(3, *shape))
    assert np.array_equal(draws.uniform("step", shape).numpy(), HOST.uniform(ids, "step", shape))


def test_a_sample_draws_the_same_alone_and_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tuple(f"sample {place}" for place in range(9))
    whole = TensorDraws(HOST, ids, CPU).normal("step", (3, 7, 5))
    monkeypatch.setattr(tensor_draws, "_CPU_COUNTERS", 10)
    pieces = TensorDraws(HOST, ids[::-1], CPU).normal("step", (3, 7, 5)).flip(0)
    assert torch.equal(pieces, whole)
    for place in (0, 4, 8):
        alone = TensorDraws(HOST, ids[place : place + 1], CPU).normal("step", (3, 7, 5))
        assert torch.equal(alone[0], whole[place])


def test_normals_are_standard_normal() -> None:
    values = TensorDraws(HOST, ("a", "b"), CPU).normal("step", (50_001,)).double()
    assert torch.isfinite(values).all()
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01
    assert abs(float((values**4).mean()) - 3) < 0.1
    assert abs(float((values[:, 1:] * values[:, :-1]).mean())) < 0.01
    assert abs(float((values[0] * values[1]).mean())) < 0.02
