"""Examples: chosen alike however samples are batched, those first that the model gets wrong."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import Samples
from crucibench.contracts.examples import EXAMPLES, MOST, POOL, Showing, first_of, share_shown
from crucibench.contracts.records import to_table
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench.util.pictures import SIDE, magnified, small


class Kept:
    """What a cell's batches kept."""

    def __init__(self, showing: float = 1.0, seed: int = 0) -> None:
        self.tables: list[Any] = []
        self.context = MapContext(
            adapter=None,  # type: ignore[arg-type]
            draws=Draws(seed, "shift/blur"),
            showing=showing,
        )

    def batch(self, ids: Sequence[str], inputs: Any, targets: Sequence[float]) -> Showing:
        samples = Samples(
            np.array(ids, dtype=object), np.array(targets), pd.DataFrame(index=range(len(ids)))
        )
        work = Work(Batch(tuple(ids), inputs), samples, {}, self._keep)
        return Showing(work, self.context)

    def _keep(self, name: str, columns: Any) -> None:
        assert name == EXAMPLES
        self.tables.append(to_table(columns))

    @property
    def frame(self) -> pd.DataFrame:
        return pd.concat([table.to_pandas() for table in self.tables], ignore_index=True)


def _shown(wrong: Sequence[bool], size: int) -> pd.DataFrame:
    """Shows samples 0, 1, ... in batches of some size; those of `wrong` flip at severity 5."""
    kept = Kept()
    for start in range(0, len(wrong), size):
        part = wrong[start : start + size]
        names = [f"sample {start + at}" for at in range(len(part))]
        showing = kept.batch(names, [f"{name}!" for name in names], [0] * len(part))
        right = np.zeros(len(part), dtype=np.int64)
        showing.add("severity=3", names, {"prediction": right}, rank=3)
        showing.add("severity=5", names, {"prediction": right + np.array(part)}, rank=5)
        showing.keep()
    return first_of(kept.frame)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 40), st.integers(1, 40))
def test_the_same_samples_are_chosen_however_they_are_batched(
    wrong: list[bool], one: int, other: int
) -> None:
    frame = _shown(wrong, one)
    pd.testing.assert_frame_equal(frame, _shown(wrong, other))
    ids = list(dict.fromkeys(frame["id"]))
    assert len(ids) == min(MOST, len(wrong))
    flags = [wrong[int(name.split()[1])] for name in ids]
    assert flags == sorted(flags, reverse=True), "wrong ones come first"
    assert sum(flags) == min(MOST, sum(wrong)), "and all of them, as far as there is room"
    for _, rows in frame.groupby("id"):
        assert list(rows["point"]) == ["", "severity=3", "severity=5"]


def test_the_draw_is_of_the_sample_and_the_seed_alone() -> None:
    names = [f"sample {at}" for at in range(200)]
    chosen = []
    for seed in (0, 0, 1):
        kept = Kept(seed=seed)
        showing = kept.batch(names, names, [0] * 200)
        showing.add("eps=1", names, {"prediction": np.zeros(200)}, rank=1)
        showing.keep()
        chosen.append(set(kept.frame["id"]))
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_large_cell_keeps_few_and_one_that_was_not_asked_nothing() -> None:
    names = [f"sample {at}" for at in range(4_000)]
    counts = {}
    for share in (share_shown(len(names)), 0.0):
        kept = Kept(share)
        for start in range(0, len(names), 50):
            part = names[start : start + 50]
            showing = kept.batch(part, part, [0] * 50)
            showing.add("eps=1", part, {"prediction": np.ones(50)}, rank=1)
            assert not showing.first(range(50)) or share
            showing.keep()
        counts[share] = len(set(kept.frame["id"])) if kept.tables else 0
    few, none = counts.values()
    # A binomial count about POOL: six standard deviations.
    assert abs(few - POOL) < 6 * math.sqrt(POOL)
    assert none == 0


def test_an_image_is_kept_as_it_was_with_its_change_magnified() -> None:
    clean = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = clean.clone()
    changed[0, 1, 2, 3] += 0.02
    changed[0, 0, 0, 0] -= 0.01
    kept = Kept()
    showing = kept.batch(["a", "b"], clean, [1, 1])
    answers = {"prediction": np.array([2, 1]), "score": np.array([0.75, 0.5])}
    showing.add(["eps=1", "eps=2"], changed, answers, rank=[1, 2], by="apgd", changes=True)
    showing.keep()
    rows = kept.frame.set_index(["id", "point"])
    assert rows["wrong"].groupby("id").max().to_dict() == {"a": True, "b": False}
    for name, point, images in (("a", "", clean), ("a", "eps=1", changed), ("b", "", clean)):
        pixels = np.asarray(Image.open(io.BytesIO(rows.loc[(name, point), "content"])))
        expected = np.rint(images["ab".index(name)].numpy() * 255).transpose(1, 2, 0)
        assert (pixels == expected.astype(np.uint8)).all()
    hit = rows.loc[("a", "eps=1")]
    assert (hit["prediction"], hit["score"], hit["target"], hit["by"]) == (2.0, 0.75, 1.0, "apgd")
    assert hit["factor"] == pytest.approx(25, rel=1e-4)
    change = np.asarray(Image.open(io.BytesIO(hit["change"])))
    assert change[2, 3, 1] == 255 and change[0, 0, 0] == 64
    assert (change == 128).sum() == 3 * 64 - 2, "grey where nothing was changed"
    assert rows.loc[("b", "eps=2"), "change"] == b"", "nothing differs"
    assert math.isnan(rows.loc[("a", ""), "prediction"]), "the plain pass has it"


def test_large_images_are_made_small_and_odd_values_are_clipped() -> None:
    (picture,) = small(np.full((1, 1, 300, 150), 0.5))
    assert picture.shape == (SIDE, SIDE // 2) and set(np.unique(picture)) == {128}
    (odd,) = small(np.array([[[[math.nan, -1.0, 2.0]]]]))
    assert odd.tolist() == [[0, 0, 255]]
    assert magnified(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))) is None


def test_texts_and_rows_are_kept_as_json() -> None:
    kept = Kept()
    texts = [("a " * 5000, None), ("<script>\ud800", "\u202e")]
    showing = kept.batch(["a", "b"], texts, [0, 0])
    showing.add("p", texts, {"prediction": np.zeros(2)}, rank=1)
    showing.keep()
    first, second = (json.loads(one) for one in kept.frame.drop_duplicates("id")["content"])
    assert sorted([len(first[0]), len(second[0])]) == [9, 2000]
    frame = pd.DataFrame(
        {
            "whole": pd.array([3, None], dtype="Int64"), "real": [0.1, math.inf],
            "flag": [True, False], "when": pd.to_datetime(["2020-01-01", None]),
            "named": pd.Categorical(["x", None]),
        }
    )  # fmt: skip
    kept = Kept()
    showing = kept.batch(["a", "b"], frame, [1.5, 2.5])
    showing.add("p", frame, {"prediction": np.array([1.0, 9.0])}, rank=1)
    showing.keep()
    rows = kept.frame.drop_duplicates("id").set_index("id")["content"].map(json.loads)
    assert rows["a"] == {
        "whole": 3, "real": 0.1, "flag": True, "when": "2020-01-01 00:00:00", "named": "x",
    }  # fmt: skip
    assert rows["b"] == {"whole": None, "real": "inf", "flag": False, "when": None, "named": None}
    assert not kept.frame["wrong"].any(), "a value is neither right nor wrong"
