"""The poison suite: whether a trigger steers a model, and what flipped labels cost it."""

from __future__ import annotations

from crucibench_suites.poison.suite import PoisonConfig, PoisonSuite

__all__ = ["PoisonConfig", "PoisonSuite"]
