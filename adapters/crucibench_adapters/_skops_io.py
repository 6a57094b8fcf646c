"""A copy of `skops.io` for the adapter alone, which trusts no estimator by itself.

To list the estimators that it trusts skops imports all of scikit-learn's packages, its tests and
their libraries among them: a third of a second, and more where torch is installed. The copy lists
none: whoever loads decides by the class itself (`_skops._is_own`). Code of users that imports skops
gets it whole.
"""

from __future__ import annotations

import sys

import sklearn.utils


def _names() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "skops"]


_kept = {name: sys.modules.pop(name) for name in _names()}
_all_estimators = sklearn.utils.all_estimators
sklearn.utils.all_estimators = list
try:
    import skops.io as skops_io
finally:
    sklearn.utils.all_estimators = _all_estimators
    for _name in _names():
        del sys.modules[_name]
    sys.modules.update(_kept)

__all__ = ["skops_io"]
