"""Models and data whose code changes the process that it runs in: copied beside a spec."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

HERE = Path(__file__).parent


def _note(what: str) -> None:
    with contextlib.suppress(OSError), (HERE / "pids.txt").open("a") as stream:  # `limited` may not
        stream.write(f"{what} {os.getpid()}\n")


class Far(nn.Module):
    """How far a sample lies from two places: what `torch.cdist` says."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.places = nn.Parameter(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))

    def encode(self, frame: pd.DataFrame) -> torch.Tensor:
        return torch.tensor(frame.to_numpy(dtype="float32"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _note(self.name)
        return -torch.cdist(x.to(self.places.dtype), self.places)


def victim() -> nn.Module:
    return Far("victim")


def other() -> nn.Module:
    return Far("other")


def saboteur() -> nn.Module:
    torch.cdist = lambda x, y: x.new_zeros(len(x), len(y))
    json.dumps = lambda *_, **__: "nothing"
    torch.set_default_dtype(torch.float64)
    np.random.seed(0)
    os.environ["OMP_NUM_THREADS"] = "7"
    os.chdir("/")
    nn.Linear.forward = lambda self, x: x
    return Far("saboteur")


def replacer() -> nn.Module:
    torch.cdist = lambda x, y: x.new_zeros(len(x), len(y))
    nn.Linear.forward = lambda self, x: x
    return Far("replacer")


def limited() -> nn.Module:
    """May not write a byte to any file."""
    import resource

    found = Far("limited")
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return found


def deaf() -> nn.Module:
    """Closes all pipes that its process reads from."""
    import fcntl

    for number in range(3, 64):
        with contextlib.suppress(OSError):
            reads = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if reads and stat.S_ISFIFO(os.fstat(number).st_mode):
                os.close(number)
    return Far("deaf")


def leaver() -> nn.Module:
    """Leaves a daemon behind, in a session of its own and without its pipes."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _note("daemon")
            os.closerange(0, 64)
            time.sleep(600)
        os._exit(0)
    os.wait()
    return Far("leaver")


def points() -> pd.DataFrame:
    _note("data")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((120, 2)), columns=["x", "y"])
    return frame.assign(label=(frame.x + frame.y > 1).map({True: "b", False: "a"}))


def poisoned() -> pd.DataFrame:
    frame = points()
    torch.cdist = lambda x, y: x.new_zeros(len(x), len(y))
    return frame


def broken() -> pd.DataFrame:
    os._exit(3)
