"""Whether an attack finds what is there, where that is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crucibench.contracts.attack import Attack, known_answers


def check_attack(attack: Attack) -> None:
    """Runs the self-tests of an attack of any space, in each of its norms.

    Each runs the very `run` that a cell runs. The same attack with a body that does nothing must
    fail: a self-test that it passes tests nothing.

    Raises:
        AssertionError: naming the broken promise.
    """
    kind = type(attack)
    assert attack.name, f"{kind.__name__}: expected a name"
    assert attack.norms, f"{attack.name}: expected a norm at least"
    assert attack.space in known_answers().names(), (
        f"{attack.name}: no answer is known in space {attack.space!r}"
    )
    known = known_answers().get(attack.space)
    idle = type(f"Idle{kind.__name__}", (kind,), {"run": _nothing})()
    for norm in attack.norms:
        result = known.self_test(attack, norm)
        assert result.passed, result.reason
        found = known.self_test(idle, norm)
        assert not found.passed and found.found == 0, (
            f"{attack.name}: its self-test in {norm} passes an attack that does nothing"
        )


def _nothing(self: Attack, given: Any) -> Any:
    """Stands in for `Attack.run`: returns images as they are, and asks nothing."""
    return given.points.x if hasattr(given, "points") else _no_questions()


def _no_questions() -> Iterator[Any]:
    yield from ()
