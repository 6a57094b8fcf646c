"""What the summary calls the cells that it joins."""

from __future__ import annotations

ALEXNET = "alexnet"
"""The reference whose errors on ImageNet-C were published; no model of a run can be it."""

OWN, REFERENCE = "own/", "reference/"
"""What the aliases of the corruptions' cells begin with."""
