"""The suite on a server whose probabilities are known: what is asked, kept, judged and shown."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import crucibench as cb
from crucibench.cli._app import application
from crucibench.comparing.runs import tables_against
from crucibench.contracts.asking import Reply
from crucibench.engine.plan.plan import make_plan
from crucibench.engine.plan.requests import planned_requests
from crucibench.engine.resolve.resolve import resolve_stored
from crucibench.store.answers import AnswerLog, answers_of
from crucibench.util.errors import InputError

pytestmark = pytest.mark.sockets

ITEMS = [
    {"question": f"Which of {n}?", "options": [w, w[::-1], w[:2], w * 2], "answer": n % 4,
     "passage": f"p{n // 3}"}
    for n, w in enumerate(
        "".join(random.Random(n).choices("abcdefgh", k=4)) for n in range(45)
    )
]  # fmt: skip
CHOICE: dict[str, Any] = {
    "kind": "choice", "template": "{passage} {question} A:", "choices": "options",
    "variants": {
        "letters": {"style": "letter", "template": "{question}\n{choices}\n", "delimiter": ""},
        "turned": {
            "style": "letter", "template": "{question}\n{choices}\n", "delimiter": "",
            "order": "reversed",
        },
    },
}  # fmt: skip
SUMS = [
    {"question": f"{n} + {n + 1}?", "answer": [str(2 * n + 1), f"{2 * n + 1}.0"]} for n in range(30)
]


def records(run: cb.Run, scenario: str) -> pd.DataFrame:
    (cell,) = (one for one in run.cells.values() if one.scenario == scenario)
    assert cell.status == "ok", cell.reason
    return run.cell_records(cell.cell).frame()


def value(run: cb.Run, metric: str, point: str = "", group: str = "") -> float:
    rows = run.metrics()
    rows = rows[(rows.metric == metric) & (rows.point == point) & (rows.group == group)]
    return float(rows.value.item())


def findings(run: cb.Run) -> set[str]:
    return {one.code for cell in run.cells.values() for one in cell.findings}


def test_choices_are_those_of_the_closed_form(
    server: Any, mock: ModuleType, ask: Callable[..., cb.Run]
) -> None:
    run = ask(server.uri(), ITEMS, CHOICE, "&cluster=passage")
    kept = records(run, "t-answers")
    by_prompt = {item["question"]: item for item in ITEMS}
    for row in kept[kept.point == "prompt=given"].itertuples():
        prompt = row[kept.columns.get_loc("input:prompt") + 1]
        item = by_prompt[prompt.removesuffix(" A:").split(" ", 1)[1]]
        expected = [mock.loglikelihood(prompt, f" {option}") for option in item["options"]]
        np.testing.assert_allclose(row.loglikelihood, expected, atol=1e-9)
        assert row.bytes.tolist() == [4, 4, 2, 8] and row.gold == item["answer"]
    by_letter = {}
    for point, order in (("prompt=letters", 1), ("prompt=turned", -1)):
        expected = [mock.loglikelihood("\n", letter) for letter in "ABCD"[::order]]
        for found in kept[kept.point == point].loglikelihood:
            np.testing.assert_allclose(found, expected, atol=1e-9)
        by_letter[point] = np.mean([int(np.argmax(expected)) == one["answer"] for one in ITEMS])
        assert value(run, "choice-accuracy", point) == pytest.approx(by_letter[point])
    every = [value(run, "choice-accuracy", "prompt=given"), *by_letter.values()]
    assert value(run, "choice-accuracy") == pytest.approx(np.mean(every))
    spread = value(run, "prompt-spread", group="choice-accuracy")
    assert spread == pytest.approx(np.std(every, ddof=1))
    rows = run.metrics()
    assert set(rows[rows.metric == "choice-accuracy"].method.str.contains("15 clusters")) == {True}


def test_written_answers_are_extracted_and_kept_from_what_is_published(
    server: Any, ask: Callable[..., cb.Run], tmp_path: Path
) -> None:
    says = {f"{n} + {n + 1}?": f"I count. #### {2 * n + 1 + n % 2}" for n in range(24)}
    server.set(says=says | {" + ": "I'm sorry, I can't help."})
    task = {
        "kind": "text", "template": "{question}", "max_tokens": 40,
        "extract": {"hashes": "after-hashes", "last": "last-number", "one": r"#+ (\d)"},
    }  # fmt: skip
    run = ask(server.uri("chat"), SUMS, task)
    assert value(run, "exact-match", group="hashes") == pytest.approx(12 / 30)
    assert value(run, "parsed-share", group="last") == pytest.approx(24 / 30)
    assert value(run, "refused-share") == pytest.approx(6 / 30)
    assert findings(run) >= {"answers-refused", "answers-unparsed"}
    from crucibench.report.bundle import make_bundle
    from crucibench.store.redaction import Disclosure

    make_bundle(run, tmp_path / "b.zip", Disclosure())
    content = (tmp_path / "b.zip").read_bytes()
    import io
    import zipfile

    archive = zipfile.ZipFile(io.BytesIO(content))
    for name in archive.namelist():
        if name.endswith(".parquet"):
            text = pd.read_parquet(io.BytesIO(archive.read(name))).to_json(default_handler=str)
            assert "I count" not in text and "29.0" not in text


def test_faults_change_nothing_and_what_is_asked_is_what_was_planned(
    server: Any, ask: Callable[..., cb.Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "Bearer wn8-4kd92-ls04jf")
    model = {"headers": {"Authorization": "env:SECRET_OF_TEST"}}
    task = {"kind": "text", "template": "{question}", "max_tokens": 8}
    calm = ask(server.uri("chat"), SUMS, task)
    prompts = server.seen()["prompts"]
    # Once inspected, 8 times watched and at each of 1 shard, twice 16 probed, and all asked.
    assert prompts == 30 + 16 * 8 + 16 + 32 + 30
    resolved = resolve_stored(calm)
    (planned,) = planned_requests(resolved, make_plan(resolved, calm.models, calm.cards))
    assert planned.requests == prompts
    server.set(
        refuse=[{"status": 429, "every": 29}, {"status": 500, "every": 31}],
        drop_every=37,
        echo_header="Authorization",
    )
    run = ask(server.uri("chat", "&price_in=1"), SUMS, task, model=model)
    seen = server.seen()
    kept = records(run, "t-answers")
    assert seen["requests"] > prompts and kept.attempts.map(sum).max() > 1
    texts = kept["input:texts"].map(lambda one: one[0])
    others = 30 + 16 * 8 + 16 + 32  # of which attempts are not kept
    assert 30 < kept.attempts.map(sum).sum() <= seen["requests"] - others
    before = records(calm, "t-answers")["input:texts"].map(lambda one: one[0])
    assert [one.removesuffix(" ***") for one in texts] == before.tolist()
    for path in (tmp_path / "results").rglob("*"):
        assert not path.is_file() or b"4kd92" not in path.read_bytes()


@pytest.mark.parametrize(
    ("manners", "status", "code"),
    [
        ({"noise": 0.01}, "ok", "likelihoods-noisy"),
        ({"swap_after": 190}, "failed", ""),
    ],
)
def test_noise_is_reported_and_another_model_is_noticed(
    server: Any, ask: Callable[..., cb.Run], manners: dict[str, Any], status: str, code: str
) -> None:
    server.set(**manners)
    run = ask(server.uri(more="&batch=1"), ITEMS, CHOICE)
    (cell,) = (one for one in run.cells.values() if one.scenario == "t-answers")
    assert cell.status == status
    assert not code or code in findings(run)


def test_draws_give_pass_at_k_and_likelihoods_bits_per_byte(
    server: Any, mock: ModuleType, ask: Callable[..., cb.Run]
) -> None:
    items = [{"question": f"{n}x", "answer": "ab"[n % 2] * (1 + n % 3)} for n in range(24)]
    task = {
        "kind": "text", "template": "{question}", "temperature": 1.0, "samples": 5, "max_tokens": 1,
        "pass_at": [1, 3], "extract": {"w": "(?s)(.)"},
    }  # fmt: skip
    run = ask(server.uri("chat"), items, task)
    kept = records(run, "t-answers").set_index("id")
    references = {i: list(kept["input:references"][i]) for i in kept.index}
    chances = []
    for index, texts in kept["input:texts"].items():
        assert len(texts) == 5
        hits = [text in references[index] for text in texts]
        draws = [np.take(hits, pick).any() for pick in _subsets(5, 3)]
        chances.append(np.mean(draws))
    assert value(run, "pass-at-3") == pytest.approx(np.mean(chances))
    assert value(run, "pass-at-1") == pytest.approx(value(run, "exact-match", group="w"))
    run = ask(
        server.uri(), items, {"kind": "likelihood", "template": "{question}", "delimiter": ""}
    )
    nats = -sum(mock.loglikelihood("x", one["answer"]) for one in items)
    size = sum(len(one["answer"]) for one in items)
    assert value(run, "bits-per-byte") == pytest.approx(nats / np.log(2) / size)


def _subsets(n: int, k: int) -> list[tuple[int, ...]]:
    from itertools import combinations

    return list(combinations(range(n), k))


def test_answers_are_judged_again_and_used_again_without_a_request(
    server: Any, ask: Callable[..., cb.Run], tmp_path: Path
) -> None:
    from crucibench.engine.score.rescore import rescore
    from crucibench.integrity.verify import verify

    server.set(says={f"{n} + {n + 1}?": f"{n} and {n + 1} make {2 * n + 1}." for n in range(24)})
    task = {"kind": "text", "template": "{question}", "extract": {"x": r"(\d+)"}, "max_tokens": 20}
    first = ask(server.uri("chat"), SUMS, task)
    assert value(first, "exact-match", group="x") == 0.0
    requests = server.seen()["requests"]
    key = "prompted.tasks.t.extract.x"
    again = rescore(first, {key: "last-number"})
    assert value(again, "exact-match", group="x") == pytest.approx(24 / 30)
    assert server.seen()["requests"] == requests and not verify(again)
    (cell,) = (one.cell for one in again.cells.values() if one.scenario == "t")
    shown = again.table(cell, "transcripts")
    assert shown is not None
    said = dict(zip(shown.sent, zip(shown.extracted, shown.verdict, strict=True), strict=True))
    assert said["3 + 4?"] == ("7", "right") and said["25 + 26?"][1] in {"wrong", "unparsed"}
    changed = task | {"extract": {"x": "last-number"}}
    assert ask(server.uri("chat"), SUMS, changed).root == again.root  # that very run
    assert server.seen()["requests"] == requests
    with pytest.raises(InputError, match="t-answers would ask something else"):
        rescore(first, {"prompted.tasks.t.max_tokens": 21})
    more = changed | {"variants": {"long": {"template": "{question} So:"}}}
    used = ask(server.uri("chat"), SUMS, more, reuse=first.root)
    kept = records(used, "t-answers")
    taken = kept.attempts.map(sum).groupby(kept.point).agg(["sum", "size"])
    assert taken.loc["prompt=given"].tolist() == [0, 30]
    assert taken.loc["prompt=long"].tolist() == [30, 30]
    assert "answers-reused" in findings(used)
    with pytest.raises(InputError, match="asked none of these models"):
        ask(server.uri("chat").replace("=mock", "=other"), SUMS, more, reuse=first.root)


def test_answers_are_logged_once_and_a_torn_line_costs_itself(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "log", {3: Reply(texts=("old",), finish=("stop",), attempts=0)})
    kept = [
        Reply(texts=("é", "\n"), finish=("stop", "length"), tokens=3),
        Reply(loglikelihood=-1.5, logprobs=(-1.0, -0.5), error="none"),
    ]
    for _ in range(2):
        for question, reply in enumerate(kept):
            log.add(question, reply)
    log.close()
    content = (tmp_path / "log").read_bytes()
    assert content.count(b"\n") == 2
    (tmp_path / "log").write_bytes(content[:-3])
    again = AnswerLog(tmp_path / "log", {})
    assert again.find(0) == kept[0] and again.find(1) is None
    again.add(1, kept[1])
    again.close()
    assert (tmp_path / "log").read_bytes() == content
    assert log.find(3).attempts == 0 and log.find(4) is None  # type: ignore[union-attr]


def test_a_few_kills_and_swaps(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "benchmarks" / "prompted_faults.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "4", "--swaps", "3", "--no-page"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    kills = found["kills"]
    assert kills["lost"] == 0 and kills["kills"] >= 1
    assert kills["items"] == kills["distinct"] == kills["stored"]
    assert kills["worst"] <= 4 < kills["attempts"] - kills["items"]
    assert found["swaps"] == {"failed: model-changed": 3}


def test_altered_answers_and_refusals_are_found(server: Any, ask: Callable[..., cb.Run]) -> None:
    items = [{"question": f"{n}{'abcdefgh'[n % 8]}?", "answer": "x"} for n in range(400)]
    task = {"kind": "text", "template": "{question}", "max_tokens": 8, "extract": {"a": "x"}}
    for manners, code in (({"alter": 0.02}, "greedy-not-greedy"),
                          ({"apologise": 0.05}, "answers-refused")):  # fmt: skip
        server.set(**manners)
        run = ask(server.uri("chat"), items, task | {"stop": [code]})  # another run
        found = {one.code: one.severity for cell in run.cells.values() for one in cell.findings}
        assert found[code] == "suspect"


def test_pairs_turns_and_the_split_of_variance(
    server: Any, mock: ModuleType, ask: Callable[..., cb.Run]
) -> None:
    pairs = [{"more": f"{w}{n}", "less": f"{w[::-1]}{n}", "answer": "age"}
             for n, w in enumerate(["abc", "bcd", "cab", "had", "fed"] * 6)]  # fmt: skip
    task = {"kind": "pair", "template": "\n", "choices": ["more", "less"], "delimiter": ""}
    run = ask(server.uri(), pairs, task)
    gaps = np.array([
        mock.loglikelihood("\n", one["more"]) - mock.loglikelihood("\n", one["less"])
        for one in pairs
    ])  # fmt: skip
    assert value(run, "stereotyped-share") == pytest.approx((gaps > 0).mean())
    assert value(run, "pair-gap") == pytest.approx(np.abs(gaps).mean())
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
    items = [{"question": f"{n}x", "said": said, "answer": "abcd"[n % 4]} for n in range(24)]
    task = {
        "kind": "text", "template": "{question}", "turns": "said", "system": "be short",
        "shots": [{"question": "0", "answer": "z"}], "shots_as": "turns", "temperature": 1.0,
        "samples": 4, "max_tokens": 1, "extract": {"w": "(?s)(.)"},
        "variants": {"b": {"template": "{question}!"}, "c": {"template": "{question}?"}},
    }  # fmt: skip
    run = ask(server.uri("chat"), items, task)
    body = next(one for one in server.seen()["bodies"] if len(one.get("messages", ())) > 1)
    assert [one["role"] for one in body["messages"]] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    kept = records(run, "t-answers")
    hits = np.array([
        [[text in row["input:references"] for text in row["input:texts"]]
         for _, row in kept[kept.point == point].sort_values("id").iterrows()]
        for point in dict.fromkeys(kept.point)
    ], dtype=float)  # fmt: skip
    # The mean squares of a two-way layout with repeats, as textbooks write them.
    p, n, d = hits.shape
    cell, item, prompt = hits.mean(2), hits.mean((0, 2)), hits.mean((1, 2))
    error = ((hits - cell[..., None]) ** 2).sum() / (p * n * (d - 1))
    both = (cell - item - prompt[:, None] + hits.mean()) ** 2
    both = d * both.sum() / ((p - 1) * (n - 1))
    split = {
        "draws": error, "items-by-prompts": (both - error) / d,
        "items": (p * d * item.var(ddof=1) - both) / (p * d),
        "prompts": (n * d * prompt.var(ddof=1) - both) / (n * d),
    }  # fmt: skip
    for name, expected in split.items():
        assert value(run, "score-variance", group=f"w:{name}") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "items", "message"),
    [
        (CHOICE | {"template": "{qestion}"}, ITEMS, "question"),
        (CHOICE | {"choices": "optons"}, ITEMS, "options"),
        (CHOICE | {"gold": "letter"}, ITEMS, "names none of the choices"),
        (CHOICE | {"variants": {"a": {"kind": "text"}}}, ITEMS, "no field that a prompt may"),
        ({"kind": "text", "template": "{question"}, SUMS, "expected {FIELD}"),
        ({"kind": "text", "template": "q", "extract": {"a": "("}}, SUMS, "no regular expression"),
        ({"kind": "text", "template": "q", "pass_at": [2]}, SUMS, "pass_at"),
        (CHOICE | {"kind": "pair"}, ITEMS, "expected 2 to 2 texts"),
        ({"kind": "text", "template": "q", "turns": "question"}, SUMS, "list of role and content"),
    ],
)
def test_mistakes_are_named(
    server: Any, ask: Callable[..., cb.Run], task: dict[str, Any], items: Any, message: str
) -> None:
    try:
        run = ask(server.uri(), items, task)
    except InputError as error:
        assert message in str(error)
    else:
        assert any(message in cell.reason for cell in run.cells.values())


def test_items_tell_mistakes(tmp_path: Path) -> None:
    from crucibench.contracts.source import DataOpening
    from crucibench.contracts.uri import parse_uri
    from crucibench.data.evalset import open_data
    from crucibench.data.sources.items import ItemsSource

    def opened(*lines: Any, options: str = "target=answer") -> Any:
        path = tmp_path / "x.jsonl"
        path.write_text(
            "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
        )
        uri = parse_uri(f"items:{path}?{options}")
        return open_data(
            ItemsSource(), DataOpening(name="d", uri=uri, base=tmp_path, scratch=tmp_path / "s")
        )

    data = opened({"q": "a", "answer": 1, "t": "x"}, {"answer": [2, "b"], "t": "x", "q": "b"})
    samples = data.samples("test")
    assert [list(samples.targets.values), samples.targets.lengths.tolist()] == [
        ["1", "2", "b"], [1, 2],
    ]  # fmt: skip
    again = opened({"t": "x", "q": "a", "answer": 7})
    shared = [{"q": n, "passage": n // 2, "answer": n} for n in range(4)] + [{"q": 5, "answer": 1}]
    clusters = opened(*shared).samples("test").clusters
    assert len(set(clusters)) == 3 and clusters[0] == clusters[1]
    assert opened(*shared, options="target=answer&cluster=none").samples("test").clusters is None
    assert again.samples("test").ids[0] == samples.ids[0]  # whatever the target and the order
    for line, message in (
        ("[1]", "expected a JSON object"), ('{"q": ', "JSON"), ({"q": 1}, "answer"),
        ({"q": 1, "answer": None}, "a text, a number"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            opened(line)
    with pytest.raises(InputError, match="target is missing"):
        opened({"q": 1}, options="cluster=q")


def test_every_other_suite_refuses_items_in_a_sentence(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    spec = {
        "models": [{"name": "m", "uri": server.uri()}],
        "data": [
            {"name": "d", "uri": f"items:{path}?target=answer&cluster=passage&groups=passage"}
        ],
        "suites": {"prompted": {"tasks": {"t": CHOICE}}},
    }
    run = cb.run(spec, out=tmp_path / "results", workers=0)
    assert {cell.suite for cell in run.cells.values() if cell.status == "ok"} == {"prompted"}
    assert {cell.status for cell in run.cells.values()} == {"ok", "skipped"}


def test_what_a_server_tells_of_tokens_and_questions_that_it_refuses_are_kept(
    server: Any, mock: ModuleType, ask: Callable[..., cb.Run]
) -> None:
    server.set(reject=["25 +", "26 +"])
    task = {"kind": "text", "template": "{question}", "max_tokens": 3, "samples": 2,
            "temperature": 1.0}  # fmt: skip
    for api in ("chat", "completions"):
        run = ask(server.uri(api, "&batch=1&logprobs=true"), SUMS, task)
        kept = records(run, "t-answers")
        errors = kept["input:error"].map(lambda own: own[0])
        assert errors.str.contains(r"answers 400: not allowed: 2[56]").sum() == 2
        assert "questions-not-taken" in findings(run)
        (info,) = run.models.values()
        again = answers_of(run, info)
        for at, row in kept.iterrows():
            logs = [
                mock.loglikelihood(a, b)
                for text in row["input:texts"] for a, b in pairwise(row["input:prompt"][-1] + text)
            ]  # fmt: skip
            np.testing.assert_allclose(row["logprobs"], logs)
            reply = again[row["question"][0]]
            assert reply.logprobs == (tuple(row["logprobs"]) or None)
            assert reply.error == errors[at] and bool(reply.error) != bool(logs)
    kept = records(ask(server.uri("chat"), SUMS, task), "t-answers")
    assert not any(kept["logprobs"].map(len))
    server.set(reject=["+"])  # all of them: that is no property of a question
    with pytest.raises(InputError, match="answers 400: not allowed"):
        ask(server.uri("chat"), SUMS, task | {"max_tokens": 4})


def test_transcripts_say_what_changed_against_a_baseline(
    server: Any, ask: Callable[..., cb.Run], tmp_path: Path
) -> None:
    """More are wrong than transcripts hold: those that changed come first all the same."""
    items = [*SUMS, *({"question": f"{n}?", "answer": "no"} for n in range(300))]
    right = {one["question"]: one["answer"][0] for one in SUMS}
    task = {"kind": "text", "template": "{question}", "max_tokens": 9}
    server.set(says=right | {"?": "yes"})
    base = ask(server.uri("chat"), items, task)
    server.set(says=right | {"1 + 2?": "4", "5 + 6?": "11.0", "299?": "no", "?": "yes"})
    run = ask(server.uri("chat").replace("=mock", "=next"), items, task)
    pack = ["pack", str(base.root), "-o", str(tmp_path / "base.cbz")]
    assert CliRunner().invoke(application, pack).exit_code == 0
    target = tmp_path / "report.html"
    call = ["report", str(run.root), "--baseline", f"{base.root}:m", "-o", str(target)]
    done = CliRunner().invoke(application, call)
    assert done.exit_code == 0, done.output
    (cell,) = (one.cell for one in run.cells.values() if one.scenario == "t")
    shown = tables_against(base, run)[cell]["transcripts"]
    of_pack = tables_against(cb.load(tmp_path / "base.cbz"), run)[cell]["transcripts"]
    told = shown.set_index("sent")[["change", "baseline", "extracted"]]
    assert told.loc["1 + 2?"].tolist() == ["changed, lost", "3", "4"]
    assert told.loc["299?"].tolist() == ["changed, gained", "yes", "no"]
    assert told.loc["5 + 6?"].tolist() == ["changed", "11", "11.0"]
    assert shown.change.iloc[:3].str.startswith("changed").all()
    assert set(shown.change.iloc[3:]) == {"same"}
    found = of_pack.set_index("sent").change  # a pack holds verdicts, and no text
    assert (found["1 + 2?"], found["299?"]) == ("changed, lost", "changed, gained")
    assert "changed, lost" in target.read_text()
    other = ask(server.uri("chat"), items, task | {"max_tokens": 8})
    with pytest.raises(InputError, match="max_tokens"):
        tables_against(other, run)
