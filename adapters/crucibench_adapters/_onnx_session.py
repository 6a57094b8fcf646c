"""A session of ONNX Runtime that computes the same each time, and takes any number of samples."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.errors import InputError
from crucibench.util.optional import need
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line

_SUFFIX = "ExecutionProvider"
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_ERRORS_ONLY = 3

Feeds = Mapping[str, NDArray[Any]]


class OnnxSession:
    """Runs a model.

    Attributes:
        inputs: the model's, with ``name``, ``type`` and ``shape``.
        outputs: the same.
        device: ``cpu`` or ``cuda``.
        notes: what to know of it.
    """

    def __init__(
        self, file: Path, device: str, providers: Sequence[str], *, auto: bool = False,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        """Opens a session.

        Args:
            file: the model.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            providers: what the user named, in order; empty for those of `device`.
            auto: whether nobody named `device`: without CUDA the model then runs on the cpu.
            threads: that answer; as many as this process was given unless told.

        Raises:
            InputError: if the model can't be loaded, or a provider is not there.
        """
        runtime = need("onnxruntime", "onnx")
        self._version = str(runtime.__version__)
        self._threads = threads or _threads()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        available = runtime.get_available_providers()
        self.notes: list[str] = []
        auto = auto and not providers and device.startswith("cuda")
        if auto and _CUDA not in available:
            self.notes.append(f"on the cpu, for this onnxruntime has no {_CUDA} (onnxruntime-gpu)")
            device = "cpu"
        chosen = _providers(device, providers, available)
        try:
            session = runtime.InferenceSession(str(file), sess_options=options, providers=chosen)
        except Exception as error:
            raise InputError(f"{file.name} can't be loaded: {one_line(error)}") from None
        # What was asked for and could not be started is left out in silence.
        started = session.get_providers()
        lost = [name for name, _ in chosen if name not in started]
        if lost and not auto:
            raise InputError(f"{file.name}: onnxruntime could not start {', '.join(lost)}")
        self.notes += [f"on the cpu, for onnxruntime could not start {name}" for name in lost]
        self._session = session
        self.inputs = session.get_inputs()
        self.outputs = session.get_outputs()
        self.device = "cuda" if _CUDA in started else "cpu"

    def run(self, names: Sequence[str], feeds: Feeds, batch: int | None) -> list[Any]:
        """Returns the outputs `names` for any number of samples.

        Args:
            names: of outputs.
            feeds: by input, one row a sample.
            batch: how many samples the model takes, or None for any number: more are asked for in
                parts, and the last part is filled up with copies of its last sample.
        """
        count = len(next(iter(feeds.values())))
        if batch is None or batch == count:
            return list(self._session.run(list(names), dict(feeds)))
        parts = []
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            kept = min(batch, count - start)
            some = {name: np.ascontiguousarray(array[rows]) for name, array in feeds.items()}
            parts.append([output[:kept] for output in self._session.run(list(names), some)])
        return [_joined(outputs) for outputs in zip(*parts, strict=True)]

    def numerics(self) -> dict[str, str]:
        """Returns what moves floats."""
        return {
            "onnxruntime": self._version,
            "providers": ",".join(self._session.get_providers()),
            "threads": str(self._threads),
            "device": self.device,
            "machine": platform.machine(),
            "optimisation": "all",
            "deterministic": "on",
        }


def _joined(outputs: Sequence[Any]) -> Any:
    if isinstance(outputs[0], list):
        return [row for output in outputs for row in output]
    return np.concatenate(outputs)


def _threads() -> int:
    """Returns how many threads this process was given, see `crucibench.util.devices`."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    return os.cpu_count() or 1


def _providers(
    device: str, wanted: Sequence[str], available: Sequence[str]
) -> list[tuple[str, dict[str, str]]]:
    kind, _, index = device.partition(":")
    if not wanted:
        if kind == "cuda" and _CUDA not in available:
            raise InputError(
                f"device {device!r}: this onnxruntime has no {_CUDA} (it has: "
                f"{', '.join(available)}): install onnxruntime-gpu, or say device: cpu"
            )
        wanted = (_CUDA, _CPU) if kind == "cuda" else (_CPU,)
    known = {name.removesuffix(_SUFFIX).lower(): name for name in available}
    chosen: list[tuple[str, dict[str, str]]] = []
    for text in wanted:
        name = known.get(text.removesuffix(_SUFFIX).lower())
        if name is None:
            raise InputError(unknown("provider of onnxruntime", text, available))
        # TensorFloat-32 is off, and a search for the fastest kernel would choose by chance.
        options = {"device_id": index or "0", "use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
        chosen.append((name, options if name == _CUDA else {}))
    return chosen
