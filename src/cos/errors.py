"""Every error that COS shows: one sentence for a person, a status for HTTP, an exit code for a shell."""

from __future__ import annotations

from typing import Any, ClassVar


class CosError(Exception):
    """Something went wrong inside COS."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    slug: ClassVar[str] = "internal"

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        """Carry one sentence (the class's own by default) and the fields that a problem document adds to it.

        Args:
            detail: names the bad value and the way out.
            **extra: JSON values, shown as further members of the problem document.
        """
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.extra = extra
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """Give the kind of the error as a short sentence that is the same for each occurrence."""
        return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")


class BadInput(CosError):
    """The input was not accepted."""

    status = 422
    exit_code = 3
    slug = "bad-input"


class TooLarge(BadInput):
    """The input is larger than the limit."""

    status = 413
    slug = "too-large"


class NotFound(CosError):
    """There is nothing under this name."""

    status = 404
    exit_code = 4
    slug = "not-found"


class Conflict(CosError):
    """This is already there."""

    status = 409
    exit_code = 5
    slug = "conflict"


class Forbidden(CosError):
    """This request is not allowed."""

    status = 403
    exit_code = 6
    slug = "forbidden"


class Unauthorized(CosError):
    """A token is needed."""

    status = 401
    exit_code = 24
    slug = "unauthorized"


class BadRequest(BadInput):
    """The request is not one that can be understood in a single way."""

    status = 400
    slug = "bad-request"


class RequestTimeout(BadInput):
    """The request did not arrive in time."""

    status = 408
    slug = "request-timeout"


class UrlTooLong(BadInput):
    """The address is longer than the limit."""

    status = 414
    slug = "url-too-long"


class HeadersTooLarge(BadInput):
    """The headers are larger than the limit."""

    status = 431
    slug = "headers-too-large"


class Unavailable(CosError):
    """COS cannot do this at the moment; try again shortly."""

    status = 503
    exit_code = 7
    slug = "unavailable"


class Overloaded(Unavailable):
    """COS is asked for more than it can do at once; try again shortly."""

    slug = "overloaded"


class TooManyRequests(Unavailable):
    """More requests came than the limit allows; try again shortly."""

    status = 429
    slug = "too-many-requests"


class NotRunning(CosError):
    """COS is not running here."""

    status = 503
    exit_code = 10
    slug = "not-running"


class AlreadyRunning(CosError):
    """Another COS has this data folder."""

    exit_code = 11
    slug = "already-running"


class PortTaken(CosError):
    """The port of the API is taken."""

    exit_code = 12
    slug = "port-taken"


class FolderNotWritable(CosError):
    """The data folder cannot be written."""

    exit_code = 13
    slug = "folder-not-writable"


class DiskFull(CosError):
    """The disk of the data folder is full."""

    status = 507
    exit_code = 14
    slug = "disk-full"


class OtherMajorVersion(CosError):
    """The data folder was written by another major version of Postgres."""

    exit_code = 15
    slug = "other-major-version"


class BadSetting(CosError):
    """A setting has a value that COS cannot use."""

    exit_code = 16
    slug = "bad-setting"


class PostgresUnreachable(Unavailable):
    """Postgres does not answer."""

    exit_code = 17
    slug = "postgres-unreachable"


class PostgresDiskFull(DiskFull, PostgresUnreachable):
    """The disk of the data folder is full, so that Postgres does not run."""


class RedisUnreachable(Unavailable):
    """Redis does not answer."""

    exit_code = 18
    slug = "redis-unreachable"


class WrongPassword(CosError):
    """A server refused the user or the password in its URL."""

    exit_code = 19
    slug = "wrong-password"


class ServerTooOld(CosError):
    """A server is older than COS needs."""

    exit_code = 20
    slug = "server-too-old"


class ServerFailed(CosError):
    """A server that COS runs did not start."""

    exit_code = 21
    slug = "server-failed"


class NewerDatabase(CosError):
    """The database was written by a newer COS."""

    exit_code = 22
    slug = "newer-database"


class BadBackup(CosError):
    """The file is no backup that can be used."""

    status = 422
    exit_code = 23
    slug = "bad-backup"


class NoToken(CosError):
    """COS would be open to other machines, and no token exists."""

    exit_code = 25
    slug = "no-token"
