"""Three releases of a model of incomes after the one in service, with a gate at each.

    python examples/boards/releases.py FOLDER

FOLDER and most models are those of `adult.py`, which is run before. A release that the gate stops
is not shipped: the next one is held against the last that was. Verdicts and a site with the
history go to `results/reference/releases`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import skops.io
import yaml
from _board import ROOT, crucibench, finished, work_folder, write_rows
from adult import GROUPS, NUMBERS, WORDS, boosting, pipeline, read

TO = ROOT / "results" / "reference" / "releases"
RELEASES = {
    "0": ("a logistic regression, in service before", "sklearn:logistic.skops"),
    "1": ("boosted trees", "sklearn:boosting.skops"),
    "2": ("with thresholds by sex", "sklearn:adult_models.py:boosting_parity"),
    "3": ("without the columns of sex and race", "sklearn:boosting-no-sex-race.skops"),
}
POLICY: dict[str, Any] = {
    "schema_version": 1,
    "required": [
        {"name": "accuracy", "address": "*:accuracy/clean/top-1", "margin": 0.005},
        {"name": "women found", "address": "*:bias/groups/tpr@sex=Female", "margin": 0.05},
    ],
    "supporting": [
        {
            "name": "gap in selection",
            "address": "*:bias/groups/demographic-parity-difference@sex",
            "margin": 0.02,
        },
    ],
}


def main() -> None:
    """Runs what is in service and three releases, and holds each against what is in service."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path)
    args = parser.parse_args()
    folder = work_folder("adult")
    blind = folder / "boosting-no-sex-race.skops"
    if not blind.is_file():
        frame = read(args.source / "adult-train.csv")
        model = pipeline(boosting(0), without=["sex", "race"])
        skops.io.dump(model.fit(frame[NUMBERS + WORDS], frame["income"]), blind)
    shutil.rmtree(TO, ignore_errors=True)
    TO.mkdir(parents=True)
    policy = TO / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY, sort_keys=False), encoding="utf-8")
    rows, notes, checks, runs, serving = [], [], [], [], None
    for name, (what, uri) in RELEASES.items():
        run = finished(folder, f"release-{name}", spec(uri))
        runs.append(str(run))
        shown = "in service"
        if serving is not None:
            report = TO / name
            done = crucibench(
                folder, "gate", "--quiet", "--baseline", str(serving), "--candidate", str(run),
                "--policy", str(policy), "--report", str(report),
            )  # fmt: skip
            verdict = json.loads((report / "verdict.json").read_text())
            checks += [{"release": name, **check} for check in verdict["checks"]]
            for path in report.iterdir():
                # Not the verdict itself: it names samples by what they hold.
                if path.name not in {"summary.md", "deltas.svg"}:
                    path.unlink()
            shown = f"[{verdict['outcome']}]({name}/summary.md)"
            stopped = done.returncode != 0
            notes.append(
                {"model": "incomes", "run": run.name, "withdrawn": "the gate stopped it"}
                if stopped
                else {"model": "incomes", "run": serving.name, "superseded": f"by release {name}"}
            )
            serving = serving if stopped else run
        else:
            serving = run
        rows.append(f"| {name} | {what} | {shown} |")
    write_rows(TO / "checks.csv", _CHECKS, checks)
    (TO / "notes.yaml").write_text(yaml.safe_dump({"rows": notes}), encoding="utf-8")
    crucibench(
        folder, "publish", "--quiet", *runs, "--site", str(TO / "site"),
        "--notes", str(TO / "notes.yaml"),
    ).check_returncode()  # fmt: skip
    (TO / "README.md").write_text("\n".join([*_HEAD, *rows, ""]), encoding="utf-8")


_CHECKS = (
    "release", "rule", "tier", "address", "outcome", "baseline", "candidate", "gain", "lower",
    "upper", "n", "lost", "gained",
)  # fmt: skip
_HEAD = [
    "# Three releases of a model of incomes",
    "",
    "`python examples/boards/releases.py FOLDER`: each is held against what was in service then,",
    "by [one policy](policy.yaml): at most half a point of accuracy may be lost, and five points",
    "of the women who earn more than 50,000 dollars and are found. A [site](site/index.html) has",
    "their history on the page of the model `incomes`.",
    "",
    "| release | model | gate |",
    "| --- | --- | --- |",
]


def spec(uri: str) -> dict[str, Any]:
    """Returns the spec of a release's run, always of the same model name and data."""
    return {
        "schema_version": 1,
        "models": [{"name": "incomes", "uri": uri}],
        "data": [
            {
                "name": "adult", "uri": "csv:test.csv", "target": "income", "groups": GROUPS,
                "features": [*NUMBERS, *WORDS, "fnlwgt"],
            }
        ],
        "tracks": [
            {
                "name": "adult", "data": "adult", "models": ["incomes"],
                "suites": ["accuracy", "bias"],
            }
        ],
        "suites": {"bias": {"depth": 1}},
    }  # fmt: skip


if __name__ == "__main__":
    main()
