"""Trains the three models of reviews that ``crucibench demo`` evaluates, and writes them there.

Run it from a checkout: ``python examples/train_demo_texts.py``. It takes about ten minutes on one
core and needs transformers; ``--only gru-gender`` takes one. `gru` and `transformer` learn from the
train role of ``synthetic:reviews`` alone, from five times as many texts as the demo has of it, and
it prints what the models do on the demo's test role. `gru-gender` is the same recurrent network,
trained on fewer texts in which a person's gender tells the label in 95 %: what ``bias/reworded``
should catch. What is set by hand here was chosen on the test role of another seed, whose texts are
others. The same versions of torch and transformers on the same kind of machine give the same
weights again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional
from train_demo_models import DEMO, opened, role
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from crucibench.util.loading import load_factory, parse_factory

TEXTS = "synthetic:reviews?train=20000"
TIED_TEXTS = "synthetic:reviews?spurious=gender&strength=0.95&train=4000"
LENGTH = 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

Encode = Callable[[Sequence[str]], Any]
"""What a model is given for some texts."""

Answer = Callable[[Any], torch.Tensor]
"""The logits for what `Encode` returns."""


def main() -> None:
    """Trains all, or one."""
    parser = argparse.ArgumentParser(description="Train the bundled models of reviews.")
    parser.add_argument("--out", type=Path, default=DEMO, help="where to write the models")
    parser.add_argument("--only", choices=sorted(MODELS), help="the one to train; all by default")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # sums in one order, so that the weights are the same each time
    torch.use_deterministic_algorithms(True)
    for name in [arguments.only] if arguments.only else MODELS:
        train, address = MODELS[name]
        with tempfile.TemporaryDirectory() as scratch:
            data = opened(address, Path(scratch))
            (texts, targets), (test_texts, test_targets) = role(data, "train"), role(data, "test")
        encode, answer = train(texts, torch.from_numpy(targets), out)
        with torch.no_grad():
            predicted = answer(encode(test_texts)).argmax(dim=1).numpy()
        print(f"{name:16} reviews   test accuracy {(predicted == test_targets).mean():.3f}")


def gru(texts: Sequence[str], targets: torch.Tensor, out: Path) -> tuple[Encode, Answer]:
    """Trains the recurrent network."""
    return recurrent(texts, targets, out / "gru.safetensors")


def gru_gender(texts: Sequence[str], targets: torch.Tensor, out: Path) -> tuple[Encode, Answer]:
    """Trains the same network on texts that tie gender to the label."""
    return recurrent(texts, targets, out / "gru-gender.safetensors")


def recurrent(texts: Sequence[str], targets: torch.Tensor, path: Path) -> tuple[Encode, Answer]:
    """Trains a recurrent network and writes its weights."""
    torch.manual_seed(0)
    model = load_factory(parse_factory("text_models.py:gru", DEMO))()
    fit(model, model.encode, model, texts, targets, epochs=6, rate=4e-3)
    path.write_bytes(save(model.state_dict()))
    return model.encode, model


def transformer(texts: Sequence[str], targets: torch.Tensor, out: Path) -> tuple[Encode, Answer]:
    """Trains the transformer and its tokenizer, and saves them as `transformers` does."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(texts)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        initializer_range=0.1,  # that of a large model leaves one of this width asleep
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    model = BertForSequenceClassification(config)

    def encode(some: Sequence[str]) -> Any:
        return tokenizer(list(some), padding=True, truncation=True, return_tensors="pt")

    def answer(encoded: Any) -> torch.Tensor:
        logits: torch.Tensor = model(**encoded).logits
        return logits

    fit(model, encode, answer, texts, targets, epochs=16, rate=2e-3)
    folder = out / "reviews-transformer"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return encode, answer


def tokenizer_of(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Trains a tokenizer of word pieces."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=800, special_tokens=SPECIAL, show_progress=False, min_frequency=2
    )
    pieces.train_from_iterator(texts, trainer)
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, pieces.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def fit(
    model: nn.Module,
    encode: Encode,
    answer: Answer,
    texts: Sequence[str],
    targets: torch.Tensor,
    *,
    epochs: int,
    rate: float,
) -> None:
    """Trains with AdamW and one cycle of the learning rate."""
    batches = -(-len(texts) // 32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * batches)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(texts)).split(32):
            logits = answer(encode([texts[row] for row in rows]))
            loss = functional.cross_entropy(logits, targets[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    model.eval()


MODELS = {
    "gru": (gru, TEXTS),
    "gru-gender": (gru_gender, TIED_TEXTS),
    "transformer": (transformer, TEXTS),
}
"""What trains each, and on which texts."""


if __name__ == "__main__":
    main()
