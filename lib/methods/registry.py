"""Methods by name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lib.config import Config
from lib.methods.base import Method
from lib.methods.best import Best
from lib.methods.copy_paste import CopyPaste
from lib.methods.cross_level import CrossLevel
from lib.methods.cross_pseudo import CrossPseudo
from lib.methods.ideal import DensePretraining, Ideal
from lib.methods.mean_teacher import MeanTeacher
from lib.methods.multiscale import Multiscale
from lib.methods.rcps import RCPS
from lib.methods.semi_cml import SemiCML
from lib.methods.supervised import Supervised
from lib.networks.factory import build_branches, build_network, network_shape
from lib.networks.unet import Encoder, UNet


def build_method(config: Config, channels: int, classes: int, patch: Sequence[int]) -> Method:
    """The method of these settings with freshly drawn weights, a function of ``config.seed`` alone.

    Args:
        channels: of the image. classes: background included. patch: voxels, two or three edges.
    """

    def network(branch: int) -> UNet:
        with _seeded(config, branch):
            return build_network(config.network, config.size, channels, classes, patch)

    def pair() -> list[UNet]:
        return [network(0), network(1)]

    unlabelled = config.consistency, config.ramp
    with _seeded(config, 99):  # projection heads and what else a method adds
        match config.method:
            case "supervised":
                return Supervised(network(0))
            case "cross_pseudo":
                return CrossPseudo(pair(), *unlabelled, config.confidence)
            case "multiscale":
                return Multiscale(pair(), *unlabelled, config.confidence, config.contrast, config.temperature)
            case "ideal":
                with _seeded(config, 0):
                    branches = build_branches(config.network, config.size, channels, classes, patch)
                return Ideal(branches, *unlabelled, config.confidence)
            case "semi_cml":
                networks = [network(branch) for branch in range(len(config.modalities))]
                return SemiCML(networks, *unlabelled)
            case "cross_level":
                return CrossLevel(network(0), *unlabelled, config.temperature)
            case "mean_teacher":
                return MeanTeacher(network(0), *unlabelled, config.teacher)
            case "copy_paste":
                return CopyPaste(network(0), *unlabelled, config.teacher, config.confidence)
            case "rcps":
                return RCPS(network(0), *unlabelled, config.temperature)
            case "best":
                return Best(pair(), *unlabelled, config.confidence)
    raise AssertionError(f"Method {config.method} is in the settings and not in the registry")


def build_pretraining(config: Config, channels: int, patch: Sequence[int]) -> Method | None:
    """The stage before the method's own, which trains the encoder of its networks without labels; None: it has none."""
    if config.method != "ideal" or not config.pretraining:
        return None
    shape = network_shape(config.network, config.size, channels, 1, patch)
    with _seeded(config, 0):
        return DensePretraining(Encoder(shape), shape, config.temperature, config.correspondence, config.teacher)


@contextmanager
def _seeded(config: Config, number: int) -> Iterator[None]:
    """Draws inside come from a random state of their own, a function of the seed and this number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 1009 + number)
        yield
