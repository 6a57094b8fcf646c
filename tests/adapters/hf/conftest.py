"""Tiny models of `transformers`, saved as users save them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench_adapters.transformers_model import TransformersAdapter

WORDS = ["a", "good", "bad", "film", "book", "not", "very", "the", "was", "!", "?", "1", "é", "##s"]


def _card(
    classes: Sequence[str] = ("neg", "pos"), *, columns: int = 1, images: str = "", kind: Any = None
) -> DataCard:
    modality = Modality.IMAGE if images else Modality.TEXT
    features = {"image": images} if images else {f"text{at}": "string" for at in range(columns)}
    task = Task(kind=kind or "classification", modality=modality, classes=tuple(classes))
    return DataCard(name="data", uri="csv:data.csv", task=task, features=features)


def _batch(texts: Sequence[Any]) -> Batch:
    return Batch(tuple(f"{at:04x}" for at in range(len(texts))), list(texts))


def _tokenizer_of(folder: Path, **options: Any) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: at for at, word in enumerate([*special, *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if options.pop("special", True):
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
        **{
            "pad_token": "[PAD]",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            **options,
        },
    )
    wrapped.save_pretrained(folder)
    return wrapped


def _bert(folder: Path, *, tokenizer: bool = True, **options: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {
        "vocab_size": 18,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 32,
        "initializer_range": 0.7,
    }
    config = BertConfig(**{**sizes, "id2label": {0: "neg", 1: "pos"}, **options})
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    if tokenizer:
        _tokenizer_of(folder)
    return model


def _edit(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def _gpt(folder: Path, side: str) -> Any:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=18, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.7,
        bos_token_id=2, eos_token_id=3, id2label={0: "neg", 1: "pos"},
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    _tokenizer_of(
        folder, special=False, pad_token=None, eos_token="[SEP]", padding_side=side,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    return model


@pytest.fixture
def opened(open_with: Any) -> Callable[..., TransformersAdapter]:
    return partial(open_with, TransformersAdapter)


@pytest.fixture
def card() -> Callable[..., Any]:
    return _card


@pytest.fixture
def batch() -> Callable[..., Any]:
    return _batch


@pytest.fixture
def tokenizer_of() -> Callable[..., Any]:
    return _tokenizer_of


@pytest.fixture
def bert() -> Callable[..., Any]:
    return _bert


@pytest.fixture
def edit() -> Callable[..., Any]:
    return _edit


@pytest.fixture
def gpt() -> Callable[..., Any]:
    return _gpt
