"""Coded terms and colours of classes."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.codedict import codes
from skimage.color import lab2rgb

from lib.config import Config
from lib.dicom.codes import ABNORMAL, ANATOMY, PALETTE, TISSUE, coded_terms, colour
from lib.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("liver", codes.SCT.Liver),
        ("Kidneys", codes.SCT.Kidney),
        ("left_atrium", codes.SCT.LeftAtrium),
        ("LV", codes.SCT.LeftVentricle),
        ("anterior hippocampus", codes.SCT.Hippocampus),
        ("left lung", codes.SCT.Lung),
    ],
)
def test_anatomy_is_found_by_the_words_of_its_name(name: str, term: object) -> None:
    assert coded_terms(name) == (ANATOMY, term)


def test_lesions_are_abnormal_structures_and_name_the_thing_last() -> None:
    assert coded_terms("tumour") == coded_terms("liver tumor") == (ABNORMAL, codes.SCT.Neoplasm)


def test_what_nobody_knows_is_tissue() -> None:
    assert coded_terms("region 7") == coded_terms("Läsion") == (TISSUE, TISSUE)


def test_the_settings_decide_first_and_the_category_follows_the_term() -> None:
    category, term = coded_terms("target", ["target=SCT:108369006:Primary_tumour", "other=SCT:1:x"])
    assert (term.value, term.scheme_designator, term.meaning) == ("108369006", "SCT", "Primary tumour")
    assert category == ABNORMAL
    assert coded_terms("my_liver", ["my_liver=99LOCAL:L1"])[1].meaning == "my liver"


def test_colours_are_those_of_the_settings_or_of_the_palette() -> None:
    """PS3.3 C.10.7.1.1: L* from 0 to 100, a* and b* from -128 to 127, each over 16 bits."""

    def shown(value: list[int]) -> np.ndarray:
        lightness, a, b = np.array(value) / 0xFFFF
        return np.round(lab2rgb([lightness * 100, a * 255 - 128, b * 255 - 128]) * 255)

    assert colour("a", 0, ["a=#ffffff"])[0] == 0xFFFF
    np.testing.assert_array_equal(shown(colour("liver", 3, ["liver=#dd8265"])), [0xDD, 0x82, 0x65])
    own = [int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5)]
    np.testing.assert_array_equal(shown(colour("b", 1, ["a=#ffffff"])), own)
    assert colour("b", 1) == colour("b", 1 + len(PALETTE)) != colour("b", 2)


@pytest.mark.parametrize("setting", ["codes=liver", "codes=liver=10200004", "colours=liver=red", "colours=#dd8265"])
def test_settings_of_another_form_are_refused(setting: str) -> None:
    key, _, value = setting.partition("=")
    with pytest.raises(ConfigError, match=key):
        Config.from_conf({key: value})


def test_settings_come_from_text() -> None:
    config = Config.from_conf({"codes": "liver=SCT:10200004:Liver,spleen=SCT:78961009", "colours": "liver=#DD8265"})
    assert coded_terms("spleen", config.codes)[1] == codes.SCT.Spleen
    assert colour("liver", 0, config.colours) == colour("liver", 0, ["liver=#dd8265"])
