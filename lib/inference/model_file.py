"""A published model: one file that holds all it takes to predict."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.config import Config
from lib.errors import NotFoundError, SemisegError
from lib.files import whole_file
from lib.methods.base import Method
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan

FORMAT = 1


@dataclass(frozen=True)
class Model:
    """Weights and all that gives them a meaning, as plain types.

    Attributes:
        version: the number it was published under, e.g. ``0003``.
        metrics: of its validation, for readers and for comparing with the next one.
        checksum: of the file it was read from; the key of everything computed with it.
    """

    config: Config
    plan: Plan
    labels: LabelMap
    weights: dict[str, Tensor]
    channels: int = 1
    version: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    checksum: str = ""

    def build(self) -> Method:
        """The method with these weights, ready to predict.

        Raises:
            SemisegError: the weights are of another network, e.g. that of an earlier semiseg.
        """
        method = build_method(self.config, self.channels, len(self.labels.names) + 1, self.plan.network_patch)
        try:
            method.networks.load_state_dict(self.of_networks)
        except RuntimeError as error:
            raise SemisegError(
                f"The weights of model {self.version or '(unnumbered)'} are not those of a {self.config.size} "
                f"{self.config.network}; train again with pretrained=false or restore another version"
            ) from error
        return method.eval()

    @property
    def of_networks(self) -> dict[str, Tensor]:
        """The weights of what predicts, each of the shape its network has; earlier files hold teachers too."""
        start = "networks."
        return {key.removeprefix(start): value for key, value in self.weights.items() if key.startswith(start)}

    def save(self, path: Path) -> None:
        """Write it, by :func:`save_whole`."""
        content = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "plan": self.plan.to_dict(),
            "labels": dict(self.labels.values),
            "weights": {key: value.detach().cpu().contiguous() for key, value in self.weights.items()},
            "channels": self.channels,
            "version": self.version,
            "metrics": self.metrics,
        }
        save_whole(content, path)

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read without running any code that the file might hold (``weights_only``).

        Raises:
            NotFoundError: there is no such file.
            SemisegError: it is no model of this program, or of a later version of it.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content["format"] > FORMAT:
                raise SemisegError(f"Model {path.name} was written by a later version of semiseg; update semiseg")
            return cls(
                Config.from_dict(content["config"]),
                Plan.from_dict(content["plan"]),
                LabelMap(content["labels"]),
                content["weights"],
                content["channels"],
                content["version"],
                content["metrics"],
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
        except FileNotFoundError:
            raise NotFoundError(f"There is no model at {path}; train one first") from None
        except SemisegError:
            raise
        except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
            raise SemisegError(
                f"{path} is not a model of semiseg ({type(error).__name__}); restore an earlier version"
            ) from error

    def renamed(self, version: str) -> Model:
        """The same model under another version number."""
        return dataclasses.replace(self, version=version)


def save_whole(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` of a file that is whole and on the disk, or not there; see :func:`lib.files.whole_file`."""
    with whole_file(path) as draft, draft.open("wb") as file:
        torch.save(content, file)
