"""Compare two runs of 1,000,000 samples: seconds beyond reading the files, and peak memory.

Synthetic records of two models, binary, are written straight into two run directories. The child
process compares them; what it spends in reading the sample tables and records from Parquet is told
apart. The group gap stands for the bias suite's: the difference in recall of two groups.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _report import publish, table

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import Evidence, ModelInfo
from crucibench.contracts.records import to_table
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Status, Verdict
from crucibench.engine.plan.cell_files import comparison_fields, planned_file
from crucibench.engine.plan.plan import make_plan
from crucibench.engine.resolve.resolve import offline
from crucibench.store.cells import write_cell
from crucibench.store.find import load
from crucibench.store.layout import Layout
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, samples_to_table, write_table
from crucibench.util.atomic import write_json, write_text
from crucibench.util.untrusted.yaml_text import dump_yaml

COUNT = 1_000_000
METRICS = (
    "top-1", "balanced-accuracy", "f1-macro", "mcc", "log-loss", "brier",
    "ece-15-equal-width-top-label", "auroc", "average-precision",
)  # fmt: skip
GAP = "recall-gap"


def write_run(root: Path, scores: np.ndarray, samples: Samples) -> None:
    """Writes a finished run of one model, as the engine would leave it."""
    layout = Layout(root)
    card = DataCard(
        name="claims", uri="synthetic:claims", groups=("group",), fingerprint="f" * 64,
        task=Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes")),
        counts={"test": len(samples)}, ids_digest={"test": "i" * 64},
    )  # fmt: skip
    model = ModelInfo(
        name="model", uri="synthetic:model", capabilities=frozenset({Capability.SCORES}),
        score_kind="probabilities", geometry={}, fingerprint=None,
    )  # fmt: skip
    document = {
        "schema_version": 1,
        "models": [{"name": "model", "uri": "synthetic:model"}],
        "data": [{"name": "claims", "uri": "synthetic:claims"}],
        "tracks": [{"name": "t", "models": ["model"], "data": "claims", "suites": ["accuracy"]}],
        "resolved": {"base": ".", "allow_pickle": False, "digests": {}},
    }
    root.mkdir(parents=True)
    write_text(layout.spec, dump_yaml(document))
    layout.environment.mkdir()
    write_json(layout.environment / "main.json", {})
    write_json(layout.models, [{"data": "claims", "model": model.as_dict()}])
    write_json(layout.suites, {})
    table_path = layout.sample_table("claims", "test")
    table_path.parent.mkdir(parents=True)
    write_json(layout.card("claims"), card.as_dict())
    write_table(table_path, samples_to_table(samples))
    columns = {"id": list(samples.ids), "scores": scores.astype(np.float32),
               "prediction": scores.argmax(axis=1).astype(np.int32)}  # fmt: skip
    for cell in make_plan(offline(document), {("model", "claims"): model}, {"claims": card}):
        layout.cell(cell.id).mkdir(parents=True)
        if cell.scenario.suite == "pass":
            write_table(layout.shard(cell.id, 0, 0), to_table(columns))
        comparison = comparison_fields(cell, 0, "i" * 64, {})
        file = planned_file(
            cell, status=Status.OK, verdict=Verdict.VALID, comparison=comparison,
            ids_digest="i" * 64,
        )  # fmt: skip
        write_cell(layout.cell_file(cell.id), file)
    write_table(layout.metrics, rows_to_table([]))
    write_manifest(layout, "0")


def write_both(folder: Path, count: int) -> None:
    """Writes two models that agree on most samples; the second is a little worse."""
    rng = np.random.default_rng(0)
    targets = (rng.random(count) < 0.3).astype(np.int64)
    samples = Samples(
        ids=np.array([f"{number:032x}" for number in range(count)], dtype=object),
        targets=targets,
        groups=pd.DataFrame({"group": rng.choice(["a", "b"], count)}, dtype=object),
    )
    lead = 2.5 * (2 * targets - 1) + rng.normal(0, 2, count)
    for name, noise in (("baseline", 0.6), ("candidate", 0.65)):
        positive = 1 / (1 + np.exp(-(lead + rng.normal(0, noise, count))))
        write_run(folder / name, np.stack([1 - positive, positive], axis=1), samples)


def with_gap(numbers: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the recall gap of two groups to what the accuracy suite compares."""

    def both(self: Any, evidence: Evidence) -> list[Number]:
        found = list(numbers(self, evidence))
        samples = evidence.own.samples
        hits = evidence.needs["test"].records.array("prediction") == 1
        first = (samples.groups["group"] == "a").to_numpy()
        positive = samples.targets == 1
        form = _gap(hits, positive & first, positive & ~first)
        found.append(Number(metric=GAP, make=lambda: form))
        return found

    return both


def _gap(hits: np.ndarray, first: np.ndarray, second: np.ndarray) -> RowMetric:
    """Returns the difference of two groups' shares, with its derivative by each weight."""

    def of_rows(weights: np.ndarray) -> np.ndarray:
        parts = [(weights @ (hits & part)) / (weights @ part) for part in (first, second)]
        return np.asarray(parts[0] - parts[1])

    def influence() -> np.ndarray:
        found = np.zeros(len(hits))
        for sign, part in ((1, first), (-1, second)):
            found[part] = sign * (hits[part] - hits[part].mean()) / part.sum()
        return found

    return RowMetric(of_rows, influence)


def child(folder: Path) -> None:
    """Compares the two runs and prints what it took."""
    from crucibench.comparing.runs import compare_runs
    from crucibench_suites.accuracy.scenario import Clean

    Clean.numbers = with_gap(Clean.numbers)  # type: ignore[method-assign]
    reading, reading_cpu = 0.0, 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal reading, reading_cpu
            begun, cpu = time.perf_counter(), time.process_time()
            try:
                return call(*args)
            finally:
                reading += time.perf_counter() - begun
                reading_cpu += time.process_time() - cpu

        return run

    Run.samples = timed(Run.samples)  # type: ignore[method-assign]
    Run.cell_records = timed(Run.cell_records)  # type: ignore[method-assign]
    baseline, candidate = load(folder / "baseline"), load(folder / "candidate")
    begun, cpu = time.perf_counter(), time.process_time()
    found = compare_runs(
        baseline, candidate, metrics=[f"accuracy/clean/{metric}" for metric in (*METRICS, GAP)]
    )
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    if found.refused or len(found.differences) != len(METRICS) + 1:
        raise RuntimeError(f"not compared: {found.refused}")
    rows = [
        (one.address.metric, f"{one.delta:+.6f}", f"{one.interval.lower:+.6f}",
         f"{one.interval.upper:+.6f}", f"{one.p:.2g}", one.method)
        for one in found.differences
        if one.interval is not None
    ]  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took = {"seconds": seconds - reading, "cpu": used - reading_cpu, "reading": reading}
    print(json.dumps({**took, "peak": peak, "rows": rows}))


def main() -> None:
    """Runs the child five times and publishes its median."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_both(folder, count)
        results = []
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, __file__, "--child", name], check=True, capture_output=True,
                text=True,
            )  # fmt: skip
            results.append(json.loads(done.stdout))
    beyond, used, reading = (
        sorted(one[name] for one in results) for name in ("seconds", "cpu", "reading")
    )
    lines = [
        f"Two runs of {count:,} samples, binary, {len(METRICS) + 1} numbers; a process of its own "
        "for each of five repetitions.",
        "",
        *table(
            ["what", "measured", "budget"],
            [
                ["seconds beyond reading, median (least to most)",
                 f"{beyond[2]:.2f} ({beyond[0]:.2f} to {beyond[-1]:.2f})", "2"],
                ["processor seconds beyond reading, median (least to most)",
                 f"{used[2]:.2f} ({used[0]:.2f} to {used[-1]:.2f})", ""],
                ["seconds of reading Parquet, median", f"{reading[2]:.2f}", ""],
                ["peak memory of the process, GiB",
                 f"{max(one['peak'] for one in results) / 2**30:.2f}", "1"],
            ],
        ),
        "",
        *table(["metric", "difference", "lower", "upper", "p", "method"], results[0]["rows"]),
    ]  # fmt: skip
    if count != COUNT:
        print("\n".join(lines))
        return
    publish("compare-million", "Comparing a million samples", lines, "numpy", "pyarrow", "scipy")


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(Path(sys.argv[-1]))
    else:
        main()
