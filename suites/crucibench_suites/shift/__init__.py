"""The shift suite: what a model loses when its inputs change."""

from __future__ import annotations

from crucibench_suites.shift.config import ShiftConfig
from crucibench_suites.shift.suite import ShiftSuite

__all__ = ["ShiftConfig", "ShiftSuite"]
