"""Energy by the counter of an NVIDIA device, and why it was throttled. Needs ``[gpu]``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

LEAST_SECONDS = 10.0
"""The counter moves in steps of about 100 ms: a shorter window says little."""

_JOULE = 1e3
"""NVML counts millijoules, and milliwatts."""

# nvmlClocksEventReasons: software power cap, hardware slowdown, software and hardware thermal
# slowdown, hardware power brake. Not idle, and not what a user set.
_SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


class PowerMeter:
    """Reads one device."""

    def __init__(self, device: str) -> None:
        """Finds a device.

        Args:
            device: ``cuda`` or ``cuda:N``.

        Raises:
            LookupError: in a sentence, if its counter can't be read.
        """
        if not device.startswith("cuda"):
            raise LookupError(f"no hardware counter of {device} is read")
        if importlib.util.find_spec("pynvml") is None:
            raise LookupError('nvidia-ml-py is not installed: pip install "crucibench[gpu]"')
        self._library: Any = importlib.import_module("pynvml")
        try:
            self._library.nvmlInit()
            self._device = self._library.nvmlDeviceGetHandleByUUID(_uuid(device))
            self.joules()
        except self._library.NVMLError as error:
            raise LookupError(f"the energy counter of {device} can't be read: {error}") from error

    def joules(self) -> float:
        """Returns the energy that the device has used since its driver was loaded."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._device)) / _JOULE

    def utilisation(self) -> float | None:
        """Returns the share of the last second or so, in [0, 1], in which any process used it."""
        try:
            return float(self._library.nvmlDeviceGetUtilizationRates(self._device).gpu) / 100
        except self._library.NVMLError:
            return None

    def state(self) -> Mapping[str, float]:
        """Returns clock (MHz), temperature (°C), power (W) and whether it is slowed down (0 or 1).

        What the device does not tell is left out.
        """
        library, device, found = self._library, self._device, {}
        for name, ask in (
            ("sm-clock", lambda: library.nvmlDeviceGetClockInfo(device, library.NVML_CLOCK_SM)),
            (
                "temperature",
                lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU),
            ),
            ("power", lambda: library.nvmlDeviceGetPowerUsage(device) / _JOULE),
            (
                "throttled",
                lambda: bool(library.nvmlDeviceGetCurrentClocksEventReasons(device) & _SLOWED),
            ),
        ):
            try:
                found[name] = float(ask())
            except library.NVMLError:
                continue
        return found


def _uuid(device: str) -> str:
    """Returns the device's own name: NVML's order is not torch's."""
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"
