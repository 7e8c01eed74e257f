"""IDEAL: an encoder pre-trained by dense contrast, then two unlike decoders over it that teach each other.

After the abstract, the figures and the tables of Basak et al., "IDEAL: improved dense local contrastive learning for
semi-supervised medical image segmentation", ICASSP 2023; its losses, sizes and schedules were not in reach. Known: two
stages; no labels in the first, where corresponding local features of two views attract after a convolutional head; a
shared encoder and two decoders of different architecture in the second, whose thresholded predictions supervise each
other. Our reading: correspondence by DenseCL (Wang et al., CVPR 2021), a key encoder by moving average (He et al.,
MoCo, CVPR 2020), the second stage as :class:`lib.methods.cross_pseudo.CrossPseudo` has it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from lib.losses.dense_contrast import dense_contrast, most_similar_cells, nearest_cells
from lib.methods.base import Method, Term
from lib.methods.cross_pseudo import CrossPseudo
from lib.methods.teacher import Teacher
from lib.networks.heads import Projection
from lib.networks.unet import Encoder, Shape

GEOMETRIC = 0.3  # share of stage A that goes by place before it goes by features, which are random at first
ZOOM = (0.6, 1.0)  # edge of a view as a share of the patch
REACH = 0.75  # largest distance of corresponding cells, in cells of the patch


class Ideal(CrossPseudo):
    """Stage B. Its networks share their encoder, which stage A has trained."""


class DensePretraining(Method):
    """Stage A: two views of each patch, cut, mirrored and looked at differently, agree cell by cell.

    Args:
        correspondence: ``argmax`` of the features, after a warm-up by place; ``geometric``: by place throughout.
        decay: of the key encoder.
    """

    strong_views: ClassVar[int] = 2

    def __init__(self, encoder: Encoder, shape: Shape, temperature: float, correspondence: str, decay: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList([encoder])
        self.head = Projection(shape.widths[-1])
        self.keys, self.key_head = Teacher(encoder, decay), Teacher(self.head, decay)
        self.temperature, self.correspondence = temperature, correspondence

    def begin(self) -> None:
        self.keys.copy(self.networks[0])
        self.key_head.copy(self.head)

    def after_step(self, step: int) -> None:
        self.keys.follow(self.networks[0], step)
        self.key_head.follow(self.head, step)

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        """One term, ``dense_contrast``; the two strong views of a patch lie voxel on voxel until they are cut here."""
        (query, query_pose), (key, key_pose) = (view(patch) for patch in batch["strong"])
        features = self.networks[0](query)[-1]
        with torch.no_grad():
            key_features = self.keys.network(key)[-1]
            key_map = self.key_head.network(key_features)
        if self.correspondence == "geometric" or progress < GEOMETRIC:
            cells = features.shape[2:]
            longest = max(edge / n for edge, n in zip(query.shape[2:], cells, strict=True))
            match = nearest_cells(
                positions(query_pose, cells, query.shape[2:]), positions(key_pose, cells, query.shape[2:]),
                REACH * longest,
            )  # fmt: skip
        else:
            match = most_similar_cells(features.detach(), key_features)
        loss, valid = dense_contrast(self.head(features), key_map, match, self.temperature, across=True)
        self.monitors = {"matched": (match >= 0).float().mean()}
        return {"dense_contrast": Term(loss, 1.0, valid)}


def view(patch: Tensor) -> tuple[Tensor, Tensor]:
    """A part of each patch ``(B, C, ...)``, mirrored at random and enlarged to the patch's size, and its pose.

    Returns:
        The views and ``theta (B, axes, axes + 1)`` as ``affine_grid`` takes it, drawn from torch's random state.
    """
    count, axes = len(patch), patch.ndim - 2
    zoom = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * torch.rand(count, axes)
    mirror = 1 - 2.0 * torch.randint(2, (count, axes))
    shift = (2 * torch.rand(count, axes) - 1) * (1 - zoom)
    theta = torch.cat([torch.diag_embed(zoom * mirror), shift[..., None]], 2).to(patch.device)
    grid = affine_grid(theta, list(patch.shape), align_corners=False).to(patch.dtype)
    return grid_sample(patch, grid, padding_mode="border", align_corners=False), theta


def positions(theta: Tensor, cells: torch.Size, size: torch.Size) -> Tensor:
    """Where a view's cells look, in voxels from the patch's middle: ``(B, N, axes)``, last axis first.

    A strided convolution with one voxel of padding looks at the first voxel of the cell it makes, not at its middle;
    between mirrored views the difference is nearly a cell.
    """
    edges, counts = (torch.tensor(n[::-1], device=theta.device) for n in (size, cells))  # grids count axes backwards
    grid = affine_grid(theta, [len(theta), 1, *cells], align_corners=False).flatten(1, -2)
    early = 1 / counts - 1 / edges  # from the middle of a cell to the middle of its first voxel
    return (grid - (theta[:, :, :-1] @ early)[:, None]) * edges / 2
