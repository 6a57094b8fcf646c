"""The ood suite: whether a model can tell what it does not know."""

from __future__ import annotations

from crucibench_suites.ood.config import OODConfig
from crucibench_suites.ood.suite import OODSuite

__all__ = ["OODConfig", "OODSuite"]
