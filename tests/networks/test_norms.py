"""Which rows share their statistics, and that nothing is left of it afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lib.networks.norms import normalised_together


@pytest.mark.parametrize("size", [(4, 6), (4, 2, 6)], ids=["2D", "3D"])
def test_so_many_rows_share_mean_and_sd_of_each_channel(size: tuple[int, ...]) -> None:
    norm = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[len(size)](2, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = np.random.default_rng(0).normal(size=(6, 2, *size)) + np.arange(6).reshape(6, *[1] * (len(size) + 1))
    with normalised_together(norm, 3), torch.no_grad():
        found = norm(torch.tensor(x, dtype=torch.float32)).double().numpy()
    for rows in (slice(0, 3), slice(3, 6)):
        for channel in range(2):
            part = x[rows, channel]
            scaled = (part - part.mean()) / np.sqrt(part.var() + norm.eps)
            expected = scaled * norm.weight[channel].item() + norm.bias[channel].item()
            np.testing.assert_allclose(found[rows, channel], expected, atol=1e-5)


def test_afterwards_each_row_is_an_instance_again_also_after_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.InstanceNorm2d(3))
    x = torch.randn(4, 1, 5, 5)
    before = network(x)
    with pytest.raises(RuntimeError, match="unflatten"), normalised_together(network, 3):
        network(x)  # four rows are no threes
    assert torch.equal(network(x), before)
