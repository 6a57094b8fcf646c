"""The ood suite: whether a model can tell what it does not know."""

from __future__ import annotations

from crucibench_suites.ood.suite import OODConfig, OODSuite

__all__ = ["OODConfig", "OODSuite"]
