"""Ranks on the boards of real runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import crucibench as cb
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.comparing.standing import LinedUp, joint_replicates, pair_p_values
from crucibench.contracts.statistic import Ranking, Share
from crucibench.report import leaderboard_text
from crucibench.report.leaderboard import Column, Line, build, leaderboard, lines
from crucibench.report.leaderboard import ranks as ranks_module
from crucibench.report.leaderboard.model import About, Retired
from crucibench.report.numbers import ShownMetric
from crucibench.report.site.write import leaderboard_page
from crucibench.report.terminal import print_leaderboard
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import write_table
from crucibench.util.errors import InputError

X, Y = load_wine(return_X_y=True)
TOP1, LOSS = "accuracy/clean/top-1", "accuracy/clean/log-loss"


def _models() -> dict[str, Any]:
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(X, Y)
    return {
        "twin-a": logistic,
        "twin-b": logistic,
        "bayes": GaussianNB().fit(X, Y),
        "guess": make_pipeline(PCA(1), LogisticRegression()).fit(X, Y),
    }


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    def run(*names: str) -> Run:
        models = _models()
        return cb.run(
            models={name: models[name] for name in names or models}, data=(X, Y),
            suites=["accuracy"], out=tmp_path_factory.mktemp("ranks"), cache=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def run(evaluate: Callable[..., Run]) -> Run:
    return evaluate()


def test_models_that_samples_cannot_tell_apart_share_their_ranks(run: Run) -> None:
    # Not the calibration error: a guess by the classes' shares is perfectly calibrated.
    (board,) = leaderboard([run], ranked=True, columns=[TOP1, LOSS]).boards
    assert board.ranks is not None
    spans = board.ranks.spans[TOP1]
    assert spans["twin-a"] == spans["twin-b"]
    assert spans["twin-a"].lower == 1
    assert (spans["guess"].lower, spans["guess"].upper) == (4, 4)
    rates = {one.label: one for one in board.ranks.standings}
    assert rates["guess"].win_rate.value == 0.0
    assert rates["guess"].mean_rank.value == 4.0
    # Twins draw with each other in every replicate.
    assert rates["twin-a"].win_rate == rates["twin-b"].win_rate
    for one in board.ranks.standings:
        lower, upper = one.win_rate.lower, one.win_rate.upper
        assert lower is not None
        assert upper is not None
        assert lower <= one.win_rate.value <= upper


def test_two_runs_are_ranked_as_one(run: Run, evaluate: Callable[..., Run]) -> None:
    apart = [evaluate("guess", "bayes"), evaluate("twin-b", "twin-a")]
    (joined,) = leaderboard(apart, ranked=True).boards
    (whole,) = leaderboard([run], ranked=True).boards
    assert joined.ranks is not None
    assert whole.ranks is not None
    assert joined.ranks.spans == whole.ranks.spans
    assert {one.label: one for one in joined.ranks.standings} == {
        one.label: one for one in whole.ranks.standings
    }


def test_every_format_shows_ranks(run: Run) -> None:
    board = leaderboard([run], ranked=True)
    document = json.loads(leaderboard_text.json_text(board))["boards"][0]
    (guess,) = [
        entry for entry in document["numbers"]
        if (entry["model"], entry["address"]) == ("guess", TOP1)
    ]  # fmt: skip
    assert (guess["rank_lower"], guess["rank_upper"]) == (4, 4)
    assert document["standings"][-1]["model"] == "guess"
    assert leaderboard_text.csv(board).splitlines()[0].count("rank_") == 2
    text = leaderboard_text.markdown(board)
    assert "| 4 | guess |" in text
    assert "| model | mean rank | win rate [%] | front |" in text
    console = Console(width=200, record=True)
    print_leaderboard(console, board)
    shown = console.export_text()
    for words in ("rank", "win rate", "Ranks are intervals"):
        assert words in shown
    without = json.loads(leaderboard_text.json_text(leaderboard([run])))["boards"][0]
    assert without["standings"] is None


def _edited(
    run: Run, folder: Path, rows: Callable[[pd.DataFrame], pd.DataFrame], **cells: Mapping[str, Any]
) -> Run:
    """Returns a copy of a run with other metric rows, and cells of accuracy changed by model."""
    copy = Run(Path(shutil.copytree(run.root, folder / run.id)))
    for path in copy.layout.cells.glob("*accuracy-clean*/cell.json"):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps({**stored, **cells.get(stored["model"].replace("-", "_"), {})}))
    table = pa.Table.from_pandas(rows(run.metrics()), schema=run.metric_table().schema)
    write_table(copy.layout.metrics, table)
    write_manifest(copy.layout, "0.1.0")
    return copy


def _without(lost: set[tuple[str, str]]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def rows(frame: pd.DataFrame) -> pd.DataFrame:
        pairs = zip(frame.model, frame.metric, strict=True)
        return frame[[pair not in lost for pair in pairs]]

    return rows


def test_only_columns_that_all_ranked_models_have_are_counted(run: Run, tmp_path: Path) -> None:
    rows = _without({("bayes", "log-loss"), ("twin-b", "log-loss")})
    boards = leaderboard([_edited(run, tmp_path, rows)], ranked=True, columns=[TOP1, LOSS])
    ranks = boards.boards[0].ranks
    assert ranks is not None
    assert set(ranks.spans) == {TOP1, LOSS}
    assert ranks.votes == {TOP1: 1.0}
    assert ranks.lacking == {LOSS: ["bayes", "twin-b"]}
    assert {one.label for one in ranks.standings} == {"twin-a", "twin-b", "bayes", "guess"}
    for one in ranks.standings:
        assert one.win_rate.value == pytest.approx(1 - (one.mean_rank.value - 1) / 3)
    text = leaderboard_text.markdown(boards)
    assert "Left out of mean rank and win rate, Log loss: no valid number of bayes and" in text


def test_without_a_shared_column_there_is_no_mean_rank(run: Run, tmp_path: Path) -> None:
    lost = {("guess", "log-loss"), ("twin-a", "log-loss"), ("bayes", "top-1"), ("twin-b", "top-1")}
    copy = _edited(run, tmp_path, _without(lost))
    boards = leaderboard([copy], ranked=True, columns=[TOP1, LOSS])
    ranks = boards.boards[0].ranks
    assert ranks is not None
    assert not ranks.standings and not ranks.votes
    assert "No mean rank: no column is shared" in leaderboard_text.markdown(boards)
    assert json.loads(leaderboard_text.json_text(boards))["boards"][0]["standings"] == []


def test_an_axis_has_one_vote_however_many_columns_measure_it() -> None:
    metric = ShownMetric(suite="s", id="m", name="m")

    def votes(**places: Sequence[str]) -> dict[str, float]:
        columns = [
            Column(place=p, axis=axis, metric=metric) for axis in places for p in places[axis]
        ]
        found = ranks_module.votes_of(columns)
        assert sum(found.values()) == pytest.approx(1)
        return found

    clean = ["accuracy/clean/top-1", "accuracy/clean/top-5", "accuracy/clean/log-loss"]
    severities = [f"shift/noise[severity={n}]/top-1" for n in range(1, 6)]
    found = votes(accuracy=clean, shift=[*severities, "shift/blur[severity=1]/top-1"])
    assert [found[place] for place in clean] == [1 / 8, 1 / 8, 1 / 4]
    assert [found[place] for place in severities] == pytest.approx([1 / 20] * 5)
    assert found["shift/blur[severity=1]/top-1"] == 1 / 4
    assert votes(accuracy=clean) == {place: 2 * found[place] for place in clean}


def test_variants_stand_under_their_model_and_are_no_rivals(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = {"twin-b": "twin-a", "guess": "gone"}
    about = lines.about
    monkeypatch.setattr(
        build, "about",
        lambda draft, *rest: replace(about(draft, *rest), variant_of=forms.get(draft.model, "")),
    )  # fmt: skip
    boards = leaderboard([run], ranked=True, columns=[TOP1, LOSS])
    (board,) = boards.boards
    labels = [line.label for line in board.lines]
    assert labels.index("twin-b") == labels.index("twin-a") + 1
    assert {line.label: line.under for line in board.lines if line.under} == {"twin-b": "twin-a"}
    assert board.ranks is not None
    assert set(board.ranks.spans[TOP1]) == {"twin-a", "bayes", "guess"}
    assert {one.label for one in board.ranks.standings} == {"twin-a", "bayes", "guess"}
    assert board.ranks.spans[TOP1]["guess"] == (3, 3)
    text = leaderboard_text.markdown(boards)
    assert "| \u2013 | ↳ twin-b |" in text
    assert "guess: a variant of &#39;gone&#39;, which has no line here" in text
    assert r"$\hookrightarrow$ twin" in leaderboard_text.latex(boards)
    assert "↳ " in leaderboard_page(boards)
    forms["twin-b"] = "bayes"
    filtered = leaderboard([run], ranked=True, filters=["model!=bayes"]).boards[0]
    assert all(not line.under for line in filtered.lines), "each stands for its absent model"


def test_a_variant_is_one_by_its_declaration_or_its_card(builder: Callable[[str], Any]) -> None:
    made = builder("forms")
    made.data("d", ["x", "y"], 200)
    made.suite("accuracy", "accuracy", ["clean/top-1"], [])
    for name, facts in {
        "a": {}, "a@int8": {"variant": "int8"}, "b": {"card": {"variant_of": "a"}},
        "b@bf16": {"variant": "bf16", "card": {"variant_of": "a"}}, "b@odd": {},
    }.items():  # fmt: skip
        made.model(name, "d", **facts)
        place = {"model": name, "data": "d", "suite": "accuracy", "scenario": "clean"}
        made.row(made.cell(*place.values()), "top-1", 0.9, **place)
    (board,) = leaderboard([made.finish()]).boards
    under = {line.label: line.under for line in board.lines}
    assert under == {"a": "", "a@int8": "a", "b": "a", "b@bf16": "a", "b@odd": ""}


def test_a_variant_stands_under_the_model_at_the_end_of_its_chain() -> None:
    entry: dict[str, Any] = {"entries": {}, "runs": ("r",)}

    def line(name: str, of: str = "", retired: bool = False) -> Line:
        gone = Retired("withdrawn", "wrong") if retired else None
        return Line(label=name, model=name, about=About(variant_of=of, retired=gone), **entry)

    def under(*given: Line) -> dict[str, str]:
        return {one.label: one.under for one in lines.under_models(given) if one.under}

    chain = [line("c@int8", "c"), line("c", "b"), line("b")]
    assert under(*chain) == {"c@int8": "b", "c": "b"}
    assert under(chain[0], line("c", retired=True), line("c2", "c")) == {"c2": "c@int8"}
    assert under(line("a", "b"), line("b", "a"), line("x", "x")) == {}


@pytest.mark.parametrize("verdict", ["suspect", "invalid"])
def test_what_an_audit_doubts_is_marked_and_has_no_rank(
    run: Run, tmp_path: Path, verdict: str
) -> None:
    def doubted(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(verdict=frame.verdict.where(frame.model != "twin-a", verdict))

    copy = _edited(run, tmp_path, doubted, twin_a={"verdict": verdict})
    boards = leaderboard([copy], ranked=True, columns=[TOP1, LOSS])
    (board,) = boards.boards
    assert board.ranks is not None
    assert board.lines[-1].label == "twin-a", "after all that are valid, however good"
    for place in (TOP1, LOSS):
        assert set(board.ranks.spans[place]) == {"twin-b", "bayes", "guess"}
    assert "twin-a" not in {one.label for one in board.ranks.standings}
    text = leaderboard_text.markdown(boards)
    assert text.count(f" **{verdict}** <sub>n ") == 2
    (row,) = [line for line in text.splitlines() if line.startswith("| \u2013 | twin-a |")]
    assert f"**{verdict}**" in row
    assert "suspect numbers stand after the valid ones" in text


def test_rows_of_an_older_scenario_are_left_out_with_a_note(run: Run, tmp_path: Path) -> None:
    """All of a column, and one model's alone."""
    older = {name: {"version": 0} for name in ("twin_a", "twin_b", "bayes", "guess")}
    whole = _edited(run, tmp_path / "all", lambda frame: frame, **older)
    boards = leaderboard([whole], ranked=True, columns=[TOP1, LOSS])
    (board,) = boards.boards
    assert not board.columns and not board.numbers()
    (note,) = board.left_out
    assert note == (
        "Left out, Accuracy and Log loss: its records are of version 0 of the scenario and version "
        "1 is installed, which can't read them; run the models again."
    )
    texts = [
        leaderboard_text.markdown(boards), leaderboard_text.latex(boards),
        leaderboard_text.json_text(boards), leaderboard_page(boards),
    ]  # fmt: skip
    console = Console(width=300, record=True)
    print_leaderboard(console, boards)
    for text in (*texts, console.export_text()):
        assert "Left out" in text and "version 0 of the scenario" in text, text
    one = _edited(run, tmp_path / "one", lambda frame: frame, bayes={"version": 0})
    (board,) = leaderboard([one], ranked=True, columns=[TOP1, LOSS]).boards
    assert board.left_out == ()
    (line,) = [line for line in board.lines if line.label == "bayes"]
    for entry in line.entries.values():
        assert entry.number is None
        assert entry.shown.reason.startswith("left out: its records are of version")
    assert set(board.ranks.spans[TOP1]) == {"twin-a", "twin-b", "guess"}


def test_what_is_not_ranked_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "MOST", 3)
    (board,) = leaderboard([run], ranked=True).boards
    assert board.ranks is not None
    assert not board.ranks.spans
    assert board.ranks.unranked[TOP1] == "4 models, more than the 3 that can be compared"
    (alone,) = leaderboard([run], ranked=True, columns=[LOSS], data=[board.data]).boards
    assert alone.ranks is not None
    assert set(alone.ranks.unranked) == {LOSS}


def test_a_run_that_lacks_a_cell_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.root, tmp_path / run.id)))
    (gone,) = [cell for cell in copy.cells if cell.startswith("guess.") and ".pass-test." in cell]
    shutil.rmtree(copy.layout.cell(gone))
    (board,) = leaderboard([Run(copy.root)], ranked=True, columns=[TOP1]).boards
    assert board.ranks is not None
    assert board.ranks.unranked == {TOP1: f"run {run.id} has no cell {gone}, which it is made of"}


def test_copies_of_one_run_under_names_of_their_own_are_ranked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same cells by the same ids in several runs: each is read where it stands.
    monkeypatch.setattr(lines, "_identity", _without_fingerprint)
    copies = [Run(Path(shutil.copytree(run.root, tmp_path / f"copy{n}"))) for n in range(3)]
    (board,) = leaderboard(copies, ranked=True, columns=[TOP1]).boards
    assert board.ranks is not None
    spans = board.ranks.spans[TOP1]
    assert len(spans) == 12
    assert len({spans[f"guess (copy{n})"] for n in range(3)}) == 1
    assert spans["guess (copy0)"] == (10, 12)


def _without_fingerprint(run: Run, model: str, data: str) -> str:
    """Models without one are not known to be the same in two runs."""
    return f"run {run.root}"


def test_two_runs_of_one_name_are_told_apart_or_refused(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.root, tmp_path / run.id)))
    (twice,) = leaderboard([run, copy, run]).boards
    assert [line.label for line in twice.lines] == [
        line.label for line in leaderboard([run]).boards[0].lines
    ]
    (copy.layout.environment / "more.json").write_text("{}", encoding="utf-8")
    write_manifest(copy.layout, "0.1.0")
    with pytest.raises(InputError, match="two runs are called"):
        leaderboard([run, Run(copy.root)])


def _lined(forms: Sequence[Any], names: str, clusters: Any = None) -> LinedUp:
    ids = np.array([f"{names}{i:03d}" for i in range(len(forms[0].hits))], dtype=object)
    return LinedUp(ids=ids, clusters=clusters, forms=tuple(forms))


def test_columns_over_common_samples_share_their_draws() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random((2, 80)) < 0.7
    whole = _lined([Share(h) for h in hits], "s")
    part = LinedUp(
        ids=whole.ids[10:50][::-1].copy(), clusters=None,
        forms=tuple(Share(h[10:50][::-1].copy()) for h in hits),
    )  # fmt: skip
    settings = ResamplingSettings(replicates=200, stream="test")
    first, second = joint_replicates([whole, part], settings)
    # The same numbers as of the part's share of the whole's own draws.
    among = np.zeros(80, dtype=bool)
    among[10:50] = True
    (again,) = joint_replicates([_lined([Share(h, among) for h in hits], "s")], settings)
    np.testing.assert_allclose(second, again)
    assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] > 0.4


def test_clusters_are_drawn_whole_and_take_the_place_of_mcnemar() -> None:
    rng = np.random.default_rng(2)
    base = np.repeat(rng.random(40) < 0.5, 10)
    other = np.repeat(rng.random(40) < 0.5, 10)
    names = np.repeat([f"c{i}" for i in range(40)], 10).astype(object)
    loose = pair_p_values(_lined([Share(base), Share(other)], "s"), None)[0, 1]
    column = _lined([Share(base), Share(other)], "s", names)
    (replicates,) = joint_replicates([column], ResamplingSettings(replicates=500, stream="test"))
    clustered = pair_p_values(column, replicates)[0, 1]
    # Ten copies of each answer are no ten pieces of evidence.
    assert clustered > loose
    assert np.isnan(pair_p_values(column, None)[0, 1])


def test_areas_are_told_apart_as_delong_does() -> None:
    from crucibench.stats.delong import delong_both

    rng = np.random.default_rng(5)
    positives = rng.random(400) < 0.4
    strong = rng.normal(size=400) + 1.5 * positives
    weak = 0.6 * strong + rng.normal(size=400)
    ids = np.array([f"s{i:03d}" for i in range(400)], dtype=object)
    column = LinedUp(
        ids=ids, clusters=None, forms=(Ranking(strong, positives), Ranking(weak, positives))
    )
    (replicates,) = joint_replicates([column], ResamplingSettings(replicates=2000, stream="test"))
    p = pair_p_values(column, replicates)[0, 1]
    found = delong_both(strong, weak, positives).difference
    z = abs(found.estimate) / found.standard_error
    own = abs(float(np.diff(column.values())[0])) / float(
        np.std(replicates[:, 0] - replicates[:, 1], ddof=1)
    )
    assert own == pytest.approx(z, rel=0.1)
    assert p < 0.001
