"""Whose labels there are, which of them the model doubts, what was done, and which studies cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.page.ranking import ROWS

DOUBTED = 10  # studies whose label and model disagree most
SHOWN = 200  # refused studies; 10,000 of one kind tell no more
PRIVATE = ("login", "login failed", "logout")  # of the audit log: of no use to other readers


def labels_content(
    infos: Mapping[str, Mapping[str, Any]],
    live: str | None,
    refused: Mapping[str, str],
    entries: Sequence[Mapping[str, str]],
    page: int,
) -> dict[str, Any]:
    """One page of the block.

    Args:
        infos: labelled study -> info of its label. live: version of the model. refused: study -> why.
        entries: of the audit log, oldest first.
        page: from 1 on; beyond the last one it is the last.
    """
    rows = sorted((_label(study, info, live) for study, info in infos.items()), key=_newest_first)
    pages = max(1, -(-len(rows) // ROWS))
    page = min(max(1, page), pages)
    doubts = [row for row in rows if row["dice"] is not None and row["current"]]
    return {
        "total": len(rows),
        "page": page,
        "pages": pages,
        "rows": rows[(page - 1) * ROWS : page * ROWS],
        "doubted": sorted(doubts, key=lambda row: (row["dice"], row["study"]))[:DOUBTED],
        "compared": len(doubts),
        "readers": _readers(rows),
        "refused_total": len(refused),
        "refused": [{"study": study, "reason": refused[study]} for study in sorted(refused)[:SHOWN]],
        "events": [
            {key: entry.get(key) for key in ("when", "who", "what", "study")}
            for entry in reversed(entries)
            if entry.get("what") not in PRIVATE
        ],
    }


def _label(study: str, info: Mapping[str, Any], live: str | None) -> dict[str, Any]:
    """``dice``: mean over the classes of the label and the model's own segmentation; ``current``: of the live model."""
    scored = info.get("dice")
    scored = scored if isinstance(scored, dict) and scored.get("dice") else {}
    by_class = scored.get("dice", {})
    return {
        "study": study,
        "who": info.get("submitted_by") or info.get("client_id") or None,
        "when": info.get("ts"),
        "classes": by_class,
        "dice": sum(by_class.values()) / len(by_class) if by_class else None,
        "side": scored.get("side"),
        "current": bool(live) and scored.get("version") == live,
        "note": info.get("note"),
    }


def _newest_first(row: Mapping[str, Any]) -> tuple[float, str]:
    return -float(row["when"] or 0), row["study"]


def _readers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many labels each has submitted, the most first; None: whose files lay in the folder before."""
    counts: dict[str | None, int] = {}
    for row in rows:
        counts[row["who"]] = counts.get(row["who"], 0) + 1
    return [{"who": who, "labels": count} for who, count in sorted(counts.items(), key=lambda item: -item[1])]
