"""What of a client's ``params`` reaches a task: the library passes all of them on, and some mean something to it.

``bundle_path`` would become a place that the training's Python imports from, ``gpus`` a variable of its environment,
``model`` and ``method`` another task than the one that was checked, ``images`` whatever is to be segmented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lib.errors import ConfigError
from lib.server.settings import FOREIGN

LONGEST = 65_536  # characters: they go to the task's process on its command line (Linux takes 131,072 a word)
GPUS = re.compile(r"all|\d+(,\d+)*")
TEXTS = ("client_id", "label_tag")
OF_A_BATCH = {"result_extension", "result_dtype", "modality", "max_batch_size", *TEXTS}
IN_TURN = {"multi_gpu": False, "max_workers": 1}  # one study after the other, on the device of the settings


def for_training(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings, the reader's name and the GPUs to be seen.

    Raises:
        ConfigError: these are not text, or it is too much of it.
    """
    kept = {key: value for key, value in (params or {}).items() if key not in FOREIGN - {"client_id", "gpus"}}
    if kept.get("gpus") is not None and not GPUS.fullmatch(str(kept["gpus"])):
        raise ConfigError(f"gpus = {str(kept['gpus'])[:40]!r} is neither all nor numbers of GPUs, such as 0,1")
    return _checked(kept)


def for_batch(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an inference takes, the tag of the labels, and how many studies at most.

    Raises:
        ConfigError: of the wrong type, or too long.
    """
    kept = {key: value for key, value in (params or {}).items() if key in OF_A_BATCH}
    most = kept.get("max_batch_size", 0)
    if not isinstance(most, int) or most < 0:
        raise ConfigError(f"max_batch_size = {str(most)[:40]!r} is not a number of studies")
    return _checked(kept) | IN_TURN


def for_inference(params: Mapping[str, Any]) -> dict[str, Any]:
    """All but what names an image: that is the request's own affair.

    Raises:
        ConfigError: a name or tag that is no text.
    """
    return _checked({key: value for key, value in params.items() if key not in ("image", "model", "session")})


def _checked(params: dict[str, Any]) -> dict[str, Any]:
    for key in TEXTS:
        if not isinstance(params.get(key, ""), str):
            raise ConfigError(f"{key} is not text")
    if len(json.dumps(params)) > LONGEST:
        raise ConfigError(f"The params are longer than {LONGEST} characters")
    return params
