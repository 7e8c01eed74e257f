"""What a class is called in DICOM: coded terms (SNOMED CT) and display colours, by its name or by the settings.

DICOM PS3.16 lists the terms for segments in its context groups (CID 7150 - 7166), which pydicom carries; a class name
is looked up there by its words. A structure that is in none of them is a "Tissue", which is true but says little:
``--conf codes`` names a better term.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code
from skimage.color import rgb2lab

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")  # the categories, CID 7150
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
BACKGROUND = ("125040", "DCM")

ANATOMY_GROUPS = (7152, 7153, 7154, 7155, 7156, 7160)  # heart, nerves, abdomen, thorax, vessels, pelvis
TISSUE_GROUP, LESION_GROUP = 7166, 7159
MORE_ANATOMY = (  # of the whole dictionary, what these groups lack
    *("LeftAtrium", "RightAtrium", "LeftVentricleMyocardium", "Pancreas", "Stomach", "Gallbladder", "Colon"),
    *("Duodenum", "Femur", "Mandible", "Eye", "OpticNerve", "ParotidGland", "Breast", "Thyroid"),
)
SYNONYMS = {
    "la": "leftatrium",
    "ra": "rightatrium",
    "lv": "leftventricle",
    "rv": "rightventricle",
    "myo": "leftventriclemyocardium",
    "myocardium": "leftventriclemyocardium",
    "tumour": "neoplasm",
    "tumor": "neoplasm",
    "cancer": "neoplasm",
    "gtv": "neoplasm",
    "metastasis": "neoplasmsecondary",
    "oedema": "edema",
    "haemorrhage": "hemorrhage",
    "oesophagus": "esophagus",
    "vessel": "bloodvessel",
    "fat": "bodyfat",
    "csf": "cerebrospinalfluid",
}
PALETTE = (  # of classes without a colour of their own: told apart by eyes of every kind (Okabe and Ito, 2008)
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#999999",
)


def coded_terms(name: str, settings: Sequence[str] = ()) -> tuple[Code, Code]:
    """Category and type of the property that segments of this class show (PS3.3 C.8.20.4).

    Args:
        name: the class's name, as ``left_atrium``.
        settings: ``--conf codes``, as ``name=scheme:value`` or ``name=scheme:value:meaning``.

    Returns:
        The setting's term; else that of the name in SNOMED CT; else that of its last words (``left_lung``: lung; in
        English these name the thing); else "Tissue".
    """
    given = _by_name(settings).get(name)
    if given:
        scheme, value, *meaning = given.split(":", 2)
        term = Code(value, scheme, (meaning[0] if meaning else name).replace("_", " "))
        return _category(term), term
    words = re.findall(r"[a-z0-9]+", name.lower())
    for start in range(len(words)):
        key = "".join(words[start:])
        key = SYNONYMS.get(key, key)
        for spelling in (key, key.removesuffix("s")):  # kidneys are coded as kidney
            if spelling in TERMS:
                return TERMS[spelling]
    return TISSUE, TISSUE


def colour(name: str, place: int, settings: Sequence[str] = ()) -> list[int]:
    """The class's RecommendedDisplayCIELabValue: three numbers of 16 bits (PS3.3 C.10.7.1.1).

    sRGB becomes CIELab under the white point D65, as dcmqi, 3D Slicer and OHIF count back; then a viewer shows the very
    colour of the settings.

    Args:
        name: the class's name.
        place: its place among the classes, from 0, which chooses its colour where no setting does.
        settings: ``--conf colours``, as ``name=#rrggbb``.
    """
    text = _by_name(settings).get(name, PALETTE[place % len(PALETTE)])
    lightness, a, b = rgb2lab(np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.uint8)[None, None])[0, 0]
    scaled = np.array([lightness / 100, (a + 128) / 255, (b + 128) / 255]) * 0xFFFF
    return [int(number) for number in np.clip(np.round(scaled), 0, 0xFFFF)]


def _terms() -> dict[str, tuple[Code, Code]]:
    """Words of a structure, joined in small letters -> its category and type."""
    terms = {name.lower(): (ANATOMY, getattr(dictionary.SCT, name)) for name in MORE_ANATOMY}
    groups = [(TISSUE_GROUP, TISSUE), *((group, ANATOMY) for group in ANATOMY_GROUPS), (LESION_GROUP, ABNORMAL)]
    for group, category in groups:
        concepts = getattr(dictionary, f"cid{group}").concepts
        terms |= {name.lower(): (category, term) for name, term in concepts.items()}
    terms["polyp"] = (ABNORMAL, Code("41329004", "SCT", "Polyp"))
    del terms["background"], terms["normal"]  # of the lesions' group, but no structures
    return terms


TERMS = _terms()


def _category(term: Code) -> Code:
    """The category of a term, as far as the dictionary knows it."""
    known = {(code.value, code.scheme_designator): category for category, code in TERMS.values()}
    return known.get((term.value, term.scheme_designator), ANATOMY)


def _by_name(settings: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in settings)}
