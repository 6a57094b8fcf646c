"""The throughput suite: how fast a model answers, and whether what it answered was right."""

from __future__ import annotations

from crucibench_suites.throughput.suite import ThroughputConfig, ThroughputSuite

__all__ = ["ThroughputConfig", "ThroughputSuite"]
