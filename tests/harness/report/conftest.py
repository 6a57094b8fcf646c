"""Real run directories, made with the store's own writers."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from crucibench.comparing.claims import Claim, Claims, Tested
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.suite import Section
from crucibench.contracts.task import Decision, Modality, Task
from crucibench.contracts.verdict import Severity, Status, Verdict, verdict_of
from crucibench.report.site import write_site
from crucibench.stats import wilson
from crucibench.store.cells import CellFile, Digest, FindingFile, write_cell
from crucibench.store.layout import Layout
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, write_frame, write_table
from crucibench.util.atomic import write_json, write_text
from crucibench.util.hashing import data_digest

METRICS = (
    MetricInfo(id="top-1", name="Accuracy", direction="higher", lower=0.0, upper=1.0,
               definition="The share of samples whose predicted class is right."),
    MetricInfo(id="log-loss", name="Log loss", direction="lower", lower=0.0, unit="nats",
               definition="The mean of -ln p, p being the target's probability."),
    MetricInfo(id="ece-15-equal-width-top-label", name="ECE, top label", direction="lower",
               lower=0.0, upper=1.0, source="Guo et al., ICML 2017",
               definition="The mean over bins, weighted by count, of |confidence - accuracy|."),
    MetricInfo(id="recall", name="Recall", direction="higher", lower=0.0, upper=1.0,
               definition="Of the samples of a class, the share predicted as it."),
    MetricInfo(id="precision", name="Precision", direction="higher", lower=0.0, upper=1.0,
               definition="Of the samples predicted as a class, the share that are of it."),
    MetricInfo(id="mcc", name="Matthews correlation", direction="higher", lower=-1.0, upper=1.0,
               definition="The correlation of targets and predictions as class indicators."),
    MetricInfo(id="temperature", name="Temperature", direction="target=1", lower=0.001,
               definition="The T at which softmax(logits / T) has the lowest log loss."),
)  # fmt: skip

SECTIONS = (
    Section(title="Accuracy", kind="metrics", scenario="clean",
            metrics=("top-1", "ece-15-equal-width-top-label", "log-loss")),
    Section(title="Reliability", kind="reliability", scenario="clean", table="reliability",
            x="mean_confidence", y="accuracy",
            note="Share of right predictions by confidence, in 15 equal-width bins."),
    Section(title="Risk and coverage", kind="line", scenario="clean", table="risk-coverage",
            x="coverage", y="risk",
            note="Share of errors if only the most confident samples are answered."),
    Section(title="By class", kind="table", scenario="clean", table="per-class"),
    Section(title="Recall and precision by class", kind="metrics", scenario="clean",
            metrics=("recall", "precision")),
    Section(title="Confusion", kind="matrix", scenario="clean", table="confusion",
            note="Numbers of samples."),
    Section(title="Error by confidence", kind="bars", scenario="clean", table="errors",
            x="confidence", y="error"),
    Section(title="All numbers", kind="metrics", scenario="clean"),
)  # fmt: skip

ROBUST = (
    MetricInfo(id="accuracy", name="Accuracy under noise", direction="higher", lower=0.0,
               upper=1.0, definition="The share of right predictions on noisy samples."),
)  # fmt: skip

CURVE = (
    Section(title="Accuracy by severity", kind="line", table="curve", x="severity", y="accuracy"),
)


_UNBOUNDED = {math.inf, -math.inf}


@dataclass
class Builder:
    """Writes one run directory, call by call."""

    root: Path
    spec: dict[str, Any] = field(default_factory=dict)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    suites: dict[str, Any] = field(default_factory=dict)
    cards: dict[str, DataCard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layout = Layout(self.root)
        self.layout.cells.mkdir(parents=True)
        self.spec = {
            "schema_version": 1,
            "defaults": {"preset": "quick", "seed": 0, "limit": None, "level": 0.95},
            "models": [],
            "data": [],
        }

    def suite(self, name: str, axis: str, headline: Sequence[str], metrics: Sequence[MetricInfo],
              sections: Sequence[Section] = (), description: str = "") -> None:  # fmt: skip
        self.suites[name] = {
            "axis": axis,
            "description": description,
            "headline": list(headline),
            "sections": [dataclasses.asdict(section) for section in sections],
            "metrics": [
                {k: v for k, v in dataclasses.asdict(metric).items() if v not in _UNBOUNDED}
                for metric in metrics
            ],
        }  # fmt: skip

    def data(self, name: str, classes: Sequence[str], n: int, **facts: Any) -> None:
        modality = facts.pop("modality", Modality.IMAGE)
        card = DataCard(
            name=name, uri=facts.pop("uri", f"sklearn:{name}"),
            task=Task(kind="classification", modality=modality, classes=tuple(classes)),
            counts={"test": n}, fingerprint=facts.pop("fingerprint", data_digest(name)),
            ids_digest={"test": data_digest([name])}, target="target", **facts,
        )  # fmt: skip
        self.cards[name] = card
        self.spec["data"].append({"name": name, "uri": card.uri})
        write_json(self.layout.card(name), card.as_dict())

    def model(self, name: str, data: str, fingerprint: Mapping[str, str] | None = None,
              **facts: Any) -> None:  # fmt: skip
        uri = facts.pop("uri", f"torch:models.py:{data_digest(name)[:8]}")
        info = ModelInfo(
            name=name, uri=uri,
            capabilities=frozenset({"labels", "scores", "logits"}), score_kind="logits",
            geometry={"modality": "image", "channels": 1, "size": [8, 8]},
            fingerprint=fingerprint if fingerprint is not None else {"weights": data_digest(name)},
            decision=Decision(), parameters=facts.pop("parameters", 12_345), **facts,
        )  # fmt: skip
        self.models.append({"model": info.as_dict(), "data": data})
        if all(entry["name"] != name for entry in self.spec["models"]):
            self.spec["models"].append({"name": name, "uri": uri})

    def cell(self, model: str, data: str, suite: str, scenario: str,
             status: Status = Status.OK, **facts: Any) -> str:  # fmt: skip
        findings = [FindingFile(**finding) for finding in facts.pop("findings", ())]
        name = f"{data_digest([model, data, suite, scenario])[:12]}"
        verdict = verdict_of(finding.as_finding() for finding in findings)
        card = self.cards.get(data)
        comparison = facts.pop("comparison", {}) or {
            "data": card.fingerprint if card else "",
            "scenario": {"address": f"{suite}/{scenario}", "version": 1, "parameters": {}},
        }
        write_cell(
            self.layout.cell_file(name),
            CellFile(
                cell=name, kind=facts.pop("kind", "derived"), model=model, data=data, suite=suite,
                scenario=scenario, version=1, role="test", points=[""], status=status,
                verdict=verdict if status is Status.OK else None,
                findings=findings, n=facts.pop("n", 540),
                identity=Digest.of({"model": model}), numerics=Digest.of({"threads": 1}),
                comparison=comparison, **facts,
            ),
        )  # fmt: skip
        self._comparison = {name: comparison} | getattr(self, "_comparison", {})
        return name

    def row(self, cell: str, metric: str, value: float | None, *, model: str, data: str,
            suite: str, scenario: str, n: int = 540, **facts: Any) -> None:  # fmt: skip
        infos = {info["id"]: info for info in self.suites.get(suite, {}).get("metrics", [])}
        info = infos.get(metric, {"direction": "none", "unit": ""})
        key = {"cell": self._comparison[cell], "metric": metric, "point": facts.get("point", ""),
               "group": facts.get("group", "")}  # fmt: skip
        self.rows.append(
            {
                "model": model, "data": data, "suite": suite, "scenario": scenario, "point": "",
                "group": "", "metric": metric, "value": value, "lower": None, "upper": None,
                "level": 0.95 if facts.get("lower") is not None else None, "method": "wilson",
                "n": n, "direction": info["direction"], "unit": info["unit"], "reason": "",
                "verdict": "valid", "cell": cell, "comparison_key": data_digest(key)[:16], **facts,
            }
        )  # fmt: skip

    def share(self, cell: str, metric: str, hits: int, n: int, **facts: Any) -> None:
        interval = wilson(hits, n)
        self.row(cell, metric, hits / n, n=n, lower=interval.lower, upper=interval.upper, **facts)

    def table(self, cell: str, name: str, frame: pd.DataFrame) -> None:
        write_frame(self.layout.table(cell, name), frame)

    def finish(self) -> Run:
        self.spec["resolved"] = {"suites": sorted(self.suites), "base": "."}
        write_text(self.layout.spec, yaml.safe_dump(self.spec, allow_unicode=True, sort_keys=False))
        write_json(self.layout.models, self.models)
        write_json(self.layout.suites, self.suites)
        write_json(
            self.layout.environment / "main.json",
            {
                "python": "3.11.9", "threads": 2, "device": "cpu",
                "versions": {"crucibench": "0.1.0", "numpy": "2.1.0", "torch": "2.6.0"},
                "hardware": {"machine": "x86_64", "processor": "Example CPU", "cores": 2},
                "git": {"commit": None, "dirty": None},
            },
        )  # fmt: skip
        write_table(self.layout.metrics, rows_to_table(self.rows))
        write_text(self.layout.events, "")
        write_manifest(self.layout, "0.1.0")
        return Run(self.root)


def answers(classes: int, n: int, skill: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns targets and probabilities of a model that is right about `skill` of the time."""
    draws = np.random.default_rng(seed)
    targets = draws.integers(0, classes, n)
    logits = draws.normal(size=(n, classes)) * 1.3
    logits[np.arange(n), targets] += 5.5 * skill * draws.beta(3, 1.2, n)
    scores = np.exp(1.2 * logits)
    return targets, scores / scores.sum(axis=1, keepdims=True)


def add_accuracy(builder: Builder, model: str, data: str, *, skill: float, seed: int,
                 findings: Sequence[Mapping[str, Any]] = (), **facts: Any) -> str:  # fmt: skip
    """Adds an accuracy cell with its numbers and tables."""
    card = builder.cards[data]
    classes, n = card.task.classes, card.counts["test"]
    cell = builder.cell(model, data, "accuracy", "clean", findings=findings, n=n, **facts)
    verdict = str(verdict_of(FindingFile(**entry).as_finding() for entry in findings))
    targets, scores = answers(len(classes), n, skill, seed)
    place: dict[str, Any] = {
        "model": model, "data": data, "suite": "accuracy", "scenario": "clean", "verdict": verdict,
    }  # fmt: skip
    said, sure = scores.argmax(axis=1), scores.max(axis=1)
    right = said == targets
    builder.share(cell, "top-1", int(right.sum()), n, **place)
    loss = -np.log(scores[np.arange(n), targets])
    half = 1.96 * loss.std() / math.sqrt(n)
    bootstrap = {"method": "bca-bootstrap-2000"}
    builder.row(cell, "log-loss", loss.mean(), n=n, lower=max(0, loss.mean() - half),
                upper=loss.mean() + half, **place | bootstrap)  # fmt: skip
    edges = np.linspace(0, 1, 16)
    bins = np.clip(np.ceil(sure * 15).astype(int) - 1, 0, 14)
    count = np.bincount(bins, minlength=15)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, sure, 15) / count
        share = np.bincount(bins, right, 15) / count
    ece = float(np.nansum(count * np.abs(confidence - share)) / n)
    builder.row(cell, "ece-15-equal-width-top-label", ece, n=n, lower=ece * 0.72,
                upper=ece * 1.41, **place | bootstrap)  # fmt: skip
    builder.row(cell, "mcc", 2 * right.mean() - 1, n=n, lower=2 * right.mean() - 1.03,
                upper=2 * right.mean() - 0.98, **place | bootstrap)  # fmt: skip
    builder.row(cell, "temperature", 1.31, n=n, reason="no interval: one fit", **place)
    intervals = [
        wilson(int(h), int(c))[:2] if c else (math.nan, math.nan)
        for h, c in zip(np.bincount(bins, right, 15), count, strict=True)
    ]
    builder.table(cell, "reliability", pd.DataFrame({
        "bin_lower": edges[:-1], "bin_upper": edges[1:], "count": count,
        "mean_confidence": confidence, "accuracy": share,
        "lower": [low for low, _ in intervals], "upper": [high for _, high in intervals],
    }))  # fmt: skip
    order = np.argsort(-sure)
    builder.table(cell, "risk-coverage", pd.DataFrame({
        "coverage": np.arange(1, n + 1) / n,
        "risk": (~right[order]).cumsum() / np.arange(1, n + 1),
    }))  # fmt: skip
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(table, (targets, said), 1)
    frame = pd.DataFrame(table, columns=[str(name) for name in range(len(classes))])
    frame.columns = pd.Index(classes)
    frame.insert(0, "true class", list(classes))
    builder.table(cell, "confusion", frame)
    for index, name in enumerate(classes):
        for metric, total in (("recall", table[index].sum()), ("precision", table[:, index].sum())):
            if total:
                builder.share(
                    cell, metric, int(table[index, index]), int(total), group=name, **place
                )
            else:
                builder.row(cell, metric, None, n=0, group=name, reason="no sample of the class",
                            **place)  # fmt: skip
    recalls = [wilson(int(table[k, k]), max(1, int(table[k].sum()))) for k in range(len(classes))]
    builder.table(cell, "per-class", pd.DataFrame({
        "class": list(classes), "support": table.sum(axis=1),
        "recall": np.diag(table) / np.maximum(table.sum(axis=1), 1),
        "recall_lower": [entry.lower for entry in recalls],
        "recall_upper": [entry.upper for entry in recalls],
    }))  # fmt: skip
    builder.table(cell, "errors", pd.DataFrame({
        "confidence": ["low", "middle", "high"],
        "error": [0.4 - 0.2 * skill, 0.2 - 0.1 * skill, 0.03],
        "lower": [0.3 - 0.2 * skill, 0.14 - 0.1 * skill, 0.01],
        "upper": [0.5 - 0.2 * skill, 0.27 - 0.1 * skill, 0.06],
    }))  # fmt: skip
    return cell


def add_noise(builder: Builder, model: str, data: str, shares: Sequence[float],
              scenario: str = "gaussian", **facts: Any) -> str:  # fmt: skip
    """Adds a noise cell: one share a severity."""
    cell = builder.cell(model, data, "noise", scenario, kind="mapped", draws="sample", n=400,
                        **facts)  # fmt: skip
    n, curve = 400, []
    for severity, share in enumerate(shares, 1):
        hits = round(share * n)
        place = {"model": model, "data": data, "suite": "noise", "scenario": scenario}
        builder.share(cell, "accuracy", hits, n, point=f"severity={severity}", **place)
        curve.append((severity, hits / n, *wilson(hits, n)[:2]))
    builder.table(
        cell, "curve", pd.DataFrame(curve, columns=["severity", "accuracy", "lower", "upper"])
    )
    return cell


SUSPECT = {
    "code": "too-few-samples", "severity": Severity.SUSPECT,
    "message": "a class has 3 samples: its recall can't be told from 0.4 or 1",
    "evidence": {"class": "seven", "samples": 3},
}  # fmt: skip
INVALID = {
    "code": "double-softmax", "severity": Severity.INVALID,
    "message": "no probability leaves [0.084, 0.232], as after a softmax applied twice",
    "evidence": {"accuracy": 0.9612, "confidence": 0.1841},
}  # fmt: skip
NOTE = {
    "code": "batch-noise", "severity": Severity.INFO,
    "message": "batches of 1, 7 and 256 give the same answers to float noise",
    "evidence": {"samples": 16, "apart": 1e-7, "flips": 0},
}  # fmt: skip

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def showcase(root: Path) -> Run:
    """A run like the demo's: three models on digits, three on diabetes, two suites."""
    builder = Builder(root)
    builder.suite("accuracy", "accuracy", ("clean/top-1", "clean/log-loss",
                  "clean/ece-15-equal-width-top-label", "clean/r2"), METRICS, SECTIONS,
                  "How often the model is right on clean data.")  # fmt: skip
    builder.suite("noise", "robustness", ("gaussian[severity=3]/accuracy",), ROBUST, CURVE,
                  "How much of it is left under noise.")  # fmt: skip
    builder.data("digits", DIGITS, 540, licence="CC BY 4.0",
                 citation="Alpaydin and Kaynak, UCI Machine Learning Repository, 1998",
                 features={"image": "1 x 8 x 8"}, split="30 % of each class by content hash",
                 notes=("Test half of the bundled digits.",))  # fmt: skip
    builder.data("diabetes", ("no", "yes"), 133, modality=Modality.TABLE, groups=("sex", "age_50"),
                 notes=("The source does not say which sex is coded 1 and which 2.",))  # fmt: skip
    for seed, (model, skill) in enumerate({"cnn": 1.0, "cnn-robust": 0.82, "mlp": 0.76}.items()):
        builder.model(model, "digits")
        findings = [INVALID] if model == "mlp" else []
        source = builder.cell(
            model, "digits", "pass", "test", kind="mapped", findings=[NOTE, *findings]
        )
        inherited = [{**entry, "cell": source} for entry in (NOTE, *findings)]
        add_accuracy(builder, model, "digits", skill=skill, seed=seed, findings=inherited)
    add_noise(builder, "cnn", "digits", (0.93, 0.78, 0.55, 0.33, 0.2))
    add_noise(builder, "cnn-robust", "digits", (0.9, 0.88, 0.85, 0.79, 0.7))
    builder.cell("mlp", "digits", "noise", "gaussian", Status.SKIPPED, n=0,
                 reason="its forward pass is invalid")  # fmt: skip
    for seed, (model, skill) in enumerate(
        {"logistic": 0.5, "forest": 0.55, "table-mlp": 0.45}.items()
    ):
        builder.model(model, "diabetes", parameters=None)
        findings = [SUSPECT] if model == "forest" else []
        add_accuracy(builder, model, "diabetes", skill=skill, seed=7 + seed, findings=findings)
        if model == "table-mlp":
            builder.cell(model, "diabetes", "noise", "gaussian", Status.FAILED, n=0,
                         reason="ValueError: could not convert string to float: 'a'",
                         detail="Traceback (most recent call last):\nValueError")  # fmt: skip
    builder.suites["noise"]["not_applicable"] = [
        {"model": name, "data": "diabetes", "reason": "noise needs images, the data is a table"}
        for name in ("logistic", "forest")
    ]
    return builder.finish()


HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd|'/C calc'!A0",
    "quote\" and 'apostrophe' & <b>bold</b> | pipe",
    "abc\u202egnp.exe",
    "x" * 10_000,
    "👩\u200d🔬 émoji $\\frac{1}{0}$ `code` [link](https://evil.example) @team",
)


def hostile(root: Path) -> Run:
    """A run in which every name that a user chooses means harm."""
    builder = Builder(root)
    sections = [
        dataclasses.replace(section, title=f"{section.title} {HOSTILE[0]}", note=HOSTILE[2])
        for section in SECTIONS
    ]
    builder.suite("accuracy", HOSTILE[0], ("clean/top-1", "clean/log-loss"),
                  [dataclasses.replace(METRICS[0], name=HOSTILE[2], definition=HOSTILE[0]),
                   *METRICS[1:]],
                  [*sections, Section(title=HOSTILE[3], kind="forest", metrics=("recall",))],
                  HOSTILE[0])  # fmt: skip
    heat = Section(title=HOSTILE[0], kind="heat", table="curve", x="severity", y="accuracy",
                   note=HOSTILE[5])  # fmt: skip
    builder.suite("noise", HOSTILE[5], ("gaussian[severity=1]/accuracy",), ROBUST, [*CURVE, heat],
                  HOSTILE[2])  # fmt: skip
    builder.data("da\u202eta <img src=x onerror=alert(2)>", HOSTILE, 300, licence=HOSTILE[0],
                 citation="https://evil.example/x.js", notes=HOSTILE)  # fmt: skip
    data = next(iter(builder.cards))
    finding = {
        "code": HOSTILE[0], "severity": Severity.SUSPECT, "message": HOSTILE[2] + HOSTILE[4],
        "evidence": {HOSTILE[0]: HOSTILE[5], "nested": {"a": [1, None]}},
    }  # fmt: skip
    for seed, model in enumerate((HOSTILE[0], HOSTILE[1])):
        builder.model(model, data, uri=HOSTILE[4], card={"authors": HOSTILE[0]})
        add_accuracy(builder, model, data, skill=0.8, seed=seed, findings=[finding])
        for scenario in ("gaussian", HOSTILE[0]):
            add_noise(builder, model, data, (0.9, 0.5), scenario=scenario)
    for model in HOSTILE[2:]:
        builder.model(model, data)
        builder.cell(model, data, "accuracy", "clean", Status.FAILED, n=0, reason=HOSTILE[0],
                     detail="".join(HOSTILE))  # fmt: skip
    return builder.finish()


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome")
     if (path := shutil.which(name))), None,
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; tests skip where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on the path")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def builder(tmp_path: Path) -> Callable[[str], Builder]:
    """Returns a maker of run directories, by the run's id."""
    return lambda name: Builder(tmp_path / name)


@pytest.fixture(scope="session")
def showcase_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three models on digits and three on diabetes; all statuses and verdicts occur."""
    return showcase(tmp_path_factory.mktemp("runs") / "3f2ab91c04d7")


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which every name that a user chooses means harm."""
    return hostile(tmp_path_factory.mktemp("runs") / "bad0bad0bad0")


@pytest.fixture
def two_models(builder: Callable[[str], Builder]) -> Iterator[Callable[..., Run]]:
    """Returns a maker of small runs: ``two_models(id, {model: hits}, ...)``."""

    def make(name: str, hits: Mapping[str, int | None], n: int = 200, **facts: Any) -> Run:
        made = builder(name)
        made.suite("accuracy", "accuracy", ("clean/top-1",), METRICS)
        made.data("digits", DIGITS, n, fingerprint=facts.get("fingerprint", "f" * 64))
        for model, count in hits.items():
            made.model(model, "digits", facts.get("fingerprints", {}).get(model))
            verdict = facts.get("verdicts", {}).get(model, "valid")
            findings = [{Verdict.SUSPECT: SUSPECT, Verdict.INVALID: INVALID}[v]
                        for v in (Verdict(verdict),) if v is not Verdict.VALID]  # fmt: skip
            cell = made.cell(model, "digits", "accuracy", "clean", n=n, findings=findings,
                             comparison=facts.get("comparisons", {}).get(model))  # fmt: skip
            place = {"model": model, "data": "digits", "suite": "accuracy", "scenario": "clean"}
            if count is None:
                made.row(cell, "top-1", None, n=0, reason="the model gives no label", **place)
            else:
                made.share(cell, "top-1", count, n, verdict=verdict, **place)
        return made.finish()

    yield make


@pytest.fixture
def claims_about() -> Callable[..., Claims]:
    """Makes claims about a column: the first of each pair is better by so much, +- 0.01."""

    def make(
        data: str, place: str, pairs: Mapping[tuple[str, str], float], tested: Sequence[str]
    ) -> Claims:
        return Claims(
            claims=tuple(
                Claim(
                    data=data, place=place, better=better, worse=worse, values=(1.0, 1.0 - by),
                    by=by, lower=by - 0.01, upper=by + 0.01, p=0.001, p_adjusted=0.01, n=200,
                    method="newcombe-paired; mcnemar-exact",
                )
                for (better, worse), by in pairs.items()
            ),
            tested=tuple(
                Tested(data, place, first, second)
                for at, first in enumerate(tested)
                for second in tested[at + 1 :]
            ),
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def sites(
    showcase_run: Run, hostile_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    made = {}
    for name, run in (("showcase", showcase_run), ("hostile", hostile_run)):
        made[name] = tmp_path_factory.mktemp("sites") / name
        write_site([run], made[name], ranked=False)
    return made


@pytest.fixture
def kept_run(tmp_path: Path) -> Path:
    """Returns a copy of the run of two models that version 0.1.0 left."""
    kept = Path(__file__).parents[2] / "kept" / "0.1.0" / "run"
    return shutil.copytree(kept, tmp_path / "93e9049701d7")
