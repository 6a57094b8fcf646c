"""`hf:` with texts, against what `transformers` computes itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from crucibench.contracts.capability import Capability
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError

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
    assert adapter.nearest_tokens(encoded) == [[2, 4, 5, 7, 3], [2, 4, 10, 10, 6, 8, 13, 3]]
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
