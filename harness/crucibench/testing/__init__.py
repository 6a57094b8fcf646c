"""The conformance kit: whether what a package adds keeps the promises the harness builds on.

One `check_*` function for each kind of entry. Each raises AssertionError that names the broken
promise; the project's own tests run them over everything that is registered.
"""

from __future__ import annotations

from crucibench.testing.adapter import check_adapter
from crucibench.testing.attack import check_attack

__all__ = ["check_adapter", "check_attack"]
