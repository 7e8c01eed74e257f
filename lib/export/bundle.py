"""A published model as a MONAI bundle, which ``python -m monai.bundle run`` runs without semiseg.

After the MONAI Bundle Specification (https://docs.monai.io/en/latest/mb_specification.html): ``configs/metadata.json``,
``configs/inference.json``, ``models/model.pt`` and ``model.ts``, ``docs/``. What surrounds the network lies as
``scripts/transforms.py`` in the bundle, because no transform of MONAI resamples as the training did.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lib.export import bundle_transforms
from lib.export.network import about, export_torchscript, modality_of
from lib.export.target import check_new
from lib.files import write_whole
from lib.inference.model_file import Model, save_whole

KINDS = {"ct": ("CT", "hounsfield"), "mr": ("MR", "magnitude"), "picture": ("n/a", "magnitude")}
LICENCE = "Whoever trained this model says here under which terms it may be used.\n"
README = """# {title}

Segments {classes}. Model {version}, trained with semiseg and
exported as a MONAI bundle. Not for diagnostic use.

Run it from this folder on all {files} of a folder; the labels are written to another:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir LABELS

It takes MONAI {monai} and nibabel; `scripts/transforms.py` has the preprocessing of the training, and the way back to
each image's own grid. On a GPU: `--device "$torch.device('cuda')"`. In a label file: {values}.
"""


def export_bundle(model: Model, folder: Path, series: str | None = None) -> float:
    """Write the bundle into a new folder.

    Args:
        series: of a model of several modalities, whose network.

    Returns:
        The largest difference of a probability between the bundle's TorchScript and the model.

    Raises:
        ConfigError: the folder holds something, or the series is not one of the model's modalities.
        SemisegError: see :func:`lib.export.network.export_torchscript`.
    """
    check_new(folder)
    modality = modality_of(model, series)
    difference = export_torchscript(model, folder / "models" / "model.ts", series)
    save_whole(model.of_networks, folder / "models" / "model.pt")
    scripts = folder / "scripts"
    scripts.mkdir()
    (scripts / "__init__.py").touch()
    shutil.copyfile(bundle_transforms.__file__, scripts / "transforms.py")
    write_whole(folder / "docs" / "license.txt", LICENCE)
    write_whole(folder / "docs" / "README.md", _readme(model, folder.name))
    write_whole(folder / "configs" / "inference.json", json.dumps(inference(model, modality), indent=1))
    write_whole(folder / "configs" / "metadata.json", json.dumps(metadata(model, modality), indent=1))
    return difference


def inference(model: Model, modality: int) -> dict[str, Any]:
    """The configuration with the names that MONAI's ``InferProperties`` expect."""
    plan = model.plan
    scheme, window = plan.intensities(modality)
    picture = plan.modality == "picture"
    target = "scripts.transforms."
    save = {"output_ext": ".png", "writer": "PILWriter"} if picture else {"output_ext": ".nii.gz"}
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "dataset_dir": "./images",
        "output_dir": "./labels",
        "datalist": f"$sorted(glob.glob(@dataset_dir + '/*.{'png' if picture else 'nii*'}'))",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {
                    "_target_": f"{target}Prepared",
                    "keys": "image",
                    "spacing": list(plan.spacing),
                    "slices": plan.flat_axis,
                    "channels": _channels(model),
                    "scheme": scheme,
                    "window": list(window),
                },
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {
            "_target_": f"{target}Windows",
            "slices": plan.flat_axis,
            "roi_size": list(plan.network_patch),
            "sw_batch_size": 2,
            "overlap": model.config.overlap,
            "mode": "gaussian",
            "padding_mode": "replicate",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{target}Restored",
                    "keys": "pred",
                    "image": "image",
                    "values": about(model)["label_values"],
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "",
                    "output_dtype": "$'uint8'",
                    "resample": False,
                    "separate_folder": False,
                    **save,
                },
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def metadata(model: Model, modality: int) -> dict[str, Any]:
    """The mandatory keys of the specification, and what the model says of itself."""
    scheme, _ = model.plan.intensities(modality)
    kind, form = KINDS[scheme]
    names = ", ".join(model.labels.names)
    tensor = {"type": "image", "dtype": "float32", "is_patch_data": True}
    shape = ["*"] * len(model.plan.network_patch)
    channels = _channels(model)
    given = tensor | {
        "format": form,
        "modality": kind,
        "num_channels": channels,
        "spatial_shape": shape,
        "value_range": [],
        "channel_def": {str(place): "image" if channels == 1 else name for place, name in enumerate("RGB"[:channels])},
    }
    classes = ("background", *model.labels.names)
    found = tensor | {
        "format": "labels",
        "modality": "n/a",
        "num_channels": len(classes),
        "spatial_shape": shape,
        "value_range": [0, 1],
        "channel_def": {str(place): name for place, name in enumerate(classes)},
    }
    return {
        "version": model.version or "0",
        "changelog": {model.version or "0": "exported"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"nibabel": version("nibabel"), "pytorch-ignite": version("pytorch-ignite")},
        "task": f"Segmentation of {names}",
        "description": f"Method {model.config.method}, learnt from labelled and unlabelled studies",
        "authors": "",
        "copyright": "",
        "intended_use": "Research; not for diagnostic use",
        "eval_metrics": {"mean_dice": model.metrics.get("dice")},
        "network_data_format": {"inputs": {"image": given}, "outputs": {"pred": found}},
    }


def _channels(model: Model) -> int:
    """Of the network of one modality."""
    return 1 if len(model.plan.modality_names) > 1 else model.channels


def _readme(model: Model, title: str) -> str:
    values = ", ".join(f"{value} {name}" for value, name in sorted(model.labels.values.items()))
    return README.format(
        title=title,
        classes=", ".join(model.labels.names),
        version=model.version,
        files="PNG pictures" if model.plan.modality == "picture" else "NIfTI files",
        monai=version("monai"),
        values=f"0 background, {values}",
    )
