"""Model cards as Hugging Face reads them; results as Every Eval Ever reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from crucibench.report.every_eval_ever import every_eval_ever
from crucibench.report.hub_card import card_files, card_folders, measured
from crucibench.store.run import Run
from crucibench.util.errors import InputError

COMMIT = "5503434ddd753f426f4b38109466949a1217c2bb"
SCHEMA = Path(__file__).parent / "every_eval_ever" / "eval.schema.json"
TOP1 = "accuracy/clean/top-1"


def _card(files: dict[str, str], folder: Path) -> ModelCard:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return ModelCard.load(folder / "README.md")


def test_a_card_parses_and_holds_the_numbers(showcase_run: Run, tmp_path: Path) -> None:
    (parts,) = measured([showcase_run], ["cnn"]).values()
    card = _card(card_files("cnn", parts), tmp_path)
    results = card.data.eval_results
    assert results is not None
    frame = showcase_run.metrics().query("model == 'cnn' and group == ''")
    (accuracy,) = [one for one in results if one.metric_type == "top-1"]
    row = frame.query("metric == 'top-1'").iloc[0]
    assert accuracy.metric_value == row["value"]
    assert accuracy.metric_args["lower"] == row["lower"]
    assert accuracy.metric_args["n"] == 540
    assert accuracy.metric_args["address"] == TOP1
    assert accuracy.task_type == "image-classification"
    assert accuracy.dataset_name == "digits"
    assert accuracy.dataset_type.startswith("digits-"), "not a name that the Hub may know"
    assert card.data.model_name == "cnn"
    for title in ("Model Details", "Uses", "Evaluation", "Factors", "What was not measured"):
        assert f" {title}\n" in card.text
    assert showcase_run.cards["digits"].fingerprint not in card.content


def test_invalid_numbers_are_told_and_not_claimed(showcase_run: Run, tmp_path: Path) -> None:
    (parts,) = measured([showcase_run], ["mlp"]).values()
    card = _card(card_files("mlp", parts), tmp_path)
    assert card.data.eval_results is None
    assert "invalid ✗" in card.text and "double-softmax" in card.text


def test_eval_results_are_of_data_of_the_hub(
    builder: Callable[[str], Any], showcase_run: Run, tmp_path: Path
) -> None:
    (parts,) = measured([showcase_run], ["cnn"]).values()
    assert list(card_files("cnn", parts)) == ["README.md"]
    files = card_files("cnn", parts, hub_data={"digits": "me/digits"})
    (name,) = [name for name in files if name.startswith(".eval_results/")]
    entries = parse_eval_result_entries(yaml.safe_load(files[name]))
    (accuracy,) = [one for one in entries if one.task_id == TOP1]
    assert accuracy.dataset_id == "me/digits"
    assert "95 % interval [" in accuracy.notes and "n 540" in accuracy.notes
    made = builder("hub")
    made.suite("accuracy", "accuracy", ("clean/top-1",), [])
    made.data("beans", ("a", "b"), 200, uri="hf:ai/beans/default?split=test", revision=COMMIT)
    made.model("m", "beans", card={"licence": "Apache-2.0"})
    cell = made.cell("m", "beans", "accuracy", "clean")
    made.share(cell, "top-1", 150, 200, model="m", data="beans", suite="accuracy",
               scenario="clean", direction="higher")  # fmt: skip
    (parts,) = measured([made.finish()], []).values()
    files = card_files("m", parts)
    (name,) = [name for name in files if name.startswith(".eval_results/")]
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[name]))
    assert (entry.dataset_id, entry.dataset_revision, entry.value) == ("ai/beans", COMMIT, 0.75)
    card = _card(files, tmp_path)
    assert card.data.license == "apache-2.0"
    assert card.data.eval_results[0].dataset_revision == COMMIT


def test_hostile_cards_parse(hostile_run: Run, tmp_path: Path) -> None:
    found = measured([hostile_run], [])
    folders = card_folders(found, tmp_path)
    assert len(set(folders.values())) == len(found)
    for name, parts in found.items():
        assert folders[name].parent == tmp_path
        files = card_files(name, parts, hub_data=dict.fromkeys(hostile_run.cards, "me/data"))
        card = _card(files, folders[name])
        assert "<script" not in card.text and "\u202e" not in card.content
        for path, text in files.items():
            assert ".." not in path
            if path != "README.md":
                assert parse_eval_result_entries(yaml.safe_load(text))


def test_a_card_is_of_a_model_that_there_is(showcase_run: Run) -> None:
    with pytest.raises(InputError, match="did you mean 'cnn'"):
        measured([showcase_run], ["cnnn"])


@pytest.mark.parametrize("which", ["showcase", "hostile"])
def test_shared_results_validate(which: str, showcase_run: Run, hostile_run: Run) -> None:
    run = {"showcase": showcase_run, "hostile": hostile_run}[which]
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    files = every_eval_ever(run)
    assert len(files) == {"showcase": 6, "hostile": 2}[which]
    for name, text in files.items():
        assert not [part for part in name.split("/") if part in {"", "..", "."}]
        document = json.loads(text)
        validator.validate(document)
        assert document["schema_version"] == schema["version"]
        assert document["evaluation_results"]
    broken = json.loads(next(iter(files.values())))
    del broken["evaluation_results"][0]["metric_config"]["lower_is_better"]
    assert not validator.is_valid(broken)


def test_shared_results_hold_numbers_with_their_intervals(showcase_run: Run) -> None:
    (text,) = [t for name, t in every_eval_ever(showcase_run).items() if "/cnn-" in name
               and json.loads(t)["model_info"]["name"] == "cnn"]  # fmt: skip
    found = {one["evaluation_result_id"]: one for one in json.loads(text)["evaluation_results"]}
    row = showcase_run.metrics().query("model == 'cnn' and metric == 'top-1'").iloc[0]
    score = found[TOP1]["score_details"]
    assert score["score"] == row["value"]
    interval = score["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (row["lower"], row["upper"])
    assert score["uncertainty"]["num_samples"] == 540
    assert found["accuracy/clean/log-loss"]["metric_config"]["lower_is_better"] is True
    # Best at 1: the schema can't say so.
    assert "accuracy/clean/temperature" not in found
    assert not [name for name in found if "@" in name]
