"""The suite from end to end, over digits and over other modalities."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import crucibench as cb
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.detector import Detector, Material, Score
from crucibench.contracts.suite import SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status
from crucibench.integrity.rescoring import unscored
from crucibench.integrity.verify import verify
from crucibench.report.bundle import make_bundle
from crucibench.store.bundle import open_bundle
from crucibench.store.redaction import Disclosure
from crucibench.store.run import Run
from crucibench.testing import check_detector
from crucibench_suites.ood import detectors
from crucibench_suites.ood.asking import AskedByDetector, measured
from crucibench_suites.ood.detectors.outputs import ODIN
from crucibench_suites.ood.metrics import OF_DETECTOR
from crucibench_suites.ood.set_checks import Sets
from crucibench_suites.ood.sets import kept_apart
from crucibench_suites.ood.suite import OODConfig, OODSuite

pytestmark = pytest.mark.slow

OWN = detectors.detectors().names()

DEMO = Path(__file__).parents[3] / "adapters" / "crucibench_adapters" / "demo"
CNN = f"torch:{DEMO / 'models.py'}:cnn?weights={DEMO / 'cnn.safetensors'}"


def evaluated(out: Path, model: Any, data: Any, **settings: Any) -> Run:
    options = {"data_options": settings.pop("data_options")} if "data_options" in settings else {}
    options["defaults"] = {"replicates": 200, "limit": settings.pop("limit", 150)}
    return cb.run(
        models={"model": model}, data=data, suites=["ood"], out=out / "results", workers=0,
        settings={f"ood.{key}": value for key, value in settings.items()}, cache=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return evaluated(tmp_path_factory.mktemp("ood"), CNN, "sklearn:digits?split=0.3", limit=400)


def cells(run: Run) -> dict[str, Any]:
    return {f"{file.suite}/{file.scenario}": file for file in run.cells.values()}


def values(run: Run, metric: str = "ood-auroc") -> dict[tuple[str, str], float]:
    table = run.metrics()
    table = table[table.metric == metric]
    return {(s, p): v for s, p, v in zip(table.scenario, table.point, table.value, strict=True)}


def test_all_detectors_run_on_digits(digits: Run) -> None:
    found = cells(digits)
    assert {file.status for file in found.values()} == {Status.OK}
    assert digits.exit_code == 0
    area = values(digits)
    for name in OWN:
        assert area[name, "overall"] > 0.85, name
        scored = found[f"ood/{name}"]
        assert str(scored.verdict) == "valid", scored.findings
    assert area["headline", "near"] == area["msp", "near"]


def test_what_chooses_is_never_scored(digits: Run) -> None:
    found = cells(digits)
    records = digits.cell_records(found["ood/knn"].cell)
    points = set(records.points)
    assert not any(point.startswith("validation/") for point in points)
    scored = set(records.at("id").ids)
    for point in points:
        assert set(records.at(point).ids) == scored
    apart = set(digits.cell_records(found["ood/validation/inverted"].cell).ids)
    whole = set(digits.cell_records(found["pass/test"].cell).ids)
    assert apart and not apart & scored and apart | scored == whole
    chosen = records.array("value")
    assert len(set(chosen)) == 1 and chosen[0] in detectors.detector("knn").values


def test_every_row_has_an_interval_or_a_reason(digits: Run) -> None:
    table = digits.metrics()
    table = table[table.suite == "ood"]
    bare = table[table.lower.isna() & ~table.metric.str.startswith("aupr")]
    assert not len(bare), bare
    inside = table.dropna(subset=["lower"])
    assert ((inside.lower <= inside.value) & (inside.value <= inside.upper)).all()
    assert (table.n > 0).all()


def test_the_report_shows_the_table_and_the_histogram(digits: Run) -> None:
    found = cells(digits)
    table = digits.table(found["ood/detectors"].cell, "detectors")
    assert table is not None and len(table) == len(OWN)
    area = values(digits)
    titles = [f"{detectors.detector(name).title}{' (headline)' * (name == 'msp')}" for name in OWN]
    shown = table.set_index("detector")["near"]
    np.testing.assert_allclose(shown[titles], [area[name, "near"] for name in OWN])
    histogram = digits.table(found["ood/headline"].cell, "histogram")
    assert histogram is not None
    shares = histogram.groupby("inputs")["share"].sum()
    assert shares.to_dict() == pytest.approx({"in-distribution": 1, "near": 1, "far": 1})
    page = (digits.root / "report.html").read_text()
    assert "Relative Mahalanobis" in page and "Accuracy and coverage" in page


def test_easy_sets_are_named(digits: Run) -> None:
    (found,) = [
        one for one in cells(digits)["ood/headline"].findings if one.code == "easy-set"
    ]  # fmt: skip
    assert "far/constant" in found.evidence and "near/patch-shuffle" not in found.evidence


def test_two_models_are_compared_on_the_same_samples(digits: Run, tmp_path: Path) -> None:
    other = CNN.replace("cnn.safetensors", "cnn-adversarial.safetensors")
    picked = {"detectors": ["msp", "energy"], "generators": ["patch-shuffle", "uniform-noise"]}
    old = evaluated(tmp_path / "a", CNN, "sklearn:digits?split=0.3", **picked)
    new = evaluated(tmp_path / "b", other, "sklearn:digits?split=0.3", **picked)
    compared = cb.compare(old, new)
    assert not compared.refused
    found = {str(one.address).partition(":")[2]: one for one in compared.differences}
    assert found["ood/headline[near]/ood-auroc"].delta == pytest.approx(
        found["ood/msp[near]/ood-auroc"].delta
    )
    one = found["ood/energy[overall]/ood-auroc"]
    before, after = values(old)["energy", "overall"], values(new)["energy", "overall"]
    assert one.delta == pytest.approx(after - before)
    assert one.interval is not None and one.interval.lower <= one.delta <= one.interval.upper
    for metric in OF_DETECTOR:
        one = found[f"ood/energy[near]/{metric.id}"]
        sides = [values(run, metric.id)["energy", "near"] for run in (old, new)]
        assert one.delta == pytest.approx(sides[1] - sides[0])
        assert one.interval is not None and one.p is not None
    # Other sets are another question: they are refused by name, not mixed in.
    more = evaluated(tmp_path / "c", CNN, "sklearn:digits?split=0.3", detectors=["msp"],
                     generators=["patch-shuffle"])  # fmt: skip
    refused = cb.compare(old, more).refused
    assert any("ood/msp" in entry.cell and "sets" in entry.reason for entry in refused)


def write_images(folder: Path, images: np.ndarray) -> str:
    np.savez(folder / "images.npz", x=images, y=np.arange(len(images)) % 10)
    return str(folder / "images.npz")


def test_sets_of_the_users_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("noise", 0), ("bright", 200), ("other", 100)):
        (tmp_path / name).mkdir()
        write_images(tmp_path / name, rng.integers(low, 256, (40, 8, 8), dtype=np.uint8))
    named = {name: f"npz:{tmp_path / name / 'images.npz'}" for name in ("noise", "bright", "other")}
    settings = {
        "generators": ["class-mixture"], "far": {"bright": named["bright"]},
        "near": {"noise": named["noise"]}, "validation": {"other": named["other"]},
    }  # fmt: skip
    run = evaluated(
        tmp_path, CNN, "sklearn:digits?split=0.3", **settings,
        detectors=["msp", "knn", "odin", "mahalanobis"],
    )  # fmt: skip
    assert run.exit_code == 0
    area = values(run)
    assert area["msp", "near"] == pytest.approx(
        (area["msp", "near/noise"] + area["msp", "near/class-mixture"]) / 2
    )
    assert area["knn", "far"] == area["knn", "far/bright"]
    rows = run.metrics()
    (n,) = rows[
        (rows.scenario == "msp") & (rows.point == "far/bright") & (rows.metric == "ood-auroc")
    ].n
    known = len(run.cell_records(cells(run)["ood/msp"].cell).at("id"))
    assert 100 < known < 140 and n == known + 40
    assert not any(point.startswith("validation") for _, point in area)
    other = CNN.replace("cnn.safetensors", "cnn-adversarial.safetensors")
    another = evaluated(tmp_path / "b", other, "sklearn:digits?split=0.3", **settings,
                        detectors=["msp"])  # fmt: skip
    compared = {str(one.address).partition(":")[2]: one
                for one in cb.compare(run, another).differences}  # fmt: skip
    one = compared["ood/msp[overall]/ood-auroc"]
    assert one.delta == pytest.approx(values(another)["msp", "overall"] - area["msp", "overall"])
    assert one.interval is not None and one.n == known + 80


def test_an_ood_set_of_known_samples_is_pointed_out(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    images = load_digits().images[:60]
    address = write_images(tmp_path, (images / 16).astype(np.float32))
    run = evaluated(
        tmp_path, CNN, f"npz:{address}", generators=[], far={"same": f"npz:{address}"},
        detectors=["msp"],
    )  # fmt: skip
    findings = {one.code for one in cells(run)["ood/sets"].findings}
    assert "ood-overlaps-id" in findings
    assert str(cells(run)["ood/msp"].verdict) == "suspect"  # it inherits what its sets are


def reasons(run: Run) -> dict[str, str]:
    return {
        file.scenario: file.reason for file in run.cells.values() if file.status is Status.SKIPPED
    }


def table_of(n: int = 240) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = np.arange(n) % 3
    frame = pd.DataFrame(rng.normal(size=(n, 4)) + 3 * targets[:, None] * [1, 0, -1, 0.5],
                         columns=list("abcd"))  # fmt: skip
    return frame, targets


def test_a_model_without_features_skips_what_needs_them(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    frame, targets = table_of()
    model = LogisticRegression().fit(frame.to_numpy(), targets)
    run = evaluated(tmp_path, model, (frame.to_numpy(), targets))
    assert run.exit_code == 0
    why = reasons(run)
    assert why["energy"] == "the model can't give: logits"
    assert "features" in why["knn"] and "features" in why["mahalanobis"]
    assert "gradients" in why["odin"]
    assert set(why) == set(OWN) - {"msp", "entropy", "gen", "temperature"}
    area = values(run)
    assert {"msp", "entropy", "gen", "temperature", "headline"} <= {name for name, _ in area}
    assert {point for _, point in area} >= {"near/column-mixture", "far/out-of-range"}


def test_without_a_train_role_what_needs_one_is_skipped(tmp_path: Path) -> None:
    run = evaluated(tmp_path, CNN, "sklearn:digits", detectors=["msp", "ash", "knn", "she"],
                    generators=["constant"])  # fmt: skip
    why = reasons(run)
    assert why["knn"] == "the data has no role 'train'"
    assert "the data has no role 'train'" in why["she"]
    assert ("ash", "overall") in values(run)


def test_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good, bad = ["fine", "lovely", "great"], ["dull", "awful", "poor"]
    frame = pd.DataFrame(
        {"text": [" ".join(["the", "film", *rng.choice(bad if k % 2 else good, 4)])
                  + f" number {k}" for k in range(120)],
         "label": ["bad" if k % 2 else "good" for k in range(120)]}
    )  # fmt: skip

    def scores(texts: list[str]) -> np.ndarray:
        counts = np.array([[sum(word in text for word in words) for words in (bad, good)]
                           for text in texts], dtype=float)  # fmt: skip
        shares = np.exp(2 * counts)
        return shares / shares.sum(axis=1, keepdims=True)

    run = evaluated(
        tmp_path, scores, frame, detectors=["msp"], data_options={"target": "label"}
    )  # fmt: skip
    area = values(run)
    assert {point for _, point in area} >= {"near/shuffled-words", "far/random-letters"}
    assert area["msp", "near/shuffled-words"] == 0.5  # a bag of words can't tell
    assert area["msp", "far/random-letters"] > 0.9
    assert area["msp", "far/other-domain"] > 0.9  # none of the words that it knows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detectors": ["msp", "energie"]}, "detector 'energie'"),
        ({"generators": ["noise"]}, "generator 'noise'"),
        ({"detectors": ["energy"]}, "headline: 'msp' is none of the detectors"),
        ({"far": {"constant": "npz:x.npz"}}, "that of a generator"),
        ({"near": {"a/b": "npz:x.npz"}}, "expected letters, digits"),
        ({"kept_apart": 0.9}, "less than or equal to 0.5"),
    ],
)
def test_mistakes_are_told_before_anything_runs(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OODConfig(**settings)


def request(maker: Any, *, kind: str = "classification", **changes: Any) -> SuiteRequest:
    classes = () if kind == "regression" else ("a", "b")
    task = Task(kind=kind, modality=Modality.TABLE, classes=classes)  # type: ignore[arg-type]
    card = DataCard(name="data", uri="test:data", task=task)
    config = OODConfig()
    return SuiteRequest(model=maker.model(**changes), data=card, config=config, preset="quick")


def test_where_the_suite_does_not_apply_it_says_why(maker: Any) -> None:
    plan = OODSuite().scenarios
    assert plan(request(maker, kind="regression")) == "it needs classes"
    labels = request(maker, capabilities=frozenset({Capability.LABELS}))
    assert plan(labels) == "the model gives labels only"
    logged = plan(request(maker))  # no ANY_INPUT
    assert "can't answer generated inputs" in logged


@pytest.mark.parametrize(("kind", "made"), [("float64", 4), ("int64", 1), ("string", 1)])
def test_what_moves_floats_is_left_out_where_a_table_has_none(
    kind: str, made: int, maker: Any
) -> None:
    asked = request(maker, capabilities=frozenset({Capability.SCORES, Capability.ANY_INPUT}))
    card = replace(asked.data, features={"column": kind})
    found = OODSuite().scenarios(replace(asked, data=card))
    (sets,) = (one for one in found if isinstance(one, Sets))
    assert len(sets.sets) == made


@pytest.mark.parametrize("chosen", [False, True])
def test_odin_takes_the_steps_that_something_chooses_from(chosen: bool, maker: Any) -> None:
    capabilities = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    asked = request(maker, capabilities=capabilities)
    names = ["out-of-range", "stretched"] if chosen else ["out-of-range"]
    config = OODConfig(detectors=["msp", "odin"], generators=names)
    found = OODSuite().scenarios(replace(asked, config=config))
    steps = {one.name: one for one in found if isinstance(one, AskedByDetector)}
    assert set(steps) == {"asked/odin/test", "asked/odin/far/out-of-range"} | (
        {"asked/odin/validation/stretched"} if chosen else set()
    )
    assert {tuple(sorted(one.values)) for one in steps.values()} == {
        ODIN.values if chosen else (ODIN.default,)
    }
    samples = maker.samples([f"{row:032x}" for row in range(200)])
    selected = steps["asked/odin/test"].select("main", lambda: SimpleNamespace(samples=samples))
    if chosen:
        assert selected is None  # those kept apart choose the size
    else:
        assert selected is not None
        np.testing.assert_array_equal(selected.keep, ~kept_apart(samples, 0.2))


def documented() -> type[Detector]:
    """Returns the detector of the suite's README, as a third party would write it."""
    page = Path(detectors.__file__).parents[1] / "README.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "my_package.norm"}
    exec(code, names)
    found: type[Detector] = names["FeatureNorm"]
    return found


FeatureNorm = documented()


class Broken(FeatureNorm):  # type: ignore[valid-type,misc]
    """Gives no numbers."""

    name = "broken"

    def fit(self, material: Material) -> Score:
        return lambda answers, values: np.full((len(answers), len(values)), np.nan)


def test_the_documented_detector_passes_the_kit() -> None:
    check_detector(FeatureNorm())


def test_a_detector_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, real = detectors.detectors(), detectors.detectors().get
    mine = {kind.name: kind for kind in (FeatureNorm, Broken)}
    monkeypatch.setattr(registry, "get", lambda name: mine[name]() if name in mine else real(name))
    picked = {"detectors": ["msp", "norm", "broken"], "generators": ["uniform-noise"]}
    run = evaluated(tmp_path, CNN, "sklearn:digits?split=0.3", **picked)
    found = cells(run)
    assert found["ood/norm"].status is Status.OK
    # One that fails takes no other down.
    assert found["ood/broken"].status is Status.FAILED
    assert "not finite" in found["ood/broken"].reason
    table = run.table(found["ood/detectors"].cell, "detectors")
    assert table is not None and list(table["detector"]) == ["MSP (headline)", "Feature norm"]
    assert run.exit_code == 4


SIDE = 8


def save_noise(folder: Path, side: int, seed: int) -> None:
    """Saves plain images of either class, each of one drawn grey: no resizing changes them."""
    rng = np.random.default_rng(seed)
    for number in range(60):
        grey = rng.integers(0, 256)
        path = folder / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side), grey, dtype=np.uint8)
        pixels[0, 0] = number  # no two alike
        Image.fromarray(pixels).save(path)


def test_only_the_set_of_another_size_is_easy(tmp_path: Path) -> None:
    for name, side, seed in (("home", SIDE, 0), ("same", SIDE, 1), ("larger", 4 * SIDE, 2)):
        save_noise(tmp_path / name, side, seed)
    torch.manual_seed(0)
    run = cb.run(
        models={"net": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 2))},
        data=f"imagefolder:{tmp_path}/home", suites=["ood"], out=tmp_path / "out", workers=0,
        cache=False, defaults={"replicates": 100},
        settings={
            "ood.detectors": ["msp"], "ood.generators": [],
            "ood.near": {name: f"imagefolder:{tmp_path}/{name}" for name in ("same", "larger")},
        },
    )  # fmt: skip
    (easy,) = (
        finding
        for cell in run.cells.values()
        if (cell.suite, cell.scenario) == ("ood", "headline")
        for finding in cell.findings
        if finding.code == "easy-set"
    )
    assert list(easy.evidence) == ["near/larger"]
    told = easy.evidence["near/larger"]
    assert told["statistic"] in ("stored-height", "stored-width") and told["trivial_auroc"] == 1
    # A bundle keeps what these audits read.
    make_bundle(run, tmp_path / "run.zip", Disclosure())
    bundle = open_bundle(tmp_path / "run.zip")
    assert verify(bundle) == [] and unscored(bundle.verification["from_the_bundle"]) == 0


def test_the_stored_size_stays_with_a_sample() -> None:
    batch = Batch(("a", "b"), torch.zeros(2, 1, 4, 4), stored=((3, 5), (7, 9)))
    made = batch.take([1]).with_inputs(torch.ones(1, 1, 4, 4))
    found = measured(made, Modality.IMAGE)
    assert (found["input_stored-height"], found["input_stored-width"]) == (7, 9)
    plain = measured(Batch(("a",), torch.zeros(1, 1, 4, 4)), Modality.IMAGE)
    assert not any("stored" in name for name in plain)
