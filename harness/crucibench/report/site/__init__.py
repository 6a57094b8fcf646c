"""A static site of runs: leaderboards, a page for each model, data set and run, and histories.

Any static host serves it, and so does a file system: links are relative, nothing is loaded from
elsewhere. Pages of runs and data are named by digests, so that a link to a number holds as long as
the number does. It holds no inputs, no group columns and no free text of samples.
"""

from crucibench.report.site.write import write_site

__all__ = ["write_site"]
