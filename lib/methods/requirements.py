"""What each method needs of the settings and the studies, and which one would do where that is missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lib.errors import ConfigError, NotReadyError

MUTUAL = "semi_cml"  # the method that learns from several modalities; all others take one
ALONE = "supervised"  # the method without unlabelled studies


def check_modalities(method: str, modalities: Sequence[str]) -> None:
    """What can be told from the settings alone.

    Args:
        modalities: the names in the setting ``modalities``.

    Raises:
        ConfigError: the method takes more modalities than that, or fewer.
    """
    count, names = len(modalities), ", ".join(modalities)
    if method == MUTUAL and count < 2:
        raise ConfigError(
            f"Method {MUTUAL} learns from two modalities or more of each patient, and the setting modalities names "
            f"{names or 'none'}; name them, e.g. modalities=ct,mr, or use method multiscale"
        )
    if method != MUTUAL and count > 1:
        raise ConfigError(
            f"Method {method} learns from one modality, and the setting modalities names {count} ({names}); "
            f"use method {MUTUAL}, or name the one to learn from, e.g. modalities={modalities[0]}"
        )


def check_labelled(method: str, modalities: Sequence[str], labelled: Sequence[Collection[str]]) -> None:
    """What the labelled studies must have.

    Args:
        labelled: the modalities of each labelled study.

    Raises:
        NotReadyError: a modality without a label: its network could neither learn nor be judged.
    """
    if method != MUTUAL:
        return
    for name in modalities:
        if not any(name in each for each in labelled):
            raise NotReadyError(
                f"Method {MUTUAL} needs a labelled patient with the modality '{name}', and none of the {len(labelled)} "
                "there are has it; label one, or use method multiscale with one of the other modalities"
            )


def idle(method: str, unlabelled: int) -> str | None:
    """What to tell the user whose method finds no unlabelled study to learn from; None if it does."""
    if unlabelled or method == ALONE:
        return None
    return (
        f"There are no unlabelled studies: method {method} learns from the labels alone now, as method {ALONE} would. "
        "Add studies without labels to gain from it"
    )
