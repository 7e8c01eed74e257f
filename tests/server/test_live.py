"""The server always has the newest published model, and says so when there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lib.config import Config
from lib.errors import NotReadyError, SemisegError
from lib.server.live import LiveModel
from lib.server.train_stats import TrainStats
from lib.training.model_folder import ModelFolder


def test_without_a_model_the_way_to_one_is_named(live: LiveModel) -> None:
    assert not live.exists
    assert live.loaded() is None
    with pytest.raises(NotReadyError, match="label a few studies and press Train"), live.use():
        pass


def test_a_model_is_loaded_once_and_again_when_another_is_published_or_restored(
    live: LiveModel, publish: Callable[..., str], folder: ModelFolder
) -> None:
    publish(seed=1)
    with live.use() as first:
        assert first.version == "0001"
    assert live.loaded() is first
    publish(seed=2)
    second = live.loaded()
    assert second is not None
    assert second.version == "0002"
    assert second.checksum != first.checksum
    folder.restore("0001")
    restored = live.loaded()
    assert restored is not None
    assert (restored.version, restored.checksum) == ("0001", first.checksum)


def test_while_a_training_runs_predictions_take_one_thread(
    live: LiveModel, publish: Callable[..., str], folder: ModelFolder
) -> None:
    publish()
    wide = LiveModel(live.file, Config(threads=2), TrainStats(folder).locked)
    before = torch.get_num_threads()
    try:
        with wide.use():
            assert torch.get_num_threads() == 2
        with folder.lock("training"), wide.use():
            assert torch.get_num_threads() == 1
        with wide.use():
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("threads", "left"), [(1, 1), (2, 1), (4, 3)])
def test_while_others_wait_a_prediction_leaves_a_core(
    live: LiveModel, publish: Callable[..., str], threads: int, left: int
) -> None:
    publish()
    wide, waiting = LiveModel(live.file, Config(threads=threads)), [True, False]
    wide.crowded = lambda: waiting.pop(0)
    before = torch.get_num_threads()
    try:
        for expected in (left, threads):
            with wide.use():
                assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def test_a_look_at_the_model_does_not_wait_for_a_prediction(live: LiveModel, publish: Callable[..., str]) -> None:
    publish()
    with live.use() as segmenter:
        assert live.loaded() is segmenter


def test_a_file_that_is_no_model_is_an_error_to_use_and_nothing_to_look_at(
    live: LiveModel, folder: ModelFolder
) -> None:
    folder.path.mkdir()
    live.file.write_bytes(b"no model")
    assert live.loaded() is None
    with pytest.raises(SemisegError, match="not a model"), live.use():
        pass
