"""The live model is whole at every moment, versions are numbered on, and one training at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from lib.config import Config
from lib.errors import NotFoundError, NotReadyError, SemisegError
from lib.inference.model_file import Model
from lib.methods.registry import build_method
from lib.studies.labels import LabelMap
from lib.studies.plan import Plan
from lib.training.model_folder import ROOT, ModelFolder

PLAN = Plan((1.0, 1.0, 1.0), "mr", (16, 16, 8))


def model(seed: int = 0) -> Model:
    config = Config(method="supervised", network="unet", size="small", seed=seed)
    return Model(config, PLAN, LabelMap({1: "organ"}), build_method(config, 1, 2, PLAN.patch).state_dict())


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "model")


def seed_of(path: Path | None) -> int:
    assert path is not None
    return Model.load(path).config.seed


def test_what_is_published_is_live_under_the_next_number(folder: ModelFolder) -> None:
    assert folder.live is None
    assert folder.versions() == []
    assert [folder.publish(model(seed), keep=5) for seed in (1, 2)] == ["0001", "0002"]
    assert folder.versions() == ["0001", "0002"]
    live = Model.load(folder.live)  # type: ignore[arg-type]
    assert (live.version, live.config.seed) == ("0002", 2)
    torch.testing.assert_close(live.weights, dict(model(2).weights), rtol=0, atol=0)


def test_the_last_versions_are_kept_and_numbers_never_used_again(folder: ModelFolder) -> None:
    for seed in range(4):
        folder.publish(model(seed), keep=2)
    assert folder.versions() == ["0003", "0004"]
    for version in folder.versions():
        (folder.path / "versions" / f"{version}.pt").unlink()
    assert folder.publish(model(), keep=2) == "0005"


def test_an_earlier_version_can_be_live_again_and_numbers_go_on(folder: ModelFolder) -> None:
    for seed in (1, 2, 3):
        folder.publish(model(seed), keep=5)
    folder.restore("0001")
    assert seed_of(folder.live) == 1
    assert folder.versions() == ["0001", "0002", "0003"]
    assert folder.publish(model(4), keep=5) == "0004"


def test_what_cannot_be_restored_leaves_the_live_model_alone(folder: ModelFolder) -> None:
    with pytest.raises(NotFoundError, match="'0001' is not kept; there are: none"):
        folder.restore("0001")
    for seed in (1, 2):
        folder.publish(model(seed), keep=5)
    with pytest.raises(NotFoundError, match="'0007' is not kept; there are: 0001, 0002"):
        folder.restore("0007")
    (folder.path / "versions" / "0001.pt").write_bytes(b"damaged")
    with pytest.raises(SemisegError, match="not a model"):
        folder.restore("0001")
    assert seed_of(folder.live) == 2


@pytest.mark.parametrize(
    "moved", [0, 1, 2], ids=["before its number", "before the version is kept", "before it goes live"]
)
def test_a_reader_never_finds_half_a_model(folder: ModelFolder, moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power goes off when so many files were moved to their place."""
    folder.publish(model(1), keep=5)
    replace, done = os.replace, []

    def power_off(draft: Path, path: Path) -> None:
        if len(done) == moved:
            raise OSError("power off")
        done.append(path)
        replace(draft, path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_off)
        with pytest.raises(OSError, match="power off"):
            folder.publish(model(2), keep=5)
    assert seed_of(folder.live) == 1
    assert [path.name for path in folder.path.glob("*.pt")] == ["live.pt"]
    assert folder.publish(model(3), keep=5) == ("0003" if moved else "0002")
    assert seed_of(folder.live) == 3


def test_a_damaged_number_is_no_end_to_publishing(folder: ModelFolder) -> None:
    folder.publish(model(1), keep=5)
    (folder.path / "versions" / "last").write_text("")  # what a power cut may leave of a file that was not synced
    assert folder.publish(model(2), keep=5) == "0002"


def test_one_process_at_a_time_holds_the_project(folder: ModelFolder) -> None:
    with folder.lock("training"):
        under_way = rf"training.*under way.*process {os.getpid()} since"
        with pytest.raises(NotReadyError, match=under_way), folder.lock("training"):
            pass
        with folder.lock("scoring"):
            pass
        with folder.lock("training", wanted=False):
            pass
    with folder.lock("training"):
        pass


def test_the_lock_of_a_killed_process_is_free(folder: ModelFolder) -> None:
    def hold() -> None:
        with folder.lock("training"):
            held.set()
            time.sleep(600)

    processes = multiprocessing.get_context("fork")
    held = processes.Event()
    holder = processes.Process(target=hold)
    holder.start()
    assert held.wait(60)
    with pytest.raises(NotReadyError, match=f"process {holder.pid}"), folder.lock("training"):
        pass
    holder.kill()
    holder.join()
    with folder.lock("training"):
        pass


def test_the_holder_of_a_lock_is_known_by_number_and_start(folder: ModelFolder) -> None:
    assert folder.holder("training") is None
    with folder.lock("training"):
        holder = folder.holder("training")
        assert holder is not None
        assert holder.pid == os.getpid()
        about = json.loads((folder.path / "training.lock").read_text())
        (folder.path / "training.lock").write_text(json.dumps(about | {"started": about["started"] - 100}))
        assert folder.holder("training") is None  # the number was given to another process since
    assert folder.holder("training") is None  # let go


def test_a_helper_that_outlives_the_holder_does_not_hold_the_lock(folder: ModelFolder) -> None:
    """The processes that prepare patches are forked; when the training is killed they notice seconds later."""
    processes = multiprocessing.get_context("fork")
    held, ended = processes.Event(), processes.Event()

    def hold() -> None:
        with folder.lock("training"):
            if os.fork() == 0:
                ended.wait(600)
                os._exit(0)
            held.set()
            time.sleep(600)

    holder = processes.Process(target=hold)
    holder.start()
    assert held.wait(60)
    holder.kill()
    holder.join()
    try:
        with folder.lock("training"):
            pass
    finally:
        ended.set()


def test_each_studies_folder_has_a_project_of_its_own(tmp_path: Path) -> None:
    one, other = (ModelFolder.of(Config(), tmp_path / name / "studies").path for name in ("a", "b"))
    assert one != other
    assert one.parent == other.parent == ROOT / "model"
    assert one.name.startswith("studies-")
    assert ModelFolder.of(Config(), tmp_path / "a" / ".." / "a" / "studies").path == one
    assert ModelFolder.of(Config(model=str(tmp_path / "here")), tmp_path / "a").path == tmp_path / "here"
