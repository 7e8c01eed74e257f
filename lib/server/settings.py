"""The settings a client may change for one training: what is offered, and what a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.config import EPOCH, METHODS, Config
from lib.errors import ConfigError
from lib.server.segmentation import first

LENGTHS = ("iterations", "epochs", "minutes")
OF_THE_PROJECT = ("labels", "modalities", "validation", "cache_gb")
OF_THE_SERVER = ("hosts", "origins", "inferences", "queue", "upload_gb", "model_uploads", "users", "session_hours")
FIXED = (*OF_THE_PROJECT, *OF_THE_SERVER)  # not of a training
TRACKING = ("none", "mlflow")
# What MONAI Label and its clients add to a request, and what its own apps call the epochs
FOREIGN = {"model", "client_id", "name", "gpus", "multi_gpu", "local_rank", "bundle_path", "dataset", "run_id"}
ALIASES = {"max_epochs": "epochs"}


def offered(config: Config) -> dict[str, Any]:
    """The settings that clients show. A choice is a list of texts with the default first: clients send that item."""
    epochs = config.epochs or -(-config.iterations // EPOCH)
    return {
        "method": _default_first(config.method, METHODS),
        "minutes": 0.0 if epochs else config.minutes,
        "epochs": epochs,
        "pretrained": config.pretrained,
        "seed": config.seed,
        "tracking": _default_first(config.tracking, TRACKING),
    }


def requested(request: Mapping[str, Any], config: Config) -> Config:
    """The settings of one training.

    Clients send back all that was offered, so of two lengths the one that differs from the offer counts.

    Raises:
        ConfigError: an unknown setting, one of the project's, or a value that does not fit.
    """
    given = {ALIASES.get(key, key): first(value) for key, value in request.items() if key not in FOREIGN}
    for key in FIXED:
        if key in given:
            raise ConfigError(f"Setting '{key}' belongs to the project: give it with --conf when the server starts")
    changes = _one_length(given, offered(config))
    parsed = Config.from_conf(changes)
    return config.replace(**{key: getattr(parsed, key) for key in changes})


def _one_length(given: Mapping[str, Any], offer: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in given.items() if key not in LENGTHS}
    lengths = {key: given[key] for key in LENGTHS if key in given}
    return rest | {key: value for key, value in lengths.items() if _number(value) not in (0, offer.get(key))}


def _number(value: Any) -> Any:
    """Text of a number as that number, so that "15", 15 and 15.0 are the same; an emptied field counts as 0."""
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return value


def _default_first(default: str, choices: tuple[str, ...]) -> list[str]:
    return [default, *(choice for choice in choices if choice != default)]
