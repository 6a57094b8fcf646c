"""The bias suite: how a model's answers differ between groups of samples."""

from __future__ import annotations

from crucibench_suites.bias.config import BiasConfig
from crucibench_suites.bias.suite import BiasSuite

__all__ = ["BiasConfig", "BiasSuite"]
