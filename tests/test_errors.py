"""Every kind of error carries an HTTP status and a whole sentence."""

import pytest

from lib.errors import ConfigError, NotFoundError, NotReadyError, SemisegError, StudyError


@pytest.mark.parametrize(
    ("error", "status", "builtin"),
    [
        (SemisegError("x"), 500, Exception),
        (ConfigError("x"), 400, ValueError),
        (StudyError("a", "x"), 422, ValueError),
        (NotFoundError("x"), 404, LookupError),
        (NotReadyError("x"), 409, RuntimeError),
    ],
)
def test_kind_has_its_status_and_builtin(error: SemisegError, status: int, builtin: type) -> None:
    assert error.status == status
    assert isinstance(error, SemisegError)
    assert isinstance(error, builtin)


def test_study_error_names_study_cause_and_way_out() -> None:
    error = StudyError("mr_07", "its label is empty", "Draw it or remove the file")
    assert str(error) == "Study 'mr_07': its label is empty. Draw it or remove the file."
    assert (error.study, error.cause, error.remedy) == ("mr_07", "its label is empty", "Draw it or remove the file")


def test_study_error_without_a_way_out_ends_after_the_cause() -> None:
    assert str(StudyError("mr_07", "its label is empty")) == "Study 'mr_07': its label is empty."


def test_not_found_prints_its_sentence_without_the_quotes_of_key_error() -> None:
    assert str(NotFoundError("Version 3 does not exist.")) == "Version 3 does not exist."
