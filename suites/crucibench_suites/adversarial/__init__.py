"""The suite ``adversarial``: how small a change makes a model wrong."""

from __future__ import annotations

from crucibench_suites.adversarial.suite import AdversarialSuite

__all__ = ["AdversarialSuite"]
