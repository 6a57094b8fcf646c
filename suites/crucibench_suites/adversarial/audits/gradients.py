"""Audits of gradients: are they there, and do they say how the loss changes?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Findings
from crucibench_suites.adversarial.audits.probed import Probed, beyond, finding

_MISSING, _MOSTLY = 0.05, 0.5
"""Shares of samples without a usable gradient that are suspect, and invalid."""

_DIAMETERS = 10.0
"""A loss that would need so many diameters of the box to change its sign has no slope."""

_CLEAR = 8.0
"""A change counts that is so many times what the logits resolve."""

_FEWEST = 3
_LEAST, _MOST = 0.5, 2.0
"""Ratios of the change that is seen to that which the gradient says, at the finest scale."""

_LEAST_LATER = 0.3
"""The same, at one and at four grey levels: there honest losses bend."""

_UNEXPLAINED = 0.9


def audit_gradients(probed: Probed) -> Findings:
    """Looks for gradients that are zero, not finite, or too small to lead anywhere."""
    size, beside = probed["gradient"], probed["gradient_beside"]
    n = len(probed)
    found: Findings = []
    infinite = int((~np.isfinite(size) | ~np.isfinite(beside)).sum())
    if infinite:
        found.append(
            finding(
                "gradients-not-finite",
                f"gradients of {infinite} of {n} samples are not finite: attacks take them as 0",
                {"samples": n, "not_finite": infinite},
                invalid=infinite > _MOSTLY * n,
            )
        )
    zero = int(((size == 0) | (beside == 0)).sum())
    if beyond(zero, n, _MISSING):
        found.append(
            finding(
                "zero-gradients",
                f"gradients of {zero} of {n} samples are exactly 0, as they are or with noise: "
                "gradient attacks can't move them",
                {"samples": n, "zero": zero},
                invalid=zero > _MOSTLY * n,
            )
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(probed["loss"]) / size
    far = int(((distance > _DIAMETERS * np.sqrt(probed["pixels"])) & (size > 0)).sum())
    if beyond(far, n, _MISSING):
        found.append(
            finding(
                "vanishing-gradients",
                f"of {far} of {n} samples the gradient is so small that the class would change "
                f"beyond {_DIAMETERS:g} diameters of the box, if the loss went on as it begins",
                {"samples": n, "vanishing": far, "median_norm": float(np.nanmedian(size))},
                invalid=far > _MOSTLY * n,
            )
        )
    return found


def audit_differences(probed: Probed) -> Findings:
    """Holds changes of the loss against what its gradient says."""
    coarse = bool(probed["coarse"].mean() > 0.5)
    scale = "wide" if coarse else "fine"
    clear = _clear(probed, scale)
    n = int(clear.sum())
    if n < _FEWEST:
        return []
    still = int(probed[f"{scale}_still"][clear].sum())
    if beyond(still, n, _MOSTLY):
        return [
            finding(
                "quantised-input",
                f"for {still} of {n} samples a small step along the gradient changes nothing at "
                "all: the input is rounded before the model sees it, and the gradient is not that "
                "of the answer",
                {"samples": n, "unchanged": still},
            )
        ]
    ratio = _ratio(probed, scale, clear)
    if not _LEAST <= ratio <= _MOST:
        return [
            finding(
                "gradient-disagrees-with-differences",
                f"along its gradient the loss changes by {ratio:.3g} times what the gradient says "
                f"(median of {n} samples): it is the gradient of something else",
                {"samples": n, "ratio": ratio},
            )
        ]
    found: Findings = []
    later = {
        name: _ratio(probed, name, _clear(probed, name)) for name in ("grey", "wide") if not coarse
    }
    low = {name: value for name, value in later.items() if value < _LEAST_LATER}
    if low:
        name, value = min(low.items(), key=lambda item: item[1])
        found.append(
            finding(
                "shattered-gradients",
                "the gradient holds for the smallest steps only: over "
                f"{'one grey level' if name == 'grey' else 'four grey levels'} the loss changes by "
                f"{value:.3g} times what it says (median of {n} samples)",
                {"samples": n, "ratio": ratio, **later},
            )
        )
    return found or _random_directions(probed)


def _random_directions(probed: Probed) -> Findings:
    expected, seen = probed["random_expected"], probed["random_seen"]
    if np.sqrt((seen**2).mean()) < _CLEAR * np.median(probed["resolution"]):
        return []
    unexplained = float(((seen - expected) ** 2).sum() / (seen**2).sum())
    if len(probed) < _FEWEST or not unexplained > _UNEXPLAINED:
        return []
    return [
        finding(
            "gradient-misses-directions",
            f"in random directions the gradient explains {100 * max(0.0, 1 - unexplained):.0f} % "
            f"of how the loss of {len(probed)} samples changes: part of it is hidden",
            {"samples": len(probed), "unexplained": unexplained},
        )
    ]


def _clear(probed: Probed, scale: str) -> NDArray[np.bool_]:
    expected = np.nan_to_num(probed[f"{scale}_expected"])
    return np.asarray(expected >= _CLEAR * probed["resolution"])


def _ratio(probed: Probed, scale: str, clear: NDArray[np.bool_]) -> float:
    if not clear.any():
        return 1.0
    return float(np.median(probed[f"{scale}_seen"][clear] / probed[f"{scale}_expected"][clear]))
