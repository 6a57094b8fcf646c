"""What a new user waits for: the wheel, its installation, and the first right decision.

    python benchmarks/install.py [--index URL]

Builds wheel and sdist, looks into both, installs the wheel into an environment of its own with the
constraints of the checkout, and runs there, from a folder that knows nothing of the checkout, the
commands of the README on logged predictions of models of which it is known by construction which is
right more often. The decision is right if it says to ship that one; the gate, if it lets the better
one pass and stops a worse one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from _report import load, publish, table

ROOT = Path(__file__).resolve().parent.parent
_FILES = """\
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
claims = pd.DataFrame({"claim": range(1200), "amount": rng.lognormal(6, 1, 1200).round(2)})
claims["fraud"] = rng.choice(["no", "yes"], 1200, p=[0.7, 0.3])
claims.to_csv("claims.csv", index=False)
for name, wrong in {"old": 0.15, "new": 0.08, "worse": 0.2}.items():
    flipped = rng.random(1200) < wrong
    said = claims["fraud"].where(~flipped, claims["fraud"].map({"no": "yes", "yes": "no"}))
    logged = pd.DataFrame({"claim": claims["claim"], "decision": said})
    logged.to_csv(f"{name}.csv", index=False)
"""


def main() -> None:
    """Measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", default="", help="of packages; pip's own by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        rows: list[tuple[str, str]] = []
        _timed("build of wheel and sdist", rows, work, [
            sys.executable, "-m", "build", "--outdir", str(work / "dist"), str(ROOT),
        ])  # fmt: skip
        rows += _contents(work / "dist")
        python = work / "venv" / "bin" / "python"
        _timed(
            "an empty environment", rows, work, [sys.executable, "-m", "venv", str(work / "venv")]
        )
        before = _size(work / "venv")
        (wheel,) = (work / "dist").glob("*.whl")
        index = ["--index-url", args.index] if args.index else []
        _timed("`pip install` of the wheel", rows, work, [
            str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install",
            "--no-cache-dir", *index, "-c", str(ROOT / "constraints.txt"), str(wheel),
        ])  # fmt: skip
        rows.append(("on the disk then", f"{(_size(work / 'venv') - before) / 1e6:,.0f} MB"))
        place = work / "elsewhere"
        place.mkdir()
        (place / "files.py").write_text(_FILES)
        _timed("(the user's own files)", [], place, [str(python), "files.py"])
        crucibench = str(work / "venv" / "bin" / "crucibench")
        began = time.perf_counter()
        _timed("`crucibench run` of two models, accuracy", rows, place, [
            crucibench, "run", "--quiet", "--suite", "accuracy",
            "--model", "predictions:old.csv?id=claim&prediction=decision",
            "--model", "predictions:new.csv?id=claim&prediction=decision",
            "--data", "csv:claims.csv?target=fraud&id=claim",
        ])  # fmt: skip
        told = _timed("`crucibench show latest`", rows, place, [crucibench, "show", "latest"])
        first = told.partition("\n\n")[0].replace("\n", " ")
        rows.append(("from the first command to the decision", _seconds(began)))
        right = first.startswith(("Ship new", "claims: Ship new"))
        rows.append(("the decision", f"{first} ({'right' if right else 'wrong'})"))
        began = time.perf_counter()
        for name in ("old", "new", "worse"):
            _timed("(a run of one)", [], place, [
                crucibench, "run", "--quiet", "--suite", "accuracy", "--out", name,
                "--model", f"predictions:{name}.csv?id=claim&prediction=decision",
                "--data", "csv:claims.csv?target=fraud&id=claim",
            ])  # fmt: skip
        pack = [crucibench, "pack", "latest", "--out", "old", "-o", "baseline.cbz"]
        _timed("(`crucibench pack`)", [], place, pack)
        policy = _timed("(`crucibench gate --init`)", [], place, [
            crucibench, "gate", "--init", "--baseline", "baseline.cbz",
        ])  # fmt: skip
        (place / "policy.yaml").write_text(policy)
        for name, code in (("new", 0), ("worse", 1)):
            gate = [crucibench, "gate", "--baseline", "baseline.cbz", "--out", name]
            said = subprocess.run(gate, cwd=place, capture_output=True, check=False).returncode
            right = right and said == code
            rows.append((f"`crucibench gate`, {name}", f"exit code {said}, {code} is right"))
        rows.append(("three runs, a pack, a policy and two gates", _seconds(began)))
        sizes = sorted(
            ((_size(path), path.name) for path in python.parents[1].glob("lib/*/site-packages/*")),
            reverse=True,
        )[:6]
    parts = [(f"of it `{name}`", f"{size / 1e6:,.0f} MB") for size, name in sizes]
    publish("install", "From the wheel to the first decision",
            [*table(("step", "measured"), [*rows, *parts]), "", load()])  # fmt: skip
    if not right:
        raise SystemExit(1)


def _timed(step: str, rows: list[tuple[str, str]], place: Path, command: Sequence[str]) -> str:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{step}: {done.stdout}{done.stderr}")
    rows.append((step, _seconds(began)))
    return done.stdout


def _seconds(began: float) -> str:
    return f"{time.perf_counter() - began:.1f} s"


def _contents(dist: Path) -> list[tuple[str, str]]:
    """Returns size and files of both archives.

    Raises:
        SystemExit: if they hold what they must not, or lack what they need.
    """
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    with tarfile.open(source) as archive_:
        packed = [name.partition("/")[2] for name in archive_.getnames()]
    roots = {name.partition("/")[0] for name in inside if ".dist-info/" not in name}
    if roots != {"crucibench", "crucibench_suites", "crucibench_adapters"}:
        raise SystemExit(f"the wheel holds {sorted(roots)}")
    for needed in ("LICENSE", "README.md", "pyproject.toml", "tests/test_kept_files.py"):
        if needed not in packed:
            raise SystemExit(f"the sdist lacks {needed}")
    stray = [name for name in packed if name.startswith(("results/", ".github/", ".ci/", ".venv/"))]
    if stray:
        raise SystemExit(f"the sdist holds {stray[0]} and {len(stray) - 1} more")
    return [
        ("wheel", f"{wheel.stat().st_size / 1e6:.1f} MB, {len(inside)} files"),
        ("sdist", f"{source.stat().st_size / 1e6:.1f} MB, {len(packed)} files"),
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
