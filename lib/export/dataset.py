"""The labelled studies of a project as a data set in the form of the Medical Segmentation Decathlon.

``imagesTr``, ``labelsTr``, on request ``imagesTs``, and ``dataset.json`` (Antonelli et al., "The Medical Segmentation
Decathlon", Nature Communications 13 (2022), 4128; http://medicaldecathlon.com). MONAI's ``load_decathlon_datalist``
and nnU-Net's converters read it. Volumes are written as ``.nii.gz``; pictures stay pictures, with labels in PNG.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from lib.config import Config
from lib.errors import ConfigError, NotReadyError, StudyError
from lib.export.target import check_new
from lib.files import write_whole
from lib.studies.alignment import label_on
from lib.studies.cases import Case, is_picture, study_id
from lib.studies.labels import LabelMap
from lib.studies.modalities import patterns
from lib.studies.pictures import save_mask
from lib.studies.plan import Plan, make_plan
from lib.studies.reading import read_image

TRAINING, LABELS, TEST = "imagesTr", "labelsTr", "imagesTs"
CHANNELS = {"mr": ("MRI",), "ct": ("CT",)}  # as the Decathlon calls them
COLOURS, GREY = ("R", "G", "B"), ("grey",)


@dataclass
class Exported:
    """training, test: ids of the studies written; skipped: study -> the sentence that says why it was not."""

    training: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def export_dataset(
    cases: Sequence[Case],
    labels: LabelMap,
    config: Config,
    folder: Path,
    series: str | None = None,
    unlabelled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the data set. Labels hold class indices: 0 background, then 1, 2, ... by ascending value of the label map.

    Args:
        folder: is made; if it is there it is empty.
        series: of patients with several series the modality to write, with the label on its own grid.
        unlabelled: write the studies without a label too, as test images.
        progress: told ``(done, of)`` after each study.

    Raises:
        ConfigError: the folder holds something, or the series is not one of the modalities.
        NotReadyError: no study with a label could be written.
    """
    check_series(series, config)
    check_new(folder)
    labelled = [case for case in cases if case.label]
    if not labelled:
        raise NotReadyError("No study is labelled yet; submit at least one label, then export")
    plan = make_plan(labelled, labels, config)
    wanted = [case for case in cases if (case.label or unlabelled) and (not series or series in case.modalities)]
    done, items, tests = Exported(), [], []
    for count, case in enumerate(wanted, 1):
        try:
            image = case.usable().modalities[series] if series else case.usable().image
            if case.label:
                items.append(_write_pair(case, image, labels, folder))
                done.training.append(case.id)
            else:
                tests.append(_named(_write_image(case.id, image, folder / TEST)))
                done.test.append(case.id)
        except StudyError as error:
            done.skipped[case.id] = str(error)
        if progress:
            progress(count, len(wanted))
    if not items:
        reasons = " ".join(list(done.skipped.values())[:3]) or f"None of them has the series '{series}'."
        raise NotReadyError(f"None of the {len(labelled)} labelled studies can be written. {reasons}")
    described = _description(folder.name, labels, plan, series) | {
        "numTraining": len(items),
        "numTest": len(tests),
        "training": items,
        "test": tests,
    }
    write_whole(folder / "dataset.json", json.dumps(described, indent=1))
    return done


def check_series(series: str | None, config: Config) -> None:
    """Of patients with several series one is named, of others none is.

    Raises:
        ConfigError: it is not so.
    """
    names = list(patterns(config.modalities))
    if len(names) < 2 and series:
        raise ConfigError("--series names one of several modalities, and the setting modalities does not list any")
    if len(names) > 1 and series not in names:
        raise ConfigError(
            f"These patients have several series; name the one to export with --series: {', '.join(names)}"
        )


def _description(name: str, labels: LabelMap, plan: Plan, series: str | None) -> dict[str, object]:
    scheme = plan.intensities(plan.modality_names.index(series) if series and plan.schemes else 0)[0]
    channels = CHANNELS.get(scheme) or (COLOURS if plan.channels == len(COLOURS) else GREY)
    return {
        "name": name,
        "description": "Labelled with semiseg",
        "reference": "",
        "licence": "",
        "release": "1.0",
        "tensorImageSize": "2D" if plan.modality == "picture" else "3D",
        "modality": {str(place): channel for place, channel in enumerate(channels)},
        "labels": {str(place): text for place, text in enumerate(("background", *labels.names))},
    }


def _write_pair(case: Case, image: Path, labels: LabelMap, folder: Path) -> dict[str, str]:
    """The label first: a study whose label cannot be used leaves no image behind."""
    array, affine = read_image(image)
    label = label_on(case, image, labels, array.shape[1:], affine)
    ending = ".png" if is_picture(image) else ".nii.gz"
    target = folder / LABELS / f"{case.id}{ending}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_picture(image):
        save_mask(target, label)
    else:
        nib.save(nib.Nifti1Image(label, affine), target)
    return {"image": _named(_write_image(case.id, image, folder / TRAINING)), "label": _named(target)}


def _write_image(study: str, image: Path, folder: Path) -> Path:
    """The voxels as they are: the file itself where the format is kept, else its values at the same place."""
    array, affine = read_image(image)  # also of a file that is copied: nothing unreadable goes into a data set
    folder.mkdir(parents=True, exist_ok=True)
    own = image.name[len(study_id(image)) :]
    target = folder / f"{study}{own if is_picture(image) else '.nii.gz'}"
    if own == ".nii":
        target.write_bytes(gzip.compress(image.read_bytes()))
    elif own == ".nrrd":
        nib.save(nib.Nifti1Image(_storable(array[0]), affine), target)
    else:
        shutil.copyfile(image, target)
    return target


def _storable(array: np.ndarray) -> np.ndarray:
    """In a type that readers of NIfTI know: whole numbers of 64 bits and floats of 16 bits few of them do."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        return array.astype(np.float64)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _named(file: Path) -> str:
    """As ``dataset.json`` names it, from its own folder."""
    return f"./{file.parent.name}/{file.name}"
