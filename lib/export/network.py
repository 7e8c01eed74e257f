"""The networks of a published model as one TorchScript file, which PyTorch runs without semiseg, also from C++.

In: preprocessed patches ``(B, C, ...)`` float32, C and the axes as the plan of the model says. Out: the mean
probability of the model's branches ``(B, classes, ...)``, background first. Batch and spatial size are free.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import ConfigError, SemisegError
from lib.files import whole_file
from lib.inference.model_file import Model
from lib.methods.base import Method

TOLERANCE = 1e-4  # of a probability, between the file and the model
ABOUT = "semiseg.json"  # in the file: what its input and output mean


class MeanProbability(nn.Module):
    """What a method predicts of patches of one modality ``(B, C, ...)``: ``(B, classes, ...)``, float32."""

    def __init__(self, method: Method, modality: int = 0) -> None:
        super().__init__()
        self.method, self.modality = method, modality

    def forward(self, x: Tensor) -> Tensor:
        """Patches ``(B, C, X, Y, Z)`` to probabilities ``(B, classes, X, Y, Z)``; of slices without Z."""
        return self.method.predict(x, self.modality).mean(0)


def export_torchscript(model: Model, path: Path, series: str | None = None) -> float:
    """Write the file and run it on patches of other sizes than it was made with.

    Args:
        series: of a model of several modalities, whose network.

    Returns:
        The largest difference of a probability between what the file and what the model gives.

    Raises:
        ConfigError: the series is not one of the model's modalities.
        SemisegError: they differ by more than :data:`TOLERANCE`; nothing is written.
    """
    modality = modality_of(model, series)
    network = MeanProbability(model.build(), modality).eval()
    given = torch.Generator().manual_seed(0)
    patches = [torch.randn(shape, generator=given) for shape in _shapes(model)]
    with torch.no_grad(), whole_file(path) as draft:
        with warnings.catch_warnings():  # that sizes might become constants: the check below looks for just that
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(network, patches[0], check_trace=False)
        torch.jit.save(traced, str(draft), _extra_files={ABOUT: json.dumps(about(model, modality))})
        written = torch.jit.load(str(draft))
        difference = max(float((written(patch) - network(patch)).abs().max()) for patch in patches)
        if not difference <= TOLERANCE:
            raise SemisegError(
                f"{path} was not written: its probabilities differ from the model's by {difference:.2g}, more than "
                f"{TOLERANCE:g}. Train with another network, and tell the developers"
            )
    return difference


def about(model: Model, modality: int = 0) -> dict[str, object]:
    """What one has to know to use the network: version, classes by index, plan, and the intensities of its input."""
    scheme, window = model.plan.intensities(modality)
    return {
        "version": model.version,
        "classes": ["background", *model.labels.names],
        "label_values": [0, *sorted(model.labels.values)],
        "channels": model.channels,
        "plan": model.plan.to_dict(),
        "intensities": {"scheme": scheme, "window": list(window)},
        "modality": model.plan.modality_names[modality] if len(model.plan.modality_names) > 1 else None,
    }


def modality_of(model: Model, series: str | None) -> int:
    """The place of a series among the model's modalities; of a model of one there is nothing to name.

    Raises:
        ConfigError: none is named of several, or one that is not among them.
    """
    names = model.plan.modality_names
    if len(names) < 2:
        if series:
            raise ConfigError(f"The model has one modality only; leave out --series {series}")
        return 0
    if series not in names:
        raise ConfigError(f"The model has several modalities; name one of them with --series: {', '.join(names)}")
    return names.index(series)


def _shapes(model: Model) -> list[tuple[int, ...]]:
    """Of the training's patches, and of others: more in a batch, odd edges, larger ones."""
    patch = model.plan.network_patch
    channels = 1 if len(model.plan.modality_names) > 1 else model.channels
    odd, larger = (tuple(edge + more for edge in patch) for more in (3, 8))
    return [(2, channels, *patch), (1, channels, *odd), (3, channels, *larger)]
