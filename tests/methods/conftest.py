"""Toy batches and a few steps on them, for all methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from lib.methods.base import Method, total
from lib.networks import factory
from lib.networks.unet import Decoded

Batch = dict[str, Any]
PATCH = (16, 16, 8)


def toy_batch(
    method: Method, patch: Sequence[int] = PATCH, labelled: int = 2, unlabelled: int = 2, modalities: int = 1
) -> Batch:
    """Bright boxes in noise, at another place in each patch; strong views with more noise; one box to mix."""
    rng = torch.Generator().manual_seed(0)
    image, weak = (0.5 * torch.randn(count, modalities, *patch, generator=rng) - 1 for count in (labelled, unlabelled))
    label = torch.zeros(labelled, 1, *patch, dtype=torch.int64)
    middle = (*(slice(edge // 4, edge * 3 // 4) for edge in patch[:-1]), slice(0, patch[-1] * 3 // 4))
    label[(slice(None), slice(None), *middle)] = 1
    for row in range(unlabelled):
        shifted = slice(2 + 3 * row % 6, 10 + 3 * row % 6)
        weak[(row, slice(None), shifted, *middle[1:])] += 2
    strong = weak + 0.3 * torch.randn(max(1, method.strong_views), *weak.shape, generator=rng)
    mix = torch.zeros(unlabelled, 1, *patch, dtype=torch.bool)
    mix[:, :, 6:14] = True
    ids = [f"labelled-{row}" for row in range(labelled)]
    batch = {"image": image + 2 * label, "label": label, "weak": weak, "strong": strong, "mix": mix, "ids": ids}
    if modalities > 1:
        batch |= {"present": torch.ones(labelled, modalities, dtype=torch.bool)}
        batch |= {"unlabelled_present": torch.ones(unlabelled, modalities, dtype=torch.bool)}
    return batch


def some_steps(method: Method, batch: Batch, steps: int = 10, progress: float = 1.0) -> list[dict[str, float]]:
    """The value of each term at each of so many steps of AdamW."""
    values = []
    method.begin()
    optimizer = torch.optim.AdamW([weight for weight in method.parameters() if weight.requires_grad], 5e-3)
    for step in range(steps):
        terms = method(batch, progress)
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()
        method.after_step(step)
        values.append({name: term.value.item() for name, term in terms.items()})
    return values


class Threshold(nn.Module):
    """Class 1 where the image is above 0, sure of it; one weight so that there is something to differentiate."""

    def __init__(self, sharpness: float = 50.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sharpness * torch.cat([-x, x], dim=1)

    def decode(self, x: torch.Tensor) -> Decoded:
        return Decoded(self(x), [x])


@pytest.fixture(autouse=True)
def thin_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of few weights under the name ``small``."""
    monkeypatch.setitem(factory.WIDTHS, "small", (8, 16, 16))


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    return toy_batch


@pytest.fixture
def learn() -> Callable[..., list[dict[str, float]]]:
    return some_steps


@pytest.fixture
def threshold() -> type[Threshold]:
    return Threshold
