"""The embedding against its formula on windows small enough to compute by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d

from lib.config import Config
from lib.inference.embedding import EncoderMeans
from lib.methods.base import Method, Term
from lib.methods.registry import build_method

CONFIG = Config(size="small", device="cpu")


class Encoder(nn.Module):
    """The image, and on a grid of a quarter its mean and the mean of its square."""

    def forward(self, x: Tensor) -> list[Tensor]:
        pool = avg_pool3d if x.ndim == 5 else avg_pool2d
        full = x.float()  # no pooling in half precision on a CPU
        return [x, torch.cat([pool(full, 4), pool(full**2, 4)], 1).to(x.dtype)]


class Network(nn.Module):
    """Says that everything brighter than 1 is foreground, after its encoder has looked."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        self.encoder(x)
        found = (x > 1).float() * 0.8
        return torch.cat([1 - found, found], 1)


class Two(Method):
    """Two such networks; the second one's encoder sees another image."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList([Network(), Network()])

    def losses(self, batch: dict, progress: float) -> dict[str, Term]:
        raise NotImplementedError

    def predict(self, x: Tensor, modality: int = 0) -> Tensor:
        found = self.networks[0](x)
        self.networks[1](x + 100)
        return torch.stack([found, found])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("axes", [2, 3])
def test_means_of_the_whole_and_of_what_is_near_the_foreground(axes: int) -> None:
    method = Two()
    windows = torch.rand(3, 1, *(8,) * axes, generator=torch.Generator().manual_seed(0))
    windows[(1, 0, *(5,) * axes)] = 2.0  # one voxel of foreground: the last cell of the second window
    with EncoderMeans(method) as means:
        for window in windows:
            means.add(method.predict(window[None]))
    image = windows.double().numpy()[:, 0]
    blocks = image.reshape(3, *(2, 4) * axes)
    inside = tuple(range(2, 2 + 2 * axes, 2))
    cells = np.stack([blocks.mean(inside), (blocks**2).mean(inside)])  # (2, windows, 2, 2[, 2])
    whole = cells.reshape(2, -1).mean(1)
    near = cells[(slice(None), 1, *(1,) * axes)]
    expected = unit(np.concatenate([unit(whole), unit(near)]))
    np.testing.assert_allclose(means.vector(), expected, atol=1e-6)
    assert means.vector().dtype == np.float32


def test_where_nothing_is_found_the_likeliest_places_count() -> None:
    method, image = Two(), torch.zeros(1, 1, 8, 8, 8)
    image[..., :4] = 0.5
    with EncoderMeans(method) as means:
        method.predict(image)
        found = torch.zeros(2, 1, 2, 8, 8, 8)
        found[:, :, 1, :, :, :4] = 1e-3
        means.add(torch.cat([1 - found[:, :, 1:], found[:, :, 1:]], 2))
    np.testing.assert_allclose(means.vector()[2:], unit(np.array([0.5, 0.25])) / np.sqrt(2), atol=1e-4)


def test_half_precision_does_not_overflow_and_no_number_is_no_embedding() -> None:
    class Half(Two):
        def predict(self, x: Tensor, modality: int = 0) -> Tensor:
            return super().predict(x.half())

    method = Half()
    with EncoderMeans(method) as means:
        means.add(method.predict(torch.full((1, 1, 64, 64, 64), 200.0)))
    assert np.isfinite(means.vector()).all()
    with EncoderMeans(method) as means:
        means.add(method.predict(torch.full((1, 1, 8, 8, 8), torch.nan)))
    assert means.vector() is None


def test_the_encoders_are_left_as_they_were() -> None:
    method = Two()
    with EncoderMeans(method):
        pass
    assert not any(network.encoder._forward_hooks for network in method.networks)
    with EncoderMeans(method) as means:
        pass
    assert means.vector() is None


@pytest.mark.parametrize("name", ["supervised", "cross_pseudo", "ideal", "multiscale"])
@pytest.mark.parametrize("patch", [(16, 16, 16), (32, 32)])
def test_methods_have_an_embedding_of_their_first_branch(name: str, patch: tuple[int, ...]) -> None:
    method = build_method(CONFIG.replace(method=name), 1, 3, patch).eval()
    x = torch.rand(2, 1, *patch, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), EncoderMeans(method) as means:
        means.add(method.predict(x))
    deepest = method.networks[0].encoder(x)[-1].flatten(2).double()
    vector = means.vector()
    assert vector is not None
    assert vector.shape == (2 * deepest.shape[1],)
    whole = unit(deepest.mean((0, 2)).detach().numpy()) / np.sqrt(2)
    np.testing.assert_allclose(vector[: len(whole)], whole, atol=1e-5)


def test_of_a_network_for_each_modality_the_one_that_looks_counts() -> None:
    config = CONFIG.replace(method="semi_cml", modalities=("ct", "mr"))
    method = build_method(config, 1, 2, (16, 16, 16)).eval()
    x = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    vectors = []
    for modality in range(2):
        with torch.inference_mode(), EncoderMeans(method) as means:
            means.add(method.predict(x, modality))
        vectors.append(means.vector())
    assert not np.allclose(*vectors)
