"""The explain suite: whether attributions say what a model's answers rest on."""

from __future__ import annotations

from crucibench_suites.explain.suite import ExplainConfig, ExplainSuite

__all__ = ["ExplainConfig", "ExplainSuite"]
