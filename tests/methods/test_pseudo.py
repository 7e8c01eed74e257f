"""A pseudo-label: the teacher's most probable class, where it is certain enough, mixed as the view is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.losses.dice_ce import dice_ce
from lib.methods.pseudo import PseudoLabel

SPACE = (6, 5, 4)


def probabilities(samples: int = 4, classes: int = 3) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return (2 * torch.randn(samples, classes, *SPACE, generator=rng)).softmax(1)


def box() -> torch.Tensor:
    mask = torch.zeros(4, 1, *SPACE, dtype=torch.bool)
    mask[:2, :, 1:4], mask[2:, :, :, 2:] = True, True
    return mask


@pytest.mark.parametrize("confidence", [0.0, 0.7, 1.0])
def test_label_certainty_and_trust(confidence: float) -> None:
    said = probabilities()
    pseudo = PseudoLabel.of(said, confidence)
    p = said.numpy()
    np.testing.assert_array_equal(pseudo.label.numpy()[:, 0], p.argmax(1))
    np.testing.assert_array_equal(pseudo.certainty.numpy()[:, 0], p.max(1))
    np.testing.assert_array_equal(pseudo.trust.numpy()[:, 0], p.max(1) >= confidence)
    assert pseudo.n_valid == (p.max(1) >= confidence).sum()


def test_it_is_mixed_between_the_rows_of_a_pair() -> None:
    pseudo, mask = PseudoLabel.of(probabilities(), 0.6), box()
    mixed = pseudo.mixed(mask)
    assert mixed.confidence == 0.6
    for row, partner in enumerate((1, 0, 3, 2)):
        for before, after in ((pseudo.label, mixed.label), (pseudo.certainty, mixed.certainty)):
            assert torch.equal(after[row][mask[row]], before[partner][mask[row]])
            assert torch.equal(after[row][~mask[row]], before[row][~mask[row]])


def test_its_loss_is_that_of_the_trusted_voxels_smoothed_by_one() -> None:
    pseudo, logits = PseudoLabel.of(probabilities(), 0.7), torch.randn(4, 3, *SPACE)
    expected = dice_ce(logits, pseudo.label, smooth=1.0, weight=pseudo.trust)
    assert torch.equal(pseudo.loss(logits), expected)
    other = torch.where(pseudo.trust, logits, -3 * logits)
    assert torch.equal(pseudo.loss(other), expected)


def test_no_gradient_reaches_the_teacher() -> None:
    said = probabilities().requires_grad_()
    assert not PseudoLabel.of(said).certainty.requires_grad
