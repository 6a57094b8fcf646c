"""The conformance kit: whether what a package adds keeps the promises the harness builds on.

One `check_*` function for each kind of entry. Each raises AssertionError that names the broken
promise; the project's own tests run them over everything that is registered.
"""

from __future__ import annotations

from crucibench.testing.adapter import check_adapter
from crucibench.testing.metric import check_metric
from crucibench.testing.section import check_section
from crucibench.testing.suites import (
    check_attack,
    check_audit,
    check_corruption,
    check_detector,
)
from crucibench.testing.task_kind import check_task_kind

__all__ = [
    "check_adapter",
    "check_attack",
    "check_audit",
    "check_corruption",
    "check_detector",
    "check_metric",
    "check_section",
    "check_task_kind",
]
