"""Models that misbehave halfway through a pass, for tests of isolation: copied beside a spec.

The first pixel of a sample is its place in the data, from 0 to 1: a batch of neighbours is one of
the pass itself, since inspection and probes ask about samples that lie apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
SAMPLES = 512
BATCH = 8
MIB = 1 << 20
LEFT_BEHIND: list[np.ndarray] = []


def fair(images: torch.Tensor) -> np.ndarray:
    """A healthy model: how much rows and columns vary."""
    pixels = images.numpy().astype(np.float64)[:, 0]
    lead = 20.0 * (pixels.mean(axis=1).std(axis=1) - pixels.mean(axis=2).std(axis=1))
    right = 1.0 / (1.0 + np.exp(-lead))
    return np.stack([1.0 - right, right], axis=1)


def of_the_pass(images: torch.Tensor) -> bool:
    first = images[:, 0, 0, 0] * SAMPLES
    return len(images) > 1 and bool((first.diff() == 1).all())


def midway(images: torch.Tensor) -> bool:
    return float(images[0, 0, 0, 0]) >= 0.5 and of_the_pass(images)


# -- models that fail ---------------------------------------------------------------------------


def raises(images: torch.Tensor) -> np.ndarray:
    if midway(images):
        print("this is the last that I say")
        raise RuntimeError("this is my own bug")
    return fair(images)


def nan(images: torch.Tensor) -> np.ndarray:
    return fair(images) * (np.nan if midway(images) else 1.0)


def exits(images: torch.Tensor) -> np.ndarray:
    """Dies and leaves a child behind that holds all that was open."""
    if midway(images):
        _sleeping_child("exits.pid")
        print("goodbye")
        os._exit(3)
    return fair(images)


def quits(images: torch.Tensor) -> np.ndarray:
    if midway(images):
        sys.exit("I would rather not")
    return fair(images)


def faults(images: torch.Tensor) -> np.ndarray:
    if midway(images):
        print("about to read what is not mine")
        ctypes.string_at(0)
    return fair(images)


def hangs(images: torch.Tensor) -> np.ndarray:
    if midway(images):
        print("one moment")
        time.sleep(3600)
    return fair(images)


def leaks(images: torch.Tensor) -> np.ndarray:
    if midway(images) or (len(images) == 1 and LEFT_BEHIND):
        print("a little more")
        LEFT_BEHIND.append(np.zeros(900 * MIB, np.uint8))
    return fair(images)


def killed(images: torch.Tensor) -> np.ndarray:
    if midway(images):
        (HERE / "killed.pid").write_text(str(os.getpid()))
        time.sleep(3600)
    return fair(images)


def early_fault(images: torch.Tensor) -> np.ndarray:
    print("not even the first batch")
    ctypes.string_at(0)
    return fair(images)


def early_hang(images: torch.Tensor) -> np.ndarray:
    print("let me think")
    time.sleep(3600)
    return fair(images)


# -- models that are odd, and right -------------------------------------------------------------


def slow(images: torch.Tensor) -> np.ndarray:
    if of_the_pass(images):
        time.sleep(0.04)
    return fair(images)


def drips(images: torch.Tensor) -> np.ndarray:
    """Loses some memory at each batch: less in a shard than there is."""
    if of_the_pass(images):
        LEFT_BEHIND.append(np.zeros(30 * MIB, np.uint8))
    return fair(images)


def shouts(images: torch.Tensor) -> np.ndarray:
    if midway(images) and not (HERE / "shouted").exists():
        (HERE / "shouted").touch()
        line = "a" * (MIB - 1) + "\n"
        for _ in range(100):
            sys.stdout.write(line)
        os.system("echo that was a child")
    return fair(images)


def closes(images: torch.Tensor) -> np.ndarray:
    if midway(images) and not (HERE / "closed").exists():
        (HERE / "closed").touch()
        print("behind a closed door")
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return fair(images)


def writes(images: torch.Tensor) -> np.ndarray:
    os.write(1, b"\x07\x00\x00\x00\x00\x00\x00\x00garbage")
    os.write(2, b"\xff\xfe\n")
    return fair(images)


def forks(images: torch.Tensor) -> np.ndarray:
    """Leaves a child behind, has another work for it, and a third go on as if it were the first."""
    if midway(images) and not (HERE / "forks.pid").exists():
        _sleeping_child("forks.pid")
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        worker = context.Process(target=queue.put, args=("done",))
        worker.start()
        assert queue.get() == "done"
        worker.join()
        os.fork()
    return fair(images)


def _sleeping_child(name: str) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    (HERE / name).write_text(str(child))


# -- modules ------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    """Rows against columns, with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.lead = torch.nn.Linear(1, 2)
        with torch.no_grad():
            self.lead.weight.copy_(torch.tensor([[-20.0], [20.0]]))
            self.lead.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns = images.mean(dim=(1, 2)), images.mean(dim=(1, 3))
        return self.lead((rows.std(dim=1) - columns.std(dim=1))[:, None])


def good() -> torch.nn.Module:
    return Net()


def fickle() -> torch.nn.Module:
    """Another model each time that it is made."""
    net = Net()
    with torch.no_grad():
        net.lead.bias.fill_(time.time_ns() % 1_000_003)
    return net


def threaded() -> torch.nn.Module:
    """Made with threads, one of which never ends, and with a process of torch's own."""
    threading.Thread(target=time.sleep, args=(3600,), name="never ends").start()
    made: list[Any] = []
    maker = threading.Thread(target=lambda: made.append(Net()))
    maker.start()
    context = torch.multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=queue.put, args=(1.0,))
    worker.start()
    worker.join()
    maker.join()
    assert queue.get() == 1.0
    net: torch.nn.Module = made[0]
    return net


class _Boom(Net):
    """Takes the process down in its third round."""

    rounds = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) == 16:
            self.rounds += 1
            if self.rounds == 3:
                print("boom")
                ctypes.string_at(0)
        return super().forward(images)


def boom() -> torch.nn.Module:
    return _Boom()


class _Stuck(Net):
    """Never comes back from a round."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) == 16:
            time.sleep(3600)
        return super().forward(images)


def stuck() -> torch.nn.Module:
    return _Stuck()
