"""Guessing gets slower with each failure, for one user, from one address, and in bounded memory."""

from __future__ import annotations

import pytest

from lib.access import throttle as module
from lib.access.throttle import Throttle
from lib.errors import TooOftenError
from tests.clock import Clock


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def wait(throttle: Throttle, user: str, address: str) -> int:
    """Try once; returns how long one has to wait, 0 if not."""
    try:
        throttle.attempt(user, address)
    except TooOftenError as error:
        return error.retry_after
    return 0


def test_the_delay_doubles_from_failure_to_failure_up_to_a_bound(throttle: Throttle, clock: Clock) -> None:
    delays = []
    for place in range(12):
        if (delay := wait(throttle, f"user {place}", "1.2.3.4")) > 0:
            delays.append(delay)
            clock.now += delay
            assert wait(throttle, f"user {place}", "1.2.3.4") == 0
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    for _ in range(3):
        clock.now += 300
        assert wait(throttle, "x", "1.2.3.4") == 0
    assert wait(throttle, "x", "1.2.3.4") == module.LONGEST_OF_ADDRESS


def test_one_user_is_slowed_from_all_addresses_but_never_for_long(throttle: Throttle, clock: Clock) -> None:
    for place in range(20):
        wait(throttle, "ann", f"10.0.0.{place}")
        clock.now += 30
    wait(throttle, "ann", "10.0.1.1")
    assert 0 < wait(throttle, "ann", "10.0.1.2") <= module.LONGEST_OF_USER
    assert wait(throttle, "ben", "10.0.1.3") == 0, "others are not"


def test_waiting_attempts_do_not_lengthen_the_wait(throttle: Throttle, clock: Clock) -> None:
    for _ in range(3):
        wait(throttle, "ann", "a")
    assert [wait(throttle, "ann", "a") for _ in range(50)] == [1] * 50


def test_attempts_at_the_same_time_all_count(throttle: Throttle) -> None:
    assert [wait(throttle, "ann", "a") > 0 for _ in range(6)] == [False] * 3 + [True] * 3


def test_after_a_success_the_user_begins_anew_but_the_failures_with_others_stay(throttle: Throttle) -> None:
    wait(throttle, "ann", "a"), wait(throttle, "ann", "a")
    assert wait(throttle, "ben", "a") == 0
    throttle.succeeded("ben", "a")
    assert wait(throttle, "zoe", "a") == 0
    assert wait(throttle, "zoe", "a") > 0, "an account of one's own does not buy guesses at others"


def test_it_is_forgotten_after_a_while_and_memory_is_bounded(
    throttle: Throttle, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        wait(throttle, "ann", "a")
    clock.now += module.FORGET + 1
    assert [wait(throttle, "ann", "a") for _ in range(3)] == [0, 0, 0]
    monkeypatch.setattr(module, "KNOWN", 10)
    for place in range(1000):
        wait(throttle, f"user {place}", f"address {place}")
    assert len(throttle._known) == 10
