"""What the server answers when it refuses: one exception carrying a Kubernetes `Status`, and one maker per situation.

Clients test `reason` and `code`, kubectl prints `message`; so each maker fixes all three and names the object in
`details` (api-clients statement 32).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = [
    "Cause",
    "StatusError",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "internal_error",
    "invalid",
    "method_not_allowed",
    "not_acceptable",
    "not_found",
    "page_not_found",
    "too_large",
    "too_many_requests",
    "unauthorized",
    "unprocessable",
    "unsupported_media_type",
    "version_too_large",
]


class Cause(NamedTuple):
    """One reason of a refusal: the field's path, a machine word such as `FieldValueInvalid`, and the text."""

    field: str
    reason: str
    message: str


class StatusError(Exception):
    """A refusal. `details` has `group`, `kind` (the plural, as upstream fills it), `name`, `uid`, `causes`."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.allowed: tuple[str, ...] | None = None
        """The methods that `Allow` names, when the method was what is refused."""

    def status(self) -> dict[str, Any]:
        """The `Status` object of this refusal."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def _details(group: str, plural: str, name: str, causes: Iterable[Cause] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if plural:
        details["kind"] = plural
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    if listed:
        details["causes"] = listed
    return details


def _qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> StatusError:
    """404: no such object."""
    return StatusError(
        404, "NotFound", f'{_qualified(group, plural)} "{name}" not found', _details(group, plural, name)
    )


def page_not_found() -> StatusError:
    """404: no such path, group, version or resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(group: str, plural: str, name: str) -> StatusError:
    """409: the name is taken."""
    message = f'{_qualified(group, plural)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> StatusError:
    """409: the object is not in the state that the writer assumes."""
    message = f'Operation cannot be fulfilled on {_qualified(group, plural)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(group, plural, name))


def invalid(group: str, plural: str, kind: str, name: str, causes: list[Cause]) -> StatusError:
    """422: the object breaks its kind's rules; the message lists each field with its reason."""
    texts = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    subject = f"{kind}.{group}" if group else kind
    details = _details(group, kind, name, causes)
    return StatusError(422, "Invalid", f'{subject} "{name}" is invalid: {text}', details)


def unprocessable(why: str) -> StatusError:
    """422: a patch that cannot be applied, a JSON patch `test` that fails."""
    details = {"causes": [{"reason": "UnexpectedServerResponse", "message": why}]}
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", details)


def bad_request(message: str) -> StatusError:
    """400: the request itself is malformed."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """401: no token, or an unknown one."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str, causes: Iterable[Cause] = ()) -> StatusError:
    """403: the request is understood and refused."""
    message = f'{_qualified(group, plural)} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(group, plural, name, causes))


def method_not_allowed(
    allowed: tuple[str, ...], why: str = "the server does not allow this method on the requested resource"
) -> StatusError:
    """405: the resource has no such verb, or not at this time; `allowed` are the methods that it has."""
    error = StatusError(405, "MethodNotAllowed", why)
    error.allowed = allowed
    return error


def not_acceptable(accept: str) -> StatusError:
    """406: none of the media types that the client accepts can be produced."""
    message = f"only the following media types are accepted: application/json; the request accepts {accept!r}"
    return StatusError(406, "NotAcceptable", message)


def unsupported_media_type(content_type: str, supported: Iterable[str]) -> StatusError:
    """415: the body's media type is not understood."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
    if content_type:
        message += f" (got {content_type!r})"
    return StatusError(415, "UnsupportedMediaType", message)


def too_large(bytes_max: int) -> StatusError:
    """413: the body exceeds the bound."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {bytes_max}")


def expired(message: str) -> StatusError:
    """410: a version or page token that the history does not reach; the client lists again."""
    return StatusError(410, "Expired", message)


def version_too_large(asked: int, current: int) -> StatusError:
    """504: a list not older than a version which does not exist (a client that outlived our state)."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    details["retryAfterSeconds"] = 1  # type: ignore[assignment]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return StatusError(504, "Timeout", message, details)


def too_many_requests(retry_after_s: int, why: str) -> StatusError:
    """429: a bound is reached; the answer carries `Retry-After`."""
    return StatusError(429, "TooManyRequests", why, {"retryAfterSeconds": retry_after_s})


def internal_error(why: str) -> StatusError:
    """500: our bug."""
    return StatusError(500, "InternalError", f"Internal error occurred: {why}")
