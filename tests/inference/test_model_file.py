"""A published model comes back as it was; anything else is refused with a sentence, and never run."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.config import Config
from lib.errors import NotFoundError, SemisegError
from lib.inference.model_file import FORMAT, Model
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan

PLAN = Plan((1.0, 1.5, 2.5), "ct", (16, 16, 8), (-160.0, 240.0, 40.0, 100.0))


@pytest.fixture
def model() -> Model:
    config = Config(network="unet", size="small", spacing=(1.0, 1.5, 2.5), labels=("liver", "tumour=4"))
    labels = LabelMap({1: "liver", 4: "tumour"})
    weights = build_method(config, 1, 3, PLAN.patch).weights()
    return Model(config, PLAN, labels, weights, version="0003", metrics={"dice": 0.5, "cases": {"a": {"liver": 0.5}}})


def test_it_comes_back_as_it_was_saved(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "live.pt"
    model.save(path)
    found = Model.load(path)
    assert (found.config, found.plan, dict(found.labels.values)) == (model.config, PLAN, {1: "liver", 4: "tumour"})
    assert (found.version, found.metrics, found.channels) == ("0003", model.metrics, 1)
    torch.testing.assert_close(found.weights, dict(model.weights), rtol=0, atol=0)
    assert found.checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in path.parent.iterdir()] == ["live.pt"]


def test_it_predicts_as_the_method_it_was_made_from(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "live.pt")
    x = torch.randn(1, 1, *PLAN.patch)
    method = build_method(model.config, 1, 3, PLAN.patch).eval()
    built = Model.load(tmp_path / "live.pt").build()
    assert not built.training
    assert torch.equal(built.predict(x), method.predict(x))


def test_the_checksum_tells_two_models_apart(model: Model, tmp_path: Path) -> None:
    for version in ("0003", "0004"):
        model.renamed(version).save(tmp_path / f"{version}.pt")
    assert Model.load(tmp_path / "0003.pt").checksum != Model.load(tmp_path / "0004.pt").checksum


class Payload:
    """An object that would leave a file behind if unpickling ran it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple]:
        return (Path.touch, (self.trace,))


def test_a_file_with_code_in_it_is_refused_and_not_run(model: Model, tmp_path: Path) -> None:
    path, trace = tmp_path / "live.pt", tmp_path / "trace"
    torch.save({"format": FORMAT, "weights": Payload(trace)}, path)
    with pytest.raises(SemisegError, match=r"live\.pt is not a model of semiseg"):
        Model.load(path)
    assert not trace.exists()


def test_a_later_format_is_refused_with_the_remedy(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "live.pt"
    model.save(path)
    torch.save(torch.load(path, weights_only=True) | {"format": FORMAT + 1}, path)
    with pytest.raises(SemisegError, match=r"later version of semiseg; update"):
        Model.load(path)


def test_a_file_that_is_not_there_says_train_first(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="train one first"):
        Model.load(tmp_path / "live.pt")


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"weights": {}}, {"format": "one"}, {"format": FORMAT, "config": 3}, torch.ones(3), "text", None],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "live.pt")
    with pytest.raises(SemisegError, match="not a model of semiseg"):
        Model.load(tmp_path / "live.pt")


def test_a_damaged_file_is_refused_wherever_the_damage_is(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "live.pt"
    model.save(path)
    whole = path.read_bytes()
    damaged = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    damaged += [b"not a model", b"\x80\x02", bytes(range(256)), whole[:100] + bytes(200) + whole[300:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(SemisegError, match="not a model of semiseg"):
            Model.load(path)


def test_weights_of_another_network_are_a_sentence(model: Model) -> None:
    with pytest.raises(SemisegError, match=r"model 0003 are not those of a small residual_unet; train again"):
        dataclasses.replace(model, config=dataclasses.replace(model.config, network="residual_unet")).build()


def test_what_is_no_network_is_neither_needed_nor_loaded(model: Model) -> None:
    """Earlier files hold heads and teachers too; files of today hold the networks alone."""
    assert all(key.startswith("networks.") for key in model.weights)
    fresh = build_method(model.config, 1, 3, PLAN.patch).state_dict()
    others = {key: value + 1 for key, value in fresh.items() if key not in model.weights}
    assert others
    built = dataclasses.replace(model, weights={**model.weights, **others}).build().state_dict()
    for key, value in built.items():
        assert torch.equal(value, model.weights.get(key, fresh[key]))


def test_a_network_weight_that_is_missing_or_too_many_is_refused(model: Model) -> None:
    first = next(iter(model.weights))
    for weights in ({key: value for key, value in model.weights.items() if key != first},
                    {**model.weights, "networks.9.weight": torch.zeros(1)},
                    {**model.weights, first: torch.zeros(1)}):  # fmt: skip
        with pytest.raises(SemisegError, match="are not those of a small"):
            dataclasses.replace(model, weights=weights).build()


def test_a_failed_save_leaves_the_old_file_and_no_draft(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "live.pt"
    model.save(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        model.renamed("0004").save(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["live.pt"]
