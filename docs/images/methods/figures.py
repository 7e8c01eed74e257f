"""The figures of ``docs/explanation/methods.md`` as tables; ``draw.py`` makes the SVGs of them.

A figure is a title; boxes (kind, column, row, text with | between its lines) by name; arrows, ``a>b`` where a gradient
comes back, ``a~b`` where none does (stop-gradient), ``a^b`` where the weights of b follow those of a;
notes (column, row, text). The student stands left, the losses in the middle, right what they are compared with.
"""

from __future__ import annotations

Box = tuple[str, float, float, str]
Note = tuple[float, float, str]

IMAGE: Box = ("view", 0, 0, "labelled|patch")
SWAPPED: Box = ("view", 0, 1, "strong view 1,|boxes swapped")
EXCHANGED: Box = ("view", 1, 0.5, "exchange a box,|both ways")
LABEL: Box = ("label", 3, 0, "label")
BOTH_WAYS = "at the same time network 1 teaches network 2, on strong view 2"

FIGURES: dict[str, tuple[str, dict[str, Box], str, list[Note]]] = {
    "words": (
        "The words of the figures",
        {
            "view": ("view", 0, 0, "view: what a|network is shown"),
            "network": ("network", 1, 0, "network|that learns"),
            "teacher": ("teacher", 2, 0, "network that|only teaches"),
            "pseudo": ("pseudo", 3, 0, "pseudo-label"),
            "label": ("label", 4, 0, "label"),
            "embedding": ("embedding", 5, 0, "embeddings, from|a projection head"),
            "a": ("network", 0, 1, "network"), "b": ("loss", 1, 1, "loss term"),
            "c": ("pseudo", 2, 1, "pseudo-label"), "d": ("loss", 3, 1, "loss term"),
            "e": ("network", 4, 1, "network"), "f": ("teacher", 5, 1, "teacher"),
        },
        "a>b c~d e^f",
        [(0, 1.55, "a gradient comes back"), (2, 1.55, "stop-gradient: none does"),
         (4.05, 2.15, "its weights are an average of the other's")],
    ),
    "supervised": (
        "supervised: one network learns from the labels",
        {
            "image": IMAGE, "student": ("network", 1, 0, "network"),
            "supervised": ("loss", 2, 0, "supervised"), "label": LABEL,
        },
        "image>student student>supervised label~supervised",
        [],
    ),
    "cross_pseudo": (
        "cross_pseudo: two networks label the unlabelled patches for each other",
        {
            "image": IMAGE, "strong": SWAPPED,
            "student": ("network", 1, 0.5, "network 1"),
            "supervised": ("loss", 2, 0, "supervised"), "cross": ("loss", 2, 1, "cross"),
            "label": LABEL, "pseudo": ("pseudo", 3, 1, "pseudo-label,|boxes swapped"),
            "teacher": ("teacher", 4, 1, "network 2"), "weak": ("view", 5, 1, "weak view"),
        },
        "image>student strong>student student>supervised student>cross label~supervised pseudo~cross teacher~pseudo "
        "weak~teacher",
        [(0, 1.6, BOTH_WAYS)],
    ),
    "multiscale": (
        "multiscale: cross supervision under disturbed features, and contrast of voxels and blocks",
        {
            "image": IMAGE, "strong": SWAPPED,
            "encoder": ("network", 1, 0.5, "encoder 1"),
            "disturbed": ("view", 1, 1.6, "unlabelled rows:|disturbed features"),
            "decoder": ("network", 2, 0.5, "decoder 1"),
            "supervised": ("loss", 3, 0, "supervised"), "cross": ("loss", 3, 1, "cross"),
            "label": ("label", 4, 0, "label"), "pseudo": ("pseudo", 4, 1, "pseudo-label,|boxes swapped"),
            "teacher": ("teacher", 5, 1, "network 2"), "weak": ("view", 5, 2, "weak view"),
            "classes": ("label", 1, 2.7, "classes: label, or|where both agree"),
            "embedded": ("embedding", 2, 2.7, "embeddings 1,|drawn by class"),
            "patches": ("loss", 3, 2.2, "patch_contrast"), "pixels": ("loss", 3, 3.2, "pixel_contrast"),
            "other": ("embedding", 4, 2.2, "embeddings 2"),
            "queue": ("embedding", 4, 3.2, "queue of|each class"),
        },
        "image>encoder strong>encoder encoder>decoder encoder>disturbed disturbed>decoder decoder>supervised "
        "decoder>cross label~supervised pseudo~cross teacher~pseudo weak~teacher decoder>embedded classes~embedded "
        "embedded>patches embedded>pixels other>patches queue~pixels",
        [(0, 3.8, f"{BOTH_WAYS}; one projection head for both")],
    ),
    "ideal": (
        "ideal: an encoder is pre-trained by dense contrast, then two decoders on it teach each other",
        {
            "one": ("view", 0, 0.3, "view 1 of|any patch"), "two": ("view", 0, 1.3, "view 2 of|the same"),
            "query": ("network", 1, 0.3, "encoder"), "key": ("teacher", 1, 1.3, "key encoder"),
            "queries": ("embedding", 2, 0.3, "map of cells"), "keys": ("embedding", 2, 1.3, "map of cells"),
            "contrast": ("loss", 3, 0.3, "dense_contrast"),
            "match": ("pseudo", 3, 1.3, "cells paired by|place or features"),
            "image": ("view", 0, 2.6, "labelled|patch"), "strong": ("view", 0, 3.6, "strong view 1,|boxes swapped"),
            "encoder": ("network", 1, 3.1, "encoder"), "decoder": ("network", 2, 3.1, "decoder 1"),
            "supervised": ("loss", 3, 2.6, "supervised"), "cross": ("loss", 3, 3.6, "cross"),
            "label": ("label", 4, 2.6, "label"), "pseudo": ("pseudo", 4, 3.6, "pseudo-label,|boxes swapped"),
            "teacher": ("teacher", 5, 3.6, "same encoder,|decoder 2"), "weak": ("view", 5, 2.6, "weak view"),
        },
        "one>query two~key query>queries key~keys query^key queries>contrast keys~contrast match~contrast "
        "image>encoder strong>encoder encoder>decoder decoder>supervised decoder>cross label~supervised pseudo~cross "
        "teacher~pseudo weak~teacher",
        [
            (0, -0.25, "stage A, without labels, on all studies"),
            (0, 2.05, "stage B starts from the encoder of stage A"),
            (0, 4.3, "at the same time decoder 1 teaches decoder 2, on strong view 2"),
        ],
    ),
    "semi_cml": (
        "semi_cml: networks of two modalities agree, then a teacher of the stronger one teaches both",
        {
            "ct": ("view", 0, 0.8, "CT, labelled|and strong view"), "one": ("network", 1, 0.8, "network of CT"),
            "area": ("loss", 2, 0.3, "area_similarity"), "squares": ("loss", 2, 1.3, "consistency"),
            "two": ("network", 3, 0.8, "network of MR"), "mr": ("view", 4, 0.8, "MR, labelled|and strong view"),
            "label": ("label", 2, 3.3, "label"), "supervised": ("loss", 2, 2.3, "supervised"),
            "ct2": ("view", 0, 4.5, "CT, unlabelled,|strong view"), "one2": ("network", 1, 4.5, "network of CT"),
            "mr2": ("view", 0, 5.5, "MR, unlabelled,|strong view"), "two2": ("network", 1, 5.5, "network of MR"),
            "relearning": ("loss", 2, 5, "relearning"), "soft": ("pseudo", 3, 5, "soft pseudo-label,|mean of 4"),
            "teacher": ("teacher", 4, 5, "teacher"), "noisy": ("view", 5, 5, "its modality,|weak view + noise"),
        },
        "ct>one mr>two one>area one>squares two>area two>squares label~supervised one>supervised two>supervised "
        "ct2>one2 mr2>two2 one2>relearning two2>relearning soft~relearning teacher~soft noisy~teacher two^teacher",
        [
            (0, -0.25, "first stage, up to 63 % of the training (CT and MR are an example)"),
            (0, 3.9, "second stage (supervised goes on)"),
            (4.4, 2.8, "best epochs of the modality"), (4.4, 3.05, "that is measured to be stronger"),
        ],
    ),
    "cross_level": (
        "cross_level: the full patch against its crops through the same network",
        {
            "full": ("view", 0, 0.5, "full patch"), "whole": ("network", 1, 0.5, "network"),
            "supervised": ("loss", 3, 0, "supervised"), "label": ("label", 4, 0, "label"),
            "cells": ("embedding", 2, 1.2, "cells of the|full patch's map"),
            "contrast": ("loss", 3, 1.2, "cross_level"), "keys": ("embedding", 4, 1.2, "embedding of|each crop"),
            "crops": ("view", 0, 2.7, "its crops; strong|if unlabelled"), "same": ("network", 1, 2.7, "same network"),
            "consistency": ("loss", 3, 2.7, "consistency"),
            "target": ("pseudo", 4, 2.7, "the full patch's|soft prediction"),
        },
        "full>whole whole>supervised label~supervised whole>cells cells>contrast keys~contrast crops>same "
        "same>consistency target~consistency",
        [(3, 1.72, "first third of the training"), (3, 3.22, "the other two thirds")],
    ),
    "mean_teacher": (
        "mean_teacher: a student agrees with the moving average of itself",
        {
            "image": IMAGE, "strong": ("view", 0, 1, "strong view"), "student": ("network", 1, 0.5, "student"),
            "supervised": ("loss", 2, 0, "supervised"), "consistency": ("loss", 2, 1, "consistency"),
            "label": LABEL, "soft": ("pseudo", 3, 1, "soft|pseudo-label"),
            "teacher": ("teacher", 4, 1, "teacher"), "weak": ("view", 5, 1, "weak view"),
        },
        "image>student strong>student student>supervised student>consistency label~supervised soft~consistency "
        "teacher~soft weak~teacher student^teacher",
        [(2, 2, "after each step")],
    ),
    "copy_paste": (
        "copy_paste: labelled and unlabelled patches exchange a box, a teacher labels the unlabelled part",
        {
            "image": IMAGE, "strong": ("view", 0, 1, "strong view"),
            "mixed": EXCHANGED, "student": ("network", 2, 0.5, "student"),
            "supervised": ("loss", 3, 0, "supervised"), "pasted": ("loss", 3, 1, "pasted"),
            "label": ("label", 4, 0, "label, of the|labelled voxels"),
            "pseudo": ("pseudo", 4, 1, "pseudo-label,|of the others"),
            "teacher": ("teacher", 5, 1, "teacher"), "weak": ("view", 5, 0, "weak view"),
        },
        "image>mixed strong>mixed mixed>student student>supervised student>pasted label~supervised pseudo~pasted "
        "teacher~pseudo weak~teacher student^teacher",
        [(3, 2, "after each step")],
    ),
    "rcps": (
        "rcps: two strong views learn from the weak view's prediction by the same network",
        {
            "image": IMAGE, "first": ("view", 0, 1, "strong view 1"), "second": ("view", 0, 2, "strong view 2"),
            "student": ("network", 1, 1, "network"),
            "supervised": ("loss", 2, 0, "supervised"), "rectified": ("loss", 2, 1, "rectified"),
            "cosine": ("loss", 2, 2, "cosine"), "contrast": ("loss", 2, 3, "voxel_contrast"),
            "label": LABEL, "pseudo": ("pseudo", 3, 1, "sharpened|pseudo-label"),
            "teacher": ("teacher", 4, 1, "same network"), "weak": ("view", 5, 1, "weak view"),
            "embedded": ("embedding", 1, 3, "embeddings of|both views"),
            "negatives": ("embedding", 3, 3, "sure voxels of|other classes"),
        },
        "image>student first>student second>student student>supervised student>rectified student>cosine "
        "label~supervised pseudo~rectified teacher~pseudo weak~teacher student>embedded embedded>contrast "
        "negatives>contrast",
        [(3, 3.5, "from the labelled patches")],
    ),
    "best": (
        "best: two networks label the unlabelled patches for each other, under disturbed features",
        {
            "image": IMAGE, "strong": SWAPPED,
            "encoder": ("network", 1, 0.5, "encoder 1"),
            "disturbed": ("view", 1, 1.6, "unlabelled rows:|disturbed features"),
            "decoder": ("network", 2, 0.5, "decoder 1"),
            "supervised": ("loss", 3, 0, "supervised"), "cross": ("loss", 3, 1, "cross"),
            "label": ("label", 4, 0, "label"), "pseudo": ("pseudo", 4, 1, "pseudo-label,|boxes swapped"),
            "teacher": ("teacher", 5, 1, "network 2"), "weak": ("view", 5, 2, "weak view"),
        },
        "image>encoder strong>encoder encoder>decoder encoder>disturbed disturbed>decoder decoder>supervised "
        "decoder>cross label~supervised pseudo~cross teacher~pseudo weak~teacher",
        [(2.2, 2, BOTH_WAYS)],
    ),
}  # fmt: skip
