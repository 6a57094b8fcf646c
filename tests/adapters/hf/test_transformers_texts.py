"""`hf:` with texts, against what `transformers` computes itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

import importlib
import importlib.metadata
import re
import runpy
import subprocess
import sys

import pytest
from click.testing import CliRunner

from crucibench.cli._app import application
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.transformers_model import TransformersAdapter

TEXTS = ["a good film", "a very very bad book !", "", "not", "the film was not good " * 40]
SCORES = frozenset({"scores", "labels"})


def own_probabilities(model: Any, folder: Path, texts: Sequence[Any]) -> Any:
    """What the pipeline of `transformers` does: one text at a time, truncated."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    rows = []
    for text in texts:
        # As a batch of one: given alone, an empty second text would be taken for none.
        pair = [[part] for part in (text if isinstance(text, tuple) else (text,))]
        inputs = tokenizer(*pair, return_tensors="pt", truncation=True)
        with torch.no_grad():
            rows.append(model(**inputs).logits.softmax(dim=1)[0].numpy())
    return np.stack(rows)


def softmax(scores: Any) -> Any:
    return torch.from_numpy(scores).softmax(dim=1).numpy()


def test_texts_are_answered_as_transformers_does(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    model = bert(tmp_path / "bert")
    check_adapter(lambda: opened("hf:bert", card()), batch(TEXTS))
    adapter = opened("hf:bert", card())
    assert adapter.capabilities == {
        Capability.LABELS,
        Capability.SCORES,
        Capability.LOGITS,
        Capability.GRADIENTS,
        Capability.EMBEDDINGS,
        Capability.FEATURES,
        Capability.HEAD,
        Capability.ANY_INPUT,
    }
    outputs = adapter.predict(batch(TEXTS), SCORES | {"features"})
    expected = own_probabilities(model, tmp_path / "bert", TEXTS)
    np.testing.assert_allclose(softmax(outputs.scores), expected, atol=1e-6)
    assert outputs.labels.tolist() == expected.argmax(axis=1).tolist()
    assert len(set(expected.argmax(axis=1))) == 2  # it tells texts apart
    weight, bias = adapter.head()
    np.testing.assert_allclose(outputs.features @ weight.T + bias, outputs.scores, atol=1e-4)


def test_pairs_of_texts(tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any) -> None:
    model = bert(tmp_path / "bert")
    pairs = [("a film", "a very good book"), ("", ""), ("bad " * 50, "not"), ("the book", "a film")]
    check_adapter(lambda: opened("hf:bert", card(columns=2)), batch(pairs))
    outputs = opened("hf:bert", card(columns=2)).predict(batch(pairs), SCORES)
    expected = own_probabilities(model, tmp_path / "bert", pairs)
    np.testing.assert_allclose(softmax(outputs.scores), expected, atol=1e-6)
    with pytest.raises(InputError, match=r"^hf:bert takes one or two texts, the data has 3 colum"):
        opened("hf:bert", card(columns=3))


def test_company_does_not_change_an_answer(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    adapter = opened("hf:bert", card())
    long = ["film " * 20, *TEXTS]
    together = adapter.predict(batch(long), SCORES).scores
    alone = [adapter.predict(batch([text]), SCORES).scores[0] for text in long]
    np.testing.assert_allclose(np.stack(alone), together, atol=1e-5)


def test_any_text_is_answered(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    adapter = opened("hf:bert", card())
    strange = ["\ud800", "\x00", "🙂" * 9, "é", "עברית", "a\u202eb", " ", "\n", "[PAD] [PAD]"]
    assert np.isfinite(adapter.predict(batch(strange), SCORES).scores).all()


def test_cut_texts_are_counted(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    adapter = opened("hf:bert?max_length=8", card())
    adapter.predict(batch(TEXTS), SCORES)
    assert adapter.diagnostics()["notes"][-1].endswith(
        "texts asked about so far were cut to 8 tokens"
    )
    assert adapter.diagnostics()["preprocessing"]["truncation"] == "to 8 tokens, on the right"
    with pytest.raises(InputError, match=r"option max_length: expected 1 to 32, got '99'$"):
        opened("hf:bert?max_length=99", card())


def test_embeddings_lead_back_to_tokens_and_gradients_agree(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    adapter = opened("hf:bert", card())
    encoded = adapter.encode(batch(TEXTS[:2]))
    assert encoded.shape == (2, 8, 17)
    assert adapter.vocabulary().shape == (18, 16)
    nearest = torch.cdist(encoded[..., :-1], adapter.vocabulary()).argmin(dim=2).tolist()
    assert [nearest[0][:5], nearest[1]] == [[2, 4, 5, 7, 3], [2, 4, 10, 10, 6, 8, 13, 3]]
    asked = encoded.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(adapter.module()(asked)[:, 0].sum(), asked)
    assert (gradient[..., -1] == 0).all()  # what carries the mask is no embedding
    assert (gradient[0, 5:] == 0).all()  # nor is what fills up
    assert (gradient[0, :5, :-1].abs().sum(dim=1) > 0).all()
    # One word's embedding replaced by another's is the other text.
    swapped = encoded.clone()
    swapped[0, 2, :-1] = adapter.vocabulary()[6]
    with torch.no_grad():
        answer = adapter.module()(swapped)[0].numpy()
    other = adapter.predict(batch(["a bad film", TEXTS[1]]), SCORES).scores[0]
    np.testing.assert_allclose(answer, other, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_filled_up_on_either_side(
    tmp_path: Path, opened: Any, side: str, card: Any, batch: Any, gpt: Any
) -> None:
    model = gpt(tmp_path / "gpt", side)
    check_adapter(lambda: opened("hf:gpt", card()), batch(TEXTS))
    adapter = opened("hf:gpt", card())
    outputs = adapter.predict(batch(TEXTS), SCORES)
    kept = [0, 1, 3, 4]  # transformers itself fails on a text without tokens
    expected = own_probabilities(model, tmp_path / "gpt", [TEXTS[at] for at in kept])
    np.testing.assert_allclose(softmax(outputs.scores)[kept], expected, atol=1e-6)
    found = adapter.diagnostics()
    assert found["preprocessing"]["padding"] == f"to the longest in the batch, on the {side}"
    assert any("had no token and were given one" in note for note in found["notes"])
    assert "texts are filled up with '[SEP]': no padding token is named" in found["notes"]
    assert np.isfinite(adapter.predict(batch(["", ""]), SCORES).scores).all()


def test_an_encoder_decoder_has_no_embeddings(
    tmp_path: Path, opened: Any, card: Any, batch: Any, tokenizer_of: Any
) -> None:
    from transformers import BartConfig, BartForSequenceClassification

    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=18, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, init_std=0.7,
        max_position_embeddings=32, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        decoder_start_token_id=3, forced_eos_token_id=3, id2label={0: "neg", 1: "pos"},
    )  # fmt: skip
    model = BartForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bart")
    tokenizer_of(tmp_path / "bart", model_input_names=["input_ids", "attention_mask"])
    adapter = opened("hf:bart", card())
    assert not {Capability.GRADIENTS, Capability.EMBEDDINGS} & adapter.capabilities
    assert "it can't be asked with embeddings: no gradients" in adapter.diagnostics()["notes"]
    texts = TEXTS[:2]
    expected = own_probabilities(model, tmp_path / "bart", texts)
    outputs = adapter.predict(batch(texts), SCORES)
    np.testing.assert_allclose(softmax(outputs.scores), expected, atol=1e-6)
    with pytest.raises(InputError, match=r"^hf:bart has no embeddings$"):
        adapter.vocabulary()


def test_roberta_counts_positions_from_its_padding(
    tmp_path: Path, opened: Any, card: Any, batch: Any, tokenizer_of: Any
) -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=18, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
        intermediate_size=16, max_position_embeddings=12, type_vocab_size=1, initializer_range=0.7,
        id2label={0: "neg", 1: "pos"},
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "roberta")
    tokenizer_of(tmp_path / "roberta", model_input_names=["input_ids", "attention_mask"])
    check_adapter(lambda: opened("hf:roberta", card()), batch(TEXTS))


def test_regression(tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any) -> None:
    bert(tmp_path / "bert", num_labels=1, problem_type="regression", id2label={0: "LABEL_0"})
    data = card((), kind="regression")
    check_adapter(lambda: opened("hf:bert", data), batch(TEXTS))
    adapter = opened("hf:bert", data)
    values = adapter.predict(batch(TEXTS), frozenset({"values"})).values
    assert values.shape == (5,) and len(set(values.tolist())) == 5
    with pytest.raises(InputError, match=r"^hf:bert gives a number \(regression\), the data has 2"):
        opened("hf:bert", card())
    bert(tmp_path / "two")
    with pytest.raises(InputError, match=r"asks for a number \(regression\), the model gives 2 cl"):
        opened("hf:two", data)


def test_classes_are_matched_by_name(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert", id2label={0: "POSITIVE", 1: "NEGATIVE"})
    plain = opened("hf:bert", card(("negative", "positive")))
    other = opened("hf:bert", card(("POSITIVE", "NEGATIVE")))
    a, b = (adapter.predict(batch(TEXTS), SCORES).scores for adapter in (plain, other))
    np.testing.assert_array_equal(a, b[:, ::-1])
    assert any("whatever the case" in note for note in plain.diagnostics()["notes"])
    with pytest.raises(InputError, match="its classes are not the data's"):
        opened("hf:bert", card(("good", "bad")))
    mapped = {"POSITIVE": "good", "NEGATIVE": "bad"}
    named = opened("hf:bert", card(("bad", "good")), classes=mapped)
    np.testing.assert_array_equal(named.predict(batch(TEXTS), SCORES).scores, a)
    bert(tmp_path / "generic", id2label={0: "LABEL_0", 1: "LABEL_1"})
    generic = opened("hf:generic", card(("bad", "good")))
    assert generic.diagnostics()["classes"].startswith("classes are matched by index")


def test_a_variant_keeps_what_the_adapter_can(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    bert(tmp_path / "bert")
    adapter = opened("hf:bert", card())
    assert adapter.with_variant("fp32") is adapter
    half = adapter.with_variant("bf16")
    assert Capability.EMBEDDINGS in half.capabilities
    assert half.diagnostics()["preprocessing"]["padding"].startswith("to the longest")
    assert half.fingerprint() == {**adapter.fingerprint(), "variant": "bf16"}
    a, b = (one.predict(batch(TEXTS), SCORES).scores for one in (adapter, half))
    assert 0 < np.abs(a - b).max() < 0.2
    with torch.no_grad():
        straight = half.module()(half.encode(batch(TEXTS))).numpy()
    np.testing.assert_allclose(straight, b, atol=1e-6)


def test_the_fingerprint_tells_what_differs(
    tmp_path: Path, opened: Any, card: Any, bert: Any, edit: Any
) -> None:
    bert(tmp_path / "bert")
    first = opened("hf:bert", card()).fingerprint()
    assert set(first) == {
        "weights", "preprocessing", "output", "library", "architecture", "configuration",
        "tokenizer", "tokenizers",
    }  # fmt: skip
    assert first["architecture"] == "BertForSequenceClassification"

    def differing() -> list[str]:
        other = opened("hf:bert", card()).fingerprint()
        return sorted(key for key in first if first[key] != other[key])

    assert differing() == []
    settings = tmp_path / "bert" / "tokenizer_config.json"
    before = settings.read_text()
    edit(settings, padding_side="left")
    assert differing() == ["tokenizer"]
    settings.write_text(before)
    bert(tmp_path / "bert", tokenizer=False, hidden_act="relu")
    assert differing() == ["configuration"]


def test_half_precision_files_are_read_as_float32(
    tmp_path: Path, opened: Any, card: Any, bert: Any
) -> None:
    model = bert(tmp_path / "bert")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "bert")
    adapter = opened("hf:bert", card())
    assert adapter.numerics()["dtype"] == "float32"


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_the_console_stays_quiet(
    tmp_path: Path, opened: Any, capfd: Any, kind: str, card: Any, batch: Any, bert: Any, gpt: Any
) -> None:
    if kind == "bert":
        bert(tmp_path / "model")
    else:
        gpt(tmp_path / "model", "left")
    capfd.readouterr()
    adapter = opened("hf:model", card())
    adapter.predict(batch(TEXTS), SCORES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_among_the_files_is_not_run(
    tmp_path: Path, opened: Any, name: str, card: Any, bert: Any, edit: Any, refusal: Any
) -> None:
    bert(tmp_path / "bert")
    edit(tmp_path / "bert" / name, auto_map={"AutoConfig": "code.Config"})
    code = "from pathlib import Path; Path(__file__).with_name('ran').touch()\n"
    (tmp_path / "bert" / "code.py").write_text(code)
    assert refusal(InputError, lambda: opened("hf:bert", card())) == (
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
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any, refusal: Any
) -> None:
    model = bert(tmp_path / "bert")
    expected = opened("hf:bert", card()).predict(batch(TEXTS), SCORES).scores
    (tmp_path / "bert" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"^hf:bert: the folder holds no weights"):
        opened("hf:bert", card())
    torch.save(model.state_dict(), tmp_path / "bert" / "pytorch_model.bin")
    assert refusal(InputError, lambda: opened("hf:bert", card())) == (
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
    edit(tmp_path / "bare" / "config.json", architectures=["GPT2LMHeadModel"])
    assert "its files lack" in refused("bare")  # it is opened as a language model
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


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs" / "adapters" / "hf.md"
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"`make.py`\n\n```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "make.py").write_text(example, encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    made, run = commands.splitlines()
    assert made == "python make.py"
    monkeypatch.chdir(tmp_path)
    runpy.run_path("make.py", run_name="__main__")
    program, *words = run.split()
    done = CliRunner().invoke(application, words)
    assert program == "crucibench" and done.exit_code == 0, done.output
    assert "Accuracy" in done.stdout


def test_a_model_of_several_labels_gives_the_logit_of_each_by_name(
    tmp_path: Path, opened: Any, card: Any, batch: Any, bert: Any
) -> None:
    names = {0: "toxic", 1: "spam", 2: "mild"}
    model = bert(tmp_path / "many", problem_type="multi_label_classification", id2label=names)
    adapter = opened("hf:many", card(("mild", "spam", "toxic"), kind="multilabel"))
    texts = ["a good film", "not very bad !"]
    scores = adapter.predict(batch(texts), frozenset({"scores"}))["scores"]
    tokens = adapter._texts().tokens.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens).logits[:, [2, 1, 0]]
    assert scores == pytest.approx(expected.numpy(), abs=1e-5)
    bert(tmp_path / "one", problem_type="single_label_classification")
    with pytest.raises(InputError, match=r"gives one answer .*, the data asks for multilabel"):
        opened("hf:one", card(("neg", "pos"), kind="multilabel"))
