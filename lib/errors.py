"""What can go wrong through no fault of the program: one sentence with the subject, the cause and the way out."""


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
