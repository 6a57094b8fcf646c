"""Healthy models, one of which answers with the state of its process: copied beside a spec."""

from __future__ import annotations

import gc
import locale
import multiprocessing
import os
import resource
import signal
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from torch import nn


class Net(nn.Module):
    """How near a digit lies to the mean of each class."""

    def __init__(self) -> None:
        super().__init__()
        X, y = load_digits(return_X_y=True)
        places = [X[y == one].mean(axis=0) / 16 for one in range(10)]
        self.places = nn.Parameter(torch.tensor(np.array(places), dtype=torch.float32))
        self.head, self.drop = nn.Linear(10, 10), nn.Dropout(0.5)
        with torch.no_grad():
            self.head.weight.copy_(4 * torch.eye(10))
            self.head.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = torch.softmax(-torch.cdist(x.flatten(1), self.places), dim=1)
        found: torch.Tensor = self.head(self.drop(near))
        return found


def net() -> nn.Module:
    return Net()


def forest() -> RandomForestClassifier:
    X, y = load_digits(return_X_y=True)
    return RandomForestClassifier(10, max_depth=6, random_state=0).fit(X / 16, y)


def state() -> dict[str, Any]:
    """Returns what a saboteur could have changed, had it been in this process."""
    umask = os.umask(0)
    os.umask(umask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "working directory": str(Path.cwd()),
        "environment": sorted(os.environ.items()),
        "umask": umask,
        "limits": [resource.getrlimit(getattr(resource, name)) for name in limits],
        "signals": [str(signal.getsignal(one)).split(" at ")[0] for one in range(1, signal.NSIG)],
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "alarm": signal.getitimer(signal.ITIMER_REAL),
        "priority and affinity": (os.nice(0), sorted(os.sched_getaffinity(0))),
        "locale": locale.setlocale(locale.LC_ALL),
        "paths": (sys.path[:], len(sys.meta_path)),
        "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), len(warnings.filters)),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "torch": (
            torch.get_default_dtype(), torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
        ),
        "NumPy": np.geterr(),
        "multiprocessing": multiprocessing.get_start_method(allow_none=True),
        "threads": sorted(one.name for one in threading.enumerate() if not one.daemon),
        "streams": [(one.closed, one.encoding) for one in (sys.stdin, sys.stdout, sys.stderr)],
    }  # fmt: skip


def witness(x: torch.Tensor) -> np.ndarray[Any, Any]:
    """Answers with what its process is like."""
    mark = zlib.crc32(repr(state()).encode())
    scores = 1 + np.asarray(x.numpy(), dtype=np.float64).reshape(len(x), -1)[:, 20:30]
    scores = scores * (1 + np.array([(mark >> shift) & 7 for shift in range(10)]))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
