"""Where the memory ends a prediction goes on with fewer windows, then on the CPU, to the same result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib.inference.frugal import CPU, Frugal

WINDOWS = torch.arange(6.0).reshape(3, 1, 2)
OUT_OF_MEMORY = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def double(windows: Tensor) -> Tensor:
    """Two branches: ``(branches, B, ...)``."""
    return torch.stack([windows, 2 * windows])


def test_with_enough_memory_all_go_together() -> None:
    seen: list[int] = []

    def predict(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return double(windows)

    assert torch.equal(Frugal(CPU, lambda _: None)(predict, WINDOWS), double(WINDOWS))
    assert seen == [3]


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_with_less_one_goes_after_the_other_from_now_on(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def predict(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        if len(windows) > 1:
            raise error
        return double(windows)

    frugal = Frugal(CPU, lambda _: None)
    for _ in range(2):
        assert torch.equal(frugal(predict, WINDOWS), double(WINDOWS))
    assert seen == [3] + 6 * [1]
    assert caplog.text.count("Out of memory") == 1


def test_without_memory_for_one_on_the_gpu_the_cpu_does_it(caplog: pytest.LogCaptureFixture) -> None:
    moved: list[torch.device] = []
    frugal = Frugal(torch.device("cuda"), moved.append)

    def predict(windows: Tensor) -> Tensor:
        if frugal.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return double(windows)

    assert torch.equal(frugal(predict, WINDOWS), double(WINDOWS))
    assert moved == [CPU]
    assert "the CPU segments" in caplog.text


def test_without_memory_for_one_at_all_it_fails_and_other_failures_pass() -> None:
    def never(windows: Tensor) -> Tensor:
        raise OUT_OF_MEMORY

    def broken(windows: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    for predict in (never, broken):
        with pytest.raises(RuntimeError):
            Frugal(CPU, lambda _: None)(predict, WINDOWS)
