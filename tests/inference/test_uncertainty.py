"""The maps against their formulas, voxel by voxel, and what follows from them."""

import math

import numpy as np
import pytest
import torch

from lib.inference.uncertainty import MEASURES, disagreement, entropy, mutual_information, voxel_uncertainty


def random_probabilities(branches: int, classes: int) -> torch.Tensor:
    logits = 3 * torch.randn(branches, classes, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    return logits.softmax(dim=1)


def constant(*branches: list[float]) -> torch.Tensor:
    """Probabilities (branches, classes, 1, 1, 1)."""
    return torch.tensor(branches)[:, :, None, None, None]


def test_disagreement_is_the_mean_total_variation_of_the_pairs():
    p = random_probabilities(branches=3, classes=4)
    # total variation by its definition: the largest difference over all events (subsets of the classes)
    events = [[c for c in range(4) if code >> c & 1] for code in range(16)]

    def variation(a: int, b: int) -> torch.Tensor:
        return torch.stack([p[a, event].sum(0) - p[b, event].sum(0) for event in events]).max(0).values

    expected = (variation(0, 1) + variation(0, 2) + variation(1, 2)) / 3
    torch.testing.assert_close(disagreement(p), expected)


def test_disagreement_is_0_for_equal_and_1_for_contrary_certain_branches():
    assert disagreement(constant([0.7, 0.2, 0.1], [0.7, 0.2, 0.1])).item() == 0
    assert disagreement(constant([1, 0, 0], [0, 0, 1])).item() == 1


def test_entropy_is_that_of_the_mean_over_the_logarithm_of_the_classes():
    p = random_probabilities(branches=2, classes=3)
    mean = (p[0] + p[1]) / 2
    expected = -(mean * mean.log()).sum(0) / math.log(3)
    torch.testing.assert_close(entropy(p), expected)


def test_entropy_spans_0_to_1_and_zero_probabilities_are_no_nan():
    assert entropy(constant([1, 0, 0])).item() == 0
    assert entropy(constant([0.25] * 4)).item() == pytest.approx(1)
    assert entropy(constant([1, 0], [0, 1])).item() == pytest.approx(1)  # certain, but of different classes


def test_mutual_information_is_the_mean_divergence_of_the_members_from_their_mean():
    p = random_probabilities(branches=5, classes=4).double().numpy()
    mean = p.mean(0)
    divergence = (p * np.log(p / mean)).sum(1).mean(0)  # Kullback-Leibler: the same number by another formula
    found = mutual_information(torch.from_numpy(p).float())
    np.testing.assert_allclose(found.numpy(), divergence / np.log(4), atol=1e-6)


def test_mutual_information_is_what_of_the_entropy_the_members_do_not_share():
    p = random_probabilities(branches=3, classes=3)
    shared = torch.stack([entropy(member[None]) for member in p]).mean(0)
    torch.testing.assert_close(mutual_information(p) + shared, entropy(p), atol=1e-6, rtol=0)


def test_mutual_information_spans_0_to_its_bound():
    assert mutual_information(constant([0.5, 0.5], [0.5, 0.5])).item() == 0  # all doubt, none knows better
    assert mutual_information(constant([1, 0], [0, 1])).item() == pytest.approx(1)
    bound = math.log(2) / math.log(3)
    assert mutual_information(constant([1, 0, 0], [0, 1, 0])).item() == pytest.approx(bound)


def test_another_measure_is_taken_where_it_is_asked_for():
    p = random_probabilities(2, 3)
    assert set(MEASURES) == {"disagreement", "entropy", "mutual_information"}
    for name, function in MEASURES.items():
        assert torch.equal(voxel_uncertainty(p, name), function(p))


def test_two_branches_give_disagreement_one_gives_entropy():
    two, one = random_probabilities(2, 3), random_probabilities(1, 3)
    assert torch.equal(voxel_uncertainty(two), disagreement(two))
    assert torch.equal(voxel_uncertainty(one), entropy(one))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(dtype):
    p = random_probabilities(2, 4).to(dtype)
    for function in MEASURES.values():
        assert function(p).dtype == torch.float32
        torch.testing.assert_close(function(p), function(p.float()))


def test_the_probabilities_are_left_as_they_were():
    p = random_probabilities(2, 3)
    before = p.clone()
    disagreement(p), entropy(p), entropy(p[:1]), mutual_information(p)
    assert torch.equal(p, before)


def test_maps_have_the_shape_of_the_space_also_in_2d():
    assert voxel_uncertainty(random_probabilities(2, 3)).shape == (3, 4, 2)
    assert voxel_uncertainty(random_probabilities(2, 3)[..., 0]).shape == (3, 4)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4, 4), (2, 1, 4, 4, 4), (2, 3)])
def test_disagreement_refuses_what_has_no_branches_or_classes(shape):
    for function in (disagreement, mutual_information):
        with pytest.raises(ValueError, match="branches"):
            function(torch.ones(shape))
