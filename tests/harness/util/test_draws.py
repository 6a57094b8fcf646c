from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crucibench.util import tensor_draws
from crucibench.util.draws import Draws, order_key, philox
from crucibench.util.tensor_draws import TensorDraws

IDS = [f"{number:032x}" for number in range(4000)]


def test_philox_gives_the_known_answers_of_random123() -> None:
    # Random123's kat_vectors, philox4x32 with 10 rounds.
    zeros = np.zeros(1, dtype=np.int64)
    ones = np.full(1, 0xFFFFFFFF, dtype=np.int64)
    pi = [np.array([word]) for word in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    known = {
        (0, 0): ((zeros,) * 4, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (0xFFFFFFFF, 0xFFFFFFFF): ((ones,) * 4, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (0xA4093822, 0x299F31D0): (pi, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    }
    for key, (counter, expected) in known.items():
        assert [int(word[0]) for word in philox(counter, key)] == expected


def test_philox_is_exact_on_torch_tensors_too() -> None:
    rng = np.random.default_rng(0)
    counter = [rng.integers(0, 2**32, 500) for _ in range(4)]
    key = (0xDEADBEEF, 0x12345678)
    ours = philox(counter, key)
    theirs = philox([torch.from_numpy(words) for words in counter], key)
    for left, right in zip(ours, theirs, strict=True):
        assert np.array_equal(left, right.numpy())


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 9))
def test_a_draw_is_the_same_alone_and_in_any_batch(order: list[int], size: int, count: int) -> None:
    draws = Draws(7, "shift/noise")
    ids = [IDS[position] for position in order]
    whole = draws.words(ids, "step", count)
    parts = [draws.words(ids[at : at + size], "step", count) for at in range(0, 12, size)]
    assert np.array_equal(whole, np.concatenate(parts))
    alone = np.concatenate([draws.words([identity], "step", count) for identity in IDS[:12]])
    assert np.array_equal(whole, alone[order])


def test_more_draws_begin_with_the_same_words() -> None:
    draws = Draws(1, "a")
    assert np.array_equal(draws.words(IDS[:5], "s", 3), draws.words(IDS[:5], "s", 11)[:, :3])


def test_seed_stream_step_and_id_each_change_the_draw() -> None:
    base = Draws(1, "a").words(IDS[:1], "s", 8)
    for other in (
        Draws(2, "a").words(IDS[:1], "s", 8),
        Draws(1, "b").words(IDS[:1], "s", 8),
        Draws(1, "a").words(IDS[:1], "t", 8),
        Draws(1, "a").words(IDS[1:2], "s", 8),
    ):
        assert (base != other).sum() >= 7


def test_uniform_normal_and_integers_have_their_laws() -> None:
    draws = Draws(3, "law")
    uniform = draws.uniform(IDS, "u", (5,)).ravel()
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(IDS, "n", (5,)).ravel(), "norm").pvalue > 1e-3
    dice = draws.integers(IDS, "d", (5,), low=1, high=7).ravel()
    assert stats.chisquare(np.bincount(dice, minlength=7)[1:]).pvalue > 1e-3


def test_neighbouring_samples_are_independent() -> None:
    normal = Draws(3, "law").normal(IDS, "n", (4,)).astype(np.float64)
    correlation = np.corrcoef(np.vstack([normal[:-1].T, normal[1:].T]))
    off = correlation[~np.eye(8, dtype=bool)]
    assert np.abs(off).max() < 4.5 / np.sqrt(len(IDS))


def test_integers_refuses_an_empty_range() -> None:
    with pytest.raises(ValueError, match=r"high - low: expected 1 to 2\*\*32, got 0"):
        Draws(0, "x").integers(IDS[:1], "s", (1,), low=3, high=3)


def test_order_keys_are_stable_across_versions() -> None:
    # This number decides which samples a limit keeps: a change voids every limited result.
    assert order_key(0, "a") == 6002147696573465677


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
