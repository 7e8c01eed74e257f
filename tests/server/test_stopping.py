"""A signal is a wish, for a bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.server.stopping import Stop, before_the_server_ends

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_taken_as_a_wish_and_the_handlers_come_back(wish: signal.Signals) -> None:
    before = signal.getsignal(wish)
    with Stop(60) as stop:
        assert not stop.asked
        os.kill(os.getpid(), wish)
        assert stop.asked
        assert signal.alarm(0) > 0  # the bound is set
    assert signal.getsignal(wish) is before


def test_the_second_ctrl_c_ends_at_once_and_a_second_wish_of_the_server_does_not() -> None:
    with Stop(60) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_whoever_hangs_is_ended_by_the_system() -> None:
    code = (
        "import time; from lib.server.stopping import Stop\nwith Stop(1): print('ready', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(30) == -signal.SIGALRM


def test_in_another_thread_it_is_asked_by_a_call_alone() -> None:
    asked: list[bool] = []

    def run() -> None:
        with Stop(60) as stop:
            stop.ask()
            asked.append(stop.asked)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert asked == [True]


@pytest.fixture
def ended() -> Iterator[list[str]]:
    """What a server that is asked to end has done, in order; its handlers are put back."""
    before = {wish: signal.getsignal(wish) for wish in (signal.SIGTERM, signal.SIGINT)}
    done: list[str] = []
    for wish in before:
        signal.signal(wish, lambda *_: done.append("the server ends"))
    yield done
    for wish, handler in before.items():
        signal.signal(wish, handler)


def test_a_server_without_a_training_ends_at_once(ended: list[str]) -> None:
    before_the_server_ends(lambda: ended.append("stop"), lambda: False, 60)
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended == ["the server ends"]


def test_a_server_ends_after_its_training(ended: list[str]) -> None:
    training = threading.Event()
    before_the_server_ends(lambda: ended.append("stop"), lambda: not training.is_set(), 60)
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended == ["stop"]
    training.set()
    while len(ended) < 2:
        time.sleep(0.01)
    assert ended == ["stop", "the server ends"]


@pytest.mark.parametrize("seconds", [0, 600], ids=["time is over", "asked twice"])
def test_a_server_does_not_wait_for_ever(ended: list[str], seconds: float) -> None:
    before_the_server_ends(lambda: ended.append("stop"), lambda: True, seconds)
    os.kill(os.getpid(), signal.SIGTERM)
    if seconds:
        os.kill(os.getpid(), signal.SIGINT)
    while len(ended) < 2:
        time.sleep(0.01)
    assert ended == ["stop", "the server ends"]
