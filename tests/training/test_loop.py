"""One iteration: precision, averaging, clipping, and what happens when a number is none."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from lib.errors import SemisegError
from lib.methods.base import Term
from lib.methods.supervised import Supervised
from lib.training.loop import LOST, Loop


def run(loop: Loop, steps: int) -> list[dict[str, float]]:
    engine, values = loop.engine(), []
    for number in range(1, steps + 1):
        engine.state.iteration = number
        values.append(loop.step(engine))
    loop.close()
    return values


def weights(loop: Loop) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in loop.method.state_dict().items()}


def test_it_tells_each_term_their_sum_and_the_rate(project: Any) -> None:
    loop = project.loop(consistency=0.5, ramp=0.0)
    first, second = run(loop, 2)
    monitors = {"monitor/pseudo_foreground", "monitor/agreement", "monitor/ensemble_gain", "monitor/skipped"}
    assert set(first) == {"supervised", "cross", "loss", "learning_rate"} | monitors
    assert first["loss"] == pytest.approx(first["supervised"] + 0.5 * first["cross"])
    assert first["learning_rate"] < second["learning_rate"] <= loop.config.learning_rate


def test_it_counts_the_patches_of_each_study(project: Any) -> None:
    loop = project.loop(batch_labelled=2, batch_unlabelled=4)
    run(loop, 3)
    unlabelled = {f"phantom_00{number}" for number in (4, 5, 6)}
    assert sum(loop.uses[study] for study in loop.uses.keys() - unlabelled) == 6
    assert {study: loop.uses[study] for study in unlabelled} == dict.fromkeys(unlabelled, 4)


def test_the_smoothed_weights_are_the_moving_average(project: Any) -> None:
    loop = project.loop(ema=0.9)
    engine, expected = loop.engine(), None
    for number in range(1, 5):
        engine.state.iteration = number
        loop.step(engine)
        now = weights(loop)
        expected = now if expected is None else {key: 0.9 * expected[key] + 0.1 * now[key] for key in now}
    torch.testing.assert_close(dict(loop.smoothed.state_dict()), expected)


def test_without_averaging_the_weights_are_smoothed_by_nothing(project: Any) -> None:
    loop = project.loop(ema=0.0)
    assert loop.smoothed is loop.method


def test_gradients_are_clipped_to_their_norm(project: Any) -> None:
    loop = project.loop(gradient_clip=0.01)
    run(loop, 1)
    squares = [(weight.grad**2).sum() for weight in loop.method.parameters()]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(0.01, rel=1e-3)


def test_bf16_learns_as_fp32_does_and_keeps_its_weights_in_fp32(project: Any) -> None:
    half, full = project.loop(precision="bf16"), project.loop()
    assert run(half, 3)[-1]["supervised"] == pytest.approx(run(full, 3)[-1]["supervised"], rel=0.05)
    assert {value.dtype for value in half.method.state_dict().values()} == {torch.float32}


class Broken:
    """A method whose loss is no number at these steps."""

    def __init__(self, loop: Loop, steps: set[int]) -> None:
        self.whole, self.steps, self.calls = loop.method.losses, steps, 0
        loop.method.losses = self  # type: ignore[method-assign]

    def __call__(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        self.calls += 1
        terms = self.whole(batch, progress)
        return {"supervised": Term(terms["supervised"].value * torch.nan)} if self.calls in self.steps else terms


def test_a_gradient_that_is_no_number_is_left_out(project: Any, caplog: pytest.LogCaptureFixture) -> None:
    loop = project.loop()
    Broken(loop, {2})
    run(loop, 1)
    before = weights(loop)
    engine = loop.engine()
    engine.state.iteration = 2
    with caplog.at_level(logging.WARNING):
        loop.step(engine)
    assert "without a finite gradient" in caplog.text
    torch.testing.assert_close(weights(loop), before, rtol=0, atol=0)
    engine.state.iteration = 3
    loop.step(engine)
    assert loop.lost == 0
    assert all(torch.isfinite(value).all() for value in weights(loop).values())
    assert any(not torch.equal(value, before[key]) for key, value in weights(loop).items())


def test_too_many_of_them_in_a_row_end_the_training_with_the_remedy(project: Any) -> None:
    loop = project.loop(method="supervised", iterations=3 * LOST)
    broken = Broken(loop, set(range(3, 2 + LOST)) | set(range(3 + LOST, 100)))  # LOST - 1, a good one, then for ever
    with pytest.raises(SemisegError, match="lower learning_rate"):
        run(loop, 3 * LOST)
    assert broken.calls == 2 + LOST + LOST


def test_a_term_with_nothing_valid_is_reported_as_skipped(project: Any) -> None:
    values = run(project.loop(confidence=1.0), 1)[0]
    assert values["cross"] == 0
    assert values["skipped/cross"] == 1
    assert values["monitor/skipped"] == 0.5  # of this step's two terms


def test_the_share_of_skipped_terms_counts_all_steps_also_after_a_resumption(project: Any) -> None:
    before, after = project.loop(confidence=1.0), project.loop(confidence=1.0)
    assert [values["monitor/skipped"] for values in run(before, 2)] == [0.5, 0.5]
    after.load_state_dict(before.state_dict())
    after.method.confidence = 0.0
    assert run(after, 1)[0]["monitor/skipped"] == pytest.approx(2 / 6)


class Drawing(Supervised):
    """A method that draws a number at each step, has a teacher, and tells what it saw in every other step."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop.method.networks[0])
        self.teacher = torch.nn.Linear(1, 1).requires_grad_(False)
        self.drawn: list[float] = []

    def begin(self) -> None:
        torch.nn.init.constant_(self.teacher.weight, 7.0)

    def losses(self, batch: dict[str, Any], progress: float) -> dict[str, Term]:
        self.drawn.append(float(torch.rand(())))
        if len(self.drawn) % 2:
            self.monitors = {"count": torch.tensor(len(self.drawn))}
        return super().losses(batch, progress)


def drawing(project: Any, **settings: Any) -> Loop:
    loop = project.loop(method="supervised", **settings)
    return Loop(Drawing(loop), loop.patches, loop.config, loop.steps, loop.device)


def test_what_a_method_draws_is_a_function_of_seed_and_step(project: Any) -> None:
    first, other = drawing(project), drawing(project, seed=1)
    run(first, 3)
    torch.rand(5)
    resumed = drawing(project)
    engine = resumed.engine()
    engine.state.iteration = 3
    resumed.step(engine)
    run(other, 3)
    assert len(set(first.method.drawn + other.method.drawn)) == 6
    assert resumed.method.drawn == first.method.drawn[2:]


def test_a_method_begins_before_its_average_is_copied_and_its_teacher_is_not_optimised(project: Any) -> None:
    loop = drawing(project, weight_decay=0.5, learning_rate=0.1)
    run(loop, 3)
    assert loop.method.teacher.weight.item() == loop.smoothed.teacher.weight.item() == 7.0
    learning = {weight for group in loop.optimizer.param_groups for weight in group["params"]}
    assert learning == {weight for weight in loop.method.parameters() if weight.requires_grad}


def test_a_monitor_of_an_earlier_step_is_not_told_again(project: Any) -> None:
    counts = [values.get("monitor/count") for values in run(drawing(project), 4)]
    assert counts == [1.0, None, 3.0, None]
