"""Semi-CML: who is judged on what, what a missing modality means, who teaches, and which network predicts."""

from __future__ import annotations

import pytest
import torch

from lib.config import Config
from lib.losses.area_similarity import area_similarity
from lib.losses.dice_ce import dice_ce
from lib.losses.soft_labels import soft_dice_ce
from lib.methods import semi_cml
from lib.methods.base import sigmoid_ramp, total
from lib.methods.best_model_average import POOL, SETTLED
from lib.methods.mean_teacher import squared_difference
from lib.methods.registry import build_method
from lib.methods.semi_cml import EPOCHS, LATE, SECOND_STAGE, SemiCML

PATCH = (16, 16, 8)
FIRST, SECOND = 0.5, 0.9  # shares of the training in either stage


def build(modalities: int = 2, **settings) -> SemiCML:
    names = ("ct", "mr", "pet")[:modalities]
    method = build_method(Config(method="semi_cml", size="small", modalities=names, **settings), 1, 2, PATCH)
    assert isinstance(method, SemiCML)
    return method


def toy_of(method: SemiCML, batch_of, labelled: int = 4, unlabelled: int = 2) -> dict:
    return batch_of(method, PATCH, labelled, unlabelled, modalities=len(method.networks))


def gradients(method: SemiCML, place: int) -> float:
    return sum(
        float(weight.grad.abs().sum()) for weight in method.networks[place].parameters() if weight.grad is not None
    )


@pytest.mark.parametrize("progress", [FIRST, SECOND])
def test_all_labelled_patients_teach_in_both_stages(progress: float, batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of)
    term = method(toy, progress)["supervised"]
    expected = [
        dice_ce(network(toy["image"][:, [place]]), toy["label"]) for place, network in enumerate(method.networks)
    ]
    torch.testing.assert_close(term.value, sum(expected) / 2, rtol=1e-4, atol=1e-5)
    assert term.n_valid == 2 * len(toy["label"])


def test_networks_are_judged_in_the_first_stage_on_the_patients_who_have_the_modality(batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of)
    toy["present"][3, 1] = False
    method(toy, FIRST)
    for place, rows in enumerate((slice(None), slice(3))):
        calls, truth = method.networks[place](toy["image"][rows, [place]]).argmax(1, keepdim=True), toy["label"][rows]
        agreeing = ((calls == truth) & (truth > 0)).sum()
        assert method.average.overlap[place].tolist() == [2 * agreeing, (calls > 0).sum() + (truth > 0).sum()]
    judged = method.average.overlap.clone()
    method(toy, SECOND)
    assert torch.equal(method.average.overlap, judged)


def test_the_pool_of_the_teachers_rule_is_of_the_last_epochs_of_the_first_stage() -> None:
    assert build().average.start == LATE
    assert LATE + POOL < EPOCHS * SECOND_STAGE


@pytest.mark.parametrize("leading", [0, 1])
def test_the_leading_modality_is_not_drawn_towards_the_others(leading: int, batch_of) -> None:
    for name in ("area_similarity", "consistency"):
        method = build()
        method.average.total[leading] = 0.5
        method.average.epochs.fill_(SETTLED)
        method(toy_of(method, batch_of), FIRST)[name].value.backward()
        assert gradients(method, leading) == 0
        assert gradients(method, 1 - leading) > 0


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_terms_of_the_first_stage(modalities: int, batch_of, monkeypatch) -> None:
    monkeypatch.setattr(semi_cml, "SMALLEST", 1.0)
    method = build(modalities, consistency=0.5, ramp=0.8)
    toy = toy_of(method, batch_of, unlabelled=3)
    toy["unlabelled_present"][0, 0] = False
    terms = method(toy, FIRST)
    found = [network(toy["strong"][0][:, [place]]).softmax(1) for place, network in enumerate(method.networks)]
    pairs = [(0, 1), (0, 2), (1, 2)] if modalities == 3 else [(0, 1)]
    area, squares, rows = [], [], 0
    for one, other in pairs:
        both = slice(1 if one == 0 else 0, None)
        area.append(area_similarity(found[one][both, 1:], found[other][both, 1:], 1.0)[0])
        squares.append(squared_difference(found[one][both], found[other][both]))
        rows += len(found[one][both])
    torch.testing.assert_close(terms["area_similarity"].value, sum(area) / len(area), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["consistency"].value, sum(squares) / len(squares), rtol=1e-3, atol=1e-6)
    rising = 0.5 * sigmoid_ramp(FIRST, 0.8)
    assert terms["area_similarity"].weight == pytest.approx(semi_cml.AREA * rising)
    assert terms["consistency"].weight == pytest.approx(semi_cml.SQUARES * rising)
    assert (terms["consistency"].n_valid, terms["area_similarity"].n_valid) == (rows, 2 * rows)


def test_both_networks_learn_from_each_other_while_neither_leads(batch_of) -> None:
    for name in ("area_similarity", "consistency"):
        method = build()
        toy = toy_of(method, batch_of)
        method(toy, FIRST)[name].value.backward()
        assert gradients(method, 0) > 0
        assert gradients(method, 1) > 0


@pytest.mark.parametrize("stronger", [0, 1])
def test_the_second_stage_learns_the_mean_of_noisy_passes_of_the_stronger_ones_teacher(
    stronger: int, batch_of, monkeypatch
) -> None:
    method, asked = build(consistency=0.5), []
    toy = toy_of(method, batch_of, unlabelled=3)
    toy["unlabelled_present"][0, 1 - stronger] = False
    toy["weak"].requires_grad_()
    method.average.total[stronger] = 0.5
    teacher, answers = method.average.teacher, []

    def answer(x: torch.Tensor) -> torch.Tensor:
        asked.append(x)
        answers.append(torch.randn(len(x), 2, *PATCH).softmax(1))
        return answers[-1]

    monkeypatch.setattr(teacher, "forward", answer)
    terms = method(toy, SECOND)
    assert int(method.average.stronger) == stronger
    assert all(map(torch.equal, teacher.network.parameters(), method.networks[stronger].parameters()))
    assert len(asked) == semi_cml.PASSES
    noise = torch.stack(asked) - toy["weak"].detach()[:, [stronger]]
    assert noise.abs().max() <= semi_cml.LARGEST + 1e-5
    assert noise.std().item() == pytest.approx(semi_cml.NOISE, rel=0.1)
    assert abs(noise.mean().item()) < 0.01  # in both directions
    target = torch.stack(answers).mean(0)
    losses = []
    for place, network in enumerate(method.networks):
        rows = slice(0 if place == stronger else 1, None)
        logits = network(toy["strong"][0][rows, [place]])
        area, _ = area_similarity(logits.softmax(1)[:, 1:], target[rows][:, 1:], semi_cml.SMALLEST)
        losses.append(semi_cml.RELEARNT_AREA * area + (1 - semi_cml.RELEARNT_AREA) * soft_dice_ce(logits, target[rows]))
    torch.testing.assert_close(terms["relearning"].value, sum(losses) / 2, rtol=1e-3, atol=1e-4)
    assert (terms["relearning"].weight, terms["relearning"].n_valid) == (0.5, 5)
    total(terms).backward()
    assert toy["weak"].grad is None
    assert all(weight.grad is None for weight in method.average.parameters())


@pytest.mark.parametrize("progress", [FIRST, SECOND])
def test_a_modality_that_a_patient_lacks_is_not_learnt_from(progress: float, batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of, unlabelled=3)
    toy["present"][0, 1] = toy["unlabelled_present"][0, 1] = False
    toy["image"].requires_grad_()
    toy["strong"].requires_grad_()
    total(method(toy, progress)).backward()
    assert not toy["image"].grad[0, 1].any()
    assert not toy["strong"].grad[0, 0, 1].any()
    assert toy["image"].grad[0, 0].any()
    assert toy["image"].grad[1, 1].any()
    assert toy["strong"].grad[0, 1, 1].any()


@pytest.mark.parametrize("progress", [FIRST, SECOND])
@pytest.mark.parametrize("missing", [0, 1])
def test_no_gradient_flows_to_the_network_of_a_modality_that_nobody_has(progress, missing, batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of)
    toy["present"][:, missing] = toy["unlabelled_present"][:, missing] = False
    loss = total(method(toy, progress))
    loss.backward()
    assert torch.isfinite(loss)
    assert gradients(method, missing) == 0
    assert gradients(method, 1 - missing) > 0
    assert all(torch.isfinite(value).all() for value in method.monitors.values())


@pytest.mark.parametrize("missing", [0, 1])
def test_a_modality_that_all_unlabelled_patients_lack_skips_what_compares_it(missing: int, batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of)
    toy["unlabelled_present"][:, missing] = False
    terms = method(toy, FIRST)
    for name in ("area_similarity", "consistency"):
        assert terms[name].n_valid == 0
        assert terms[name].value.item() == 0
    method.average.total[missing] = 0.5  # the stronger is the one they lack: there is nothing its teacher could see
    later = method(toy, SECOND)
    assert later["relearning"].n_valid == 0
    assert later["relearning"].value.item() == 0
    total(terms | later).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in method.networks.parameters())
    assert "agreement" not in method.monitors


def test_the_rule_goes_by_the_epochs_of_the_first_stage_and_there_is_a_teacher_at_its_end(
    batch_of, monkeypatch
) -> None:
    method, closed = build(), []
    exact = method.average.close_epoch
    monkeypatch.setattr(method.average, "close_epoch", lambda networks: closed.append(step) or exact(networks))
    toy = toy_of(method, batch_of, unlabelled=1)
    steps = 2 * EPOCHS
    for step in (0, 1, 2, 3, 4, 5, int(SECOND_STAGE * steps) - 1):
        method(toy, step / steps)
    assert closed == [2, 4, int(SECOND_STAGE * steps) - 1]
    assert not method.average.born
    for step in (int(SECOND_STAGE * steps) + 1, steps - 1):
        method(toy, step / steps)
        assert method.average.born
    assert len(closed) == 3
    assert set(method(toy, 1.0)) == {"supervised", "relearning"}


@pytest.mark.parametrize("modality", [0, 1, 2])
def test_a_modality_is_predicted_by_its_own_network(modality: int) -> None:
    method = build(3)
    x = torch.randn(2, 1, *PATCH)
    found = method.predict(x, modality=modality)
    assert found.shape == (1, 2, 2, *PATCH)
    torch.testing.assert_close(found[0], method.networks[modality](x).softmax(1))


def test_monitors_compare_the_patients_who_have_every_modality(batch_of) -> None:
    method = build()
    toy = toy_of(method, batch_of, unlabelled=3)
    toy["unlabelled_present"][0, 1] = False
    method(toy, FIRST)
    calls = [network(toy["strong"][0][1:, [place]]).argmax(1) for place, network in enumerate(method.networks)]
    agreeing = ((calls[0] == calls[1]) & (calls[0] > 0)).sum()
    expected = 2 * agreeing / sum((call > 0).sum() for call in calls)
    assert method.monitors["agreement"].item() == pytest.approx(expected.item(), abs=1e-3)
    assert method.monitors["stronger_modality"].item() == -1
