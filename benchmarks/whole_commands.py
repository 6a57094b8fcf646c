"""What a user waits for: whole commands as processes of their own, beside peers.

Every command is started as a user starts it, with an empty cache, one thread, and its processor
seconds (children included), wall seconds and peak memory are read when it has ended. Commands and
peers take turns. Peers: a bare loop with scikit-learn's metrics, the same by group, a bootstrap in
NumPy, and evidently's classification preset (`--evidently PYTHON`, an interpreter that has it).
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from _report import load, median_and_ends, publish, table

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sys.executable).parent / "crucibench")

DATA = """
import sys
import numpy as np, pandas as pd, skops.io
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
rng = np.random.default_rng(0)
X, y = make_classification(20000, 12, n_informative=6, random_state=0, flip_y=0.05)
frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(12)])
frame["sex"] = rng.choice(["f", "m"], len(frame))
frame["target"] = np.where(y, "yes", "no")
frame[:6000].to_csv("six.csv", index=False)
frame.to_csv("twenty.csv", index=False)
model = make_pipeline(
    make_column_transformer(
        (StandardScaler(), list(frame.columns[:12])), (OneHotEncoder(), ["sex"])),
    LogisticRegression(),
).fit(frame.drop(columns="target")[:3000], frame.target[:3000])
skops.io.dump(model, "lr.skops")

n = int(sys.argv[1])
y = rng.integers(0, 2, n)
z = rng.normal(size=n) + (y - 0.5) * 2
ids = [f"r{i}" for i in range(n)]
pd.DataFrame({"id": ids, "z": z, "sex": rng.choice(["f", "m"], n),
              "age": rng.choice(["young", "middle", "old"], n),
              "y": np.where(y, "yes", "no")}).to_parquet("million.parquet")
for name, noise in (("a", 0.3), ("b", 0.35)):
    p = 1 / (1 + np.exp(-2 * (z + rng.normal(size=n) * noise)))
    pd.DataFrame({"id": ids, "no": 1 - p, "yes": p}).to_parquet(f"{name}.parquet")

n, k = 10_000, 1_000
y = rng.integers(0, k, n)
scores = rng.normal(size=(n, k)).astype(np.float32)
scores[np.arange(n), y] += 3
scores = np.exp(scores)
names = [f"c{i:04d}" for i in range(k)]
pd.DataFrame({"id": np.arange(n), "x": np.arange(n) * 1.0,
              "y": [names[i] for i in y]}).to_parquet("classes.parquet")
answers = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=names)
answers.insert(0, "id", np.arange(n))
answers.to_parquet("k.parquet")

n, k = 200_000, 100_000
y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
p = np.where(rng.random(n) < 0.7, y, rng.integers(0, k, n))
for column, values, name in (("y", y, "many.parquet"), ("p", p, "m.parquet")):
    pd.DataFrame({"id": np.arange(n), "x": rng.normal(size=n),
                  column: [f"c{i}" for i in values]}).to_parquet(name)

np.savez("images.npz", x=rng.integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8),
         y=rng.integers(0, 10, 10_000))

from pathlib import Path
from PIL import Image
for name, count, side in (("png224", 1000, 224), ("jpg224", 2000, 224), ("jpg64", 5000, 64)):
    for at in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.array(picture) // 2 + rng.integers(0, 6, (side, side, 3), dtype=np.uint8)
        pixels[:8, :8] = 25 * (at % 10) + 12
        folder = Path(name) / f"class{at % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{at}.{name[:3]}", quality=90)
"""

MODELS = """
import torch
from torch import nn


def cnn():
    torch.manual_seed(0)
    layers = []
    for inner, outer in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inner, outer, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


class Corner(nn.Module):
    def forward(self, x):
        grey = x[:, :, :8, :8].mean((1, 2, 3))[:, None] * 255
        return -((grey - 25 * torch.arange(10) - 12) ** 2) / 50


def corner():
    return Corner().eval()
"""

BARE = """
import numpy as np, torch
from sklearn import metrics
from models import cnn
torch.set_num_threads(1)
data = np.load("images.npz")
x, y = data["x"], data["y"]
model, parts = cnn().eval(), []
with torch.no_grad():
    for start in range(0, len(y), 256):
        batch = torch.from_numpy(x[start:start + 256]).float() / 255
        parts.append(model(batch).softmax(1))
scores = torch.cat(parts).numpy()
said = scores.argmax(1)
metrics.accuracy_score(y, said), metrics.balanced_accuracy_score(y, said)
metrics.f1_score(y, said, average="macro"), metrics.matthews_corrcoef(y, said)
metrics.log_loss(y, scores), metrics.roc_auc_score(y, scores, multi_class="ovr")
metrics.top_k_accuracy_score(y, scores, k=5)
"""

LOADER = """
import sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from sklearn import metrics
from torch.utils.data import DataLoader, Dataset
from models import corner
torch.set_num_threads(1)
files = sorted(Path(sys.argv[1]).rglob("*.*"))
class Images(Dataset):
    def __len__(self):
        return len(files)
    def __getitem__(self, at):
        with Image.open(files[at]) as image:
            pixels = np.array(image.convert("RGB"))
        label = int(files[at].parent.name[-1])
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255), label
model, parts, labels = corner(), [], []
with torch.no_grad():
    for batch, label in DataLoader(Images(), batch_size=256):
        parts.append(model(batch).softmax(1))
        labels.append(label)
scores, y = torch.cat(parts).numpy(), torch.cat(labels).numpy()
said = scores.argmax(1)
metrics.accuracy_score(y, said), metrics.balanced_accuracy_score(y, said)
metrics.f1_score(y, said, average="macro"), metrics.matthews_corrcoef(y, said)
metrics.log_loss(y, scores), metrics.roc_auc_score(y, scores, multi_class="ovr")
metrics.top_k_accuracy_score(y, scores, k=5)
"""

BOOTSTRAP = """
import numpy as np, pandas as pd, skops.io
from sklearn import metrics
frame = pd.read_csv("six.csv")
model = skops.io.load("lr.skops", trusted=skops.io.get_untrusted_types(file="lr.skops"))
scores = model.predict_proba(frame.drop(columns="target"))[:, 1]
y = (frame.target == "yes").to_numpy()
rng, found = np.random.default_rng(0), []
for _ in range(2000):
    rows = rng.integers(0, len(y), len(y))
    t, s = y[rows], scores[rows]
    p = s >= 0.5
    found.append([metrics.accuracy_score(t, p), metrics.balanced_accuracy_score(t, p),
                  metrics.f1_score(t, p), metrics.roc_auc_score(t, s), metrics.log_loss(t, s),
                  metrics.brier_score_loss(t, s)])
np.quantile(found, [0.025, 0.975], axis=0)
"""

GROUPED = """
import pandas as pd
from sklearn import metrics
data = pd.read_parquet("million.parquet").merge(pd.read_parquet("a.parquet"), on="id")
def numbers(part):
    y, p = (part.y == "yes").to_numpy(), part.yes.to_numpy()
    d = p >= 0.5
    metrics.accuracy_score(y, d), metrics.balanced_accuracy_score(y, d)
    metrics.f1_score(y, d, average="macro"), metrics.matthews_corrcoef(y, d)
    metrics.log_loss(y, p), metrics.brier_score_loss(y, p), metrics.roc_auc_score(y, p)
    metrics.average_precision_score(y, p), metrics.confusion_matrix(y, d)
numbers(data)
for by in (["sex"], ["age"], ["sex", "age"]):
    for _, part in data.groupby(by):
        numbers(part)
"""

EVIDENTLY = """
import sys
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import ClassificationPreset
frame = pd.read_csv(sys.argv[1])
frame["score"] = pd.read_csv(sys.argv[1] + ".scores")["score"]
frame["label"] = (frame.target == "yes").astype(int)
data = Dataset.from_pandas(frame[["label", "score"]], data_definition=DataDefinition(
    classification=[BinaryClassification(target="label", prediction_probas="score")]))
Report([ClassificationPreset()]).run(data, None).save_html("evidently.html")
"""

SCORES = """
import pandas as pd, skops.io
model = skops.io.load("lr.skops", trusted=skops.io.get_untrusted_types(file="lr.skops"))
for name in ("six.csv", "twenty.csv"):
    frame = pd.read_csv(name)
    scores = model.predict_proba(frame.drop(columns="target"))[:, 1]
    pd.DataFrame({"score": scores}).to_csv(name + ".scores", index=False)
"""

POLICY = """
schema_version: 1
required:
  - {address: "*:accuracy/clean/top-1", margin: 0.01}
  - {address: "*:bias/groups/worst-group-top-1", margin: 0.01}
supporting:
  - {address: "*:accuracy/clean/balanced-accuracy", margin: 0.01}
  - {address: "*:accuracy/clean/f1-macro", margin: 0.01}
  - {address: "*:accuracy/clean/auroc", margin: 0.01}
  - {address: "*:accuracy/clean/average-precision", margin: 0.01}
  - {address: "*:accuracy/clean/log-loss", margin: 0.02}
  - {address: "*:accuracy/clean/ece-l2-15-equal-mass-debiased-top-label", margin: 0.01}
  - {address: "*:bias/groups/demographic-parity-difference", margin: 0.01}
  - {address: "*:bias/groups/equalized-odds-difference", margin: 0.01}
"""


class Taken(NamedTuple):
    """What a process took.

    Attributes:
        cpu: processor seconds, its children's included.
        wall: seconds.
        peak: MB of the largest of its processes.
    """

    cpu: float
    wall: float
    peak: float


class Case(NamedTuple):
    """A command; `fresh` without what earlier ones left."""

    name: str
    arguments: Sequence[str]
    fresh: bool = True


def taken(case: Case, folder: Path) -> Taken:
    """Runs a command; its cache and runs lie in the folder."""
    if case.fresh:
        for place in ("cache", "results"):
            shutil.rmtree(folder / place, ignore_errors=True)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "OMP_NUM_THREADS": "1", "CRUCIBENCH_CACHE": str(folder / "cache"),
    }  # fmt: skip
    # A process between, so that the peak is this command's and not that of an earlier one.
    code = (
        "import json, resource, subprocess, sys, time; start = time.perf_counter();"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode;"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([code, used.ru_utime + used.ru_stime, time.perf_counter() - start,"
        "used.ru_maxrss / 1000]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *case.arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, *numbers = json.loads(done.stdout)
    if status:
        raise SystemExit(f"{case.name}: ended with {status}\n{done.stderr}")
    return Taken(*numbers)


def _run(model: str, data: str, suites: str, out: str = "results") -> list[str]:
    return [
        COMMAND, "run", "-q", "--model", f"m={model}", "--data", f"d={data}", "--suite", suites,
        "--out", out, "--fail-on-error", "0",
    ]  # fmt: skip


def cases(evidently: str, rows: int) -> list[list[Case]]:
    """Returns the commands, those that take turns together."""
    python, small = sys.executable, ("sklearn:lr.skops", "csv:{}.csv?target=target&groups=sex")
    logged = "parquet:million.parquet?target=y&groups=sex,age&id=id&features=z,sex,age"
    names = ",".join(f"c{at:04d}" for at in range(1000))
    six = [
        Case("6,000 rows, accuracy", _run(small[0], small[1].format("six"), "accuracy")),
        Case("scikit-learn, 6 metrics, NumPy bootstrap", [python, "-c", BOOTSTRAP]),
    ]
    twenty = [
        Case("20,000 rows, accuracy, bias, shift",
             _run(small[0], small[1].format("twenty"), "accuracy,bias,shift")),
    ]  # fmt: skip
    if evidently:
        six.append(Case("evidently's preset, 6,000 rows", [evidently, "-c", EVIDENTLY, "six.csv"]))
        twenty.append(
            Case("evidently's preset, 20,000 rows", [evidently, "-c", EVIDENTLY, "twenty.csv"])
        )
    big = [
        Case(f"{rows:,} rows, accuracy and bias",
             _run("predictions:a.parquet?id=id&scores=no,yes", logged, "accuracy,bias", "first")),
        Case("the other model", _run("predictions:b.parquet?id=id&scores=no,yes", logged,
                                     "accuracy,bias", "second"), fresh=False),
        Case("scikit-learn, 9 metrics of all and of 11 groups", [python, "-c", GROUPED],
             fresh=False),
        Case("`compare` of both", ["sh", "-c", f"{COMMAND} compare first/* second/*"],
             fresh=False),
        Case("`gate` of both, 10 numbers",
             ["sh", "-c", f"{COMMAND} gate -q --baseline first/* --candidate second/*"],
             fresh=False),
        Case("both models in one run",
             [*_run("predictions:a.parquet?id=id&scores=no,yes", logged, "accuracy,bias"),
              "--model", "n=predictions:b.parquet?id=id&scores=no,yes"]),
    ]  # fmt: skip
    photos = [
        [Case(f"first run over {what}", _run("torch:models.py:corner", f"imagefolder:{name}",
                                             "accuracy")),
         Case(f"DataLoader, Pillow and 7 metrics, {what}", [python, "-c", LOADER, name])]
        for name, what in (("png224", "1,000 PNG of 224 px"), ("jpg224", "2,000 JPEG of 224 px"),
                           ("jpg64", "5,000 JPEG of 64 px"))
    ]  # fmt: skip
    return [
        six, twenty, *photos,
        [Case("small CNN, 10,000 images of 32 px", _run("torch:models.py:cnn", "npz:images.npz",
                                                        "accuracy")),
         Case("the same command again", _run("torch:models.py:cnn", "npz:images.npz", "accuracy"),
              fresh=False),
         Case("bare loop and 7 metrics of scikit-learn", [python, "-c", BARE])],
        big,
        [Case("1,000 classes, 10,000 rows",
              _run(f"predictions:k.parquet?id=id&scores={names}",
                   "parquet:classes.parquet?target=y&id=id&features=x", "accuracy"))],
        [Case("100,000 classes, 200,000 rows, labels",
              _run("predictions:m.parquet?id=id&prediction=p",
                   "parquet:many.parquet?target=y&id=id&features=x", "accuracy"))],
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--evidently", default="", metavar="PYTHON")
    asked = parser.parse_args()
    rows, spent = [], 0.0
    for packages in ("harness", "suites", "adapters"):
        # As pip does where it installs a package; a checkout's modules are compiled at first use.
        compileall.compile_dir(ROOT / packages, quiet=1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "models.py").write_text(textwrap.dedent(MODELS), encoding="utf-8")
        (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
        for code in (DATA, SCORES):
            subprocess.run(
                [sys.executable, "-c", code, str(asked.rows)], cwd=folder, check=True
            )  # fmt: skip
        for group in cases(asked.evidently, asked.rows):
            found: dict[str, list[Taken]] = {case.name: [] for case in group}
            for _ in range(asked.rounds):
                for out in ("first", "second"):
                    shutil.rmtree(folder / out, ignore_errors=True)
                for case in group:
                    found[case.name].append(taken(case, folder))
            for name, each in found.items():
                spent += sum(one.cpu for one in each)
                rows.append(
                    [
                        name,
                        median_and_ends([one.cpu for one in each], ".1f"),
                        f"{median(one.wall for one in each):.1f}",
                        f"{median(one.peak for one in each):,.0f}",
                    ]
                )
    publish(
        "whole-commands",
        "Whole commands",
        [
            f"Each command as a process of its own, with an empty cache and one thread: "
            f"{asked.rounds} rounds in turns; processor seconds are the median, with the least and "
            "the most. A peer stands below the command that it takes turns with; of the peers only "
            "the bootstrap gives intervals.",
            "",
            *table(["command", "processor s", "wall s", "peak MB"], rows),
            "",
            f"{spent / 3600:.2f} processor hours. {load()}",
        ],
        "numpy", "pandas", "scikit-learn", "torch",
    )  # fmt: skip


if __name__ == "__main__":
    main()
