"""What a method lacks is said before anything is trained, with the method that would do."""

from __future__ import annotations

import pytest

from lib.config import METHODS
from lib.errors import ConfigError, NotReadyError
from lib.methods.requirements import check_labelled, check_modalities, idle

SINGLE = [method for method in METHODS if method != "semi_cml"]
BOTH = ("ct", "mr")


@pytest.mark.parametrize("modalities", [(), ("ct",)])
def test_semi_cml_needs_two_modalities(modalities: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"two modalities or more .* or use method multiscale"):
        check_modalities("semi_cml", modalities)
    check_modalities("semi_cml", BOTH)


@pytest.mark.parametrize("method", SINGLE)
def test_every_other_method_takes_one_and_says_how_to_pick_it(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"Method {method} .* 2 \(ct, mr\); use method semi_cml, .* modalities=ct"):
        check_modalities(method, BOTH)
    check_modalities(method, ("ct",))
    check_modalities(method, ())


def test_semi_cml_needs_a_label_of_each_modality() -> None:
    with pytest.raises(NotReadyError, match="labelled patient with the modality 'mr', and none of the 4"):
        check_labelled("semi_cml", BOTH, [["ct"]] * 4)
    check_labelled("semi_cml", BOTH, [["ct"], ["ct"], ["ct"], ["mr"]])


@pytest.mark.parametrize("method", SINGLE)
def test_one_label_is_enough_for_the_others(method: str) -> None:
    check_labelled(method, (), [()])


@pytest.mark.parametrize("method", METHODS)
def test_without_unlabelled_studies_the_user_is_told_but_of_supervised(method: str) -> None:
    assert idle(method, 1) is None
    said = idle(method, 0)
    assert said is None if method == "supervised" else "learns from the labels alone" in str(said)
