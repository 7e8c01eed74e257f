"""The TorchScript file gives what the model gives, on any size, for every kind of model; else it is not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.config import Config
from lib.errors import ConfigError, SemisegError
from lib.export import network
from lib.export.network import ABOUT, export_torchscript
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from tests.training.conftest import thin_networks  # noqa: F401

PLANS = {
    "volumes": Plan((1.0, 1.0, 1.0), "mr", (16, 16, 8)),
    "slices": Plan((1.0, 1.0, 5.0), "ct", (32, 16, 1), (-100.0, 200.0, 50.0, 40.0), dimension=2),
    "pictures": Plan((1.0, 1.0, 1.0), "picture", (16, 16, 1), dimension=2, channels=3),
    "modalities": Plan(
        (1.0, 1.0, 1.0), "ct", (16, 16, 8), modalities=("ct", "mr"), schemes=("ct", "mr"), windows=((0, 1, 0, 1), ())
    ),
}


def model(kind: str, method: str = "ideal") -> Model:
    """Of random weights, with three classes beside the background."""
    plan, several = PLANS[kind], kind == "modalities"
    settings: dict[str, Any] = {"method": "semi_cml", "modalities": plan.modalities} if several else {"method": method}
    config = Config(size="small", network="unet", dimension=str(plan.dimension), precision="fp32", **settings)
    torch.manual_seed(0)
    built = build_method(config, plan.channels, 4, plan.network_patch)
    return Model(config, plan, LabelMap({1: "a", 5: "b", 7: "c"}), built.weights(), plan.channels, "0003")


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_file_gives_the_mean_of_the_branches_on_any_size(kind: str, batch: int, tmp_path: Path) -> None:
    own, series = model(kind), "mr" if kind == "modalities" else None
    difference = export_torchscript(own, tmp_path / "model.ts", series)
    assert difference <= 1e-6
    extra = {ABOUT: ""}
    loaded = torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    x = torch.randn(batch, own.channels, *(edge + 5 for edge in own.plan.network_patch))
    with torch.no_grad():
        expected = own.build().predict(x, 1 if series else 0).mean(0)
        torch.testing.assert_close(loaded(x), expected, atol=1e-5, rtol=0)
    said = json.loads(extra[ABOUT])
    assert said["classes"] == ["background", "a", "b", "c"]
    assert said["label_values"] == [0, 1, 5, 7]
    assert said["modality"] == series
    assert said["intensities"]["scheme"] == ("mr" if series else own.plan.modality)


def test_each_modality_has_its_own_network(tmp_path: Path) -> None:
    own = model("modalities")
    for name in ("ct", "mr"):
        export_torchscript(own, tmp_path / f"{name}.ts", name)
    x = torch.randn(1, 1, 16, 16, 8)
    ct, mr = (torch.jit.load(str(tmp_path / f"{name}.ts"))(x) for name in ("ct", "mr"))
    assert (ct - mr).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "series"), [("modalities", None), ("modalities", "pet"), ("volumes", "ct")])
def test_the_series_fits_the_model(kind: str, series: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--series"):
        export_torchscript(model(kind), tmp_path / "model.ts", series)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = torch.jit.load
    monkeypatch.setattr(network.torch.jit, "load", lambda file: lambda x: load(file)(x) + 2e-4)
    with pytest.raises(SemisegError, match=r"differ from the model's by 0\.0002"):
        export_torchscript(model("volumes"), tmp_path / "model.ts")
    assert not list(tmp_path.iterdir())
