"""Cross pseudo supervision: who teaches whom, from which view, on which voxels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib.config import Config
from lib.methods.base import Method, sigmoid_ramp, total
from lib.methods.registry import build_method

PATCH = (16, 16, 8)


class Threshold(nn.Module):
    """Class 1 where the image is above 0, sure of it; weights so that there is something to differentiate."""

    def __init__(self, sharpness: float = 50.0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(sharpness))

    def forward(self, x: Tensor) -> Tensor:
        return self.sharpness * torch.cat([-x, x], dim=1)


def build(networks: list[nn.Module] | None = None, **settings: Any) -> Method:
    method = build_method(Config(method="cross_pseudo", size="small", **settings), 1, 2, PATCH)
    if networks:
        method.networks = nn.ModuleList(networks)
    return method


def batch(method: Method, unlabelled: int = 2) -> dict[str, Any]:
    """Bright boxes in noise, at another place in each patch; strong views with more noise; one box to mix."""
    rng = torch.Generator().manual_seed(0)
    image, weak = (0.5 * torch.randn(count, 1, *PATCH, generator=rng) - 1 for count in (2, unlabelled))
    label = torch.zeros(2, 1, *PATCH, dtype=torch.int64)
    label[:, :, 4:12, 4:12, 2:6] = 1
    for row in range(unlabelled):
        weak[row, :, 2 + 3 * row : 10 + 3 * row, 4:12, 2:6] += 2
    strong = weak + 0.3 * torch.randn(method.strong_views, *weak.shape, generator=rng)
    mix = torch.zeros(unlabelled, 1, *PATCH, dtype=torch.bool)
    mix[:, :, 6:14, :, 3:] = True
    return {"image": image + 2 * label, "label": label, "weak": weak, "strong": strong, "mix": mix}


def test_a_few_steps_lower_each_term() -> None:
    method = build()
    toy, values = batch(method), []
    optimizer = torch.optim.AdamW(method.parameters(), 5e-3)
    for _ in range(10):
        terms = method(toy, 1.0)
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()
        values.append({name: term.value.item() for name, term in terms.items()})
    assert set(values[0]) == {"supervised", "cross"}
    assert values[-1]["supervised"] < 0.8 * values[0]["supervised"]
    assert values[-1]["cross"] < 0.8 * values[0]["cross"]


def test_the_weight_of_the_cross_term_is_ramped() -> None:
    method = build(consistency=0.5, ramp=0.4)
    for progress in (0.0, 0.1, 0.4, 1.0):
        assert method(batch(method), progress)["cross"].weight == pytest.approx(0.5 * sigmoid_ramp(progress, 0.4))


@pytest.mark.parametrize(("student", "teacher"), [(0, 1), (1, 0)])
def test_a_network_learns_the_labels_of_the_other_and_teaches_without_learning(student: int, teacher: int) -> None:
    """The teacher says class 1 everywhere: a student that follows it, and not itself, comes to say so too."""
    method = build()
    last = list(method.networks[teacher].parameters())[-1]  # the bias of the logits
    with torch.no_grad():
        for weight in method.networks[teacher].parameters():
            weight.zero_()
        last.copy_(torch.tensor([-5.0, 5.0]))
    method.networks[teacher].requires_grad_(False)
    toy = batch(method)
    optimizer = torch.optim.AdamW(method.networks[student].parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        method(toy, 1.0)["cross"].value.backward()
        optimizer.step()
    assert all(weight.grad is None for weight in method.networks[teacher].parameters())
    assert (method.networks[student](toy["weak"]).argmax(1) == 1).float().mean() > 0.95


def test_pseudo_labels_are_mixed_as_the_view_of_the_students_is() -> None:
    """Two sure and equal networks agree on every voxel, unless view and pseudo-label were mixed differently."""
    method = build([Threshold(), Threshold()])
    toy = batch(method)
    toy["strong"] = toy["weak"].expand(method.strong_views, *toy["weak"].shape)
    mixed = method(toy, 1.0)["cross"]
    assert mixed.value.item() < 0.02
    assert mixed.n_valid > 0
    unmixed = method(toy | {"mix": torch.zeros_like(toy["mix"])}, 1.0)["cross"]
    assert unmixed.value.item() < 0.02


def test_pseudo_labels_come_from_the_weak_view() -> None:
    """Strong views that show the contrary are learnt to mean what the weak one shows."""
    method = build([Threshold(), Threshold()])
    toy = batch(method)
    toy["strong"] = -toy["weak"].expand(method.strong_views, *toy["weak"].shape)
    assert method(toy, 1.0)["cross"].value.item() > 10


def test_without_unlabelled_patches_it_is_supervised() -> None:
    method = build()
    toy = batch(method)
    full = method(toy, 1.0)
    terms = method({"image": toy["image"], "label": toy["label"]}, 1.0)
    assert list(terms) == ["supervised"]
    torch.testing.assert_close(terms["supervised"].value, full["supervised"].value, rtol=1e-4, atol=1e-4)


def test_a_gate_that_trusts_no_voxel_is_a_skipped_term_of_finite_zero() -> None:
    method = build([Threshold(0.0), Threshold(0.0)], confidence=0.9)  # one half for each class, everywhere
    term = method(batch(method), 1.0)["cross"]
    assert term.n_valid == 0
    assert term.value.item() == 0
    term.value.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in method.parameters())


def test_the_gate_leaves_out_the_voxels_below_it() -> None:
    method, open_gate = (build([Threshold(), Threshold()], confidence=gate) for gate in (0.99, 0.0))
    toy = batch(method)
    toy["weak"][:, :, :8] = 0.0  # a half of the voxels is as good as tossed up
    assert method(toy, 1.0)["cross"].n_valid < open_gate(toy, 1.0)["cross"].n_valid


def test_one_unlabelled_patch_has_no_partner_and_still_teaches() -> None:
    method = build()
    terms = method(batch(method, unlabelled=1), 1.0)
    assert terms["cross"].n_valid > 0
    assert torch.isfinite(total(terms))
