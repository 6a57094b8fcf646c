"""Bad input: one clear sentence, exit code 2, nothing written."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]

WINE = ("--data", "sklearn:wine")
LOGISTIC = ("--model", "sklearn:models.py:logistic")

NETS = """
import torch

def net():
    return torch.nn.Linear(13, 3)

def two():
    return torch.nn.Linear(13, 2)
"""


def _refused(result: Result, folder: Path) -> str:
    """Returns what was told, less ``error: ``; what every refusal has in common is checked."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    results = folder / "results"
    assert not results.exists() or list(results.iterdir()) == []
    told = result.stderr[result.stderr.index("error: ") :]
    return told.removeprefix("error: ").rstrip("\n")


MISTAKES = {
    "unknown scheme": (
        ["--model", "troch:models.py:logistic", *WINE],
        r"command line: models\[0\].uri: unknown model scheme 'troch'; did you mean 'torch'\? .*",
    ),
    "language model": (
        ["--model", "openai:localhost?model=small", *WINE],
        r"command line: models\[0\].uri: openai: expected openai:https://HOST/v1\?model=NAME, got "
        r"'localhost'",
    ),
    "unknown data scheme": (
        [*LOGISTIC, "--data", "cvs:people.csv"],
        r"command line: data\[0\].uri: unknown data scheme 'cvs'; did you mean 'csv'\? .*",
    ),
    "no scheme": (
        ["--model", "models.py", *WINE],
        r"command line: models\[0\].uri: 'models.py': expected SCHEME:REST.*",
    ),
    "missing file": (
        ["--model", "sklearn:model.py:logistic", *WINE],
        r"command line: models\[0\].uri: file 'model.py' does not exist in .*"
        r"; did you mean 'models.py'\?",
    ),
    "unknown factory": (
        ["--model", "sklearn:models.py:logistik", *WINE],
        r"command line: models\[0\].uri: unknown function of models.py 'logistik'; "
        r"did you mean 'logistic'\? .*",
    ),
    "missing data file": (
        [*LOGISTIC, "--data", "csv:peeple.csv", "--target", "bought"],
        r"command line: data\[0\].uri: data file 'peeple.csv' does not exist; "
        r"did you mean 'people.csv'\?",
    ),
    "no such target": (
        [*LOGISTIC, "--data", "csv:people.csv", "--target", "income"],
        r"command line: data\[0\] \(people\): .*'income'.*bought.*",
    ),
    "unknown suite": (
        [*LOGISTIC, *WINE, "--suite", "acuracy"],
        r"command line: --suite: unknown suite 'acuracy'; did you mean 'accuracy'\? .*",
    ),
    "unknown setting": (
        [*LOGISTIC, *WINE, "--set", "accuracy.nothing=1"],
        r"command line: suites.accuracy.nothing: unknown key.*",
    ),
    "a name twice": (
        [*LOGISTIC, *LOGISTIC, *WINE],
        r"command line: models: the name 'logistic' stands twice",
    ),
    "unknown device": (
        [*LOGISTIC, *WINE, "--device", "gpu"],
        r".*device.*expected auto, cpu, cuda or cuda:N, got 'gpu'",
    ),
    "a bad duration": (
        [*LOGISTIC, *WINE, "--timeout", "soon"],
        r"command line: defaults.timeout: .*'soon'",
    ),
    "options of several data sets": (
        [*LOGISTIC, *WINE, "--data", "csv:people.csv", "--target", "bought"],
        r"--target: with several --data, say it in the address: URI\?target=COLUMN&\.\.\.",
    ),
    "unknown variant": (
        [*LOGISTIC, "--variant", "thread-2", *WINE],
        r"command line: model 'logistic@thread-2' on 'wine': .*unknown variant 'thread-2'; "
        r"did you mean 'threads-1'\? .*",
    ),
    "a variant beside a spec": (
        ["crucibench.yaml", "--variant", "bf16"],
        r"--variant goes with --model; in SPEC.yaml say variants: \[...\]",
    ),
    "no spec": (["nowhere.yaml"], r"nowhere.yaml: expected a file that can be read, got no .*"),
    "wrong number of classes": (
        ["--model", "torch:nets.py:two", *WINE],
        r"command line: model 'two' on 'wine': .*3 classes.*2.*",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES.values(), ids=list(MISTAKES))
def test_one_sentence(call: Call, folder: Path, arguments: list[str], sentence: str) -> None:
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    told = _refused(call("run", *arguments), folder)
    assert re.fullmatch(sentence, told.partition("\n")[0]), told
    assert "Traceback" not in told


def test_all_mistakes_of_a_spec_at_once_with_their_paths(call: Call, folder: Path) -> None:
    (folder / "spec.yaml").write_text(
        "defaults: {preset: fast, limit: none}\n"
        "models:\n"
        "  - {name: a, uri: 'torch:models.py:logistic', wieghts: x}\n"
        "  - {name: b}\n"
        "data: [{name: wine, uri: 'sklearn:wine', targets: y}]\n",
        encoding="utf-8",
    )
    told = _refused(call("run", "spec.yaml"), folder).splitlines()
    assert told[0] == "spec.yaml: 5 mistakes:"
    assert told[1].startswith("  defaults.preset: ")
    assert told[2].startswith("  defaults.limit: ")
    assert told[3].startswith("  models[0].wieghts: unknown key (known: abstains, card, ")
    assert told[4] == "  models[1].uri: is missing"
    assert told[5].startswith(
        "  data[0].targets: unknown key; did you mean 'target'? (known: class"
    )


def test_a_spec_that_is_no_yaml_names_the_line(call: Call, folder: Path) -> None:
    (folder / "spec.yaml").write_text("models:\n  - {name: a\n", encoding="utf-8")
    assert _refused(call("run", "spec.yaml"), folder).startswith("spec.yaml: line ")


def test_a_factory_that_raises_shows_its_own_traceback(call: Call, folder: Path) -> None:
    told = _refused(call("run", "--model", "sklearn:models.py:broken", *WINE), folder)
    first, *rest = told.splitlines()
    assert first == (
        "command line: model 'broken' on 'wine': models.py:broken raised "
        "KeyError: 'no such weights'"
    )
    assert rest[0] == "    Traceback (most recent call last):"
    assert any('raise KeyError("no such weights")' in line for line in rest)
    assert rest[-1] == "    KeyError: 'no such weights'"
    assert not any("crucibench" in line and "models.py" not in line for line in rest)


def test_weights_that_do_not_fit_name_the_keys(call: Call, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    save_file({"wait": torch.zeros(3, 13), "bias": torch.zeros(3)}, folder / "net.safetensors")
    told = _refused(
        call("run", "--model", "torch:nets.py:net?weights=net.safetensors", *WINE), folder
    )
    first = told.partition("\n")[0]
    assert first.startswith("command line: model 'net' on 'wine': ")
    assert "weight" in first
    assert "wait" in first


def test_a_pickle_needs_its_flag(call: Call, folder: Path) -> None:
    from sklearn.dummy import DummyClassifier

    model = DummyClassifier().fit([[0.0] * 13] * 3, [0, 1, 2])
    (folder / "dummy.pkl").write_bytes(pickle.dumps(model))
    arguments = ("run", "--model", "sklearn:dummy.pkl", *WINE, "--suite", "accuracy")
    assert "--allow-pickle" in _refused(call(*arguments), folder).partition("\n")[0]
    assert call(*arguments, "--allow-pickle").exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions")
def test_a_folder_that_can_not_be_written_to(call: Call, folder: Path) -> None:
    (folder / "file").touch()
    result = call("run", *LOGISTIC, *WINE, "--out", "file/results")
    told = _refused(result, folder)
    there = (folder / "file").resolve()
    assert told == (
        f"--out {str(Path('file/results'))!r}: can't write there: {str(there)!r} is a file"
    )
    assert (folder / "file").read_bytes() == b""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,bought\n", "no rows"),
        ("", "people.csv: expected a header"),
        ("a,bought\n1,\n2,yes\n3,no\n", "bought"),
    ],
    ids=["no rows", "empty", "missing target"],
)
def test_data_without_answers(call: Call, folder: Path, content: str, sentence: str) -> None:
    (folder / "people.csv").write_text(content, encoding="utf-8")
    result = call("run", *LOGISTIC, "--data", "csv:people.csv", "--target", "bought")
    assert sentence in _refused(result, folder)


@pytest.mark.parametrize("verb", ["show", "score", "report", "leaderboard", "verify"])
def test_a_run_that_is_not_there(call: Call, folder: Path, verb: str) -> None:
    result = call(verb, "nowhere")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: run 'nowhere': no such folder, and no run in 'results' (runs: none)\n"
    )
    assert call(verb, "latest").stderr == "error: there is no run in 'results' yet\n"


@pytest.mark.parametrize("verb", ["show", "score", "report", "leaderboard", "verify"])
def test_a_folder_that_holds_no_run(call: Call, folder: Path, verb: str) -> None:
    (folder / "other").mkdir()
    result = call(verb, "other")
    assert result.exit_code == 4
    assert result.stderr == "error: there is no run at 'other' (no spec.yaml)\n"


def test_a_data_set_that_can_not_be_shown(call: Call) -> None:
    result = call("show", "--data", "csv:people.csv?target=income")
    assert result.exit_code == 2
    assert "income" in result.stderr
