"""The same as `coverage.py` where samples are many, and whole groups of them are resampled.

python benchmarks/coverage_large.py run [--replicates 75] [--jobs 2]   # resumes
python benchmarks/coverage_large.py page
"""

from __future__ import annotations

import coverage
from _report import run_or_page

# Read when the processes that do the work are forked.
coverage.SIZES = (5000,)

if __name__ == "__main__":
    run_or_page(
        __doc__, 75, coverage.WORK.parent / "coverage-large", coverage.run, coverage.page,
        coverage.PAGE.with_name("coverage-large.md"),
    )  # fmt: skip
