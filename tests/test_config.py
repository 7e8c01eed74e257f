"""Settings: read from text, refused with a sentence that names the remedy, stored and read back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from lib.config import Config, table
from lib.errors import ConfigError


def test_defaults_pass_their_own_checks() -> None:
    assert Config.from_conf({}) == Config()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("method", "supervised", "supervised"),
        ("labels", "liver,tumour", ("liver", "tumour")),
        ("labels", "", ()),
        ("spacing", "1,1,2.5", (1.0, 1.0, 2.5)),
        ("spacing", "[1, 1, 2.5]", (1.0, 1.0, 2.5)),
        ("patch", "48,48,32", (48, 48, 32)),
        ("iterations", "2000", 2000),
        ("iterations", "2e3", 2000),
        ("learning_rate", "1e-3", 1e-3),
        ("pretrained", "false", False),
        ("pretrained", "True", True),
        ("pretrained", "0", False),
        ("device", " cuda:1 ", "cuda:1"),
    ],
)
def test_text_becomes_a_value_of_the_settings_type(key: str, text: str, value: Any) -> None:
    read = getattr(Config.from_conf({key: text}), key)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("conf", [{"iterations": 50}, {"patch": [32, 32, 32]}, {"pretrained": False}])
def test_plain_values_are_read_like_text(conf: dict[str, Any]) -> None:
    assert Config.from_conf(conf) == Config.from_conf({key: json.dumps(value) for key, value in conf.items()})


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"itrations": "5"}, "did you mean 'iterations'"),
        ({"xyzzy": "5"}, "the keys are: method, labels"),
        ({"method": "magic"}, "choose one of: multiscale, ideal, semi_cml"),
        ({"iterations": "many"}, "is not a whole number"),
        ({"iterations": "2.5"}, "is not a whole number"),
        ({"iterations": "inf"}, "is not a whole number"),
        ({"iterations": "-1"}, "outside of"),
        ({"learning_rate": "nan"}, "outside of"),
        ({"learning_rate": "fast"}, "is not a number"),
        ({"pretrained": "maybe"}, "is not true or false"),
        ({"patch": "48,48", "dimension": "3"}, "needs three numbers"),
        ({"patch": "48"}, "in dimension 2 two or three"),
        ({"patch": "48,48,4"}, "outside of"),
        ({"spacing": "1,1,wide"}, "is not a comma-separated list"),
        ({"spacing": 3}, "is not a comma-separated list"),
        ({"iterations": "5", "epochs": "1"}, "set one of them"),
        ({"iterations": "5", "minutes": "1"}, "set one of them"),
        ({"labels": "liver,liver"}, "twice"),
        ({"labels": "liver=1,tumour=1"}, "twice"),
        ({"labels": "liver=0"}, "value of 1 to 255"),
        ({"labels": "liver=256"}, "value of 1 to 255"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(conf: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_conf(conf)
    assert says in str(caught.value)
    assert str(caught.value)[0].isupper(), "a sentence"


def test_every_bound_is_enforced() -> None:
    for field in dataclasses.fields(Config):
        low, high = field.metadata["low"], field.metadata["high"]
        for bad in [low - 1] * (low > float("-inf")) + [high + 1] * (high < float("inf")):
            with pytest.raises(ConfigError, match=rf"(?i)^{field.name} = .* is outside"):
                Config(**{field.name: (bad,) * 3 if isinstance(field.default, tuple) else bad})


def test_labels_are_numbered_by_place_unless_a_value_is_given() -> None:
    assert Config(labels=("liver", "tumour")).label_values == {"liver": 1, "tumour": 2}
    assert Config(labels=("liver=5", "tumour=3")).label_values == {"liver": 5, "tumour": 3}


def test_settings_survive_storage_as_json() -> None:
    config = Config(method="supervised", patch=(32, 32, 16), spacing=(1.0, 1.0, 2.0), labels=("a=2", "b=1"), ema=0.0)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_settings_of_another_version_are_left_out_when_a_model_is_read_but_refused_from_a_user() -> None:
    assert Config.from_dict({"seed": 3, "gone": 1}) == Config(seed=3)
    with pytest.raises(ConfigError, match="'gone' is unknown"):
        Config.from_conf({"seed": 3, "gone": 1})


def test_a_new_length_takes_the_place_of_the_old_one() -> None:
    config = Config(iterations=500)
    assert config.replace(epochs=4) == Config(epochs=4)
    assert config.replace(minutes=2.0).iterations == 0
    assert config.replace(seed=1).iterations == 500


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_table_has_one_row_a_setting_with_default_unit_and_choices() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table().splitlines()]
    assert [row[0] for row in rows[2:]] == [f"`{field.name}`" for field in dataclasses.fields(Config)]
    assert {len(row) for row in rows} == {4}
    settings = {row[0]: row for row in rows}
    assert settings["`pretrained`"][1] == "`true`"
    assert settings["`cache_gb`"][1:3] == ["`8.0`", "GB"]
    assert "multiscale, ideal, semi_cml" in settings["`method`"][3]
