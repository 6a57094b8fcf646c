"""What is kept is used only where the model still answers the fixed probe as it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.contracts.capability import Capability
from crucibench.engine.fixed_probe import ProbeAnswer, disagreement
from crucibench.engine.listener import Listener
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.hashing import canonical_json, file_digest

NET = """
import os

import torch
from settings import scale


def variable(name, usual):  # by a library, which no observation sees
    return float(os.path.expandvars("$" + name).replace("$" + name, usual))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(64, 2)
        self.second = torch.nn.Linear(64, 2)

    def forward(self, x):
        x = x.flatten(1)
        through = self.second(x)
        straight = variable("STRAIGHT", "0") * (through - through.detach())
        return scale() * variable("SCALE", "1") * self.first(x) + straight


def net():
    return Net()
"""
SETTINGS = """
import json
from pathlib import Path


def scale():
    return json.loads(Path(__file__).with_name("settings.json").read_text())["scale"]
"""
DEFAULTS = {"batch_size": 16, "threads": 1, "replicates": 100}
MODELS = {"net": "torch:net.py:net"}
CELLS = {"pass/test", "sample/noise", "sample/search"}

Runner = Callable[..., Run]


class Noting(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def run(run_spec: Any, tmp_path: Path) -> Runner:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "settings.json").write_text('{"scale": 1.0}')
    usual: dict[str, Any] = {
        "models": MODELS, "data": "stripes:120", "defaults": DEFAULTS, "cache": True,
    }  # fmt: skip
    return lambda **options: run_spec(**usual | options)


def cells(run: Run) -> dict[str, CellFile]:
    return {
        f"{file.suite}/{file.scenario}": file for file in run.cells.values() if file.kind != "timed"
    }


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, run.layout.events.read_text().splitlines())
    return [event for event in found if event["event"] == kind]


def hits(run: Run) -> set[str]:
    names = {file.cell: name for name, file in cells(run).items()}
    return {names[event["cell"]] for event in events(run, "cached")}


def marked(run: Run) -> dict[str, str]:
    """Returns the message of the finding, by cell."""
    return {
        name: finding.message
        for name, file in cells(run).items()
        for finding in file.findings
        if finding.code == "probe-disagrees"
    }


def tables(run: Run) -> dict[str, str]:
    return {
        f"{name}/{path.name}": file_digest(path)
        for name, file in cells(run).items()
        for path in sorted(run.layout.cell(file.cell).glob("*-*.parquet"))
    }


def test_what_the_fingerprint_can_not_see_is_seen_by_the_probe(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    monkeypatch.setenv("SCALE", "1.01")
    heard = Noting()
    second = run(out="second", listener=heard)
    assert second.id == first.id and hits(second) == set()
    assert marked(second).keys() == CELLS
    assert marked(second)["pass/test"].startswith(
        "the model has the fingerprint of an earlier run, yet it answers "
    )
    assert marked(second)["pass/test"].endswith(
        "what was kept was not used; something that the fingerprint can't see differs"
    )
    assert len(events(second, "probe-disagrees")) == 3
    assert sum("what was kept was not used" in note for note in heard.notes) == 1
    assert second.exit_code == 0
    assert tables(run(out="fresh", cache=False)) == tables(second) != tables(first)
    third = run(out="third")
    assert hits(third) == CELLS and not marked(third) and tables(third) == tables(second)
    monkeypatch.undo()


def test_a_file_that_a_helper_reads(run: Runner, tmp_path: Path) -> None:
    first = run()
    (tmp_path / "settings.json").write_text('{"scale": -1.0}')
    second = run(out="second")
    assert hits(second) == set()
    assert tables(run(out="fresh", cache=False)) == tables(second) != tables(first)


def test_a_model_that_agrees_is_taken_from_the_cache(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    monkeypatch.setenv("SCALE", "1.00001")  # less than float noise
    second = run(out="second")
    assert hits(second) == CELLS and not marked(second)
    assert tables(first) == tables(second)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_goes_on_begins_anew_with_another_model(
    run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int
) -> None:
    class Stop(Listener):
        def __init__(self) -> None:
            self.left = 150  # the pass has 120 samples: it is done, and the next cell is under way

        def advanced(self, cell: Any, samples: int) -> None:
            self.left -= samples
            if self.left < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(listener=Stop(), cache=False)
    monkeypatch.setenv("SCALE", "2")
    done = run(cache=False, workers=workers)
    assert len(events(done, "interrupted")) == 1
    begun = {event["cell"] for event in events(done, "probe-disagrees")}
    assert cells(done)["pass/test"].cell in begun and len(begun) == 2
    assert {cells(done)[name].cell for name in marked(done)} == begun
    assert tables(done) == tables(run(out="fresh", cache=False))
    assert run(cache=False).root == done.root  # finished: nothing is done


def test_a_run_that_goes_on_with_the_same_model_keeps_what_it_has(run: Runner) -> None:
    class Stop(Listener):
        left = 150

        def advanced(self, cell: Any, samples: int) -> None:
            self.left -= samples
            if self.left < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(listener=Stop(), cache=False)
    done = run(cache=False)
    asked = [event for event in events(done, "task") if event["kind"] == "shard"]
    assert len({(one["cell"], one["stage"], one["shard"]) for one in asked}) == len(asked)
    assert not marked(done) and tables(done) == tables(run(out="fresh", cache=False))


def test_other_gradients_count_where_gradients_are_asked_for(
    run: Runner, with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.suite import Noise  # type: ignore[import-not-found]

    monkeypatch.setattr(Noise, "requires", Noise.requires | {Capability.GRADIENTS})
    first = run()
    monkeypatch.setenv("STRAIGHT", "1")
    second = run(out="second")
    assert hits(second) == CELLS - {"sample/noise"}
    assert marked(second).keys() == {"sample/noise"}
    assert "yet it has other gradients for 4 of 4 probe samples" in marked(second)["sample/noise"]
    assert tables(first) == tables(second)  # the answers are the same


def test_a_cell_goes_with_the_model_of_a_cell_it_needs(
    run: Runner, with_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_sample.suite import SampleSuite, Search

    from crucibench.contracts.scenario import Need

    plain = SampleSuite.scenarios
    need = Need(alias="other", cell="pass/test", model="net")

    def needing(self: Any, request: Any) -> Any:
        found = plain(self, request)
        return [
            Search(needs=(*one.needs, need))
            if isinstance(one, Search) and request.model.name == "near"
            else one
            for one in found
        ]

    monkeypatch.setattr(SampleSuite, "scenarios", needing)
    models = {"near": "nearest:0", **MODELS}
    run(models=models)
    monkeypatch.setenv("SCALE", "2")
    second = run(models=models, out="second")
    taken = {event["cell"] for event in events(second, "cached")}
    found = {
        (file.model, f"{file.suite}/{file.scenario}"): file for file in second.cells.values()
        if file.kind == "mapped"
    }  # fmt: skip
    assert {name for name, file in found.items() if file.cell in taken} == {
        ("near", "pass/test"), ("near", "sample/noise"),
    }  # fmt: skip
    (finding,) = [
        one for one in found["near", "sample/search"].findings if one.code == "probe-disagrees"
    ]
    assert finding.message.startswith("the model of 'other', which this cell needs, has")


def answer(answers: Any, kind: str = "scores", spread: float = 0.0, **more: Any) -> Any:
    found = ProbeAnswer(
        kind=kind, answers=np.asarray(answers, dtype=float), spread=spread, noise=1e-4, **more
    )
    stored = found.as_dict(gradient=True)
    assert json.loads(canonical_json(stored)) == stored
    return {"": stored}


def test_noise_is_no_disagreement() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(16, 3)) * 100
    assert disagreement(answer(before), answer(before * (1 + 5e-5))) is None
    found = disagreement(answer(before), answer(before + 0.1 * (np.arange(16) == 3)[:, None]))
    assert found is not None and (found.differ, found.samples) == (1, 16)
    noisy = before + rng.normal(scale=0.1, size=before.shape)
    assert disagreement(answer(before), answer(noisy)) is not None
    assert disagreement(answer(before, spread=0.2), answer(noisy)) is None
    assert disagreement({}, answer(before)) is not None
    assert disagreement(answer(before[:, :2]), answer(before)) is not None
    assert disagreement(answer(before, kind="values"), answer(before)) is not None


def test_labels_are_others_or_not() -> None:
    before = np.arange(16.0)[:, None]
    other = before.copy()
    other[:2] = 9
    assert disagreement(answer(before, "labels"), answer(before, "labels")) is None
    found = disagreement(answer(before, "labels"), answer(other, "labels"))
    assert found is not None and found.differ == 2
    assert disagreement(answer(before, "labels", 1.0), answer(other, "labels")) is None


def test_gradients_are_held_against_their_length() -> None:
    rng = np.random.default_rng(0)
    same = np.zeros((16, 2))
    gradient = np.hstack([np.ones((4, 1)), rng.normal(size=(4, 8))]) * 1e-7

    def of(found: Any) -> Any:
        return answer(same, gradient=found)

    assert disagreement(of(gradient), of(gradient * (1 + 1e-4))) is None
    found = disagreement(of(gradient), of(gradient * 1.1))
    assert found is not None and (found.what, found.differ) == ("gradients", 4)
    assert disagreement(of(np.zeros((4, 9))), of(np.zeros((4, 9)))) is None
    assert disagreement(answer(same), of(gradient)) is not None
    assert disagreement(of(gradient), answer(same)) is None  # nobody asks for it now
