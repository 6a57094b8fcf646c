"""Trains a tiny language model of bytes, in about a minute on one core.

``python train_byte_model.py FOLDER`` writes a `transformers` model (GPT-2's architecture, a token a
byte) that has read simple sentences. No claim is made about it: it is for trying prompts, and for
holding one way of asking against another.
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

KINDS = {
    "animal": ("cat", "dog", "horse", "mouse", "goose"),
    "fruit": ("apple", "pear", "plum", "grape", "melon"),
    "colour": ("red", "blue", "green", "black", "white"),
    "tool": ("hammer", "saw", "drill", "wrench", "file"),
}
LENGTH = 128
STEPS = 700


def sentences(draw: random.Random) -> str:
    """Returns one line of what the model reads."""
    kind = draw.choice(list(KINDS))
    word = draw.choice(KINDS[kind])
    a, b = draw.randint(0, 9), draw.randint(0, 9)
    return draw.choice(
        [
            f"Question: What is {word}?\nAnswer: {kind}\n",
            f"{word} is a kind of {kind}.\n",
            f"Question: {a} + {b}?\nAnswer: {a + b}\n",
            f"Review: a {draw.choice(['good', 'fine', 'great'])} {word}\nLabel: pos\n",
            f"Review: a {draw.choice(['bad', 'poor', 'awful'])} {word}\nLabel: neg\n",
        ]
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{symbol: 2 + at for at, symbol in enumerate(alphabet)}}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def train(steps: int = STEPS, seed: int = 0) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    """Returns the model and its tokenizer."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    tokens = tokenizer()
    config = GPT2Config(
        vocab_size=len(tokens), n_positions=512, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=0, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    stream = itertools.chain.from_iterable(
        tokens.encode(sentences(draw)) for _ in itertools.count()
    )
    for _ in range(steps):
        batch = torch.tensor(list(itertools.islice(stream, 32 * LENGTH))).reshape(32, LENGTH)
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval(), tokens


def main() -> None:
    """Trains and saves."""
    folder = Path(sys.argv[1])
    model, tokens = train()
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)


if __name__ == "__main__":
    main()
