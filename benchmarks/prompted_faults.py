"""Language models that are killed, swapped, changed and noisy: what is kept, and what is noticed.

    python examples/train_byte_model.py FOLDER
    python benchmarks/prompted_faults.py --model FOLDER [--kills 100] [--swaps 100]
    python benchmarks/prompted_faults.py --no-page

The model is `examples/mock_language_model.py`, whose answers at temperature 1 are others each time:
that a stored one was kept shows in its text. Requests are refused (429, 500), answers break off.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _mock_server import Server
from _report import load, publish, table

import crucibench as cb
from crucibench.contracts.asking import replies_of
from crucibench.store.journal import read_lines
from crucibench.store.layout import ANSWERS
from crucibench.util.errors import InputError
from crucibench.util.http.limits import WaitingClock
from crucibench_adapters.openai_server import OpenAIAdapter

CONCURRENCY = 4
FAULTS = {
    "refuse": [{"status": 429, "every": 19}, {"status": 500, "every": 31}], "drop_every": 23,
    "delay": 0.004,
}  # fmt: skip
MARK = "Q "
"""What prompts of records begin with, and no prompt by which a model is watched."""


class Impatient(WaitingClock):
    """Waits a fiftieth of what it is told to, so that faults cost little."""

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Waits."""
        super().wait(seconds / 50, stop)


def items(folder: Path, count: int) -> Path:
    """Writes items with four options, a passage, and messages before them."""
    path = folder / "items.jsonl"
    rows = [
        {"question": f"{at} of?", "options": [f"{at}a", "b", f"c{at}", "dd"], "answer": at % 4,
         "passage": f"p{at}", "said": [{"role": "user", "content": f"hello {at}"},
                                       {"role": "assistant", "content": "yes"}],
         "others": ["x", "y", "z", f"w{at}"]}
        for at in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spec(uri: str, data: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Returns a run of one task."""
    return {
        "models": [
            {"name": "m", "uri": uri, **({"remote": {"concurrency": CONCURRENCY}}
                                         if uri.startswith("openai") else {})}
        ],
        "data": [{"name": "d", "uri": f"items:{data}?target=answer"}],
        "tracks": [{"name": "t", "models": ["m"], "data": "d", "suites": ["prompted"]}],
        "suites": {"prompted": {"tasks": {"t": task}}},
    }  # fmt: skip


WRITTEN = {"kind": "text", "template": MARK + "{question}", "max_tokens": 8, "temperature": 1.0}
LIKELY = {"kind": "choice", "template": MARK + "{passage} {question}", "choices": "options"}


def stored(folder: Path) -> dict[int, tuple[str, ...]]:
    """Returns the texts that are on disk, by question."""
    found: dict[int, tuple[str, ...]] = {}
    for root in folder.glob("*/cells"):
        for path in root.glob(f"*/{ANSWERS}*"):
            for line in read_lines(path):
                found[line["question"]] = tuple(line["texts"])
        run = cb.load(root.parent)
        for cell in root.iterdir():
            if "question" in (records := run.cell_records(cell.name)):
                found |= {key: reply.texts for key, reply in replies_of(records)}
    return found


def killed(server: Server, folder: Path, kills: int, count: int) -> dict[str, Any]:
    """Kills a run again and again as answers come in, until it is through."""
    draw, data, out = random.Random(0), items(folder, count), folder / "results"
    asked, modules = spec(server.uri("chat"), data, WRITTEN), folder / "modules"
    if not (child := os.fork()):
        cb.run(asked, out=folder / "warm", workers=0)
        modules.write_text("\n".join(sys.modules))
        os._exit(0)
    os.waitpid(child, 0)
    for name in modules.read_text().splitlines():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    server.set(**FAULTS)
    before: dict[int, tuple[str, ...]] = {}
    lost, done, again, worst = 0, 0, 0, 0
    while True:
        child = os.fork()
        if not child:
            cb.run(asked, out=out, workers=0)
            os._exit(0)
        goal = len(before) + draw.randint(0, count // max(1, kills)) if done < kills else count
        while (ended := os.waitpid(child, os.WNOHANG)[0]) == 0:
            if done < kills and _lines(out) >= goal:
                time.sleep(draw.uniform(0.0, 0.02))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.002)
        now = stored(out)
        lost += sum(now.get(key) != texts for key, texts in before.items())
        before = now
        if ended:
            break
        done += 1
        # Answers that the server gave and nobody kept.
        again, unkept = len(_prompts(server)) - len(now), again
        worst = max(worst, again - unkept)
    prompts = Counter(_prompts(server))
    (run,) = (cb.load(path.parent) for path in out.glob("*/manifest.json"))
    kept = next(run.cell_records(cell) for cell in run.cells if cell.startswith("m.d.prompted-t-a"))
    return {
        "kills": done, "items": count, "lost": lost, "distinct": len(prompts), "worst": worst,
        "again": sum(prompts.values()) - len(prompts),
        "attempts": int(kept.lists("attempts").values.sum()), "stored": len(stored(out)),
    }  # fmt: skip


def _lines(out: Path) -> int:
    # Logs stay until the cell is whole, so that they alone tell how far it is.
    found = 0
    for path in out.glob(f"*/cells/*/{ANSWERS}*"):
        with contextlib.suppress(FileNotFoundError):  # the cell has just become whole
            found += path.read_bytes().count(b"\n")
    return found


def _prompts(server: Server) -> list[str]:
    bodies = server.seen()["bodies"]
    said = [body["messages"][-1]["content"] for body in bodies]
    return [one for one in said if one.startswith(MARK)]


def swapped(server: Server, folder: Path, swaps: int) -> Counter[str]:
    """Counts how a run ended in which another model answered from some question on."""
    data, ends = items(folder, 64), Counter[str]()
    asked = spec(server.uri("chat"), data, {**WRITTEN, "temperature": 0.0})
    server.set()
    cb.run(asked, out=folder / "calm", workers=0)
    said = [body["messages"][-1]["content"] for body in server.seen()["bodies"]]
    of_records = [at for at, one in enumerate(said) if one.startswith(MARK)]
    # The probe asks the first items twice before: they are not yet of the records.
    first = of_records[2 * 16]
    draw = random.Random(1)
    for number in range(swaps):
        server.set(swap_after=draw.randint(first + 1, of_records[-1]))
        run = cb.run(asked, out=folder / f"swap{number}", workers=0)
        (cell,) = (one for one in run.cells.values() if one.scenario == "t-answers")
        codes = {finding.code for finding in cell.findings}
        ends[f"{cell.status}: {', '.join(sorted(codes))}"] += 1
    return ends


def reused(folder: Path, changed: dict[str, Any], earlier: Path, number: int) -> int:
    """Returns how many answers of an earlier run a changed one took."""
    out = folder / f"changed{number}"
    try:
        run = cb.run(changed, out=out, workers=0, reuse_answers=earlier, cache=False)
    except InputError as error:
        assert "--reuse-answers" in str(error), error
        return 0
    count = 0
    for cell in run.cells:
        records = run.cell_records(cell)
        if "attempts" in records:
            count += int((records.lists("attempts").values == 0).sum())
            assert run.cells[cell].status == "ok", run.cells[cell].reason
    return count


def ingredients(server: Server, folder: Path, model: Path) -> dict[str, int]:
    """Returns by changed ingredient how many answers of the unchanged run were used again."""
    server.set()
    data = items(folder, 4)
    shots = [
        {"question": "1 of?", "passage": "s", "options": ["a", "b"], "said": [], "answer": "a"},
        {"question": "2 of?", "passage": "s", "options": ["a", "b"], "said": [], "answer": "b"},
    ]
    base = {
        "writes": spec(server.uri("chat"), data, {
            "kind": "text", "template": MARK + "{passage} {question}", "max_tokens": 4,
            "temperature": 0.5, "top_p": 0.9, "stop": ["zz"], "samples": 2, "seed": 1,
            "system": "be short", "turns": "said", "shots": shots, "shots_as": "turns",
        }),
        "judges": spec(server.uri(), data, {
            **LIKELY, "template": MARK + "{passage} {question}\n{choices}\n", "shots": shots,
        }),
        "folder": spec(f"hf:{_copied(model, folder / 'm0')}", data, LIKELY),
    }  # fmt: skip
    runs = {}
    for name, document in base.items():
        runs[name] = Path(cb.run(document, out=folder / name, workers=0).root)
        again = reused(folder, document, runs[name], 1000 + len(runs))
        assert again == {"writes": 4, "judges": 16, "folder": 16}[name], (name, again)
    found: dict[str, int] = {}
    for number, (of, name, change) in enumerate(_changes(server, folder, model, data)):
        document = copy.deepcopy(base[of])
        change(document)
        found[f"{of}: {name}"] = reused(folder, document, runs[of], number)
    return found


Change = Callable[[dict[str, Any]], object]


def _changes(
    server: Server, folder: Path, model: Path, data: Path
) -> list[tuple[str, str, Change]]:
    def task(**fields: Any) -> Change:
        return lambda document: document["suites"]["prompted"]["tasks"]["t"].update(fields)

    def uri(text: str) -> Change:
        return lambda document: document["models"][0].update(uri=text)

    def shot(**fields: Any) -> Change:
        def change(document: dict[str, Any]) -> None:
            for one in document["suites"]["prompted"]["tasks"]["t"]["shots"]:
                one.update(fields)

        return change

    def item(**fields: Any) -> Change:
        def change(document: dict[str, Any]) -> None:
            rows = [json.loads(line) | fields for line in data.read_text().splitlines()]
            other = folder / f"items-{'-'.join(fields)}.jsonl"
            other.write_text("".join(json.dumps(row) + "\n" for row in rows))
            document["data"][0]["uri"] = f"items:{other}?target=answer"

        return change

    def files(name: str, edit: Callable[[Path], object], more: str = "") -> Change:
        def change(document: dict[str, Any]) -> None:
            copied = _copied(model, folder / f"m-{name}")
            edit(copied)
            document["models"][0]["uri"] = f"hf:{copied}{more}"

        return change

    def entry(file: str, **fields: Any) -> Callable[[Path], object]:
        def edit(copied: Path) -> None:
            path = copied / file
            content = json.loads(path.read_text()) if path.is_file() else {}
            path.write_text(json.dumps(content | fields))

        return edit

    def weights(copied: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(copied / "model.safetensors")
        next(iter(tensors.values())).view(-1)[0] += 1.0
        save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})

    def vocabulary(copied: Path) -> None:
        path = copied / "tokenizer.json"
        content = json.loads(path.read_text())
        words = content["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]
        path.write_text(json.dumps(content))

    template = MARK + "{passage} {question}"
    chat, judge = server.uri("chat"), server.uri()
    here = server.url.replace("127.0.0.1", "localhost")
    return [
        ("writes", "template", task(template=template + "?")),
        ("writes", "template, a blank", task(template=template + " ")),
        ("writes", "system message", task(system="be long")),
        ("writes", "no system message", task(system="")),
        ("writes", "no turns", task(turns="")),
        ("writes", "an item's turns", item(said=[{"role": "user", "content": "hi"}])),
        ("writes", "role of a turn", item(said=[{"role": "assistant", "content": "hello 1"}])),
        ("writes", "item: question", item(question="who?")),
        ("writes", "item: passage", item(passage="once")),
        ("writes", "max_tokens", task(max_tokens=5)),
        ("writes", "temperature", task(temperature=0.6)),
        ("writes", "temperature 0", task(temperature=0.0, samples=1)),
        ("writes", "top_p", task(top_p=0.8)),
        ("writes", "stop", task(stop=["z"])),
        ("writes", "no stop", task(stop=[])),
        ("writes", "samples", task(samples=3)),
        ("writes", "seed", task(seed=2)),
        ("writes", "no seed", task(seed=None)),
        ("writes", "no shots", task(shots=[])),
        ("writes", "shots in the prompt", task(shots_as="text")),
        ("writes", "order of shots", task(shot_order="reversed")),
        ("writes", "a shot's question", shot(question="who?")),
        ("writes", "a shot's answer", shot(answer="c")),
        ("writes", "model's name", uri(chat.replace("model=mock", "model=mock2"))),
        ("writes", "server", uri(chat.replace(server.url, here))),
        ("writes", "completions", lambda one: (
            task(turns="", system="", shots_as="text")(one), uri(judge)(one))),
        ("judges", "delimiter", task(delimiter="")),
        ("judges", "shots' delimiter", task(shot_delimiter="\n")),
        ("judges", "order of shots", task(shot_order="reversed")),
        ("judges", "order of choices", task(order="reversed")),
        ("judges", "letters", task(style="letter")),
        ("judges", "field of choices", task(choices="others")),
        ("judges", "item: options", item(options=["e", "f", "g", "h"])),
        ("judges", "item: question", item(question="who?")),
        ("judges", "written choice", task(by="text")),
        ("judges", "path of the server", uri(judge.replace("/v1", "/v1/x"))),
        ("folder", "weights", files("weights", weights)),
        ("folder", "configuration", files(
            "config", entry("config.json", scale_attn_weights=False))),
        ("folder", "vocabulary", files("vocabulary", vocabulary)),
        ("folder", "tokenizer's settings", files(
            "tokens", entry("tokenizer_config.json", add_prefix_space=True))),
        ("folder", "chat template", files(
            "chat", lambda path: (path / "chat_template.jinja").write_text("{{ messages }}"))),
        ("folder", "settings of generation", files(
            "generation", entry("generation_config.json", eos_token_id=5))),
        ("folder", "max_length", files("length", lambda path: None, "?max_length=40")),
        ("folder", "template", task(template=template + "?")),
    ]  # fmt: skip


def _copied(model: Path, to: Path) -> Path:
    to.mkdir()
    for file in model.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def noisy(server: Server, folder: Path) -> dict[str, Any]:
    """Runs choices on a server whose log-probabilities move by up to 0.01."""
    server.set(noise=0.01)
    run = cb.run(
        spec(server.uri(), items(folder, 64), LIKELY), out=folder / "noisy", workers=0
    )  # fmt: skip
    (cell,) = (one for one in run.cells.values() if one.scenario == "t-answers")
    found = {one.code: one.evidence for one in cell.findings}
    return {"status": str(cell.status), "apart": found["likelihoods-noisy"]["apart"]}


def main() -> None:
    """Does all of it, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--model", type=Path, help="of examples/train_byte_model.py")
    parser.add_argument("--no-page", action="store_true", help="print what was found as JSON")
    options = parser.parse_args()
    if options.model is None and not options.no_page:
        parser.error("--model: expected a folder, of which ingredients are changed")
    OpenAIAdapter.clock = Impatient()
    server = Server()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills = killed(server, folder, options.kills, 8 * max(10, options.kills))
        if options.no_page:
            ends = swapped(server, folder, options.swaps)
            print(json.dumps({"kills": kills, "swaps": ends}))
            server.close()
            return
        noise = noisy(server, folder)
        ends = swapped(server, folder, options.swaps)
        misses = ingredients(server, folder, options.model)
    server.close()
    publish(
        "prompted-faults",
        "Language models that are killed, swapped and changed",
        [
            f"A server that refuses every 19th request with 429 and every 31st with 500, and "
            f"breaks off every 23rd answer; {CONCURRENCY} requests at once. {load()}",
            "",
            *table(("", "found"), [
                ["kills (SIGKILL) as answers came in", kills["kills"]],
                ["questions planned", kills["items"]],
                ["distinct questions asked", kills["distinct"]],
                ["answers in the finished run", kills["stored"]],
                ["stored answers that were lost or changed", kills["lost"]],
                ["questions that were answered again", kills["again"]],
                ["of these after one kill, at most", kills["worst"]],
                ["attempts that the stored answers took", kills["attempts"]],
                ["noise of 0.01: the cell", noise["status"]],
                ["noise of 0.01: reported, nats", f"{noise['apart']:.3f}"],
                *([f"another model midway, {sum(ends.values())} runs: {end}", count]
                  for end, count in ends.most_common()),
                ["ingredients changed, one at a time", len(misses)],
                ["of these, answers that were used all the same", sum(misses.values())],
            ]),
            "",
            f"Ingredients: {'; '.join(misses)}.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
