"""Supervised learning learns, and looks at nothing but the labelled patches."""

from __future__ import annotations

import torch

from lib.config import Config
from lib.losses.dice_ce import dice_ce
from lib.methods.base import total
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


def batch() -> dict[str, torch.Tensor]:
    """A bright box in noise."""
    label = torch.zeros(2, 1, *PATCH, dtype=torch.int64)
    label[:, :, 4:12, 4:12, 2:6] = 1
    noise = torch.randn(2, 1, *PATCH, generator=torch.Generator().manual_seed(0))
    return {"image": 2 * label + 0.5 * noise, "label": label}


def test_a_few_steps_lower_the_loss() -> None:
    method = build_method(Config(method="supervised", size="small"), 1, 2, PATCH)
    optimizer = torch.optim.AdamW(method.parameters(), 5e-3)
    values = []
    for _ in range(8):
        terms = method(batch(), 0.5)
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()
        values.append(terms["supervised"].value.item())
    assert list(terms) == ["supervised"]
    assert values[-1] < 0.8 * values[0]


def test_its_loss_is_that_of_the_labelled_patches() -> None:
    method = build_method(Config(method="supervised", size="small"), 1, 2, PATCH)
    toy = batch()
    more = toy | {"weak": torch.full((2, 1, *PATCH), torch.nan)}
    expected = dice_ce(method.networks[0](toy["image"]), toy["label"])
    assert torch.equal(method(more, 0.0)["supervised"].value, expected)
