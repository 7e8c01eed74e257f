"""Both mixed patches voxel by voxel: image, label, what is known and what is trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.losses.dice_ce import dice_ce
from lib.methods.pasting import Pasted, exchange
from lib.methods.pseudo import PseudoLabel

SPACES = pytest.mark.parametrize("space", [(6, 5), (6, 5, 4)], ids=["2D", "3D"])
LENGTHS = pytest.mark.parametrize(("labelled", "unlabelled"), [(2, 2), (3, 2), (2, 3), (1, 4), (5, 2)])


def parts(space: tuple[int, ...], labelled: int, unlabelled: int) -> tuple:
    """Image, label, view, pseudo-label with a gate, a box for each unlabelled row."""
    rng = torch.Generator().manual_seed(0)
    image, view = (torch.randn(count, 2, *space, generator=rng) for count in (labelled, unlabelled))
    label = torch.randint(0, 3, (labelled, 1, *space), generator=rng)
    said = torch.randn(unlabelled, 3, *space, generator=rng).softmax(1)
    box = torch.zeros(unlabelled, 1, *space, dtype=torch.bool)
    for row in range(unlabelled):
        box[row, :, 1 + row % 3 : 4 + row % 3, 1:4] = True
    return image, label, view, PseudoLabel.of(said, 0.6), box


@SPACES
@LENGTHS
def test_every_voxel_of_both_mixed_patches(space: tuple, labelled: int, unlabelled: int) -> None:
    image, label, view, pseudo, box = parts(space, labelled, unlabelled)
    mixed, count = Pasted.of(image, label, view, pseudo, box), max(labelled, unlabelled)
    assert len(mixed.image) == len(mixed.label) == len(mixed.known) == len(mixed.trusted) == 2 * count
    for row, *place in np.ndindex(count, *space):
        ours, theirs, at = row % labelled, row % unlabelled, (slice(None), *place)
        inside = bool(box[(theirs, 0, *place)])
        for half, true in ((row, not inside), (count + row, inside)):
            found = mixed.image[half][at], mixed.label[half][at], mixed.known[half][at], mixed.trusted[half][at]
            taken = (image[ours], label[ours]) if true else (view[theirs], pseudo.label[theirs])
            assert torch.equal(found[0], taken[0][at])
            assert torch.equal(found[1], taken[1][at])
            assert bool(found[2]) == true
            assert bool(found[3]) == (not true and bool(pseudo.certainty[(theirs, 0, *place)] >= 0.6))


@LENGTHS
def test_what_lies_on_the_unlabelled_patches_is_put_together_again(labelled: int, unlabelled: int) -> None:
    image, label, view, pseudo, box = parts((6, 5), labelled, unlabelled)
    mixed = Pasted.of(image, label, view, pseudo, box)
    assert torch.equal(mixed.unpasted(mixed.image, box), view)
    assert torch.equal(mixed.unpasted(mixed.label, box), pseudo.label)


def test_the_losses_are_those_of_the_known_and_of_the_trusted_voxels() -> None:
    mixed = Pasted.of(*parts((6, 5), 2, 2))
    logits = torch.randn(4, 3, 6, 5)
    known, trusted = mixed.losses(logits)
    assert torch.equal(known, dice_ce(logits, mixed.label, smooth=1.0, weight=mixed.known))
    assert torch.equal(trusted, dice_ce(logits, mixed.label, smooth=1.0, weight=mixed.trusted))
    other = torch.where(mixed.known, logits, -logits)
    assert torch.equal(mixed.losses(other)[0], known)
    assert torch.equal(mixed.losses(torch.where(mixed.trusted, logits, -logits))[1], trusted)


def test_an_exchange_loses_nothing() -> None:
    one, other, box = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    box[..., 1:3] = True
    first, second = exchange(one, other, box)
    assert torch.equal(first, box[0].float())
    assert torch.equal(second, 1 - box[0].float())
