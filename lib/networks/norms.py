"""Instance norm over several rows of a batch at once, for parts of one image that pass through a network apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def normalised_together(network: nn.Module, rows: int) -> Iterator[None]:
    """In this context, so many consecutive rows of a batch share their mean and sd in each instance norm.

    The crops of an image are one instance. Normalised one by one, each would lose what tells it from the others: a crop
    of nothing but a polyp looks like one of nothing but background, and the mean of its features is that of the affine
    parameters. Works on what passes through as ``(rows B, C, ...)``, through hooks; not for an exported network.
    """

    def join(_: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        return given[0].unflatten(0, (-1, rows)).movedim(1, 2).flatten(2, 3)

    def part(_: nn.Module, __: Any, found: Tensor) -> Tensor:
        return found.unflatten(2, (rows, -1)).movedim(2, 1).flatten(0, 1)

    with ExitStack() as hooks:
        for each in network.modules():
            if isinstance(each, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
                hooks.enter_context(each.register_forward_pre_hook(join))
                hooks.enter_context(each.register_forward_hook(part))
        yield
