"""The accuracy suite: how good and how well calibrated a model is on clean data."""

from __future__ import annotations

from crucibench_suites.accuracy.suite import AccuracyConfig, AccuracySuite

__all__ = ["AccuracyConfig", "AccuracySuite"]
