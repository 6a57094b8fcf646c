"""The leak suite: what test and train share, which labels are doubtful, who was trained on."""

from __future__ import annotations

from crucibench_suites.leak.suite import LeakConfig, LeakSuite

__all__ = ["LeakConfig", "LeakSuite"]
