"""The reduction on arrays small enough to count by hand."""

import numpy as np
import pytest
import torch

from lib.inference.uncertainty import entropy
from lib.selection.score import reduce_case, score_case


def empty(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Zero uncertainty and two branches that predict background."""
    return np.zeros(shape, np.float32), np.zeros((2, *shape), np.uint8)


def test_only_foreground_and_border_count():
    uncertainty, labels = empty(9, 9, 9)
    labels[:, 4, 4, 4] = 1
    uncertainty[:] = 1.0  # far away all is uncertain
    uncertainty[2:7, 2:7, 2:7] = 0.0
    uncertainty[4, 4, 4], uncertainty[2, 2, 2] = 0.5, 0.75  # the voxel itself and a corner of its border
    found = reduce_case(uncertainty, labels, border=2)
    assert (found.region, found.foreground) == ("foreground", 1)
    assert found.score == pytest.approx((0.5 + 0.75) / 5**3)


def test_border_is_cut_at_the_edge_of_the_volume():
    uncertainty, labels = empty(6, 6, 1)
    labels[:, 0, 0, 0] = 1
    uncertainty[:2, :2] = 0.4
    assert reduce_case(uncertainty, labels, border=1).score == pytest.approx(0.4)


def test_every_class_counts_alike():
    uncertainty, labels = empty(20, 20, 20)
    labels[:, :10] = 1
    labels[:, 19, 19, 19] = 3
    uncertainty[:12], uncertainty[17:, 17:, 17:] = 0.1, 0.9
    found = reduce_case(uncertainty, labels, border=2)
    assert found.classes == pytest.approx({1: 0.1, 3: 0.9})
    assert found.score == pytest.approx(0.5)


def test_a_structure_that_only_one_branch_sees_counts():
    uncertainty, labels = empty(12, 12, 12)
    labels[1, 5:7, 5:7, 5:7] = 1
    uncertainty[5:7, 5:7, 5:7] = 1
    assert reduce_case(uncertainty, labels, border=0).score == 1
    assert reduce_case(uncertainty, labels, border=0).foreground == 8
    assert reduce_case(uncertainty, labels, border=1).score == pytest.approx(2**3 / 4**3)


def test_where_nothing_is_predicted_the_top_hundredth_counts():
    uncertainty, labels = empty(10, 10, 3)
    uncertainty[:2, 0, 0] = 0.6, 0.3
    uncertainty[5, 5, 2] = 0.2
    found = reduce_case(uncertainty, labels)  # 1 % of 300 voxels
    assert (found.region, found.classes, found.foreground) == ("top", {}, 0)
    assert found.score == pytest.approx((0.6 + 0.3 + 0.2) / 3)


def test_the_score_is_not_lowered_by_more_background():
    uncertainty, labels = empty(8, 8, 8)
    labels[:, 3:5, 3:5, 3:5], uncertainty[3:5, 3:5, 3:5] = 1, 0.8
    wide = np.pad(uncertainty, 20), np.pad(labels, ((0, 0), *[(20, 20)] * 3))
    assert reduce_case(*wide).score == pytest.approx(reduce_case(uncertainty, labels).score)


def test_score_case_takes_the_disagreement_where_a_branch_predicts():
    probabilities = torch.zeros(2, 2, 7, 7, 7)
    probabilities[:, 0] = 1
    probabilities[0, :, 3, 3, 3] = torch.tensor([0.2, 0.8])  # the other branch is certain of background
    found = score_case(probabilities)
    assert found.classes == pytest.approx({1: 0.8 / 5**3})
    assert found.score == pytest.approx(0.8 / 5**3)


def test_score_case_by_another_measure():
    probabilities = torch.tensor([[0.2, 0.8], [0.6, 0.4]])[:, :, None, None, None].expand(2, 2, 3, 3, 3)
    expected = entropy(probabilities)[0, 0, 0].item()
    assert score_case(probabilities, "entropy").score == pytest.approx(expected)
    assert score_case(probabilities).score == pytest.approx(0.4)


def test_score_case_of_one_branch_takes_the_entropy():
    probabilities = torch.full((1, 2, 3, 3, 3), 0.5)
    probabilities[:, 0] -= 1e-6
    probabilities[:, 1] += 1e-6
    assert score_case(probabilities).score == pytest.approx(1)
