"""Language models beside lm-evaluation-harness: the same model, the same items, item by item.

    python benchmarks/prompted.py --peer PYTHON_WITH_LM_EVAL [--model FOLDER] [--items 400]

The model is `examples/train_byte_model.py`'s; without ``--model`` it is trained first.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _report import load, publish, table

import crucibench as cb
from crucibench.contracts.adapter import Opening
from crucibench.contracts.asking import Asking, Question, Sampling
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench_adapters.transformers_model import TransformersAdapter
from crucibench_suites.prompted.judging import extracted

HERE = Path(__file__).parent
CHOICES = ("choices", "passages", "examples")
KINDS = {
    "animal": ("cat", "dog", "horse"), "fruit": ("apple", "pear", "plum"),
    "colour": ("red", "blue", "green"), "tool": ("hammer", "saw", "drill"),
}  # fmt: skip


def items(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns four-option items, some of words that the model never read, and sums."""
    draw = random.Random(0)
    choices = []
    for _ in range(count):
        kind = draw.choice(list(KINDS))
        word = draw.choice(KINDS[kind])
        odd = "".join(draw.choices("abcdefgh é", k=draw.randint(1, 12))).strip() or "x"
        options = [*draw.sample(list(KINDS), 3), odd]
        draw.shuffle(options)
        made = "".join(draw.choices("abcdefgh", k=draw.randint(2, 30)))
        about = f"{draw.choice(['', 'the ', 'a very old '])}{made} {word}"
        choices.append(
            {"passage": "", "word": about, "options": options, "answer": draw.randrange(4)}
        )
    written = [{"a": a, "b": b, "answer": str(a + b)} for a in range(12) for b in range(0, 12, 3)]
    return choices, written


def asked(adapter: Asking, questions: list[Question]) -> tuple[list[Any], float]:
    """Returns answers and CPU seconds."""
    begun = time.process_time()
    return adapter.ask(questions), time.process_time() - begun


def compare(
    adapter: Asking, rows: list[dict[str, Any]], samples: list[dict[str, Any]]
) -> dict[str, Any]:
    """Returns how far log-likelihoods lie apart, what is judged otherwise, and CPU seconds."""
    questions = [
        Question(id=str(at), prompt=f"{one['passage']}Question: What is {one['word']}?\nAnswer:",
                 continuation=f" {option}")
        for at, one in enumerate(rows) for option in one["options"]
    ]  # fmt: skip
    replies, seconds = asked(adapter, questions)
    ours = np.array([one.loglikelihood for one in replies]).reshape(-1, 4)
    theirs = said_by(samples)
    tokens = np.array([one.tokens for one in replies]).reshape(-1, 4)
    gold = np.array([one["answer"] for one in rows])
    sizes = {
        "acc": np.ones_like(ours),
        "acc_norm": np.array([[len(o) for o in one["options"]] for one in rows]),
        "acc_bytes": np.array([[len(o.encode()) for o in one["options"]] for one in rows]),
    }
    judged = {
        name: int((((ours / size).argmax(axis=1) == gold) != told(samples, name)).sum())
        for name, size in sizes.items()
    }
    return {
        "seconds": seconds, "apart": float((np.abs(ours - theirs) / tokens).max()),
        "judged": judged, "ours": ours, "theirs": theirs, "tokens": tokens, "questions": questions,
    }  # fmt: skip


def said_by(samples: list[dict[str, Any]]) -> np.ndarray:
    """Returns the log-likelihoods in samples of lm-evaluation-harness, (items, 4)."""
    return np.array([[float(answer[0][0]) for answer in one["resps"]] for one in samples])


def choice_task() -> dict[str, Any]:
    """Returns the task in words of this project."""
    return {
        "kind": "choice", "choices": "options",
        "template": "{passage}Question: What is {word}?\nAnswer:",
    }  # fmt: skip


def whole_task(model: Path, folder: Path, name: str, task: dict[str, Any]) -> float:
    """Returns the CPU seconds of a whole run; the second of two, so that all is imported."""
    for number in range(2):
        begun = time.process_time()
        run = cb.run(
            models=[f"m=hf:{model}"], data=f"items:{folder / name}.jsonl?target=answer",
            suites=["prompted"], settings={"prompted.tasks": {name: task}}, workers=0,
            out=folder / f"results{number}", cache=False, defaults={"threads": 1},
        )  # fmt: skip
        seconds = time.process_time() - begun
        assert {str(cell.status) for cell in run.cells.values()} == {"ok"}
    return seconds


def told(samples: list[dict[str, Any]], metric: str) -> np.ndarray:
    """Returns what lm-evaluation-harness says of each sample."""
    return np.array([bool(float(one[metric])) for one in samples])


def exact(adapter: Any, questions: list[Question]) -> np.ndarray:
    """Returns log-likelihoods by one pass a sequence in float64."""
    import torch

    model, tokens = adapter._model.double(), adapter._tokenizer
    found = []
    with torch.inference_mode():
        for one in questions:
            start = len(tokens.encode(one.prompt))
            whole = tokens.encode(one.prompt + str(one.continuation))
            logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            found.append(sum(float(logs[at - 1, whole[at]]) for at in range(start, len(whole))))
    return np.array(found)


def main() -> None:
    """Asks both, compares, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="an interpreter that has lm_eval")
    parser.add_argument("--model", type=Path, help="the model's folder")
    parser.add_argument("--items", type=int, default=400, help="of four options")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    model = folder / "model"
    if options.model:
        model.symlink_to(options.model.resolve())
    else:
        script = HERE.parent / "examples" / "train_byte_model.py"
        subprocess.run([sys.executable, str(script), str(model)], check=True)
    choices, written = items(options.items)
    passages = [
        {**one, "passage": f"{at}: " + "A cat is a kind of animal. " * 9 + "\n"}
        for at, one in enumerate(choices)
    ]
    shots = "".join(
        f"Question: What is {words[at]}?\nAnswer: {kind}\n\n"
        for at in (0, 1) for kind, words in KINDS.items()
    )  # fmt: skip
    examples = [{**one, "passage": shots} for one in choices]
    of_choices = dict(zip(CHOICES, (choices, passages, examples), strict=True))
    for name, rows in (*of_choices.items(), ("written", written)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    subprocess.run([options.peer, str(HERE / "_prompted_peer.py"), str(folder)], check=True)
    peer = json.loads((folder / "peer.json").read_text())
    import torch

    torch.set_num_threads(1)
    task = Task(kind="generation", modality=Modality("item"))
    opening = Opening(
        name="m",
        uri=parse_uri(f"hf:{model}"),
        base=folder,
        data=DataCard(name="d", uri="", task=task),
    )
    adapter = TransformersAdapter.open(opening)
    assert isinstance(adapter, Asking)
    compared = {
        name: compare(adapter, rows, peer[name]["samples"]) for name, rows in of_choices.items()
    }
    how = Sampling(max_tokens=6, stop=("\n",))
    sums = [
        Question(id=str(at), prompt=f"Question: {one['a']} + {one['b']}?\nAnswer:", sampling=how)
        for at, one in enumerate(written)
    ]
    said, sum_seconds = asked(adapter, sums)
    texts = [one.texts[0] for one in said]
    samples = peer["written"]["samples"]
    other = sum(text != sample["resps"][0][0] for text, sample in zip(texts, samples, strict=True))
    right = [
        float(extracted(r"(-?\d+)", text) == one["answer"])
        for text, one in zip(texts, written, strict=True)
    ]
    unlike = sum(a != float(b["exact_match"]) for a, b in zip(right, samples, strict=True))
    first = compared["choices"]
    nearest = exact(adapter, first["questions"]).reshape(-1, 4)
    off = [
        float((np.abs(first[name] - nearest) / first["tokens"]).max())
        for name in ("ours", "theirs")
    ]
    per_token = np.maximum(1, first["tokens"])
    in_double, _ = asked(adapter, first["questions"])  # `exact` left the model so
    alone, doubled = (said_by(peer[name]["samples"]) for name in ("alone", "exact"))
    mine = np.array([one.loglikelihood for one in in_double]).reshape(-1, 4)
    whole = {name: whole_task(model, folder, name, choice_task()) for name in CHOICES}
    whole["written"] = whole_task(model, folder, "written", {
        "kind": "text", "template": "Question: {a} + {b}?\nAnswer:", "max_tokens": 6,
        "stop": ["\n"], "extract": {"number": r"(-?\d+)"},
    })  # fmt: skip
    peer_seconds = [
        peer[name][what] for what in ("asking", "seconds") for name in (*CHOICES, "written")
    ]
    version = subprocess.run(
        [options.peer, "-c", "import lm_eval; print(lm_eval.__version__)"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    publish(
        "prompted",
        "Language models, beside lm-evaluation-harness",
        [
            f"A model of bytes (`examples/train_byte_model.py`), {len(choices)} items of four "
            "options, as they are (choices), each after a passage of its own of 250 tokens "
            "(passages), and after the same eight examples (examples), and "
            f"{len(written)} to be written, lm-evaluation-harness {version}, batches of 64, one "
            "thread. Seconds are CPU seconds of asking: `Adapter.ask`, and `HFLM.loglikelihood` or "
            "`generate_until`; of the whole task, a run of the suite "
            "with intervals, audits and report, the model loaded in it, and `simple_evaluate` of a "
            f"loaded model without bootstrap. {load()}",
            "",
            *table(
                ("what", "differs"),
                [
                    *(
                        [f"{name}: log-likelihoods, nats a token at most", f"{one['apart']:.1e}"]
                        for name, one in compared.items()
                    ),
                    ["crucibench from float64, one sequence at a time", f"{off[0]:.1e}"],
                    ["lm-eval from float64", f"{off[1]:.1e}"],
                    ["lm-eval from itself, batches of 64 and of 1",
                     f"{float((np.abs(alone - first['theirs']) / per_token).max()):.1e}"],
                    ["both in float64, batches of 64",
                     f"{float((np.abs(mine - doubled) / per_token).max()):.1e}"],
                    *(
                        [f"{name}: items judged otherwise by {metric}", count]
                        for name, one in compared.items() for metric, count in one["judged"].items()
                    ),
                    ["texts that are others", other],
                    ["written answers judged otherwise", unlike],
                ],
            ),
            "",
            *table(
                ("", "crucibench, s", "lm-eval, s", "ratio", "crucibench, whole task, s",
                 "lm-eval, whole task, s", "ratio of whole tasks"),
                [
                    [what, *(f"{one:.2f}" for one in (own, theirs)), f"{theirs / own:.1f}",
                     f"{whole[what]:.2f}", f"{their_whole:.2f}", f"{their_whole / whole[what]:.1f}"]
                    for what, own, theirs, their_whole in zip(
                        (*CHOICES, "written"),
                        (*(one["seconds"] for one in compared.values()), sum_seconds),
                        peer_seconds[:4], peer_seconds[4:], strict=True,
                    )
                ],
            ),
            "",
            "Deviations on purpose: BBQ's bias score in ambiguous contexts is -1 where all answers "
            "are anti-stereotypical (the paper's formula; lm-evaluation-harness gives 0.0), and "
            "has no value where no answer names a group.",
        ],
        "transformers", "torch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
