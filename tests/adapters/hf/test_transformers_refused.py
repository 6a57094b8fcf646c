"""`hf:`: code, pickles, repositories and models that do not fit."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.util.errors import InputError
from crucibench_adapters.transformers_model import TransformersAdapter

TEXTS = ["a good film", "a very very bad book !", "", "not", "the film was not good " * 40]
SCORES = frozenset({"scores", "labels"})


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_among_the_files_is_not_run(
    tmp_path: Path, opened: Any, name: str, card: Any, bert: Any, edit: Any
) -> None:
    bert(tmp_path / "bert")
    edit(tmp_path / "bert" / name, auto_map={"AutoConfig": "code.Config"})
    code = "from pathlib import Path; Path(__file__).with_name('ran').touch()\n"
    (tmp_path / "bert" / "code.py").write_text(code)
    with pytest.raises(InputError) as caught:
        opened("hf:bert", card())
    assert str(caught.value) == (
        f"hf:bert wants to run code that comes with its files ({name} names it): read it, then "
        "pass --trust-remote-code"
    )
    assert not list(tmp_path.rglob("ran"))


def test_code_among_the_files_is_run_where_it_is_trusted(
    tmp_path: Path,
    opened: Any,
    monkeypatch: pytest.MonkeyPatch,
    card: Any,
    batch: Any,
    bert: Any,
    edit: Any,
) -> None:
    dynamic = importlib.import_module("transformers.dynamic_module_utils")
    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    bert(tmp_path / "bert")
    code = """
        from transformers import BertForSequenceClassification

        class Flipped(BertForSequenceClassification):
            def forward(self, *args, **kwargs):
                answer = super().forward(*args, **kwargs)
                answer.logits = -answer.logits
                return answer
    """
    plain = opened("hf:bert", card())
    auto = {"AutoModelForSequenceClassification": "flipped.Flipped"}
    edit(tmp_path / "bert" / "config.json", auto_map=auto, model_type="bert")
    (tmp_path / "bert" / "flipped.py").write_text(re.sub(r"^ {8}", "", code, flags=re.M))
    with pytest.raises(InputError, match="--trust-remote-code"):
        opened("hf:bert", card())
    trusted = opened("hf:bert", card(), trust_remote_code=True)
    assert "code" in trusted.fingerprint()
    assert any("--trust-remote-code" in note for note in trusted.diagnostics()["notes"])
    a, b = (one.predict(batch(TEXTS), SCORES).scores for one in (plain, trusted))
    np.testing.assert_allclose(a, -b, atol=1e-6)


def test_a_kernel_from_the_hub_is_code(
    tmp_path: Path, opened: Any, card: Any, bert: Any, edit: Any
) -> None:
    bert(tmp_path / "bert")
    edit(tmp_path / "bert" / "config.json", attn_implementation="someone/kernels")
    with pytest.raises(InputError, match="--trust-remote-code"):
        opened("hf:bert", card())


def test_pickled_weights_need_the_flag(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    model = bert(tmp_path / "bert")
    expected = opened("hf:bert", card()).predict(batch(TEXTS), SCORES).scores
    (tmp_path / "bert" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"^hf:bert: the folder holds no weights"):
        opened("hf:bert", card())
    torch.save(model.state_dict(), tmp_path / "bert" / "pytorch_model.bin")
    with pytest.raises(InputError) as caught:
        opened("hf:bert", card())
    assert str(caught.value) == (
        "hf:bert: its weights are pickled (pytorch_model.bin), and a pickle can run any code: save "
        "them as safetensors, or pass --allow-pickle"
    )
    allowed = opened("hf:bert", card(), allow_pickle=True)
    np.testing.assert_array_equal(allowed.predict(batch(TEXTS), SCORES).scores, expected)


def test_models_that_do_not_fit_are_refused_in_a_sentence(
    tmp_path: Path, opened: Any, card: Any, bert: Any, edit: Any
) -> None:
    from transformers import BertConfig, BertModel

    def refused(name: str, data: DataCard | None = None) -> str:
        with pytest.raises(InputError) as caught:
            opened(f"hf:{name}", data or card())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    bert(tmp_path / "many", problem_type="multi_label_classification")
    assert refused("many").startswith("hf:many gives a sample any number of labels")
    bert(tmp_path / "bare")
    body = BertModel(BertConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1))
    body.save_pretrained(tmp_path / "bare")
    assert refused("bare") == (
        "hf:bare: expected a model for SequenceClassification, got BertModel"
    )
    edit(tmp_path / "bare" / "config.json", architectures=None)
    assert "would be random" in refused("bare")
    assert refused("./none").startswith("hf:./none: there is no folder ")
    assert refused("many?revision=main").endswith("'many' is a local folder")
    (tmp_path / "empty").mkdir()
    assert refused("empty") == "hf:empty: the folder holds no config.json"
    (tmp_path / "file").touch()
    assert refused("file") == "hf:file: expected the folder of a saved model, got a file"
    bert(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert refused("adapter").startswith("hf:adapter holds an adapter for another model")
    bert(tmp_path / "mute", tokenizer=False)
    assert refused("mute") == "hf:mute: the folder holds no tokenizer (tokenizer.json)"
    bert(tmp_path / "text")
    assert "expected a model for ImageClassification" in refused("text", card(images="3x8x8"))
    frame = DataCard(
        name="t", uri="csv:t.csv",
        task=Task(kind="classification", modality=Modality.TABLE, classes=("a", "b")),
    )  # fmt: skip
    assert refused("text", frame).endswith("take texts or images, the data holds tables")


def test_a_repository_without_network_is_one_sentence(
    opened: Any, monkeypatch: pytest.MonkeyPatch, card: Any
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client tries again
    with pytest.raises(InputError) as caught:
        opened("hf:someone/some-model?revision=main", card())
    message = str(caught.value)
    assert message.startswith(
        "hf:someone/some-model: there is no such folder, and the repository can't be read from the "
        "Hugging Face hub: "
    )
    assert "\n" not in message


def test_a_repository_is_read_at_one_revision(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch, card: Any, bert: Any
) -> None:
    commit = "0123456789" * 4
    folder = tmp_path / "cache" / commit
    bert(folder)
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(folder)

    hub = importlib.import_module("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", download)
    adapter = opened("hf:someone/some-model", card())
    assert asked[0]["name"] == "someone/some-model" and asked[0]["revision"] is None
    assert "*.py" not in asked[0]["allow_patterns"] and "pytorch" not in str(asked[0])
    assert adapter.diagnostics()["preprocessing"]["revision"] == commit
    (note,) = (one for one in adapter.diagnostics()["notes"] if "revision" in one)
    assert note.endswith(f"revision={commit} always means it")
    asked.clear()
    pinned = opened(f"hf:someone/some-model?revision={commit}", card())
    assert [one["local_files_only"] for one in asked] == [True]
    assert not [one for one in pinned.diagnostics()["notes"] if "revision" in one]
    facts = TransformersAdapter.sources(
        parse_uri("hf:someone/some-model?revision=v1"), tmp_path
    ).facts
    assert facts["repository"] == "someone/some-model" and facts["revision"] == "v1"


def test_the_absence_of_transformers_is_one_sentence(
    tmp_path: Path, opened: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    code = """
import sys
sys.modules["transformers"] = None
import importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == "transformers":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
from pathlib import Path
from crucibench.contracts.uri import parse_uri
from crucibench_adapters.transformers_model import TransformersAdapter
try:
    TransformersAdapter.sources(parse_uri("hf:bert"), Path(sys.argv[1]))
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    expected = 'transformers is not installed: pip install "crucibench[text]"\n'
    assert done.stdout == expected, done.stderr


@pytest.mark.thorough
def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "adapters" / "hf.md"
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"`make.py`\n\n```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "make.py").write_text(example, encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    for line in commands.splitlines():
        program, *words = line.split()
        module = ["-m", "crucibench"] if program == "crucibench" else []
        done = subprocess.run(
            [sys.executable, *module, *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
    assert "Accuracy" in done.stdout
