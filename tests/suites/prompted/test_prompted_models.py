"""Causal models, logged answers, and classification by prompt."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

import crucibench as cb
from crucibench.contracts.adapter import Opening
from crucibench.contracts.asking import Asking, Question, Sampling
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import parse_uri
from crucibench.util.errors import InputError
from crucibench_adapters.logged_answers import AnswersAdapter
from crucibench_adapters.transformers_model import TransformersAdapter

pytestmark = pytest.mark.sockets

ITEMS = DataCard(name="d", uri="", task=Task(kind="generation", modality=Modality("item")))
TEXTS = DataCard(
    name="d", uri="", features={"text": "string"},
    task=Task(kind="classification", modality=Modality.TEXT, classes=("no", "yes")),
)  # fmt: skip
REPLY = {"template": "{text} ->", "verbalisers": {"no": " n", "yes": " yeah"}}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of bytes."""
    path = Path(__file__).parents[3] / "examples" / "train_byte_model.py"
    spec = importlib.util.spec_from_file_location("train_byte_model", path)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    tokens = example.tokenizer()
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=len(tokens), n_positions=64, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    made = tmp_path_factory.mktemp("model")
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(4.0)
    model.save_pretrained(made)
    tokens.save_pretrained(made)
    return made


def opened(address: str, card: DataCard = ITEMS, base: Path = Path()) -> Asking:
    uri = parse_uri(address)
    kind: Any = AnswersAdapter if uri.scheme == "answers" else TransformersAdapter
    found = kind.open(Opening(name="m", uri=uri, base=base, data=card))
    assert isinstance(found, Asking)
    return found


def one_by_one(adapter: Any, prompt: str, continuation: str) -> tuple[list[float], bool]:
    """The same by one pass a sequence, with nothing shared and nothing filled up.

    As in lm-evaluation-harness, spaces at the end of a prompt belong to what follows.
    """
    kept = prompt.rstrip()
    prompt, continuation = kept, prompt[len(kept) :] + continuation
    tokens = adapter._tokenizer
    start, whole = (tokens.encode(text) for text in (prompt, prompt + continuation))
    start = start or [tokens.bos_token_id]
    whole = whole if prompt else start + whole
    logs = adapter._model(torch.tensor([whole])).logits.log_softmax(-1)[0]
    places = range(len(start), len(whole))
    picked = [float(logs[at - 1, whole[at]]) for at in places]
    greedy = all(int(logs[at - 1].argmax()) == whole[at] for at in places)
    return picked, greedy


def test_likelihoods_and_text_are_those_of_single_passes(folder: Path) -> None:
    adapter: Any = opened(f"hf:{folder}?batch=5")
    pairs = [
        (prompt, continuation)
        for prompt in ("Q: a\nA:", "A longer question, é?", "x ", "")
        for continuation in (" b", " bcd", "z")
    ]
    pairs += [(prompt, chr(code)) for prompt in "abcdefgh" for code in range(33, 127)]
    replies = adapter.ask([Question(id="", prompt=a, continuation=b) for a, b in pairs])
    for (prompt, continuation), reply in zip(pairs, replies, strict=True):
        logs, greedy = one_by_one(adapter, prompt, continuation)
        assert reply.loglikelihood == pytest.approx(sum(logs), abs=1e-5 * len(continuation))
        np.testing.assert_allclose(reply.logprobs, logs, atol=1e-5)
        assert reply.greedy == greedy
    assert any(reply.greedy for reply in replies)
    assert adapter.passes.forwards == len(pairs)
    how = Sampling(max_tokens=12)
    prompts = ["ab", "a much longer one", "q"]
    together = adapter.ask([Question(id="", prompt=one, sampling=how) for one in prompts])
    for prompt, reply in zip(prompts, together, strict=True):
        (alone,) = adapter.ask([Question(id="", prompt=prompt, sampling=how)])
        assert (reply.texts, reply.finish) == (alone.texts, alone.finish)
        ids = adapter._tokenizer.encode(prompt)
        start = len(ids)
        for _ in range(reply.tokens):
            ids.append(int(adapter._model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert adapter._tokenizer.decode(ids[start:], skip_special_tokens=True) == reply.texts[0]
    (whole,) = adapter.ask([Question(id="", prompt="ab", sampling=how)])
    stop = whole.texts[0][4]
    (cut,) = adapter.ask(
        [Question(id="", prompt="ab", sampling=Sampling(max_tokens=12, stop=(stop,)))]
    )
    assert cut.texts[0] == whole.texts[0].split(stop)[0] and cut.finish == ("stop",)


def test_what_can_not_share_is_passed_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"So all begin: {n * n}", word) for n in range(6) for word in (" b", " bcd", "z")]
    questions = [Question(id="", prompt=a, continuation=b) for a, b in pairs]
    together: Any = opened(f"hf:{folder}")
    forward = GPT2LMHeadModel.forward

    def blind(self: Any, *args: Any, attention_mask: Any = None, **more: Any) -> Any:
        """Heeds no mask of its own for each token."""
        return forward(self, *args, **more)

    monkeypatch.setattr(blind, "__signature__", inspect.signature(forward), raising=False)
    monkeypatch.setattr(GPT2LMHeadModel, "forward", blind)
    alone: Any = opened(f"hf:{folder}")
    assert together._shares and not alone._shares
    monkeypatch.undo()
    values = [
        [one.loglikelihood for one in adapter.ask(questions)] for adapter in (together, alone)
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)


def test_sequence_to_sequence_models(folder: Path, tmp_path: Path) -> None:
    config = T5Config(
        vocab_size=300, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(config).eval().requires_grad_(False)
    model.save_pretrained(tmp_path)
    for file in folder.glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    adapter: Any = opened(f"hf:{tmp_path}?batch=3")
    tokens = adapter._tokenizer
    pairs = [(f"Question {n * 'é'}: ", word) for n in range(4) for word in ("b", "bcd", " z")]
    replies = adapter.ask([Question(id="", prompt=a, continuation=b) for a, b in pairs])
    for (prompt, continuation), reply in zip(pairs, replies, strict=True):
        own = tokens.encode(" " + continuation, add_special_tokens=False)
        logs = model(
            input_ids=torch.tensor([tokens.encode(prompt.rstrip())]),
            decoder_input_ids=torch.tensor([[0, *own[:-1]]]),
        ).logits[0].log_softmax(-1)  # fmt: skip
        value = sum(float(logs[at, token]) for at, token in enumerate(own))
        assert reply.loglikelihood == pytest.approx(value, abs=1e-5 * len(own))
        assert reply.greedy == (logs.argmax(-1).tolist() == own)
    how = Sampling(max_tokens=5)
    written = adapter.ask([Question(id="", prompt=a, sampling=how) for a, _ in pairs[::3]])
    for (prompt, _), reply in zip(pairs[::3], written, strict=True):
        ids, made = torch.tensor([tokens.encode(prompt)]), [0]
        for _ in range(reply.tokens):
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([made])).logits
            made.append(int(logits[0, -1].argmax()))
        assert tokens.decode(made[1:], skip_special_tokens=True) == reply.texts[0]


def test_a_chat_names_classes(server: Any, tmp_path: Path) -> None:
    server.set(says={"good": "Yes, it is.", "bad": "no", "odd": "who knows"})
    file = tmp_path / "p.yaml"
    prompt = {"template": "{text}?", "verbalisers": {"no": "no", "yes": "yes"}}
    frame = pd.DataFrame({
        "text": [f"a {('good', 'bad')[n % 2]} one {n}" for n in range(40)], "y": ["yes", "no"] * 20,
    })  # fmt: skip
    frame.loc[39, "text"] = "an odd one"
    frame.to_csv(tmp_path / "t.csv", index=False)

    def run() -> cb.Run:
        return cb.run(
            models=[f"m={server.uri('chat', f'&prompt={file}')}"],
            data=f"csv:{tmp_path / 't.csv'}?target=y&input=text", suites=["accuracy"],
            out=tmp_path / "results", workers=0,
        )  # fmt: skip

    file.write_text(json.dumps(prompt))
    reasons = {cell.reason for cell in run().cells.values()}
    assert any("begins with no class's verbaliser: unparsed" in reason for reason in reasons)
    file.write_text(json.dumps(prompt | {"unparsed": "yes"}))
    rows = run().metrics()
    assert rows[rows.metric == "top-1"].value.iloc[0] == pytest.approx(39 / 40)
    file.write_text(json.dumps(prompt | {"unparsed": "maybe"}))
    with pytest.raises(InputError, match="maybe"):
        run()


def test_draws_hang_on_the_item_alone_and_long_prompts_are_cut(folder: Path) -> None:
    adapter = opened(f"hf:{folder}")
    how = Sampling(max_tokens=6, temperature=1.0, n=3, seed=1)
    asked = [Question(id=str(at), prompt="ab", sampling=how) for at in range(4)]
    together, alone = adapter.ask(asked), adapter.ask(asked[2:3])
    assert together[2].texts == alone[0].texts
    assert len({one.texts for one in together}) == 4  # equal prompts, other items
    long = "abcdefgh" * 20
    (reply,) = adapter.ask([Question(id="", prompt=long, continuation="ij")])
    assert reply.cut == 160 + 2 - 65
    with_last = sum(one_by_one(adapter, long[97:], "i")[0])
    assert reply.loglikelihood is not None and reply.loglikelihood < with_last
    with pytest.raises(OutputError, match="66 tokens, the model takes 64"):
        adapter.ask([Question(id="", prompt="a", continuation="b" * 66)])
    with pytest.raises(InputError, match="no chat template"):
        opened(f"hf:{folder}?chat=true")
    doubled = adapter.ask([Question(id="", prompt="<s><s>a", continuation="b")])[0]
    assert doubled.doubled_start


def test_classes_are_scored_by_their_verbalisers(folder: Path, tmp_path: Path) -> None:
    from crucibench.contracts.batch import Batch

    (tmp_path / "p.yaml").write_text(json.dumps(REPLY))
    adapter = opened(f"hf:{folder}?prompt=p.yaml", TEXTS, tmp_path)
    batch = Batch(ids=("a", "b"), inputs=["good", "a bad one"])
    scores = adapter.predict(batch, frozenset({"scores"})).scores
    assert scores is not None
    for row, text in enumerate(batch.inputs):
        for column, word in enumerate((" n", " yeah")):
            expected = sum(one_by_one(adapter, f"{text} ->", word)[0])
            assert scores[row, column] == pytest.approx(expected, abs=1e-4)
    assert adapter.passes.forwards == 2
    first = adapter.fingerprint()
    (tmp_path / "p.yaml").write_text(json.dumps(REPLY | {"template": "{text} =>"}))
    second = opened(f"hf:{folder}?prompt=p.yaml", TEXTS, tmp_path).fingerprint()
    assert first is not None and second is not None
    assert {key for key in first if first[key] != second[key]} == {"asking"}
    for content, message in (
        ({"template": "{txt}"}, "unknown field 'txt'"), ({"verbalisers": {"no": "x"}}, "'yes'"),
        ({"verbalisers": {"no": "x", "yes": "x"}}, "of its own"), ({"a": 1}, "p.yaml: a"),
    ):  # fmt: skip
        (tmp_path / "p.yaml").write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            opened(f"hf:{folder}?prompt=p.yaml", TEXTS, tmp_path)


def test_existing_suites_run_on_a_served_language_model(
    server: Any, mock: ModuleType, tmp_path: Path
) -> None:
    texts = [f"text {'abcdefgh'[n % 8]}{n}" for n in range(60)]
    frame = pd.DataFrame({"text": texts, "y": ["no", "yes"] * 30, "g": ["u", "v", "w"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "p.yaml").write_text(json.dumps(REPLY))
    run = cb.run(
        {
            "models": [{"name": "m", "uri": server.uri(more=f"&prompt={tmp_path / 'p.yaml'}")}],
            "data": [
                {"name": "d", "uri": f"csv:{tmp_path / 't.csv'}?target=y&input=text&groups=g"}
            ],
            "tracks": [
                {"name": "t", "models": ["m"], "data": "d", "suites": ["accuracy", "bias", "shift"]}
            ],
            "suites": {"shift": {"texts": ["casing"]}},
        },
        out=tmp_path / "results", workers=0,
    )  # fmt: skip
    assert {cell.status for cell in run.cells.values()} == {"ok"}, [
        cell.reason for cell in run.cells.values()
    ]
    (cell,) = (one for one in run.cells.values() if (one.suite, one.scenario) == ("pass", "test"))
    scores = np.stack(run.cell_records(cell.cell).frame().scores)
    expected = [mock.loglikelihood(">", word) for word in (" n", " yeah")]
    np.testing.assert_allclose(scores, np.tile(expected, (60, 1)), atol=1e-6)
    rows = run.metrics()
    assert {"accuracy", "bias", "shift"} <= set(rows.suite)


LM_EVAL = [
    {
        "doc_id": 0, "arguments": {
            "gen_args_0": {"arg_0": "1 A:", "arg_1": " x"},
            "gen_args_1": {"arg_0": "1 A:", "arg_1": " yy"},
        },
        "resps": [[["-1.5", "False"]], [["-0.5", "True"]]],
    },
    {
        "doc_id": 1, "arguments": {
            "gen_args_0": {"arg_0": "2 A:", "arg_1": " x"},
            "gen_args_1": {"arg_0": "2 A:", "arg_1": " yy"},
        },
        "resps": [[["-0.25", "False"]], [["-4.0", "True"]]],
    },
]  # fmt: skip
INSPECT = {
    "samples": [
        {
            "input": f"{n} A:",
            "output": {
                "model": "m",
                "usage": {"input_tokens": 3, "output_tokens": 1},
                "choices": [{"message": {"content": f"It is {n}."}, "stop_reason": "stop"}],
            },
        }
        for n in (1, 2)
    ]
}


def test_logs_of_others_are_judged(ask: Callable[..., cb.Run], tmp_path: Path) -> None:
    lines = tmp_path / "samples_t.jsonl"
    lines.write_text("\n".join(map(json.dumps, LM_EVAL)))
    items = [{"q": n, "o": ["x", "yy"], "answer": 1} for n in (1, 2)]
    task = {"kind": "choice", "template": "{q} A:", "choices": "o"}
    run = ask(f"answers:{lines}", items, task)
    rows = run.metrics().set_index("metric").value
    # -0.5 beats -1.5; of -0.25 and -4 the first; by byte -0.25 beats -1.5, and -0.25 beats -2.
    assert rows["choice-accuracy"] == 0.5 and rows["choice-accuracy-by-byte"] == 0.5
    assert rows["choice-accuracy-by-character"] == 0.5
    expected = np.mean([1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(3.75))])
    assert rows["choice-gold-probability"] == pytest.approx(expected)
    log = tmp_path / "log.json"
    log.write_text(json.dumps(INSPECT))
    items = [{"q": n, "answer": str(n % 2 + 1)} for n in (1, 2, 1)][:2]
    task = {"kind": "text", "template": "{q} A:", "extract": {"n": "last-number"}}
    run = ask(f"answers:{log}", items, task)
    rows = run.metrics()
    assert rows[rows.metric == "exact-match"].value.item() == 0.0
    assert rows[rows.metric == "parsed-share"].value.item() == 1.0
    run = ask(f"answers:{log}", items, task | {"template": "{q} B:"})
    assert any("template, choices and delimiter" in cell.reason for cell in run.cells.values())


def test_another_extractor_costs_no_request(
    server: Any, ask: Callable[..., cb.Run], tmp_path: Path
) -> None:
    server.set(says={"3": "So 3, or #4", "": "nothing"})
    items = [{"q": f"number {n}", "answer": str(n)} for n in range(12)]
    task = {"kind": "text", "template": "{q}?", "extract": {"hash": r"#(\d)"}}
    run = ask(server.uri("chat"), items, task)
    server.set()
    again = ask(f"answers:{run.root}", items, task | {"extract": {"so": r"So (\d)"}})
    assert server.seen()["requests"] == 0
    rows = again.metrics()
    assert rows[rows.metric == "exact-match"].value.item() == pytest.approx(1 / 12)
    other = ask(f"answers:{run.root}", items, task | {"temperature": 0.5})
    assert any("lacks" in cell.reason for cell in other.cells.values())
