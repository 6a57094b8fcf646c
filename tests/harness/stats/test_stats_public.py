"""The public names, and what importing them costs."""

import subprocess
import sys

import crucibench.stats


def test_public_names_are_a_sorted_list_of_what_exists() -> None:
    names = crucibench.stats.__all__
    assert names == sorted(set(names))
    for name in names:
        assert hasattr(crucibench.stats, name), name


def test_importing_statistics_pulls_in_no_framework() -> None:
    heavy = ["torch", "pandas", "sklearn", "datasets", "matplotlib", "statsmodels", "scipy.stats"]
    code = f"import sys, crucibench.stats; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
