"""What clients are offered for a training, and what their requests make of it."""

from __future__ import annotations

from typing import Any

import pytest

from lib.config import METHODS, Config
from lib.errors import ConfigError
from lib.server.settings import offered, requested


def sent(config: Config, **changes: Any) -> dict[str, Any]:
    """What 3D Slicer sends: all that is offered, of each list the first item, beside its own keys."""
    values = {key: value[0] if isinstance(value, list) else value for key, value in offered(config).items()}
    return values | {"model": "semiseg", "client_id": "user-xyz"} | changes


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(method="supervised", tracking="mlflow"),
        Config(epochs=4),
        Config(iterations=70),
        Config(minutes=3, seed=5),
    ],
)
def test_what_was_offered_changes_nothing(config: Config) -> None:
    assert requested(sent(config), config) == config


def test_choices_are_texts_with_the_default_first() -> None:
    offer = offered(Config(method="supervised"))
    assert offer["method"] == ["supervised", *(name for name in METHODS if name != "supervised")]
    assert all(isinstance(item, str) for value in offer.values() if isinstance(value, list) for item in value)


def test_a_changed_length_takes_the_place_of_the_offered_one() -> None:
    assert requested(sent(Config(), epochs=3), Config()) == Config(epochs=3)
    assert requested(sent(Config(epochs=3), minutes=2.0), Config(epochs=3)) == Config(minutes=2.0)
    assert requested(sent(Config(), minutes=7), Config()) == Config(minutes=7.0)
    assert requested({"iterations": "12"}, Config(epochs=3)) == Config(iterations=12)
    assert requested({"max_epochs": 6}, Config()) == Config(epochs=6)


def test_lists_and_texts_are_understood() -> None:
    request = {"method": ["supervised", "cross_pseudo"], "pretrained": "false", "seed": "3"}
    assert requested(request, Config()) == Config(method="supervised", pretrained=False, seed=3)


def test_the_projects_other_settings_stay() -> None:
    config = Config(labels=("organ",), patch=(32, 32, 32), learning_rate=1e-3)
    assert requested({"seed": 1}, config) == config.replace(seed=1)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"methode": "supervised"}, "methode.*did you mean 'method'"),
        ({"method": "magic"}, "magic"),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": 3, "minutes": 2}, "both"),
        ({"labels": "a,b"}, "labels.*--conf"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(request_: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        requested(request_, Config())
