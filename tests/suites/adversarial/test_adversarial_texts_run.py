"""Whole runs of attacks on texts: settings, lists of words, protected columns, what is skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crucibench as cb
from crucibench.contracts.verdict import Status
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest
from crucibench_suites.adversarial.text.edits import fitting, read_substitutions

MODEL = """
import numpy as np

WEIGHTS = {"splendid": 2.0, "lovely": 1.5, "pleasant": 1.0, "dreadful": -2.0, "boring": -1.0}


def lead(sample):
    text = " ".join(sample) if isinstance(sample, tuple) else sample
    return sum(WEIGHTS.get(word, 0.0) for word in text.lower().split()) - 0.25


def scores(samples):
    high = 1 / (1 + np.exp(-np.array([lead(sample) for sample in samples])))
    return np.stack([1 - high, high], axis=1)


def labels(samples):
    return ["good" if lead(sample) > 0 else "bad" for sample in samples]
"""
ROWS = [
    ("A splendid film", "with lovely music and a pleasant plot", "good"),
    ("One lovely evening", "in the old theatre of the town", "good"),
    ("The book was", "splendid from the first page to the last", "good"),
    ("Such a boring", "talk in a dreadful room without any air", "bad"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "bag.py").write_text(MODEL, encoding="utf-8")
    lines = ["title,body,label", *(",".join(row) for row in ROWS)]
    (folder / "reviews.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "words.json").write_text(
        json.dumps({"splendid": ["dreadful"], "lovely": ["boring", "fine"]}), encoding="utf-8"
    )
    return folder


def evaluated(folder: Path, out: str, function: str = "scores", **settings: Any) -> Run:
    return cb.run(
        models={"bag": f"python:{folder / 'bag.py'}:{function}"},
        data=f"csv:{folder / 'reviews.csv'}?target=label&input=title,body&classes=bad,good",
        suites=["adversarial"], out=folder / out, workers=0, cache=False,
        settings={f"adversarial.{key}": value for key, value in settings.items()},
        defaults={"replicates": 100},
    )  # fmt: skip


def cells(run: Run) -> dict[str, Any]:
    return {file.scenario: file for file in run.cells.values() if file.suite == "adversarial"}


def value(run: Run, scenario: str, metric: str, point: str = "") -> float:
    frame = run.metrics()
    keep = (frame["scenario"] == scenario) & (frame["metric"] == metric)
    (found,) = frame[keep & (frame["point"] == point)]["value"]
    return float(found)


def test_a_list_of_words_and_edits_and_the_worst_of_both(folder: Path) -> None:
    run = evaluated(folder, "both", substitutions=str(folder / "words.json"))
    assert {name: file.status for name, file in cells(run).items()} == {
        "character-edits": Status.OK,
        "word-substitutions": Status.OK,
        "worst-case-words": Status.OK,
    }
    # One word in ten: the second and third lose the only word that counts. Three in ten: so do the
    # three of the first. The last is bad without any.
    assert value(run, "character-edits", "robust-accuracy", "eps=0.1") == 0.5
    assert value(run, "character-edits", "robust-accuracy", "eps=0.3") == 0.25
    assert value(run, "character-edits", "success-within-budget", "eps=0.3") == 0.75
    # Two words of the list are enough for the first.
    assert value(run, "word-substitutions", "robust-accuracy", "eps=0.2") == 0.25
    for point in ("eps=0.1", "eps=0.2", "eps=0.3"):
        worst = value(run, "worst-case-words", "robust-accuracy", point)
        assert worst <= value(run, "word-substitutions", "robust-accuracy", point)
        assert worst <= value(run, "character-edits", "robust-accuracy", point)
    assert value(run, "character-edits", "queries-per-sample") > 1


def test_a_protected_column_is_not_attacked(folder: Path) -> None:
    run = evaluated(folder, "protected", words=1.0, texts="characters", protect="body")
    # The third one's only word that counts is in its body.
    assert value(run, "character-edits", "robust-accuracy", "eps=1") == 0.75


def test_labels_alone_and_no_embeddings_are_reasons(folder: Path) -> None:
    run = evaluated(folder, "labels", function="labels?output=labels", words=[0.2, 0.3])
    found = cells(run)
    assert found["character-edits-labels"].status == Status.OK
    assert found["word-substitutions-labels"].status == Status.SKIPPED
    assert set(found) == {"character-edits-labels", "word-substitutions-labels"}
    assert value(run, "character-edits-labels", "robust-accuracy", "eps=0.3") == 0.25
    assert not found["character-edits-labels"].findings
    found = cells(evaluated(folder, "scores"))
    assert found["character-edits"].status == Status.OK
    assert found["word-substitutions"].status == Status.SKIPPED
    assert "embeddings" in found["word-substitutions"].reason


def test_labels_beside_scores_are_a_cross_check(folder: Path) -> None:
    run = evaluated(folder, "both-ways", texts="characters", label_only=True, queries=200)
    found = cells(run)
    assert {name: file.status for name, file in found.items()} == {
        "character-edits-labels": Status.OK,
        "character-edits": Status.OK,
        "worst-case-words": Status.OK,
    }
    assert not any(file.findings for file in found.values())
    numbers = [value(run, name, "robust-accuracy", "eps=0.3") for name in found]
    assert set(numbers) == {0.25}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protect": ["titel"]}, "adversarial.protect: unknown text column 'titel'; did you mean"),
        ({"protect": ["title", "body"]}, "adversarial.protect: expected to leave a text column"),
        ({"words": [0.1, 1.5]}, "adversarial.words"),
        ({"texts": ["spelling"]}, "adversarial.texts"),
        ({"substitutions": "words.txt"}, "expected a .json or .csv file"),
        ({"substitutions": "none.json"}, "adversarial.substitutions: expected a file"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    folder: Path, settings: dict[str, Any], message: str, refusal: Any
) -> None:
    assert message in refusal(InputError, lambda: evaluated(folder, "mistakes", **settings))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1]", "expected an object from words to lists"),
        ("b.json", '{"a": "b"}', "expected a list of words"),
        ("c.json", "{", "expected JSON"),
        ("d.json", '{"a": []}', "holds no word"),
        ("e.csv", "alone", "line 1: expected a word and others"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_substitutions(path, file_digest(path))


def test_lists_in_both_forms(tmp_path: Path) -> None:
    one, other = tmp_path / "a.json", tmp_path / "a.csv"
    one.write_text('{"Good": ["fine", "nice"], "don\u2019t": ["do"]}', encoding="utf-8")
    other.write_text("good,fine\nGOOD, nice\n\ndon't,do\n", encoding="utf-8")
    wanted = {"good": ("fine", "nice"), "don't": ("do",)}
    assert read_substitutions(one, file_digest(one)) == wanted
    assert read_substitutions(other, file_digest(other)) == wanted
    with pytest.raises(InputError, match="changed after the run began"):
        read_substitutions(other, file_digest(one))


def test_words_are_written_like_those_they_stand_in_for() -> None:
    assert fitting("Good", ("fine", "good", "nice")) == ["Fine", "Nice"]
    assert fitting("GOOD", ("fine",)) == ["FINE"]
    assert fitting("good", ("Paris",)) == ["Paris"]
    assert fitting("A", ("one",)) == ["One"]


def test_neighbours_are_the_nearest_whole_words() -> None:
    pytest.importorskip("transformers")
    import torch

    from crucibench.contracts.adapter import Opening
    from crucibench.contracts.data import DataCard
    from crucibench.contracts.task import Modality, Task
    from crucibench.contracts.uri import parse_uri
    from crucibench_adapters import transformers_model

    folder = Path(transformers_model.__file__).parent / "demo"
    task = Task(kind="classification", modality=Modality.TEXT, classes=("negative", "positive"))
    model = transformers_model.TransformersAdapter.open(
        Opening(
            name="tr", uri=parse_uri("hf:reviews-transformer"), base=folder,
            data=DataCard(name="d", uri="x", task=task, features={"text": "string"}),
        )
    )  # fmt: skip
    good, long, unknown = model.neighbours(["good", "goodbook", "中"], 5)
    assert len(good) == len(long) == 5 and unknown == []
    table = model.vocabulary().double()
    ids = model._texts().tokens.tokenizer.get_vocab()
    own = table[ids["good"]]
    cosines = torch.nn.functional.cosine_similarity(table, own[None], dim=1)
    for word, cosine in good:
        assert word != "good" and cosine == pytest.approx(float(cosines[ids[word]]), abs=1e-5)
    assert [cosine for _, cosine in good] == sorted((c for _, c in good), reverse=True)
    # No whole word is nearer: pieces ("##...") and special tokens are none.
    whole = [name for name in ids if name.isalpha() and len(name) > 1 and name != "good"]
    best = np.sort([float(cosines[ids[name]]) for name in whole])[::-1][:5]
    np.testing.assert_allclose([cosine for _, cosine in good], best, atol=1e-5)
