"""Audits: how far a detector's numbers, and the sets themselves, can be trusted."""

from __future__ import annotations

from crucibench_suites.ood.audits.detectors import audit_detector
from crucibench_suites.ood.audits.easy import audit_easy
from crucibench_suites.ood.audits.overlap import audit_sets

__all__ = ["audit_detector", "audit_easy", "audit_sets"]
