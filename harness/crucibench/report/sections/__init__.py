"""The report's parts as suites declare them: each kind of section is drawn from its data alone.

Where to look: `dispatch` names the drawer of each kind; drawers stand in a module of that name.
"""

from __future__ import annotations

from crucibench.report.sections.dispatch import section_view
from crucibench.report.sections.sources import Sources

__all__ = ["Sources", "section_view"]
