"""Admission: hooks that may change or refuse a write before it is committed.

Hooks run in this process; mutating ones first, in the order in which they were added, then validating ones on the final
object. A refusal reaches the client in the words of a webhook's denial, because that is what it stands for.
Conformance: api-clients statements 45, 50, 51.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from local_cluster.apiserver.errors import Cause, StatusError

__all__ = ["Admission", "AdmissionDenied", "AdmissionHook", "AdmissionRequest"]

DEFAULT_NAME = "validation.webhook.serving.knative.dev"
"""The name that a refusal is reported under when the hook was added without one."""

_REASONS = {400: "BadRequest", 403: "Forbidden", 409: "Conflict", 422: "Invalid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """One write that is about to happen."""

    operation: str
    """`CREATE`, `UPDATE` or `DELETE`."""
    group: str
    version: str
    plural: str
    kind: str
    namespace: str
    name: str
    object: dict[str, Any]
    """The object as it would be stored; empty for DELETE. A mutating hook may change it in place."""
    old_object: dict[str, Any] = field(default_factory=dict)
    """The stored object; empty for CREATE."""
    username: str = ""
    groups: tuple[str, ...] = ()
    subresource: str = ""
    dry_run: bool = False


class AdmissionDenied(Exception):
    """A hook's refusal. `causes` are `(path, reason, message)`."""

    def __init__(self, message: str, code: int = 400, causes: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.causes = [Cause(*cause) for cause in causes]


AdmissionHook: TypeAlias = Callable[[AdmissionRequest], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]
"""Returns the object to go on with; None means unchanged. Validating hooks' results are ignored."""


class Admission:
    """The hooks of one server."""

    def __init__(self) -> None:
        self._mutating: list[tuple[str, AdmissionHook]] = []
        self._validating: list[tuple[str, AdmissionHook]] = []

    def add(self, hook: AdmissionHook, *, name: str = DEFAULT_NAME, validating: bool = False) -> None:
        """Run `hook` on every write; `name` stands in the message of its refusals."""
        (self._validating if validating else self._mutating).append((name, hook))

    async def review(self, request: AdmissionRequest) -> dict[str, Any]:
        """The object to store. Raises `StatusError` when a hook refuses."""
        for name, hook in self._mutating:
            mutated = await _call(name, hook, request)
            if mutated is not None:
                request = replace(request, object=mutated)
        for name, hook in self._validating:
            await _call(name, hook, request)
        return request.object


async def _call(name: str, hook: AdmissionHook, request: AdmissionRequest) -> dict[str, Any] | None:
    try:
        result = hook(request)
        return await result if inspect.isawaitable(result) else result
    except AdmissionDenied as denial:
        details: dict[str, Any] = {}
        if denial.causes:
            details["causes"] = [cause._asdict() for cause in denial.causes]
        message = f'admission webhook "{name}" denied the request: {denial.message}'
        raise StatusError(denial.code, _REASONS.get(denial.code, "Forbidden"), message, details) from denial
