"""What can go wrong between a service and the API.

ApiError                     the server refused: it sent a Status
├── Unauthorized             401
├── Forbidden                403
├── NotFound                 404
├── Conflict                 409: a stale resourceVersion, or a wrong uid
│   └── AlreadyExists        409 with reason AlreadyExists
├── Gone                     410: the version or page token is too old, list again
├── Invalid                  422 (and 400): the object is wrong; repeating it does not help
└── TooManyRequests          429: `retry_after_s` says when
ApiUnreachable               no answer: refused, reset, timed out, TLS

Reconcilers test the class, never the text.
"""

import json
import re
from typing import Any, Final

from proxies.messages import ResponseHead

__all__ = [
    "AlreadyExists",
    "ApiError",
    "ApiUnreachable",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "NotFound",
    "TooManyRequests",
    "Unauthorized",
    "error_from_answer",
    "error_from_status",
]


class ApiUnreachable(Exception):
    """The API did not answer; trying again may help."""


class ApiError(Exception):
    """The API answered with a failure Status."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"

    @property
    def retry_after_s(self) -> float | None:
        """When the server wants to be asked again, in seconds, if it said so."""
        seconds = self.details.get("retryAfterSeconds")
        # Not of what is negative, nor of NaN.
        return float(min(seconds, _RETRY_AFTER_MAX_S)) if isinstance(seconds, int | float) and seconds >= 0 else None


class Unauthorized(ApiError):
    """No or wrong credentials."""


class Forbidden(ApiError):
    """The identity may not do this."""

    def is_of_terminating(self, namespace: str) -> bool:
        """Whether nobody may, since that namespace is about to go."""
        causes = self.details.get("causes")
        return any(
            each.get("reason") == "NamespaceTerminating" and f" {namespace} " in f" {each.get('message', '')} "
            for each in (causes if isinstance(causes, list) else ())
            if isinstance(each, dict)
        )


class NotFound(ApiError):
    """No such object, collection or version."""


class Conflict(ApiError):
    """Someone else was faster; read again."""


class AlreadyExists(Conflict):
    """The name is taken."""


class Gone(ApiError):
    """The history no longer reaches that far; list again."""


class Invalid(ApiError):
    """The object or the request is wrong."""


class TooManyRequests(ApiError):
    """Slow down."""


_RETRY_AFTER_MAX_S: Final = 99_999
"""Longer than anybody waits."""
_SECONDS: Final = re.compile(rb"[0-9]{1,5}")

_BY_CODE: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_from_status(code: int, status: dict[str, Any]) -> ApiError:
    """The error that a `Status` object (or an empty dict) of HTTP status `code` stands for."""
    reason = str(status.get("reason") or "")
    error_class = AlreadyExists if reason == "AlreadyExists" else _BY_CODE.get(code, ApiError)
    details = status.get("details")
    return error_class(
        code, reason, str(status.get("message") or f"HTTP {code}"), details if isinstance(details, dict) else None
    )


def error_from_answer(head: ResponseHead, body: bytes) -> ApiError:
    """The error that an answer stands for. One that sheds load has no `Status`, and says in a field when to come."""
    try:
        status = json.loads(body)
    except ValueError:
        status = {"message": body[:500].decode("utf-8", "replace")}
    error = error_from_status(head.status, status if isinstance(status, dict) else {})
    after = head.get(b"retry-after")
    if error.retry_after_s is None and _SECONDS.fullmatch(after):
        error.details["retryAfterSeconds"] = int(after)
    return error
