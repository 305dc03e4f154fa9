"""What can be wrong with an object storage, as the errors that files of a machine raise, with a text for people.

A storage's own text is never passed on: it may hold the address of a signed request.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

_CODE = re.compile(r"<Code>(\w{1,40})</Code>")


class StorageAwayError(OSError):
    """The storage does not answer, or cannot now. The data is not to blame."""


class ReplacedError(OSError):
    """An object is another one than when it was listed."""


@dataclass(frozen=True)
class _Meaning:
    """What a kind of error, or a code in its text, means; ``text`` may name the ``bucket``."""

    error: type[OSError]
    number: int
    text: str
    codes: frozenset[str] = frozenset()
    kind: str = ""


_MEANINGS = (
    _Meaning(ReplacedError, errno.ESTALE, "it was replaced while it was read", kind="PreconditionError"),
    _Meaning(
        PermissionError,
        errno.EACCES,
        "the storage's token has expired: get a new one",
        frozenset({"ExpiredToken", "RequestExpired", "TokenRefreshRequired"}),
    ),
    _Meaning(
        OSError,
        errno.ENXIO,  # not ENOENT, which says that nothing is in the bucket
        "there is no bucket {bucket}",
        frozenset({"NoSuchBucket", "ContainerNotFound"}),
    ),
    _Meaning(
        PermissionError,
        errno.EACCES,
        "the storage does not accept the credentials",
        frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed"}),
        "UnauthenticatedError",
    ),
    _Meaning(
        PermissionError,
        errno.EACCES,
        "the credentials do not permit to list and read it",
        frozenset({"AccessDenied", "AllAccessDisabled", "AuthorizationPermissionMismatch"}),
        "PermissionDeniedError",
    ),
    _Meaning(FileNotFoundError, errno.ENOENT, "there is no such object", kind="NotFoundError"),
    _Meaning(
        OSError,
        errno.EINVAL,
        "the bucket is in another region: set AWS_REGION",
        frozenset(
            {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
        ),
    ),
    _Meaning(
        OSError,
        errno.EINVAL,
        "an object in it has a name that no path has (//, /./ or a control character): rename it",
        kind="InvalidPathError",
    ),
)
_METADATA_SERVICE = "169.254.169.254"
"""Where a machine of a cloud gets its credentials; elsewhere nobody answers there."""


def refusal(error: Exception, where: str, bucket: str) -> OSError:
    """Return what an error of the storage means for a place.

    Args:
        error: as the library raises it.
        where: the place that was looked at.
        bucket: the one that it is in.
    """
    kind, text = type(error).__name__, str(error)
    codes = frozenset(_CODE.findall(text))
    for meaning in _MEANINGS:
        if kind == meaning.kind or codes & meaning.codes:
            return meaning.error(meaning.number, meaning.text.format(bucket=bucket), where)
    if _METADATA_SERVICE in text:
        told = "there are no credentials for the storage: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return PermissionError(errno.EACCES, told, where)
    code = f" ({min(codes)})" if codes else ""
    return StorageAwayError(errno.EIO, f"the storage does not answer as it should{code}: try again", where)
