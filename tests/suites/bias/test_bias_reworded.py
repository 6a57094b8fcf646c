"""Another group's words in a text: grammar, and a model of such words against its sibling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crucibench as cb
import crucibench_adapters
from crucibench_suites.bias.identity_terms import bundled, categories, plain

LISTS = {one.name: one for one in bundled()}


@pytest.mark.parametrize(
    ("category", "shift", "before", "after"),
    [
        ("gender", 1, "She gave her book to him.", "He gave his book to her."),
        ("gender", 1, "It was hers, not his.", "It was his, not hers."),
        ("gender", 1, "I saw her and her mother.", "I saw him and his father."),
        ("gender", 1, "I met her yesterday", "I met him yesterday"),
        ("gender", 1, "HER CAR, Mrs Smith", "HIS CAR, Mr Smith"),
        ("gender", 1, "an actor or a lady", "an actress or a gentleman"),
        ("gender", 1, "the shepherd herded them", "the shepherd herded them"),
        ("nationality", 1, "An American left America", "A Chinese left China"),
        ("nationality", 4, "a Chinese", "a Russian"),
        ("nationality", 3, "a Chinese visitor", "an Indian visitor"),
        ("religion", 2, "Muslims and Christians", "Hindus and Jews"),
        ("age", 1, "a young man", "an elderly man"),
        ("age", 1, "an elderly man", "a young man"),
        ("disability", 1, "disabled, able-bodied", "able-bodied, disabled"),
        ("orientation", 1, "a gay man went straight on", "a straight man went straight on"),
    ],
)
def test_words_are_exchanged(category: str, shift: int, before: str, after: str) -> None:
    found, count = LISTS[category].swap(before, shift)
    assert found == after
    assert (count > 0) == (before != after)


@given(st.text(alphabet="abchersiam ,.HSE", max_size=60))
def test_texts_of_no_group_stay_as_they_are(text: str) -> None:
    for one in LISTS.values():
        found, count = one.swap(text, 1)
        if not count:
            assert found == text


@given(st.lists(st.sampled_from([w for row in LISTS["religion"].terms for w in row] + ["and"])))
def test_going_round_all_groups_comes_back(words: list[str]) -> None:
    text = " ".join(words)
    once, _ = LISTS["religion"].swap(text, 2)
    assert LISTS["religion"].swap(once, 3)[0] == text


def test_the_lists_are_sound() -> None:
    assert set(LISTS) == {
        "gender", "religion", "nationality", "age", "disability", "orientation"
    }  # fmt: skip
    for one in LISTS.values():
        assert {len(row) for row in one.terms} == {len(one.groups)}
        words = [word for row in one.terms for word in row if word not in one.never_sought]
        assert len(set(words)) == len(words)
        assert all(word == word.lower() for word in words)
    assert categories(plain(bundled())) == bundled()


MODELS = """
import numpy as np

def _two(hits):
    p = np.where(hits, 0.9, 0.2)
    return np.stack([1 - p, p], axis=1)

def by_gender(texts):
    return _two(np.array([" she " in f" {text.lower()} " for text in texts]))

def by_praise(texts):
    return _two(np.array(["good" in text for text in texts]))
"""


def runs(folder: Path, texts: list[str], *names: str, **options: Any) -> pd.DataFrame:
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    frame = pd.DataFrame({"text": texts, "y": ["no", "yes"] * (len(texts) // 2)})
    frame.to_csv(folder / "texts.csv", index=False)
    models = {name: f"python:{folder / 'models.py'}:{name}" for name in names}
    run = cb.run(
        models=models, data=f"csv:{folder / 'texts.csv'}?target=y&input=text", suites=["bias"],
        out=folder / "out", workers=0, **options,
    )  # fmt: skip
    assert cb.verify(run.root) == []
    return run.metrics().query("suite == 'bias'").set_index(["model", "metric", "point"])


def sentences(n: int = 80) -> list[str]:
    rng = np.random.default_rng(0)
    who = rng.choice(["she", "he", "the team"], n)
    how = rng.choice(["good", "poor"], n)
    pairs = zip(who, how, strict=True)
    return [f"{one} wrote a {kind} report number {i}" for i, (one, kind) in enumerate(pairs)]


def test_a_model_of_gender_is_caught_and_its_sibling_is_not(tmp_path: Path) -> None:
    texts = sentences()
    rows = runs(tmp_path, texts, "by_gender", "by_praise")
    named = sum(text.startswith(("she", "he ")) for text in texts)
    flips = rows.loc[("by_gender", "reworded-flip-rate", "category=gender")]
    assert flips["value"] == 1.0 and flips["n"] == named
    assert flips["lower"] > 0.9
    change = rows.loc[("by_gender", "reworded-score-change", "category=gender")]
    assert change["value"] == pytest.approx(0.7, abs=1e-6)
    alone = rows.loc[("by_praise", "reworded-flip-rate", "category=gender")]
    assert alone["value"] == 0.0 and alone["n"] == named
    none = rows.loc[("by_gender", "reworded-flip-rate", "category=religion")]
    assert np.isnan(none["value"]) and none["reason"] == "no sample's religion could be changed"


def test_the_demo_s_model_of_gender_is_caught_and_its_sibling_is_not(tmp_path: Path) -> None:
    demo = Path(crucibench_adapters.__file__).parent / "demo"
    models = {
        name: f"torch:{demo / 'text_models.py'}:gru?weights={demo / name}.safetensors"
        for name in ("gru", "gru-gender")
    }
    run = cb.run(
        models=models, data="synthetic:reviews?n=300&train=1", suites=["bias"], out=tmp_path,
        workers=0,
    )  # fmt: skip
    rows = run.metrics().set_index(["model", "metric", "point", "group"])
    flips = rows.loc[("gru-gender", "reworded-flip-rate", "category=gender", "")]
    assert flips["lower"] > 0.4
    assert rows.loc[("gru", "reworded-flip-rate", "category=gender", ""), "upper"] < 0.25


def test_few_texts_are_told(tmp_path: Path) -> None:
    """Thirty texts of an age are enough; three are not, nor are none."""
    texts = [f"the {who} person came at {i}" for i, who in enumerate(["young", "old"] * 40)]
    texts[:3] = [f"a gay man, number {i}" for i in range(3)]
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    frame = pd.DataFrame({"text": texts, "y": ["no", "yes"] * 40})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    run = cb.run(
        models={"m": f"python:{tmp_path / 'models.py'}:by_praise"},
        data=f"csv:{tmp_path / 'texts.csv'}?target=y&input=text", suites=["bias"],
        out=tmp_path / "out", workers=0,
    )  # fmt: skip
    (cell,) = [file for file in run.cells.values() if file.scenario == "reworded"]
    (found,) = [finding for finding in cell.findings if finding.code == "few-texts"]
    assert str(found.severity) == "info"
    assert found.evidence["texts"]["orientation"] == 3
    assert found.evidence["texts"]["religion"] == 0 and "age" not in found.evidence["texts"]
    assert "orientation (3)" in found.message


def test_your_own_words(tmp_path: Path) -> None:
    texts = [f"the {who} came for visit {i}" for i, who in enumerate(["nurse", "doctor"] * 20)]
    settings = {"bias.terms": {"role": [["nurse", "doctor"]]}}
    rows = runs(tmp_path, texts, "by_praise", settings=settings)
    assert set(rows.index.get_level_values("point")) == {"category=role"}
    assert rows.loc[("by_praise", "reworded-flip-rate", "category=role"), "n"] == 40


def test_texts_that_name_nobody(tmp_path: Path) -> None:
    rows = runs(tmp_path, [f"the rain fell on day {i} of spring" for i in range(40)], "by_praise")
    assert rows["value"].isna().all() and (rows["n"] == 0).all()
