"""What is found out about studies in the background, and when that is left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lib.errors import NotFoundError
from lib.selection.store import FEATURES, ScoreStore
from lib.server import background
from lib.server.background import PAUSE, Arrivals, Describing, forget_removed
from lib.server.cases import cases_of
from lib.server.datastore import FolderDatastore
from lib.training.model_folder import ModelFolder

Clock = Callable[[float], None]


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Lets time pass."""
    now = [1000.0]
    monkeypatch.setattr(background.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_arrivals_are_scored_once_in_a_while(go: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []
    arrivals = Arrivals(lambda: False, lambda: scored.append("now"))
    monkeypatch.setattr(background, "processes", lambda _: {})
    arrivals()
    arrivals()
    go(PAUSE - 1)
    arrivals()
    assert len(scored) == 1
    go(1)
    arrivals()
    assert len(scored) == 2


@pytest.mark.parametrize("busy", ["scoring", "training"])
def test_arrivals_wait_while_something_is_under_way(busy: str, go: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []
    arrivals = Arrivals(lambda: busy == "training", lambda: scored.append("now"))
    monkeypatch.setattr(background, "processes", lambda _: {"1": object()} if busy == "scoring" else {})
    arrivals()
    assert scored == []
    busy = "nothing"
    arrivals()
    assert scored == ["now"], "the pause begins with a scoring"


def test_studies_are_described_until_there_is_a_model(folder: ModelFolder, datastore: FolderDatastore) -> None:
    folder.path.mkdir()
    store, models = ScoreStore(folder.scores), [False]
    describing = Describing(store, 1, lambda: models[0])
    describing.start(lambda: cases_of(datastore))
    assert describing.thread
    describing.thread.join(60)
    ids = datastore.list_images()
    assert store.missing(ids, FEATURES) == []
    models[0], before = True, describing.thread
    describing.start(lambda: pytest.fail("nobody needs it any more"))
    assert describing.thread is before


def test_a_deleted_study_takes_along_what_was_known_of_it(folder: ModelFolder, datastore: FolderDatastore) -> None:
    folder.path.mkdir()
    store = ScoreStore(folder.scores)
    for study in ("phantom_003", "phantom_004"):
        store.put(study, "m", 0.5, {}, 1.0, embedding=np.ones(2))
        store.leases.lease(study, "ann", 60)
        store.leases.skip(study, "ben")
    forget_removed(datastore, store)
    datastore.remove_image("phantom_003")
    assert store.get("m").keys() == store.embeddings("m").places.keys() == {"phantom_004"}
    assert [lease.study for lease in store.leases.open()] == ["phantom_004"]
    assert store.leases.taken("ben").skipped == {"phantom_004"}


def test_a_study_that_could_not_be_deleted_stays_known(folder: ModelFolder, datastore: FolderDatastore) -> None:
    folder.path.mkdir()
    store = ScoreStore(folder.scores)
    store.put("elsewhere", "m", 0.5, {}, 1.0)
    forget_removed(datastore, store)
    with pytest.raises(NotFoundError):
        datastore.remove_image("elsewhere")
    assert store.get("m") == {"elsewhere": 0.5}
