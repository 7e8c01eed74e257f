"""What can go wrong through no fault of the program: one sentence with the subject, the cause and the way out."""

import math


class SemisegError(Exception):
    """A failure to tell the user in one sentence; the command line prints it, the server sends it with ``status``."""

    status = 500


class ConfigError(SemisegError, ValueError):
    """A setting that is unknown, of the wrong type, or impossible together with another."""

    status = 400


class StudyError(SemisegError, ValueError):
    """A study or label that cannot be used. It is skipped and named in the manifest, never fatal to a training."""

    status = 422

    def __init__(self, study: str, cause: str, remedy: str = "") -> None:
        super().__init__(f"Study '{study}': {cause}." + (f" {remedy}." if remedy else ""))
        self.study, self.cause, self.remedy = study, cause, remedy


class NotFoundError(SemisegError, LookupError):
    """A model, study, strategy or version that does not exist."""

    status = 404


class NotReadyError(SemisegError, RuntimeError):
    """A request that is right but comes too early: no labels yet, no model yet, a training already under way."""

    status = 409


class DicomServerError(SemisegError, ConnectionError):
    """The DICOM server does not answer, refuses the password or the request, or answers with what is no DICOMweb."""

    status = 503


class StudyAwayError(StudyError):
    """A study on a DICOM server that is away, of which nothing is at hand. A training skips it, a client asks again."""

    status = 503


class StorageFullError(SemisegError, OSError):
    """The disk or the quota is full (RFC 4918, 507 Insufficient Storage). What was there before is as it was."""

    status = 507


class LoginError(SemisegError, PermissionError):
    """Nobody who is known: no login, one that has ended, a wrong name or password."""

    status = 401


class ForbiddenError(SemisegError, PermissionError):
    """Somebody who is known, whose role does not allow this."""

    status = 403


class TooOftenError(SemisegError, PermissionError):
    """Failed logins come too fast; ``retry_after`` is the time in s after which the next one is looked at."""

    status = 429

    def __init__(self, seconds: float) -> None:
        self.retry_after = math.ceil(seconds)
        super().__init__(f"Too many failed logins: try again in {self.retry_after} s")


class LoginServerError(SemisegError, ConnectionError):
    """The identity provider does not answer, or not as OpenID Connect has it."""

    status = 503


class TooLargeError(SemisegError, ValueError):
    """More than the bounds allow: of a request, or of what a file says that it holds."""

    status = 413


class BusyError(SemisegError):
    """All places are taken and enough requests wait; the same request may be right in ``retry_after`` seconds."""

    status = 503

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
