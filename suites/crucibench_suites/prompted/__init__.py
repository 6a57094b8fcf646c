"""The prompted suite: what language models answer to items, by prompt."""

from __future__ import annotations

from crucibench_suites.prompted.suite import PromptedConfig, PromptedSuite

__all__ = ["PromptedConfig", "PromptedSuite"]
