"""Admission: hooks that may change or refuse a write before it is committed.

Hooks run in this process; mutating ones first, in the order in which they were added, then validating ones on the final
object. A refusal reaches the client in the words of a webhook's denial, because that is what it stands for. Webhooks
that programs registered (`webhooks`) come after the hooks in both rounds.
Conformance: api-clients statements 45, 50, 51.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from local_cluster.apiserver.errors import Cause, StatusError

__all__ = ["Admission", "AdmissionDenied", "AdmissionHook", "AdmissionRequest"]

DEFAULT_NAME = "validation.webhook.serving.knative.dev"
"""The name that a refusal is reported under when the hook was added without one."""

_REASONS = {400: "BadRequest", 403: "Forbidden", 409: "Conflict", 422: "Invalid"}


@dataclass(slots=True, kw_only=True)
class AdmissionRequest:
    """One write that is about to happen; `object` is what it has become so far."""

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
    warnings: list[str] = field(default_factory=list)
    """For the writer; whoever reviews may add to them."""


class Reviewers(Protocol):
    """Whoever else reviews writes: the webhooks that programs registered."""

    async def mutate(self, request: AdmissionRequest) -> dict[str, Any]:
        """The object to go on with. Raises `StatusError` to refuse."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Raise `StatusError` to refuse."""


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

    def __init__(self, webhooks: Reviewers | None = None) -> None:
        self._webhooks = webhooks
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
                request.object = mutated
        if self._webhooks is not None:
            request.object = await self._webhooks.mutate(request)
        for name, hook in self._validating:
            await _call(name, hook, request)
        if self._webhooks is not None:
            await self._webhooks.validate(request)
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
