"""Monitors against their definitions, in numpy; what a collapsed pair reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.methods.monitors import foreground_dice, watch

SPACE = (7, 6)


def answers(branches: int, samples: int, classes: int = 3) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(branches)
    return [(3 * torch.randn(samples, classes, *SPACE, generator=rng)).softmax(1) for _ in range(branches)]


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Voxel by voxel, over all foreground classes together."""
    agreeing = sum(1 for a, b in zip(first.flat, second.flat, strict=True) if a == b != 0)
    found = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * agreeing / found if found else 1.0


def test_the_three_monitors_of_a_pair() -> None:
    labelled, unlabelled = answers(2, 2), answers(2, 3)
    label = torch.randint(0, 3, (2, 1, *SPACE), generator=torch.Generator().manual_seed(0))
    found = watch(labelled, label, unlabelled)
    calls = [each.numpy().argmax(1) for each in unlabelled]
    truth, each = label.numpy()[:, 0], [branch.numpy() for branch in labelled]
    alone = np.mean([dice(branch.argmax(1), truth) for branch in each])
    assert found["pseudo_foreground"].item() == pytest.approx(np.mean([(call > 0).mean() for call in calls]))
    assert found["agreement"].item() == pytest.approx(dice(*calls), abs=1e-6)
    assert found["ensemble_gain"].item() == pytest.approx(dice(np.mean(each, 0).argmax(1), truth) - alone, abs=1e-6)


def test_a_collapsed_pair_agrees_and_gains_nothing() -> None:
    (labelled,), (unlabelled,) = answers(1, 2), answers(1, 3)
    label = torch.randint(0, 3, (2, 1, *SPACE), generator=torch.Generator().manual_seed(0))
    found = watch([labelled, labelled.clone()], label, [unlabelled, unlabelled.clone()])
    assert found["agreement"].item() == 1
    assert found["ensemble_gain"].item() == 0


def test_branches_that_see_nothing_agree_and_call_no_foreground() -> None:
    nothing = torch.eye(3)[0].view(1, 3, 1, 1).expand(2, 3, *SPACE)
    found = watch([nothing, nothing], torch.zeros(2, 1, *SPACE, dtype=torch.int64), [nothing, nothing])
    assert found["pseudo_foreground"].item() == 0
    assert found["agreement"].item() == 1
    assert found["ensemble_gain"].item() == 0


def test_two_classes_at_one_place_do_not_agree() -> None:
    ones = torch.ones(2, 2, dtype=torch.int64)
    assert foreground_dice(ones, 2 * ones).item() == pytest.approx(0, abs=1e-6)


def test_what_there_is_none_of_is_not_reported() -> None:
    (labelled,), unlabelled = answers(1, 2), answers(2, 3)
    label = torch.zeros(2, 1, *SPACE, dtype=torch.int64)
    assert set(watch([labelled], label, [])) == set()
    assert set(watch([labelled], label, [each[:0] for each in unlabelled])) == set()
    assert set(watch([], label, unlabelled[:1])) == {"pseudo_foreground"}
    assert set(watch([labelled], label, unlabelled)) == {"pseudo_foreground", "agreement"}


def test_monitors_take_no_part_in_the_gradient() -> None:
    (labelled,), (unlabelled,) = answers(1, 2), answers(1, 3)
    label = torch.zeros(2, 1, *SPACE, dtype=torch.int64)
    found = watch([labelled.requires_grad_()] * 2, label, [unlabelled.requires_grad_()] * 2)
    assert not any(value.requires_grad for value in found.values())
