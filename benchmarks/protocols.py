"""What each set of ``benchmarks/accuracy.py`` trains on, for how long, and what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# the same for all sets and methods; validation=0, because the number of iterations is the same for everyone
COMMON: Mapping[str, Any] = {
    "size": "small", "validation": 0, "pretrained": False, "checkpoint_every": 250, "pretraining": 0.5,
}  # fmt: skip
UNLABELLED = "unlabelled"
JUDGED = ("evaluation", "development", UNLABELLED)  # the first gives the table; choices rest on the others
CEILING = "ceiling"  # supervised training with the labels of all that the other methods have without


@dataclass(frozen=True)
class Protocol:
    """One set. Patients, scans or pictures are counted in their published order.

    Attributes:
        methods: number of labelled ones, always the first -> what is trained then by default; the first entry is the
            default number.
        evaluation: the last so many are judged and are kept out of everything else.
        development: so many before those are judged instead with ``--judged development``, for choices.
        iterations: of every method; ``ideal`` pre-trains beside.
        settings: of every method: patch, dimension, intensities.
        development_unlabelled: development cases are unlabelled studies even when they are judged, because the set is
            too small to do without them; else they are kept out of the training then.
        counted: what is counted. unit: of HD95.
    """

    methods: Mapping[int, tuple[str, ...]]
    evaluation: int
    development: int
    iterations: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    development_unlabelled: bool = False
    counted: str = "patients"
    unit: str = "mm"

    def methods_for(self, labelled: int) -> tuple[str, ...]:
        """What is trained by default with so many labelled."""
        return self.methods.get(labelled, next(iter(self.methods.values())))


PROTOCOLS: Mapping[str, Protocol] = {
    # 79 in all; development is places 50 to 64, judged are places 65 to 79
    "la": Protocol(
        {
            8: (
                "supervised", "ceiling", "cross_pseudo", "multiscale", "ideal", "cross_level",
                "mean_teacher", "copy_paste", "rcps", "best",
            ),
            16: ("supervised", "ceiling", "multiscale", "best"),
        },
        evaluation=15, development=15, iterations=3000,
        # with the weight 1 of the default, two networks gain less on the development scans and on the unlabelled ones
        settings={"network": "residual_unet", "patch": (56, 56, 40), "modality": "mr", "consistency": 0.3},
        counted="scans",
    ),
    # 70 patients of `train`, then 10 of `val`: judged are the last 10 of `train` and all of `val`, with both frames
    "acdc": Protocol(
        dict.fromkeys((3, 7), ("supervised", "ceiling", "ideal", "best")),
        # nearly whole slices at 2 mm; at their own 1.4 mm two networks gain as much and take twice the time
        evaluation=20, development=10, iterations=1500,
        settings={"dimension": "2", "spacing": (2.0, 2.0), "patch": (192, 176), "modality": "mr"},
    ),
    # 41 in all: 15 of them are neither labelled nor judged in any way
    "sts": Protocol(
        {8: ("supervised", "semi_cml")},
        evaluation=12, development=6, iterations=1000, settings={"patch": (40, 56, 56)}, development_unlabelled=True,
    ),
    # 500 in all, of which 10 % are labelled
    "kvasir": Protocol(
        {50: ("supervised", "cross_level")},
        # whole pictures at every second pixel: at full size a step takes four times as long, and a training that can
        # be afforded ends long before the networks have learnt the labels
        evaluation=100, development=50, iterations=3000,
        settings={"dimension": "2", "spacing": (2.0, 2.0), "patch": (128, 128)}, counted="pictures", unit="pixels",
    ),
    # 350 in all: 270 are not judged, and 1/16 of those are labelled
    "nuclei": Protocol(
        {16: ("supervised", "multiscale")},
        evaluation=80, development=40, iterations=1000,
        settings={"dimension": "2", "patch": (256, 256)}, counted="pictures", unit="pixels",
    ),
}  # fmt: skip
