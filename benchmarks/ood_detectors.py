"""All detectors of the ood suite against pytorch-ood's, on the same model and data.

    python benchmarks/ood_detectors.py --peer-python PYTHON_WITH_PYTORCH_OOD
    python benchmarks/ood_detectors.py --memory 1000000

pytorch-ood's detectors are used in two ways: one by one, where each asks the model about the train,
test and OOD images for itself, and with one shared pass a role, whose features and logits all but
odin take, as ours do. Its own metrics of their scores are timed apart. What is timed of ours is all
that the run does from its first task to the end of the last, numbers, intervals and audits among
them; a small run before it imports what is needed, as the peer's imports are not timed either. Both
take turns, in seconds of the processor, since wall time on a machine that others share says little:
medians are reported, of totals and ratios with the least and the most. With ``--memory`` the
detectors that are fitted read a train pass of so many samples from disk, and the peak memory of the
process is told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

CLASSES = 10
SIZE = 32
BATCH = 256
# Those that both have, with what each is made of there.
PEERS = (
    "msp", "max-logit", "energy", "entropy", "gen", "temperature", "odin", "mahalanobis",
    "relative-mahalanobis", "knn", "vim", "react", "ash", "she",
)  # fmt: skip

METRICS = "its own metrics"
WAYS = ("alone", "shared")


class Net(nn.Module):
    """A plain convolutional network over 32-pixel images, 256 features."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 256]
        layers: list[nn.Module] = []
        for inner, outer in pairwise(widths):
            layers += [nn.Conv2d(inner, outer, 3, 2, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(256, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="a Python that has pytorch-ood")
    parser.add_argument("--train", type=int, default=20_000)
    parser.add_argument("--test", type=int, default=4_000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="SAMPLES")
    parser.add_argument("--size", type=int, default=512, help="features a sample, with --memory")
    parser.add_argument("--as-peer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.as_peer:
        print(json.dumps(as_peer(asked.as_peer, asked.width)))
    elif asked.memory:
        measure_memory(asked.memory, asked.size)
    elif asked.peer_python:
        against_peer(asked)
    else:
        parser.error("expected --peer-python or --memory")


def against_peer(asked: argparse.Namespace) -> None:
    """Times both on the same files and publishes the table."""
    from _report import load, median_and_ends, publish, table

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_data(root, asked.train, asked.test)
        torch.save(made_net(root, asked.width).state_dict(), root / "net.pt")
        turns = [(as_us(root, asked), as_subprocess(root, asked)) for _ in range(asked.rounds)]
    ours, peers = zip(*turns, strict=True)
    rows = [
        [name, *(f"{median(peer[way][name] for peer in peers):.2f}" if name in peers[0][way] else ""
                 for way in WAYS)]
        for name in peers[0]["shared"]
    ]  # fmt: skip
    totals = {way: [sum(peer[way].values()) for peer in peers] for way in WAYS}
    ratios = {way: [total / own for total, own in zip(totals[way], ours, strict=True)]
              for way in WAYS}  # fmt: skip
    for what, found in (("in all", totals), ("in all, times what crucibench took", ratios)):
        rows.append([what, *(median_and_ends(found[way], ".2f") for way in WAYS)])
    lines = [
        f"{asked.train:,} train, {asked.test:,} test and {asked.test:,} OOD images of {SIZE} "
        f"pixels, {asked.threads} threads: {asked.rounds} turns each, in seconds of the processor; "
        "medians, of totals with the least and the most. A ratio is that of the two in one turn.",
        "",
        f"Crucibench took {median_and_ends(ours, '.2f')} s for all: scores, numbers with "
        "intervals, differences between detectors, audits, and records on disk. A row of "
        "pytorch-ood is fitting a detector and its scores of the test and OOD images; "
        f"{METRICS} are what `OODMetrics` computes of these for all detectors (AUROC, AUTC, AUPR "
        "and FPR95, without intervals).",
        "",
        *table(["pytorch-ood", "one by one", "one shared pass"], rows),
        "",
        load(),
    ]
    publish("ood-detectors", "OOD detectors against pytorch-ood", lines, "torch")


def as_subprocess(root: Path, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns what `as_peer` finds in the other Python."""
    command = [asked.peer_python, __file__, "--as-peer", root, "--width", asked.width,
               "--threads", asked.threads]  # fmt: skip
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


class Clock:
    """Notes every 5 ms how much processor time has gone, to tell it for any span of wall time."""

    def __init__(self) -> None:
        self._notes = [(time.time(), time.process_time())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._note, daemon=True)

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _note(self) -> None:
        while not self._stop.wait(0.005):
            self._notes.append((time.time(), time.process_time()))

    def between(self, begun: float, ended: float) -> float:
        """Returns the processor time from one wall time (of `time.time`) to another, in s."""
        walls, spent = zip(*self._notes, strict=True)
        first, last = np.interp([begun, ended], walls, spent)
        return float(last - first)


def made_net(root: Path, width: int) -> Net:
    """Returns a network of random features whose head is fitted, so that it is right at times."""
    torch.manual_seed(0)
    net = Net(width).eval()
    held = np.load(root / "train.npz")
    images = torch.from_numpy(held["x"][:2000]).permute(0, 3, 1, 2).float().div(255)
    wanted = torch.eye(CLASSES)[torch.from_numpy(held["y"][:2000])]
    with torch.no_grad():
        features = torch.cat([net.body(part) for part in images.split(BATCH)])
        centred = features - features.mean(dim=0)
        ridge = 1e-3 * centred.square().mean() * len(centred) * torch.eye(centred.shape[1])
        weight = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ wanted)
        net.head.weight.copy_(8 * weight.T)
        net.head.bias.copy_(-8 * features.mean(dim=0) @ weight)
    return net


def make_data(root: Path, train: int, test: int) -> None:
    """Writes images that a class tells apart a little, and others that it does not."""
    rng = np.random.default_rng(0)
    centres = rng.random((CLASSES, SIZE, SIZE, 3))
    targets = np.arange(train + test) % CLASSES
    images = 0.5 * centres[targets] + 0.5 * rng.random((train + test, SIZE, SIZE, 3))
    pixels = (255 * images).astype(np.uint8)
    np.savez(root / "train.npz", x=pixels[:train], y=targets[:train])
    np.savez(root / "test.npz", x=pixels[train:], y=targets[train:])
    strange = rng.integers(0, 256, (test, SIZE, SIZE, 3), dtype=np.uint8)
    np.savez(root / "ood.npz", x=strange, y=np.zeros(test, dtype=np.int64))


def as_us(root: Path, asked: argparse.Namespace) -> float:
    """Returns the processor time from the first task of a run to the end of the last."""
    import crucibench as cb

    net = Net(asked.width)
    net.load_state_dict(torch.load(root / "net.pt", weights_only=True))
    every = np.load(root / "train.npz"), np.load(root / "test.npz")
    images = np.concatenate([part["x"] for part in every])
    targets = np.concatenate([part["y"] for part in every])
    shutil.rmtree(root / "results", ignore_errors=True)
    with Clock() as clock:
        for count in (asked.test // 4, len(images)):
            run = cb.run(
                models={"net": net}, data=(images[-count:], targets[-count:]), suites=["ood"],
                data_options={"split": asked.test / (asked.train + asked.test)}, cache=False,
                workers=0, defaults={"batch_size": BATCH, "threads": asked.threads},
                settings={
                    "ood.detectors": list(PEERS), "ood.generators": [], "ood.kept_apart": 0.2,
                    "ood.far": {"noise": f"npz:{root}/ood.npz"},
                },
                out=root / "results",
            )  # fmt: skip
            if run.exit_code:
                sys.exit("the run did not end well")
    with (run.root / "events.jsonl").open(encoding="utf-8") as stream:
        tasks = [
            event for event in map(json.loads, stream) if event.get("kind") and "begun" in event
        ]
    begun = min(event["begun"] for event in tasks)
    return clock.between(begun, max(event["begun"] + event["seconds"] for event in tasks))


def as_peer(root: Path, width: int) -> dict[str, dict[str, float]]:
    """Returns the processor time of each detector, for fitting and for test and OOD images.

    Once ``alone``, each with passes of its own, and once ``shared``, after one pass for all; the
    metrics of all detectors are under `METRICS` of both, since their scores are the same.
    """
    from pytorch_ood import detector as peer
    from pytorch_ood.metrics import OODMetrics
    from torch.utils.data import DataLoader, TensorDataset

    net = Net(width).eval()
    net.load_state_dict(torch.load(root / "net.pt", weights_only=True))
    weight, bias = net.head.weight.detach(), net.head.bias.detach()

    def maps(images: torch.Tensor) -> torch.Tensor:
        return net.body(images)[:, :, None, None]

    def head(features: torch.Tensor) -> torch.Tensor:
        return net.head(features.flatten(start_dim=1))

    makers = {
        "msp": lambda: peer.MaxSoftmax(net),
        "max-logit": lambda: peer.MaxLogit(net),
        "energy": lambda: peer.EnergyBased(net),
        "entropy": lambda: peer.Entropy(net),
        "gen": lambda: peer.GEN(net),
        "temperature": lambda: peer.TemperatureScaling(net),
        "odin": lambda: peer.ODIN(net),
        "mahalanobis": lambda: peer.Mahalanobis(net.body),
        "relative-mahalanobis": lambda: peer.RMD(net.body),
        "knn": lambda: peer.KNN(net.body, k=50),
        "vim": lambda: peer.ViM(net.body, d=128, w=weight, b=bias),
        "react": lambda: peer.ReAct(maps, head, percentile=0.9),
        "ash": lambda: peer.ASH(maps, head),
        "she": lambda: peer.SHE(net.body, net.head),
    }

    def loader(name: str) -> Any:
        held = np.load(root / f"{name}.npz")
        images = torch.from_numpy(held["x"]).permute(0, 3, 1, 2).float().div(255)
        return DataLoader(TensorDataset(images, torch.from_numpy(held["y"])), batch_size=BATCH)

    loaders = {name: loader(name) for name in ("train", "test", "ood")}
    alone, shared = dict[str, float](), dict[str, float]()
    counts = [len(loaders[role].dataset) for role in ("test", "ood")]
    strange = torch.tensor([0, -1]).repeat_interleave(torch.tensor(counts))
    spent = 0.0
    for name in PEERS:
        detector = makers[name]()
        scores: list[torch.Tensor] = []
        begun = time.process_time()
        detector.fit(loaders["train"])
        for role in ("test", "ood"):
            for images, _ in loaders[role]:
                with contextlib.nullcontext() if name == "odin" else torch.no_grad():
                    scores.append(detector.predict(images))
        alone[name] = time.process_time() - begun
        begun = time.process_time()
        OODMetrics().update(torch.cat(scores), strange).compute()
        spent += time.process_time() - begun
    begun = time.process_time()
    with torch.no_grad():
        features = {
            role: torch.cat([net.body(images) for images, _ in loader])
            for role, loader in loaders.items()
        }
        logits = {role: net.head(held) for role, held in features.items()}
        held_maps = {role: held[:, :, None, None] for role, held in features.items()}
    targets = torch.cat([labels for _, labels in loaders["train"]])
    shared["the pass"] = time.process_time() - begun
    for name in PEERS:
        if name == "odin":
            shared[name] = alone[name]
            continue
        detector = makers[name]()
        begun = time.process_time()
        kind, given = next(
            (kind, given)
            for kind, given in (("logits", logits), ("features", features),
                                ("feature_maps", held_maps))
            if hasattr(detector, f"predict_{kind}")
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            if name != "temperature":  # which is fitted by its gradient
                stack.enter_context(torch.no_grad())
            if detector.requires_fit:
                getattr(detector, f"fit_{kind}")(given["train"], targets)
            for role in ("test", "ood"):
                for part in given[role].split(BATCH):
                    getattr(detector, f"predict_{kind}")(part)
        shared[name] = time.process_time() - begun
    return {way: {**seconds, METRICS: spent} for way, seconds in
            zip(WAYS, (alone, shared), strict=True)}  # fmt: skip


def measure_memory(samples: int, size: int) -> None:
    """Fits every detector on a train pass on disk, and tells time and peak memory of each."""
    import pandas as pd
    from _report import publish, table

    from crucibench.contracts.data import Samples
    from crucibench.contracts.detector import Answers, Head, Material, Moments
    from crucibench.contracts.evidence import CellEvidence, ModelInfo
    from crucibench.contracts.records import to_table
    from crucibench.store.stored_records import StoredRecords
    from crucibench.store.tables import write_table
    from crucibench_suites.ood.detection import TrainPass
    from crucibench_suites.ood.detectors import detector

    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.1, (CLASSES, size)).astype(np.float32)
    rows: list[list[str]] = []

    def told(what: str, begun: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append([what, f"{time.perf_counter() - begun:.1f}", f"{peak:.2f}"])
        print(*rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        begun = time.perf_counter()
        ids = np.array([f"{row:032x}" for row in range(samples)], dtype=object)
        shard = 4096
        for start in range(0, samples, shard):
            count = min(shard, samples - start)
            features = np.maximum(rng.normal(0, 1, (count, size)), 0).astype(np.float32)
            columns = {"id": ids[start : start + count].tolist(), "features": features,
                       "scores": features @ weight.T}  # fmt: skip
            paths.append(Path(folder) / f"records-{start:09d}.parquet")
            write_table(paths[-1], to_table(columns))
        told("writing the pass", begun)
        cell = CellEvidence(
            cell="pass", role="train", records=StoredRecords(paths),
            model=ModelInfo(name="net", uri="", capabilities=frozenset(), score_kind="logits",
                            geometry={}, fingerprint=None),
            samples=Samples(ids, np.arange(samples) % CLASSES, pd.DataFrame(index=range(samples))),
        )  # fmt: skip
        train = TrainPass(cell, ("scores", "features"))
        begun = time.perf_counter()
        moments = Moments.of(train.blocks(), CLASSES)
        told("moments, which four of them share", begun)
        head = Head(weight=weight.astype(np.float64), bias=np.zeros(CLASSES))
        material = Material(classes=CLASSES, train=train, moments=moments, head=head)
        asked = np.maximum(rng.normal(0, 1, (1000, size)), 0)
        answers = Answers(raw=head.logits(asked), kind="logits", features=asked)
        for name in ("mahalanobis", "relative-mahalanobis", "she", "react", "vim", "knn"):
            entry = detector(name)
            begun = time.perf_counter()
            entry.fit(material)(answers, entry.values or (entry.default,))
            told(f"{name}: fit, and score 1,000 samples", begun)
    lines = [
        f"{samples:,} train samples of {size} features, {4 * samples * size / 2**30:.2f} GiB. Peak "
        "memory is that of the process so far: interpreter, sample table and ids among it.",
        "",
        *table(["step", "seconds", "peak GiB"], rows),
    ]
    publish("ood-detectors-memory", "OOD detectors: memory", lines)


if __name__ == "__main__":
    main()
