"""How often a server may be asked, without one."""

from __future__ import annotations

import base64
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crucibench.util.http.client import Headers
from crucibench.util.http.limits import (
    LimitError,
    Remote,
    RequestBudget,
    WaitingClock,
    budget_of,
)

STOP = threading.Event()


class _Recording(WaitingClock):
    """Time stands still; when each request may go shows in how long it would wait."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: threading.Event) -> None:
        self.waits.append(seconds)


def test_requests_are_spaced_over_all_threads() -> None:
    clock, budget = _Recording(), RequestBudget(Remote(requests_per_second=4))
    with ThreadPoolExecutor(5) as pool:
        for _ in range(20):
            pool.submit(budget.take, clock, STOP, counted=True)
    assert sorted(clock.waits) == pytest.approx([0.25 * number for number in range(20)])


def test_what_was_not_used_is_not_saved_up() -> None:
    clock, budget = _Recording(), RequestBudget(Remote(requests_per_second=4))
    budget.take(clock, STOP, counted=True)
    clock.time += 10
    for _ in range(3):
        budget.take(clock, STOP, counted=True)
    assert clock.waits == pytest.approx([0.0, 0.0, 0.25, 0.5])


def test_no_more_than_allowed() -> None:
    clock, budget = _Recording(), RequestBudget(Remote(max_requests=3))
    budget.take(clock, STOP, counted=False)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(budget.take, clock, STOP, counted=True) for _ in range(8)]
    refused = [one.exception() for one in asked if one.exception() is not None]
    assert len(refused) == 5 and budget.sent == 3
    assert all(isinstance(error, LimitError) for error in refused)
    assert str(refused[0]) == (
        "remote.max_requests: 3 requests have been sent, as many as it allows: nothing more is "
        "asked"
    )


def test_a_model_that_is_opened_again_keeps_its_budget() -> None:
    headers: dict[str, str] = {}
    first = budget_of("a", Remote(headers=headers, max_requests=5))
    assert budget_of("a", Remote(headers=headers, max_requests=5)) is first
    assert budget_of("b", Remote(headers=headers, max_requests=5)) is not first
    budgets = [budget_of("a", Remote(headers={}, max_requests=5)) for _ in range(200)]
    gc.collect()
    assert len({id(budget) for budget in budgets}) == 200


def test_a_wait_can_be_ended() -> None:
    stop = threading.Event()
    waiting = threading.Thread(target=WaitingClock().wait, args=(1e6, stop), daemon=True)
    waiting.start()
    stop.set()
    waiting.join(60)
    assert not waiting.is_alive()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("you sent 'Bearer s3cr3t-abc'", "you sent '***'"),
        ("token s3cr3t-abc is old", "token *** is old"),
        ("token Bearer is old", "token *** is old"),
        (f"b64 {base64.b64encode(b'Bearer s3cr3t-abc').decode()}.", "b64 ***."),
        (f"{base64.b64encode(b'xs3cr3t-abc').decode()[2:]}", "***"),
        (f"hex {b's3cr3t-abc'.hex().upper()}", "hex ***"),
        ("URL Bearer%20s3cr3t-abc", "URL ***"),
        ("upper S3CR3T-ABC, reversed cba-t3rc3s", "upper ***, reversed ***"),
        ("cut 3cr3t-a", "cut ***"),
        ("cut cr3t-a", "cut cr3t-a"),
        ("line\none\x1b[0m", "line one\\u001b[0m"),
        ("x" * 300, "x" * 149 + "…" + "x" * 50),
    ],
)
def test_what_a_server_says_is_scrubbed(
    monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    monkeypatch.setenv("TOKEN", "Bearer s3cr3t-abc")
    headers = Headers({"Authorization": "env:TOKEN", "X-Plain": "plain"})
    assert headers.shown(said) == shown


def test_environments_are_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = Headers({"A": "env:ONE", "B": "Bearer env:TWO", "C": "as it is", "D": "env: x"})
    for round_ in ("1", "2"):
        monkeypatch.setenv("ONE", f"one{round_}")
        monkeypatch.setenv("TWO", f"two{round_}")
        wanted: dict[str, Any] = {
            "A": f"one{round_}", "B": f"Bearer two{round_}", "C": "as it is", "D": "env: x"
        }  # fmt: skip
        assert headers.read() == wanted
