import json

import pytest

from crucibench.report.show import show_cells, show_data, show_model, show_run
from crucibench.store.run import Run
from crucibench.util.errors import InputError


def test_cells_with_status_and_verdict(showcase_run: Run) -> None:
    cells = show_cells(showcase_run)
    assert len(cells) == 13
    mlp = next(c for c in cells if (c["model"], c["scenario"]) == ("mlp", "accuracy/clean"))
    assert (mlp["status"], mlp["verdict"], mlp["n"]) == ("ok", "invalid", 540)
    assert mlp["findings"] == "batch-noise, double-softmax"
    failed = next(c for c in cells if c["status"] == "failed")
    assert failed["verdict"] == ""
    assert failed["reason"].startswith("ValueError")
    json.dumps(cells)


def test_cards_say_what_is_unknown(showcase_run: Run) -> None:
    digits = show_data(showcase_run, "digits")
    assert digits["task"] == "image classification"
    assert digits["samples"] == "test 540"
    assert digits["licence"] == "CC BY 4.0"
    assert show_data(showcase_run, "diabetes")["licence"] == "not stated"
    with pytest.raises(InputError, match="did you mean 'digits'"):
        show_data(showcase_run, "digit")


def test_model_facts_by_data_set(showcase_run: Run) -> None:
    facts = show_model(showcase_run, "cnn")["digits"]
    assert facts["parameters"] == "12,345"
    assert facts["scores are"] == "logits"
    assert facts["fingerprint.weights"]
    assert facts["input.size"] == "8, 8"
    with pytest.raises(InputError, match="unknown model 'cn'"):
        show_model(showcase_run, "cn")


def test_run_facts(showcase_run: Run) -> None:
    facts = show_run(showcase_run)
    assert facts["models"] == "cnn, cnn-robust, mlp, logistic, forest, table-mlp"
    assert facts["data"] == "digits, diabetes"
    assert facts["preset"] == "quick"
    assert facts["cells"] == "13"
