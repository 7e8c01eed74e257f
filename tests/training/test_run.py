"""A run that is interrupted and resumed equals one that was not; every way a run may end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib.errors import SemisegError
from lib.methods.supervised import Supervised
from lib.training import run as run_module
from lib.training.progress import Progress
from lib.training.run import OVERTIME, History, Run, checkpoints, latest_checkpoint
from lib.training.validation import validate

STEPS = 9
SETTINGS: dict[str, Any] = {"iterations": STEPS, "checkpoint_every": 3, "validations": 3}


class Recorder:
    """Listens to a run, and can end it: by asking it to stop, or by falling down."""

    def __init__(self, stop_at: int = 0, fall_at: int = 0) -> None:
        self.told: dict[int, Progress] = {}
        self.stop_at, self.fall_at = stop_at, fall_at

    def __call__(self, now: Progress) -> None:
        assert now.step not in self.told
        if now.step == self.fall_at:
            raise OSError("no space left")
        self.told[now.step] = now

    def should_stop(self) -> bool:
        return bool(self.told) and max(self.told) == self.stop_at

    @property
    def losses(self) -> dict[int, dict[str, float]]:
        return {step: now.losses for step, now in self.told.items()}


def make(project: Any, folder: Path, recorder: Recorder | None = None, validator: Any = True, **settings: Any) -> Run:
    recorder = recorder or Recorder()
    loop = project.loop(**SETTINGS | settings)
    cases = [case.on("validation") for case in project.cases[2:4]]
    if validator is True:
        validator = partial(validate, cases=cases, cache=loop.patches.cache, config=loop.config)
    return Run(loop, loop.config, folder, validator, recorder, recorder.should_stop)


def scripted(*values: float) -> Callable[[torch.nn.Module], dict]:
    """A validator that finds these Dice in turn."""
    turn = iter(values)
    return lambda _: {"study": {"organ": next(turn)}}


def state(run: Run) -> dict[str, Any]:
    """All that a training leaves behind."""
    saved = {name: part.state_dict() for name, part in run.loop.state().items() if name != "loop"}
    history = {key: value for key, value in run.history.state_dict().items() if key != "seconds"}
    return saved | {"history": history, "uses": dict(run.loop.uses), "watch": run.watch.state_dict()}


@pytest.mark.parametrize("method", ["supervised", "cross_pseudo", "multiscale", "mean_teacher"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    project: Any, tmp_path: Path, method: str, workers: int
) -> None:
    whole, before, after = Recorder(), Recorder(stop_at=5), Recorder()
    uninterrupted = make(project, tmp_path / "whole", whole, method=method, workers=workers)
    uninterrupted()
    stopped = make(project, tmp_path / "parts", before, method=method, workers=workers)
    stopped()
    assert (stopped.ended, stopped.engine.state.iteration) == ("stopped", 5)
    checkpoint = latest_checkpoint(tmp_path / "parts")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint_5.pt"
    resumed = make(project, tmp_path / "parts", after, method=method, workers=workers)
    resumed.resume([checkpoint])
    resumed()
    assert resumed.ended == "finished"
    assert before.losses | after.losses == whole.losses
    assert list(after.losses) == [6, 7, 8, 9]
    torch.testing.assert_close(state(resumed), state(uninterrupted), rtol=0, atol=0)


def test_a_run_that_fell_down_goes_on_from_its_last_checkpoint(project: Any, tmp_path: Path) -> None:
    whole, before, after = Recorder(), Recorder(fall_at=8), Recorder()
    uninterrupted = make(project, tmp_path / "whole", whole)
    uninterrupted()
    with pytest.raises(OSError, match="no space left"):
        make(project, tmp_path / "parts", before)()
    checkpoint = latest_checkpoint(tmp_path / "parts")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint_6.pt"
    resumed = make(project, tmp_path / "parts", after)
    resumed.resume([checkpoint])
    resumed()
    assert list(after.losses) == [7, 8, 9]
    assert before.losses | after.losses == whole.losses
    torch.testing.assert_close(state(resumed), state(uninterrupted), rtol=0, atol=0)


@pytest.mark.parametrize("spoil", ["another version", "half a file"])
def test_a_checkpoint_that_does_not_fit_is_named_with_the_way_out(spoil: str, project: Any, tmp_path: Path) -> None:
    make(project, tmp_path)()
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint
    if spoil == "half a file":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        saved = torch.load(checkpoint, weights_only=True)
        name = next(key for key, value in saved["method"].items() if value.ndim > 1)
        saved["method"][name] = saved["method"][name][:1]
        torch.save(saved, checkpoint)
    with pytest.raises(SemisegError, match=r"damaged or of another version.*Train again"):
        make(project, tmp_path).resume([checkpoint])


def test_a_damaged_last_checkpoint_costs_one_interval(project: Any, tmp_path: Path) -> None:
    whole, after = Recorder(), Recorder()
    make(project, tmp_path / "whole", whole)()
    before = Recorder(fall_at=8)
    with pytest.raises(OSError, match="no space"):
        make(project, tmp_path / "parts", before)()
    first, second = checkpoints(tmp_path / "parts")
    second.write_bytes(second.read_bytes()[:5000])
    resumed = make(project, tmp_path / "parts", after)
    resumed.resume([first, second])
    resumed()
    assert list(after.losses) == [4, 5, 6, 7, 8, 9]
    assert before.losses | after.losses == whole.losses


def test_a_run_that_fell_down_after_its_last_step_does_not_begin_anew(project: Any, tmp_path: Path) -> None:
    finished = make(project, tmp_path)
    finished()
    recorder = Recorder()
    resumed = make(project, tmp_path, recorder)
    resumed.resume([tmp_path / f"checkpoint_{STEPS}.pt"])
    resumed()
    assert not recorder.told
    assert (resumed.ended, resumed.engine.state.iteration) == ("finished", STEPS)
    torch.testing.assert_close(state(resumed), state(finished), rtol=0, atol=0)


def test_a_stop_that_comes_with_the_last_step_is_an_end(project: Any, tmp_path: Path) -> None:
    run = make(project, tmp_path, Recorder(stop_at=STEPS), validator=None)
    run()
    assert run.ended == "finished"


def test_only_the_latest_checkpoints_are_kept(project: Any, tmp_path: Path) -> None:
    make(project, tmp_path, validator=None)()
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["checkpoint_6.pt", "checkpoint_9.pt"]
    assert latest_checkpoint(tmp_path / "elsewhere") is None


def test_it_validates_evenly_and_at_the_end(project: Any, tmp_path: Path) -> None:
    run = make(project, tmp_path, validator=scripted(0.2, 0.4, 0.3, 0.1), iterations=10)
    assert run().metrics == {3: 0.2, 6: 0.4, 9: 0.3, 10: 0.1}


def test_what_is_kept_are_the_averaged_weights_of_the_best_validation(project: Any, tmp_path: Path) -> None:
    averages = []
    found = iter([0.2, 0.6, 0.4])

    def validator(method: torch.nn.Module) -> dict:
        averages.append({key: value.clone() for key, value in method.state_dict().items()})
        return {"study": {"organ": next(found)}}

    run = make(project, tmp_path, validator=validator)
    history = run()
    assert history.best == 0.6
    torch.testing.assert_close(history.weights, averages[1], rtol=0, atol=0)
    torch.testing.assert_close(averages[2], dict(run.loop.smoothed.state_dict()), rtol=0, atol=0)
    last = run.loop.method.state_dict()
    assert any(not torch.equal(averages[2][key], last[key]) for key in last)


def test_a_tie_goes_to_the_later_weights() -> None:
    history, method = History(), Supervised(torch.nn.Linear(1, 1, bias=False))
    method.teacher = torch.nn.Linear(1, 1)
    for step, weight in enumerate((1.0, 2.0, 3.0)):
        torch.nn.init.constant_(method.networks[0].weight, weight)
        history.add(step, {"study": {"organ": 0.5 if step < 2 else 0.4}}, method)
    assert {key: value.item() for key, value in history.weights.items()} == {"networks.0.weight": 2.0}


def test_it_ends_when_so_many_validations_were_no_better(project: Any, tmp_path: Path) -> None:
    run = make(project, tmp_path, None, scripted(0.1, 0.5, 0.4, 0.45, 0.6), iterations=10, validations=10, patience=2)
    run()
    assert (run.ended, run.engine.state.iteration, run.history.best) == ("converged", 4, 0.5)


def test_a_stop_before_the_first_validation_is_validated_all_the_same(project: Any, tmp_path: Path) -> None:
    run = make(project, tmp_path, Recorder(stop_at=2), scripted(0.7))
    assert run().metrics == {2: 0.7}
    resumed = make(project, tmp_path)
    resumed.resume([tmp_path / "checkpoint_2.pt"])
    assert resumed.history.metrics == {}  # an uninterrupted run would not have had it


def test_a_training_by_the_clock_ends_when_the_machine_became_slower(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(project, tmp_path, validator=None)
    run.config = run.config.replace(minutes=1.0)
    clock = iter(range(0, 10_000, 20))
    # of this module alone: threads that other tests left behind look at the clock too
    monkeypatch.setattr(run_module, "time", SimpleNamespace(monotonic=lambda: float(run.start + next(clock))))
    run()
    assert run.ended == "out of time"
    assert run.engine.state.iteration == 1 + math.ceil(OVERTIME * 60 / 20)


def test_it_tells_each_step_with_losses_and_the_latest_dice(project: Any, tmp_path: Path) -> None:
    recorder = Recorder()
    make(project, tmp_path, recorder, scripted(0.2, 0.1, 0.3))()
    assert list(recorder.told) == list(range(1, STEPS + 1))
    assert [(now.metric, now.best) for now in list(recorder.told.values())[2:7]] == [
        (None, None), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2), (0.1, 0.2),
    ]  # fmt: skip
    assert set(recorder.losses[1]) == {"supervised", "cross", "loss"}
    seconds = [now.seconds for now in recorder.told.values()]
    assert seconds == sorted(seconds)
