"""Every setting of semiseg: one dataclass shared by ``--conf``, the command line and the stored model.

``python -m lib.config`` prints the table of ``docs/reference/settings.md``.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from lib.errors import ConfigError
from lib.setting import check, parse, require, setting, table_of

EPOCH = 50  # iterations; the clients think in epochs, the schedules in iterations

METHODS = (
    "multiscale",
    "ideal",
    "semi_cml",
    "cross_level",
    "cross_pseudo",
    "mean_teacher",
    "copy_paste",
    "rcps",
    "best",
    "supervised",
)
STRATEGIES = ("hybrid", "uncertainty", "diverse", "cold_start", "foreground_random", "random")


@dataclass(frozen=True)
class Config:
    """All settings. Lists are comma-separated in text form, without spaces (``--conf spacing 1,1,2.5``)."""

    method: str = setting("multiscale", "training method", choices=METHODS)
    labels: tuple[str, ...] = setting(
        (),
        "class names in the order of their values 1, 2, ..., or name=value pairs; empty: from dataset.json, else from submitted labels",
    )
    codes: tuple[str, ...] = setting(
        (),
        "coded terms of classes in DICOM segmentations, as name=scheme:value or name=scheme:value:meaning (liver=SCT:10200004:Liver); empty: from the names",
        form=r"[^=]+=\w+:[^:]+(:.+)?",
    )
    colours: tuple[str, ...] = setting(
        (),
        "colours of classes in DICOM segmentations, as name=#rrggbb; empty: eight that are told apart well",
        form="[^=]+=#[0-9a-fA-F]{6}",
    )
    model: str = setting("", "model folder; empty: model/<studies folder>-<hash> in the project")

    dimension: str = setting(
        "auto",
        "3D networks, or 2D ones slice by slice; auto: 2 for pictures, single slices and slices thicker than 4 pixels",
        choices=("auto", "2", "3"),
    )
    spacing: tuple[float, ...] = setting(
        (),
        "voxel spacing the networks see, for 2D also of the slice only; empty: median of the studies",
        "mm",
        low=1e-3,
    )
    modality: str = setting(
        "auto",
        "intensity scheme: mr scales by the mean and sd of each body, ct clips to the window of all, picture scales by the mean and sd of each image over all its colours",
        choices=("auto", "mr", "ct", "picture"),
    )
    modalities: tuple[str, ...] = setting(
        (),
        "series that belong together, as files <id>_<name>, or name=pattern with * for the id (ct=*-CT); empty: every file is a study",
    )
    patch: tuple[int, ...] = setting(
        (),
        "patch size, for 2D also of the slice only; empty: from the median shape and the device's memory",
        "voxels",
        low=8,
    )
    network: str = setting("unet", "network architecture", choices=("unet", "residual_unet"))
    size: str = setting(
        "auto", "network size; auto: small on a CPU, medium on a GPU", choices=("auto", "small", "medium", "large")
    )

    iterations: int = setting(0, "training length; 0: by epochs or minutes", "iterations", low=0)
    epochs: int = setting(
        0, f"training length in epochs of {EPOCH} iterations; 0: by iterations or minutes", "epochs", low=0
    )
    minutes: float = setting(
        15.0, "training length by the clock, if neither iterations nor epochs are given", "min", low=0.05
    )
    batch_labelled: int = setting(
        0, "labelled patches an iteration; 0: 2, of slices as many as hold as many voxels, 2 to 8", "patches", low=0
    )
    batch_unlabelled: int = setting(
        0, "unlabelled patches an iteration; 0: 2, of slices as many as hold as many voxels, 2 to 8", "patches", low=0
    )
    learning_rate: float = setting(2e-3, "peak of the one-cycle schedule (AdamW)", low=1e-8, high=1)
    weight_decay: float = setting(1e-2, "decoupled weight decay (AdamW)", low=0, high=1)
    gradient_clip: float = setting(1.0, "largest gradient norm of an iteration; 0: no clipping", low=0)
    ema: float = setting(
        0.99, "decay of the weight average that is validated and published; 0: the last weights", low=0, high=0.99999
    )
    foreground: float = setting(0.5, "share of labelled patches centred on a labelled structure", low=0, high=1)
    consistency: float = setting(1.0, "weight of the loss on unlabelled patches after its ramp", low=0)
    ramp: float = setting(0.3, "share of the training over which that weight rises", low=0, high=1)
    confidence: float = setting(
        0.0, "pseudo-labels below this probability are not learnt from; 0: all are", low=0, high=1
    )
    contrast: float = setting(0.02, "multiscale: weight of its contrastive terms after the ramp", low=0)
    temperature: float = setting(0.1, "temperature of the contrastive terms", low=0.05, high=10)
    teacher: float = setting(0.99, "decay of the weight average that teaches", low=0, high=0.99999)
    pretraining: float = setting(
        0.5, "ideal: length of the stage without labels before the training, as a share of it; 0: none", low=0
    )
    correspondence: str = setting(
        "argmax",
        "ideal: cells of two views that belong together, by the similarity of their features or by their place",
        choices=("argmax", "geometric"),
    )
    precision: str = setting(
        "auto",
        "auto: bf16 where the processor computes in it, fp16 on CUDA, else fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    pretrained: bool = setting(True, "start from the live model; false: from nothing")
    seed: int = setting(0, "seed of weights, patches and views", low=0)

    validation: float = setting(
        0.2, "share of the studies whose labels are kept for validation; 0: none", low=0, high=0.9
    )
    validations: int = setting(10, "validations during a training", low=1)
    patience: int = setting(0, "end after so many validations without a better one; 0: never", low=0)
    checkpoint_every: int = setting(200, "distance of the checkpoints a training resumes from", "iterations", low=1)
    publish: str = setting(
        "better",
        "which models go live: better ones, which are no worse on the same validation studies than the live one, or always",
        choices=("better", "always"),
    )
    keep_versions: int = setting(5, "published versions kept for going back", low=1)
    tracking: str = setting("none", "experiment tracking beside TensorBoard", choices=("none", "mlflow"))

    overlap: float = setting(0.5, "overlap of neighbouring windows at inference", low=0, high=0.9)
    strategy: str = setting("hybrid", "how the next study is chosen, if the client does not say", choices=STRATEGIES)
    lease_minutes: float = setting(
        60.0, "time for which a study that was offered stays with its reader", "min", low=0.1
    )
    score_minutes: float = setting(10.0, "time after a training to score the unlabelled studies", "min", low=0)
    cache_gb: float = setting(8.0, "disk budget of the preprocessed volumes", "GB", low=0.001)
    mirror_gb: float = setting(20.0, "disk budget of the series downloaded from a DICOM server", "GB", low=0.001)
    keep_labels: int = setting(20, "earlier labels kept of each study, for going back", low=0)
    stop_seconds: float = setting(
        120.0, "time in which a training that is stopped saves, validates and publishes; then it is ended", "s", low=1
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    hosts: tuple[str, ...] = setting(
        (),
        "names by which clients may call the server, beside localhost, the machine's own name, that of --host and addresses in numbers; *: any",
        form=r"\*|[A-Za-z0-9._-]+",
    )
    users: str = setting("", "users file, which the command users makes; empty: everybody may do everything")
    session_hours: float = setting(12.0, "time after which one has to log in again", "h", low=0.01, high=8760)
    origins: tuple[str, ...] = setting(
        (),
        "pages of other servers that may use this one, as https://viewer.example.org; empty: none",
        form=r"https?://[A-Za-z0-9._:\[\]-]+",
    )
    inferences: int = setting(1, "segmentations at the same time; each takes the memory of one", low=1, high=64)
    queue: int = setting(
        16, "segmentations that wait for their turn; beyond, clients are told to ask again later", low=0, high=10_000
    )
    model_uploads: bool = setting(
        False, "whether admins may upload a model file of semiseg, which goes live as the next version"
    )
    upload_gb: float = setting(
        2.0, "largest upload; those of local volumes together may take ten times that", "GB", low=0.001
    )
    threads: int = setting(0, "CPU threads of the networks; 0: all", low=0)
    workers: int = setting(1, "processes that prepare patches; 0: none beside the training", low=0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field, getattr(self, field.name))
        require(
            not (self.iterations and self.epochs),
            "iterations and epochs both give the training's length; set one of them",
        )
        for name, example in (("spacing", "1,1,1"), ("patch", "64,64,48")):
            require(
                len(getattr(self, name)) in ((0, 3) if self.dimension == "3" else (0, 2, 3)),
                f"{name} needs three numbers, e.g. {name}={example}, in dimension 2 two or three, or none for the "
                "choice by the studies",
            )
        named = self.label_values
        require(len(named) == len(set(named.values())) == len(self.labels), "labels names a class or a value twice")

    @property
    def label_values(self) -> dict[str, int]:
        """Class name -> value in the label files, as ``labels`` gives it; empty if it gives none."""
        return dict(_label(text, place) for place, text in enumerate(self.labels, 1))

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any]) -> Config:
        """Settings from text (``--conf``, the command line) or plain values (a stored model, a client's request).

        Raises:
            ConfigError: unknown key, value that does not fit its type or bounds, impossible combination.
        """
        types = _types()
        for key in conf:
            if key not in types:
                near = difflib.get_close_matches(key, types, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"the keys are: {', '.join(types)}"
                raise ConfigError(f"Setting '{key}' is unknown; {hint}")
        given = {key: parse(key, value, types[key]) for key, value in conf.items()}
        lengths = [key for key in ("iterations", "epochs", "minutes") if given.get(key)]
        require(len(lengths) < 2, f"{' and '.join(lengths)} both give the training's length; set one of them")
        return cls(**given)

    def replace(self, **changes: Any) -> Config:
        """A copy with other values; a new length (iterations, epochs or minutes) takes the place of the old one."""
        if changes.keys() & {"iterations", "epochs", "minutes"}:
            changes = {"iterations": 0, "epochs": 0} | changes
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and ``weights_only`` files hold them; :meth:`from_dict` reads them back."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The settings of a stored model; keys of another version of semiseg are left out."""
        types = _types()
        return cls(**{key: parse(key, value, types[key]) for key, value in values.items() if key in types})


@functools.cache
def _types() -> dict[str, Any]:
    """Field -> type; read from the annotations once, as every request for the next study checks its seed."""
    return get_type_hints(Config)


def _label(text: str, place: int) -> tuple[str, int]:
    name, _, value = text.partition("=")
    require(
        bool(name) and (not value or value.isdigit() and 0 < int(value) < 256),
        f"label '{text}' is neither a name nor name=value with a value of 1 to 255",
    )
    return name, int(value) if value else place


def table() -> str:
    """The settings as a Markdown table."""
    return table_of(Config)


if __name__ == "__main__":
    print(table())
