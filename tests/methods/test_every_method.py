"""What every method owes: it learns in 2D and 3D, each of its terms falls, nothing in it becomes no number."""

from __future__ import annotations

import pytest
import torch

from lib.config import METHODS, Config
from lib.methods.base import Method, total
from lib.methods.registry import build_method, build_pretraining

# the shares of the training at which a method's terms differ
PHASES = {"cross_level": (0.1, 1.0), "copy_paste": (0.05, 1.0), "semi_cml": (0.5, 1.0)}
TERMS = {
    ("supervised", 1.0): {"supervised"},
    ("cross_pseudo", 1.0): {"supervised", "cross"},
    ("multiscale", 1.0): {"supervised", "cross", "pixel_contrast", "patch_contrast"},
    ("ideal", 1.0): {"supervised", "cross"},
    ("semi_cml", 0.5): {"supervised", "area_similarity", "consistency"},
    ("semi_cml", 1.0): {"supervised", "relearning"},
    ("cross_level", 0.1): {"supervised", "cross_level"},
    ("cross_level", 1.0): {"supervised", "consistency"},
    ("mean_teacher", 1.0): {"supervised", "consistency"},
    ("copy_paste", 0.05): {"supervised"},
    ("copy_paste", 1.0): {"supervised", "pasted"},
    ("rcps", 1.0): {"supervised", "rectified", "cosine", "voxel_contrast"},
    ("best", 1.0): {"supervised", "cross"},
}
CASES = [(name, at) for name in METHODS for at in PHASES.get(name, (1.0,))]
VOLUME, SLICE = (32, 32, 16), (32, 32)
# two untrained networks, or a network and its copy, agree before they know anything, and a network that finds one class
# only has no negatives: these rise before they fall
FROM_ZERO = {"consistency", "cosine", "area_similarity", "cross_level", "relearning", "voxel_contrast"}


def build(name: str, patch: tuple[int, ...] = VOLUME) -> Method:
    modalities = ("ct", "mr") if name == "semi_cml" else ()
    return build_method(Config(method=name, size="small", modalities=modalities), 1, 2, patch)


def batch_for(name: str, method: Method, batch_of, patch: tuple[int, ...] = VOLUME) -> dict:
    # of four labelled patients one judges, and the other three are learnt from
    return batch_of(method, patch, **({"labelled": 4, "modalities": 2} if name == "semi_cml" else {}))


def ready(term_values: list[dict[str, float]], name: str) -> list[float]:
    return [values[name] for values in term_values]


@pytest.mark.parametrize("patch", [VOLUME, SLICE], ids=["3D", "2D"])
@pytest.mark.parametrize(("name", "progress"), CASES)
def test_a_few_steps_lower_each_term(name: str, progress: float, patch: tuple[int, ...], batch_of, learn) -> None:
    torch.manual_seed(0)
    method = build(name, patch)
    toy = batch_for(name, method, batch_of, patch)
    found = learn(method, toy, 16, progress)
    assert set(found[0]) == TERMS[name, progress]
    for term in found[0]:
        values = ready(found, term)
        if term in FROM_ZERO:  # two untrained networks, or a network and its copy, agree before they know anything
            assert values[-1] < 1.2 * max(values)
        else:
            assert sum(values[-3:]) / 3 < values[0], (term, values)


@pytest.mark.parametrize("name", METHODS)
def test_no_weight_that_is_learnt_stays_without_a_gradient(name: str, batch_of) -> None:
    """Over its phases; a projection head that nothing reaches would be dead weight."""
    method = build(name)
    toy = batch_for(name, method, batch_of)
    method.begin()
    for progress in PHASES.get(name, (1.0,)):
        total(method(toy, progress)).backward()
    untouched = [key for key, weight in method.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not untouched


@pytest.mark.parametrize(("name", "progress"), CASES)
def test_without_unlabelled_patches_it_learns_from_the_labels(name: str, progress: float, batch_of) -> None:
    method = build(name)
    toy = batch_for(name, method, batch_of)
    method.begin()
    for key in ("weak", "strong", "mix", "unlabelled_present"):
        toy.pop(key, None)
    terms = method(toy, progress)
    assert "supervised" in terms
    assert torch.isfinite(total(terms))


@pytest.mark.parametrize(("name", "progress"), CASES)
def test_empty_foreground_and_flat_images_stay_finite(name: str, progress: float, batch_of) -> None:
    method = build(name)
    toy = batch_for(name, method, batch_of)
    method.begin()
    toy["label"].zero_()
    for key in ("image", "weak", "strong"):
        toy[key].zero_()
    loss = total(method(toy, progress))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in method.parameters())
    assert all(torch.isfinite(value).all() for value in method.monitors.values())


@pytest.mark.parametrize(("name", "progress"), CASES)
def test_bfloat16_gives_about_the_same_terms(name: str, progress: float, batch_of) -> None:
    method = build(name)
    toy = batch_for(name, method, batch_of)
    method.begin()
    torch.manual_seed(0)
    exact = method(toy, progress)
    other = build(name)
    other.begin()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rough = other(toy, progress)
    for term in exact:
        assert rough[term].value.item() == pytest.approx(exact[term].value.item(), rel=0.25, abs=0.1)


@pytest.mark.parametrize("name", METHODS)
def test_streams_of_different_lengths_and_single_patches_are_learnt_from(name: str, batch_of) -> None:
    method = build(name)
    sizes = {"modalities": 2} if name == "semi_cml" else {}
    for labelled, unlabelled in ((1, 1), (3, 2), (2, 3)):
        toy = batch_of(method, VOLUME, labelled, unlabelled, **sizes)
        method.begin()
        for progress in PHASES.get(name, (1.0,)):
            assert torch.isfinite(total(method(toy, progress)))


@pytest.mark.parametrize("name", METHODS)
def test_only_what_predicts_is_published(name: str) -> None:
    method = build(name)
    weights = method.weights()
    assert set(weights) == {key for key in method.state_dict() if key.startswith("networks.")}
    other = build(name)
    other.load_state_dict(weights, strict=False)
    x = torch.randn(1, 1, *VOLUME)
    torch.testing.assert_close(other.predict(x), method.predict(x))


def test_the_first_stage_of_ideal_lowers_its_term(batch_of, learn) -> None:
    for correspondence, progress in (("geometric", 1.0), ("argmax", 0.0), ("argmax", 1.0)):
        torch.manual_seed(0)
        config = Config(method="ideal", size="small", correspondence=correspondence)
        method = build_pretraining(config, 1, VOLUME)
        assert method is not None
        found = ready(learn(method, {"strong": batch_of(method, VOLUME)["strong"]}, 30, progress), "dense_contrast")
        assert sum(found[-5:]) < sum(found[:5])
