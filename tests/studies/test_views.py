"""Views are replayable, poses move image and label alike, and the appearance leaves every voxel in its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass, map_coordinates

from lib.studies.views import (
    Appearance,
    Pose,
    apply_appearance,
    apply_pose,
    draw_appearance,
    draw_box,
    draw_pose,
    mix_pairs,
    pose_grid,
    reach,
)

PATCH = (6, 5, 4)
QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about the third axis


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def values(*shape: int) -> torch.Tensor:
    return torch.from_numpy(rng().normal(size=shape).astype(np.float32))


def posed(block: torch.Tensor, pose: Pose, size: tuple[int, ...], mode: str) -> torch.Tensor:
    return apply_pose(block, pose_grid(pose, tuple(block.shape[1:]), size), size, mode)


def by_scipy(block: torch.Tensor, matrix: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The definition: voxel v of the patch is what lies at matrix @ v, both counted from the centre."""
    voxels = np.indices(size).reshape(3, -1) - (np.reshape(size, (3, 1)) - 1) / 2
    places = matrix @ voxels + (np.reshape(block.shape[1:], (3, 1)) - 1) / 2
    return map_coordinates(block[0].numpy(), places, order=1, mode="nearest").reshape(size)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        QUARTER,
        QUARTER[[2, 0, 1]],
        2 * np.eye(3)[[1, 0, 2]],
        np.array([[0.9, 0.2, 0.1], [-0.3, 1.1, 0], [0, 0.1, 0.8]]),
    ],
    ids=["none", "quarter", "axes", "doubled", "sheared"],
)
def test_a_pose_takes_each_voxel_from_where_its_matrix_says(matrix: np.ndarray) -> None:
    block = values(1, 15, 14, 13)
    found = posed(block, Pose(matrix), PATCH, "bilinear")[0].numpy()
    np.testing.assert_allclose(found, by_scipy(block, matrix, PATCH), atol=1e-4)


def test_no_pose_is_the_middle_of_the_block() -> None:
    block = values(2, 10, 9, 4)
    assert torch.equal(posed(block, Pose(), PATCH, "bilinear"), block[:, 2:8, 2:7, :])
    assert torch.equal(posed(block, Pose(np.eye(3)), PATCH, "nearest"), block[:, 2:8, 2:7, :])


def test_image_and_label_move_alike() -> None:
    label = torch.zeros(1, 30, 30, 30)
    label[:, 6:20, 10:24, 8:18] = 1
    for pose in (draw_pose(rng(seed), (1.0, 1.0, 2.0), chance=1.0) for seed in range(5)):
        moved, image = (posed(label, pose, (30, 30, 30), mode) for mode in ("nearest", "bilinear"))
        assert set(moved.unique().tolist()) == {0.0, 1.0}
        assert ((image > 0.5) != moved.bool()).sum() < 0.02 * moved.sum()  # but for rounding at the border
        centres = [center_of_mass(part[0].numpy()) for part in (moved, image)]
        np.testing.assert_allclose(centres[0], centres[1], atol=0.25)


@pytest.mark.parametrize("size", [(16, 16, 8), (7, 6, 5), (40, 24, 8)])
def test_a_pose_takes_nothing_from_beyond_its_reach(size: tuple[int, ...]) -> None:
    """A wider block gives the same patch, so that the padding of the block is never seen inside the volume."""
    for seed in range(20):
        pose = draw_pose(rng(seed), (1.0, 1.5, 3.0))
        block = reach(pose, size)
        assert all(edge >= n and (edge - n) % 2 == 0 for edge, n in zip(block, size, strict=True))
        wide = values(1, *(edge + 6 for edge in block))
        exact = posed(wide[:, 3:-3, 3:-3, 3:-3], pose, size, "bilinear")
        torch.testing.assert_close(exact, posed(wide, pose, size, "bilinear"), rtol=0, atol=2e-4)


def test_poses_are_small_rotations_and_scalings_in_mm() -> None:
    spacing = np.array([0.8, 1.0, 3.0])
    poses = [draw_pose(rng(seed), tuple(spacing)) for seed in range(400)]
    turned = [pose.matrix for pose in poses if pose.matrix is not None]
    assert 0.42 < len(turned) / len(poses) < 0.58  # three standard errors of one half
    for matrix in turned:
        in_mm = np.diag(spacing) @ matrix @ np.diag(1 / spacing)
        scale = np.cbrt(np.linalg.det(in_mm))
        np.testing.assert_allclose(in_mm @ in_mm.T, scale**2 * np.eye(3), atol=1e-9)  # no shear, no mirror
        assert np.exp(-0.15) <= scale <= np.exp(0.15)
        angle = np.degrees(np.arccos(np.clip((np.trace(in_mm / scale) - 1) / 2, -1, 1)))
        assert angle <= 15 * 3**0.5 + 1


def test_the_same_dice_give_the_same_views() -> None:
    patch = values(1, 8, 8, 8)
    for seed in range(10):
        look, again = draw_appearance(rng(seed)), draw_appearance(rng(seed))
        assert look == again
        assert torch.equal(apply_appearance(patch, look), apply_appearance(patch, again))
        assert torch.equal(draw_box(rng(seed), PATCH), draw_box(rng(seed), PATCH))
        one, other = draw_pose(rng(seed), (1.0, 1.0, 1.0)).matrix, draw_pose(rng(seed), (1.0, 1.0, 1.0)).matrix
        assert (one is None and other is None) or np.array_equal(one, other)
    assert len({draw_appearance(rng(seed)) for seed in range(10)}) == 10


def test_the_appearance_of_nothing_changes_nothing() -> None:
    patch = values(1, 8, 8, 8)
    before = patch.clone()
    assert torch.equal(apply_appearance(patch, Appearance()), patch)
    for seed in range(5):
        apply_appearance(patch, draw_appearance(rng(seed)))
    assert torch.equal(patch, before)


def test_each_change_of_the_appearance_by_its_formula() -> None:
    patch = values(1, 20, 20, 20)
    low, span = patch.min(), patch.max() - patch.min()
    torch.testing.assert_close(apply_appearance(patch, Appearance(gain=1.2, shift=-0.1)), 1.2 * patch - 0.1)
    torch.testing.assert_close(apply_appearance(patch, Appearance(gamma=2.0)), ((patch - low) / span) ** 2 * span + low)
    noise = apply_appearance(patch, Appearance(noise=0.3, seed=5)) - patch
    assert noise.std().item() == pytest.approx(0.3, rel=0.05)
    assert noise.mean().abs() < 0.02
    assert not torch.equal(noise, apply_appearance(patch, Appearance(noise=0.3, seed=6)) - patch)
    spot = torch.zeros(1, 15, 15, 15)
    spot[0, 7, 7, 7] = 1
    blurred = apply_appearance(spot, Appearance(blur=1.0))[0]
    assert 0.9 < blurred.sum().item() <= 1
    assert 0.04 < blurred.max().item() < 0.1  # 0.063 = (2 pi)^(-3/2) for a sd of one voxel
    assert torch.equal(blurred, blurred.flip(0, 1, 2))  # stays where it is
    assert blurred.argmax() == spot.argmax()


def test_a_flat_patch_stays_finite() -> None:
    for seed in range(20):
        assert torch.isfinite(apply_appearance(torch.zeros(1, 6, 6, 6), draw_appearance(rng(seed)))).all()


@pytest.mark.parametrize("size", [(16, 12, 8), (40, 40, 40), (8, 8, 1)])
def test_a_mixing_box_is_one_box_of_a_quarter_to_a_half(size: tuple[int, ...]) -> None:
    shares = []
    for seed in range(50):
        mask = draw_box(rng(seed), size)
        assert mask.shape == (1, *size)
        places = mask[0].nonzero()
        edges = places.max(0).values - places.min(0).values + 1
        assert edges.prod() == mask.sum()  # full between its corners
        shares.append(mask.float().mean().item())
    if min(size) >= 8:
        assert min(shares) > 0.18
        assert max(shares) < 0.6


def test_mixing_swaps_neighbours_inside_the_mask() -> None:
    rows = torch.arange(5.0).reshape(5, 1, 1, 1, 1).expand(5, 1, 2, 2, 2)
    mask = torch.zeros(5, 1, 2, 2, 2, dtype=torch.bool)
    mask[:, :, 0] = True
    mixed = mix_pairs(rows, mask)
    assert mixed[:, 0, 0, 0, 0].tolist() == [1, 0, 3, 2, 4]
    assert mixed[:, 0, 1, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(mix_pairs(mixed, mask), rows)  # twice is back


def test_a_slice_is_turned_in_its_plane_about_its_centre() -> None:
    block = values(1, 15, 14)
    for matrix in (np.eye(2), QUARTER[:2, :2], np.array([[0.9, 0.2], [-0.3, 1.1]]), np.diag([-1.0, 1.0])):
        found = posed(block, Pose(matrix), (6, 5), "bilinear")[0].numpy()
        deep = np.eye(3)
        deep[:2, :2] = matrix
        np.testing.assert_allclose(found, by_scipy(block[..., None], deep, (6, 5, 1))[..., 0], atol=1e-4)


def test_slices_turn_further_than_volumes_and_pictures_are_mirrored() -> None:
    spacing = np.array([0.8, 1.6])
    for mirror in (False, True):
        poses = [draw_pose(rng(seed), tuple(spacing), mirror=mirror) for seed in range(400)]
        in_mm = [np.diag(spacing) @ pose.matrix @ np.diag(1 / spacing) for pose in poses if pose.matrix is not None]
        angles, mirrored = [], []
        for matrix in in_mm:
            scale = abs(np.linalg.det(matrix)) ** 0.5
            assert np.exp(-0.15) - 1e-9 <= scale <= np.exp(0.15) + 1e-9
            np.testing.assert_allclose(matrix @ matrix.T, scale**2 * np.eye(2), atol=1e-9)  # no shear
            mirrored.append(np.sign(np.diag(matrix)))
            angles.append(abs(np.degrees(np.arctan2(matrix[1, 0] * mirrored[-1][0], abs(matrix[0, 0])))))
        assert 20 < max(angles) <= 30
        share = (np.array(mirrored) < 0).sum(0) / len(poses)
        assert ((share > 0.42) & (share < 0.58)).all() if mirror else not share.any()


def test_colours_shift_a_little_against_each_other_and_grey_does_not() -> None:
    looks = [draw_appearance(rng(seed), 3) for seed in range(200)]
    shifted = [look for look in looks if look.gains]
    assert 0.4 < len(shifted) / len(looks) < 0.6
    assert all(len(look.gains) == len(look.shifts) == 3 for look in shifted)
    assert not any(draw_appearance(rng(seed)).gains for seed in range(50))
    picture, look = values(3, 9, 8), Appearance(gains=(1.1, 0.9, 1.0), shifts=(0.1, 0.0, -0.1))
    expected = torch.stack([1.1 * picture[0] + 0.1, 0.9 * picture[1], picture[2] - 0.1])
    torch.testing.assert_close(apply_appearance(picture, look), expected)


def test_a_slice_is_blurred_in_its_plane() -> None:
    spot = torch.zeros(3, 15, 15)
    spot[1, 7, 7] = 1
    blurred = apply_appearance(spot, Appearance(blur=1.0))
    assert 0.9 < blurred[1].sum().item() <= 1
    assert blurred[1].max().item() == pytest.approx(math.erf(0.5 / 2**0.5) ** 2, rel=0.01)  # over one pixel
    assert not blurred[[0, 2]].any()  # no colour runs into another
