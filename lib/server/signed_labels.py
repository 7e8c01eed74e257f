"""Who submitted a label: noted with it, asked before it is changed, and written to the audit log.

The rule sits on the datastore, below all routes, so that no way to store a label goes around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.access.audit import AuditLog
from lib.access.people import Role
from lib.errors import ForbiddenError
from lib.server.caller import NO_CALLER, caller

SUBMITTER = "submitted_by"  # in the info of a label
ALIASES = ("user", "client_id")  # where MONAI Label, and what is built on it, has the reader


def sign_labels(datastore: Datastore, audit: AuditLog) -> None:
    """Have each label of this datastore say in its info, under ``submitted_by``, who submitted it, and let only that
    reader change it, or a reviewer; wherever in the app the datastore is called."""
    store: Any = datastore
    store.save_label = _saving(datastore, store.save_label, audit)
    store.update_label_info = _updating(datastore, store.update_label_info, audit)
    store.remove_label = _removing(datastore, store.remove_label, audit)


def _saving(datastore: Datastore, save: Callable[..., str], audit: AuditLog) -> Callable[..., str]:
    @wraps(save)
    def call(image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any], *more: Any) -> str:
        before = bool(datastore.get_label_by_image_id(image_id, label_tag))
        _check_own(datastore, image_id, label_tag)
        label = save(image_id, label_filename, label_tag, _signed(label_info), *more)
        _note(audit, "label changed" if before else "label submitted", image_id, label_tag)
        return label

    return call


def _updating(datastore: Datastore, update: Callable[..., Any], audit: AuditLog) -> Callable[..., Any]:
    @wraps(update)
    def call(label_id: str, label_tag: str, info: Mapping[str, Any], *more: Any) -> Any:
        _check_own(datastore, label_id, label_tag)
        update(label_id, label_tag, {key: value for key, value in info.items() if key != SUBMITTER}, *more)
        if caller() != NO_CALLER:  # scores that a process of the server notes are no work of a reader
            _note(audit, "label info changed", label_id, label_tag)

    return call


def _removing(datastore: Datastore, remove: Callable[..., Any], audit: AuditLog) -> Callable[..., Any]:
    @wraps(remove)
    def call(label_id: str, label_tag: str, *more: Any) -> Any:
        there = bool(datastore.get_label_by_image_id(label_id, label_tag))
        remove(label_id, label_tag, *more)
        if there:
            _note(audit, "label deleted", label_id, label_tag)

    return call


def _signed(info: Mapping[str, Any] | None) -> dict[str, Any]:
    unsigned = {key: value for key, value in (info or {}).items() if key != SUBMITTER}
    person = caller().person
    return unsigned | (dict.fromkeys((SUBMITTER, *ALIASES), person.name) if person else {})


def _check_own(datastore: Datastore, study: str, tag: str) -> None:
    person = caller().person
    if person is None or person.role >= Role.REVIEWER or not datastore.get_label_by_image_id(study, tag):
        return
    submitter = datastore.get_label_info(study, tag).get(SUBMITTER)
    if submitter != person.name:
        whose = f"was submitted by '{submitter}'" if submitter else "has no submitter who is known"
        raise ForbiddenError(f"Study '{study}': its label ({tag}) {whose}; a reviewer may change it")


def _note(audit: AuditLog, what: str, study: str, tag: str) -> None:
    audit.write(what, caller().name, caller().address, study=study, tag=tag)
