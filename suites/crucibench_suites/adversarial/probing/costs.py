"""What probing a sample costs at most, in forwards and backwards."""

from __future__ import annotations

from crucibench_suites.adversarial.threat import ThreatModel

NOISE_DRAWS = 16
"""Random points of the ball that a sample withstands."""

NEAR_DRAWS = 4
"""Random points of the ball that a sample falls in."""

SCALES = (5e-4, 4e-3, 1.6e-2)
"""Steps of finite differences, each pixel's: below half a grey level of 8 bits, one, and four."""

PLANTED_STEPS = 10
UNBOUNDED_STEPS = 20


def plain_cost() -> int:
    """Returns the passes of each probed sample."""
    gradients = 3  # as it is, again, and beside
    forwards = len(SCALES) + 3 + NEAR_DRAWS  # finite differences, a step, an odd image, noise
    return 2 * gradients + forwards


def deep_cost(threat: ThreatModel) -> int:
    """Returns the passes that come on top for a sample that withstands some radius."""
    planted = 2 * PLANTED_STEPS + 1
    longer = threat.eot * 2 * (2 * threat.steps + 1)
    unbounded = 2 * (UNBOUNDED_STEPS + 1)
    return NOISE_DRAWS + planted + longer + unbounded
