from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from crucibench.util import devices
from crucibench.util.errors import InputError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_without_a_gpu() -> None:
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match=r"^device 'cuda': torch .* finds no CUDA device here$"):
        devices.resolve_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_the_gpu_where_there_is_one(refusal: Any) -> None:
    assert devices.resolve_device("auto") == "cuda"
    assert devices.resolve_device("cuda:1") == "cuda:1"
    assert (
        refusal(InputError, lambda: devices.resolve_device("cuda:2"))
        == "device 'cuda:2': there are 2 CUDA devices, cuda:0 to cuda:1"
    )


@pytest.mark.parametrize(
    ("signs", "counted"), [("()", False), ("('/dev/null',)", True), ("('/dev/not-there',)", False)]
)
@pytest.mark.skipif(sys.platform != "linux", reason="drivers of other systems aren't looked for")
def test_torch_is_asked_only_where_there_is_a_driver(signs: str, counted: bool) -> None:
    code = f"""
import ctypes
import sys
from crucibench.util import devices

class Library(ctypes.CDLL):
    def __init__(self, name, *more, **options):
        if name == "libcuda.so.1":
            raise OSError(name)
        super().__init__(name, *more, **options)

devices._DEVICES = {signs}
ctypes.CDLL = Library
found = devices.resolve_device("auto")
print("torch" in sys.modules, found == "cpu" or "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(counted), "True"]


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "CPU"])
def test_other_names_are_refused(name: str, refusal: Any) -> None:
    assert (
        refusal(InputError, lambda: devices.resolve_device(name))
        == f"device: expected auto, cpu, cuda or cuda:N, got {name!r}"
    )


def test_fp32_is_fp32() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    devices.fix_precision()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    numerics = devices.torch_numerics("cpu")
    assert numerics["float32_matmul"] == "highest"
    assert numerics["device"] == "cpu"
    assert all(isinstance(value, str) for value in numerics.values())


def test_threads_are_set_for_what_is_loaded_and_for_what_comes() -> None:
    code = """
import os, sys
from crucibench.util.devices import resolve_device, set_threads
set_threads(2)
assert resolve_device("cpu") == "cpu"
assert not {"torch", "numpy", "threadpoolctl"} & set(sys.modules)
assert os.environ["OMP_NUM_THREADS"] == "2"
import torch, numpy, threadpoolctl
assert torch.get_num_threads() == 2
set_threads(1)
assert torch.get_num_threads() == 1
assert {entry["num_threads"] for entry in threadpoolctl.threadpool_info()} == {1}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^threads: expected at least 1, got 0$"):
        devices.set_threads(0)
