"""The unlabelled studies in the order of their scores, a page at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lib.selection.leases import Lease
from lib.selection.store import Row, ScoreStore

ROWS = 50  # of a page of any list


def ranked(ids: Sequence[str], store: ScoreStore, model: str | None) -> list[tuple[str, int | None]]:
    """Each study with its rank, 1 the highest score; those without a score come last, by their ids, without a rank."""
    ordered = sorted(ids)
    scores = store.scores(model).of(ordered) if model else np.full((len(ordered), 2), np.nan)
    values = scores[:, 0] if scores.shape[1] else np.full(len(ordered), np.nan)
    places = np.argsort(-values, kind="stable")  # NaN goes to the end
    scored = int(np.isfinite(values).sum())
    return [(ordered[place], rank if rank <= scored else None) for rank, place in enumerate(places.tolist(), 1)]


def next_content(
    ids: Sequence[str],
    store: ScoreStore,
    model: str | None,
    names: Mapping[int, str],
    reader: str,
    page: int,
) -> dict[str, Any]:
    """One page of the block.

    Args:
        ids: of the studies that may be labelled next. model: checksum of the live one. names: of its classes by value
            of the network, 1 and up.
        reader: whose skips are meant; empty: nobody's.
        page: from 1 on; beyond the last one it is the last.
    """
    order = ranked(ids, store, model)
    pages = max(1, -(-len(order) // ROWS))
    page = min(max(1, page), pages)
    part = order[(page - 1) * ROWS : page * ROWS]
    rows = store.rows([study for study, _ in part], model) if model else {}
    leases = {lease.study: lease for lease in store.leases.open()}
    skipped = store.leases.taken(reader).skipped if reader else frozenset()
    scored = sum(rank is not None for _, rank in order)
    return {
        "total": len(order),
        "scored": scored,
        "page": page,
        "pages": pages,
        "rows": [
            _study(study, rank, scored, rows.get(study), names, leases.get(study), skipped) for study, rank in part
        ],
    }


def reason(row: Row | None, names: Mapping[int, str], rank: int | None, scored: int) -> str:
    """Why a study stands where it does, in words."""
    if row is None:
        return "The live model has not scored it yet"
    if row.cause:
        return row.cause
    place = f"number {rank} of {scored} scored studies by doubt"
    if row.fields.get("region") == "top":
        return f"The model finds nothing in it; by its most doubtful 1 % of voxels it is {place}"
    classes = {names.get(int(value), value): score for value, score in row.fields.get("classes", {}).items()}
    most = max(classes, key=lambda name: classes[name], default=None)
    about = f"; most doubt in {most}" if len(classes) > 1 else ""
    first = f"Of all {scored} scored studies the model is least sure of this one"
    return f"{first if rank == 1 else place.capitalize()}{about}"


def _study(
    study: str,
    rank: int | None,
    scored: int,
    row: Row | None,
    names: Mapping[int, str],
    lease: Lease | None,
    skipped: Collection[str],
) -> dict[str, Any]:
    fields = row.fields if row else {}
    return {
        "study": study,
        "rank": rank,
        "score": row.score if row else None,
        "classes": {names.get(int(value), value): score for value, score in fields.get("classes", {}).items()},
        "reason": reason(row, names, rank, scored),
        "open_with": lease.client if lease else None,
        "open_until": lease.until if lease else None,
        "skipped": study in skipped,
    }
