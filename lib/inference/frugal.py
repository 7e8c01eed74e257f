"""A prediction that goes on where the memory ends: fewer windows at a time, then on the CPU. It says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from lib.device import is_out_of_memory

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


class Frugal:
    """How the windows of one process go through the networks of one method.

    Args:
        device: where they go through at first. move: takes the networks to another device.
    """

    def __init__(self, device: torch.device, move: Callable[[torch.device], object]) -> None:
        self.device, self.move, self.single = device, move, False

    def __call__(self, predict: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
        """What ``predict`` makes of the windows ``(B, C, ...)``: ``(branches, B, classes, ...)``.

        Raises:
            RuntimeError, MemoryError: there is no memory for one window on the CPU.
        """
        while True:
            try:
                if not self.single:
                    return predict(windows)
                return torch.cat([predict(window[None]) for window in windows], dim=1)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._less(len(windows)):
                    raise

    def _less(self, windows: int) -> bool:
        """Take less memory from now on; false if that is not possible."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if not self.single and windows > 1:
            self.single = True
            log.warning("Out of memory at %d windows at a time: from now on it is one", windows)
        elif self.device.type == "cuda":
            self.device, self.single = CPU, True
            self.move(CPU)
            log.warning("Out of memory on the GPU with one window: from now on the CPU segments")
        else:
            return False
        return True
