"""Supervised learning looks at nothing but the labelled patches."""

from __future__ import annotations

import torch

from lib.config import Config
from lib.losses.dice_ce import dice_ce
from lib.methods.registry import build_method


def test_its_loss_is_that_of_the_labelled_patches(batch_of) -> None:
    method = build_method(Config(method="supervised", size="small"), 1, 2, (16, 16, 8))
    toy = batch_of(method)
    for key in ("weak", "strong"):
        toy[key].fill_(torch.nan)
    expected = dice_ce(method.networks[0](toy["image"]), toy["label"])
    for progress in (0.0, 0.5, 1.0):
        term = method(toy, progress)["supervised"]
        assert torch.equal(term.value, expected)
        assert term.weight == 1
