"""`skops.io`, imported without torch.

To list scikit-learn's estimators skops imports all of its packages, among them one that stands for
torch and imports it: 1.4 s for whoever has torch installed and asks it nothing.
"""

from __future__ import annotations

import sys

_TORCH = "sklearn.externals.array_api_compat.torch"

if _TORCH in sys.modules or "torch" in sys.modules:
    import skops.io as skops_io
else:
    sys.modules[_TORCH] = None  # type: ignore[assignment]  # an ImportError, which is passed over
    try:
        import skops.io as skops_io
    finally:
        del sys.modules[_TORCH]

__all__ = ["skops_io"]
