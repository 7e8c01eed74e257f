"""Methods by name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lib.config import Config
from lib.methods.base import Method
from lib.methods.cross_pseudo import CrossPseudo
from lib.methods.supervised import Supervised
from lib.networks.factory import build_network


def build_method(config: Config, channels: int, classes: int, patch: Sequence[int]) -> Method:
    """The method of these settings with freshly drawn weights, a function of ``config.seed`` alone.

    Args:
        classes: background included.
    """

    def network(branch: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed * 1009 + branch)
            return build_network(config.network, config.size, channels, classes, patch)

    if config.method == "supervised":
        return Supervised(network(0))
    return CrossPseudo([network(0), network(1)], config.consistency, config.ramp, config.confidence)
