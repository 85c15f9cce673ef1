"""One method per verb: from a parsed request to the bytes of its answer.

The path of a request: `server.ApiServer` authenticates and routes → `Handlers` reads parameters and body → `Objects`
decides and commits → `Renderer` shows the result.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson

from local_cluster.apiserver.applying import MANAGER_LENGTH_MAX, FieldManagement
from local_cluster.apiserver.deleting import DeleteOptions
from local_cluster.apiserver.errors import (
    StatusError,
    bad_request,
    expired,
    page_not_found,
    unprocessable,
    unsupported_media_type,
    version_too_large,
)
from local_cluster.apiserver.objects import Caller, Identity, Objects, Produce
from local_cluster.apiserver.paging import Page, Paging
from local_cluster.apiserver.patch import PatchError, PatchTestFailed, json_patch, merge_patch
from local_cluster.apiserver.requests import (
    Target,
    duplicate_fields,
    flag,
    media_type,
    negotiate,
    read_json,
    read_object,
    read_selection,
    read_yaml,
    whole_number,
)
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.reviewing import Reviewer
from local_cluster.apiserver.reviews import Authenticate, answer_review
from local_cluster.apiserver.scaling import apply_scale, scale_of
from local_cluster.apiserver.strategic import strategic_patch
from local_cluster.apiserver.table import Renderer
from local_cluster.apiserver.watching import Watches

__all__ = ["Answer", "Handlers", "Request", "Stream"]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_PROPAGATIONS = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a handler needs of an HTTP request."""

    target: Target
    query: Mapping[str, str]
    accept: str
    content_type: str
    body: bytes
    identity: Identity
    agent: str = ""
    """The `User-Agent`."""


class Stream(Protocol):
    """Chunks of an answer that is not complete yet. `aclose` also ends a stream that was never read."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer, or a stream of lines."""

    status: int = 200
    body: bytes = b""
    stream: Stream | None = None
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning` headers."""
    content_type: str = "application/json"
    retry_after_s: int | None = None
    allowed: tuple[str, ...] | None = None
    """The methods of the resource, of a refusal with 405."""


class Handlers:
    """The verbs of the API on the objects of one server."""

    def __init__(self, objects: Objects, watches: Watches, reviewer: Reviewer, fields: FieldManagement) -> None:
        self._objects = objects
        self._fields = fields
        self._watches = watches
        self._reviewer = reviewer
        self._paging = Paging()

    # -- reading --------------------------------------------------------------------------------------------

    def get(self, kind: ResourceType, request: Request) -> Answer:
        """GET of one object or of its `status` or `scale`."""
        target = request.target
        stored = self._objects.get(kind, target.namespace, target.name)
        if target.subresource == "scale":
            _require(kind.scale is not None)
            return Answer(body=orjson.dumps(scale_of(kind, stored.load())))
        _require(not target.subresource or (target.subresource == "status" and kind.has_status))
        return Answer(body=_renderer(kind, request).object(stored.data))

    def list_objects(self, kind: ResourceType, request: Request) -> Answer:
        """GET of a collection."""
        query = request.query
        selection = read_selection(kind, request.target.namespace, query)
        renderer = _renderer(kind, request)
        limit, token = whole_number(query, "limit"), query.get("continue", "")
        selectors = f"{query.get('labelSelector', '')}&{query.get('fieldSelector', '')}"
        path = f"{kind.key}/{request.target.namespace}?{selectors}"
        if token:
            page = self._paging.following(token, limit, path, time.monotonic())
        else:
            asked = whole_number(query, "resourceVersion")
            version = self._objects.store.version
            if asked > version:
                raise version_too_large(asked, version)
            self._check_match(kind, query.get("resourceVersionMatch", ""), query.get("resourceVersion", ""))
            items = self._objects.select(kind, selection)
            page = self._paging.first(items, version, limit, path, time.monotonic())
        return Answer(body=renderer.list([stored.data for stored in page.items], _list_metadata(page)))

    def watch(self, kind: ResourceType, request: Request) -> Answer:
        """GET of a collection with `watch=true`."""
        selection = read_selection(kind, request.target.namespace, request.query)
        stream = self._watches.begin(kind, selection, request.query, _renderer(kind, request))
        return Answer(stream=stream)

    # -- writing --------------------------------------------------------------------------------------------

    async def create(self, kind: ResourceType, request: Request) -> Answer:
        """POST to a collection."""
        _require(not request.target.name)
        obj = read_object(request.content_type, request.body)
        warnings = self._reviewer.review(kind, obj, request.query, _duplicates(request))
        caller = replace(_caller(request), warnings=warnings)
        stored = await self._objects.create(kind, request.target.namespace, obj, caller)
        return Answer(status=201, body=_renderer(kind, request).object(stored.data), warnings=warnings)

    def ask(self, kind: ResourceType, request: Request, authenticate: Authenticate) -> Answer:
        """POST of a question, which is answered and not stored."""
        question = read_object(request.content_type, request.body)
        warnings = self._reviewer.review(kind, question, request.query)
        answer = answer_review(kind, question, request.identity, authenticate)
        return Answer(status=201, body=orjson.dumps(answer), warnings=warnings)

    async def replace(self, kind: ResourceType, request: Request) -> Answer:
        """PUT of an object or of its `status` or `scale`."""
        desired = read_object(request.content_type, request.body)
        if request.target.subresource == "scale":
            return await self._write_scale(kind, request, lambda _: desired)
        warnings = self._reviewer.review(kind, desired, request.query, _duplicates(request))
        # The object is produced afresh for each attempt.
        encoded = orjson.dumps(desired)
        return await self._update(kind, request, lambda _: orjson.loads(encoded), warnings)

    async def patch(self, kind: ResourceType, request: Request) -> Answer:
        """PATCH of an object or of its `status` or `scale`."""
        warnings: list[str] = []
        if request.target.subresource == "scale":
            return await self._write_scale(kind, request, self._patcher(kind, request, is_scale=True))
        patched = self._patcher(kind, request, is_scale=False)
        if media_type(request.content_type) == APPLY_PATCH:
            return await self._apply(kind, request)

        def produce(current: dict[str, Any]) -> dict[str, Any]:
            desired = patched(current)
            warnings[:] = self._reviewer.review(kind, desired, request.query)
            return desired

        return await self._update(kind, request, produce, warnings)

    async def delete(self, kind: ResourceType, request: Request) -> Answer:
        """DELETE of one object."""
        target = request.target
        _require(not target.subresource)
        options = _delete_options(request)
        caller = _caller(request, options)
        stored, is_gone = await self._objects.delete(kind, target.namespace, target.name, options, caller)
        if not is_gone:
            return Answer(body=_renderer(kind, request).object(stored.data), warnings=caller.warnings)
        details = {"name": stored.name, "kind": kind.plural, "uid": stored.uid}
        if kind.group:
            details["group"] = kind.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer(body=orjson.dumps(status), warnings=caller.warnings)

    async def delete_collection(self, kind: ResourceType, request: Request) -> Answer:
        """DELETE of every selected object; the answer lists them."""
        selection = read_selection(kind, request.target.namespace, request.query)
        options = _delete_options(request)
        caller = _caller(request, options)
        deleted = []
        for stored in self._objects.select(kind, selection):
            try:
                last, _ = await self._objects.delete(kind, stored.namespace, stored.name, options, caller)
            except StatusError as error:
                if error.code != 404:  # someone else was faster
                    raise
            else:
                deleted.append(last.data)
        metadata = {"resourceVersion": str(self._objects.store.version)}
        return Answer(body=_renderer(kind, request).list(deleted, metadata))

    # -- parts ----------------------------------------------------------------------------------------------

    def _check_match(self, kind: ResourceType, match: str, version: str) -> None:
        """Raise 400 for a `resourceVersionMatch` that means nothing, 410 for an exact version that has passed."""
        if not match:
            return
        if match not in ("Exact", "NotOlderThan"):
            raise bad_request(
                f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
            )
        if not version or (match == "Exact" and version == "0"):
            raise bad_request(f'resourceVersionMatch: Forbidden: "{match}" needs a resourceVersion')
        # The newest state is also that of every version since the kind's last write; older ones are not kept.
        if match == "Exact" and int(version) < self._objects.store.collection(kind.key).version:
            raise expired(f"The provided resource version is too old: {version}")

    async def _update(
        self, kind: ResourceType, request: Request, produce: Produce, warnings: list[str], *, is_applying: bool = False
    ) -> Answer:
        target = request.target
        _require(not target.subresource or (target.subresource == "status" and kind.has_status))
        caller = replace(_caller(request), is_applying=is_applying, warnings=warnings)
        stored = await self._objects.update(kind, target.namespace, target.name, produce, caller, target.subresource)
        return Answer(body=_renderer(kind, request).object(stored.data), warnings=warnings)

    async def _write_scale(self, kind: ResourceType, request: Request, produce: Produce) -> Answer:
        _require(kind.scale is not None)
        target = request.target

        def scaled(current: dict[str, Any]) -> dict[str, Any]:
            return apply_scale(kind, current, produce(scale_of(kind, current)))

        stored = await self._objects.update(kind, target.namespace, target.name, scaled, _caller(request))
        return Answer(body=orjson.dumps(scale_of(kind, kind.shown(stored.load()))))

    async def _apply(self, kind: ResourceType, request: Request) -> Answer:
        """Server-side apply: create the object when it is absent, else merge into it. Raises 409 for conflicts."""
        target = request.target
        manager = request.query.get("fieldManager", "")
        if not manager:
            raise bad_request("PatchOptions.meta.k8s.io: fieldManager: Required value: is required for apply patch")
        force = flag(request.query, "force")
        applied = read_yaml(request.body)
        if not isinstance(applied, dict):
            raise bad_request("an apply patch is an object")
        warnings = self._reviewer.review(kind, applied, request.query)
        encoded = orjson.dumps(applied)

        def produce(current: dict[str, Any]) -> dict[str, Any]:
            return self._fields.applied(
                kind,
                current,
                orjson.loads(encoded),
                manager=manager,
                force=force,
                subresource=target.subresource,
            )

        try:
            return await self._update(kind, request, produce, warnings, is_applying=True)
        except StatusError as error:
            if error.code != 404 or target.subresource:
                raise
        obj = orjson.loads(encoded)
        metadata = obj.setdefault("metadata", {})
        if metadata.setdefault("name", target.name) != target.name:
            raise bad_request(f"the name of the object does not match the name on the URL ({target.name})")
        obj = self._fields.applied(kind, None, obj, manager=manager, force=force)
        caller = replace(_caller(request), is_applying=True, warnings=warnings)
        stored = await self._objects.create(kind, target.namespace, obj, caller)
        return Answer(status=201, body=_renderer(kind, request).object(stored.data), warnings=warnings)

    def _patcher(self, kind: ResourceType, request: Request, *, is_scale: bool) -> Produce:
        """The function from the current object to the patched one. Raises 415 for an unknown patch type."""
        content_type = media_type(request.content_type)
        supported = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
        if not kind.is_custom:
            supported.append(STRATEGIC_PATCH)
        if content_type not in supported or (is_scale and content_type == APPLY_PATCH):
            raise unsupported_media_type(content_type, supported)
        if content_type == APPLY_PATCH:
            return lambda current: current
        patch = read_json(request.body)
        if content_type != JSON_PATCH and not isinstance(patch, dict):
            raise bad_request(f"a merge patch is an object, not {type(patch).__name__}")
        schema = "autoscaling/v1.Scale" if is_scale else kind.schema

        def patched(current: dict[str, Any]) -> dict[str, Any]:
            try:
                match content_type:
                    case "application/json-patch+json":
                        result = json_patch(current, patch)
                    case "application/merge-patch+json":
                        result = merge_patch(current, patch)
                    case _:
                        result = strategic_patch(self._reviewer.schemas, schema, current, patch)
            except PatchTestFailed as error:
                raise unprocessable(str(error)) from error
            except PatchError as error:
                raise bad_request(str(error)) from error
            if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
                raise unprocessable("the patched object is no object with metadata")
            return result

        return patched


def _renderer(kind: ResourceType, request: Request) -> Renderer:
    representation = negotiate(request.accept)
    return Renderer(kind, representation, request.query.get("includeObject", ""))


def _caller(request: Request, options: DeleteOptions | None = None) -> Caller:
    dry_run = request.query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
    manager = request.query.get("fieldManager", "")
    if len(manager) > MANAGER_LENGTH_MAX or not manager.isprintable():
        raise bad_request(f"fieldManager: expected at most {MANAGER_LENGTH_MAX} printable characters")
    return Caller(
        identity=request.identity,
        dry_run=dry_run == "All" or (options is not None and options.dry_run),
        manager=manager,
        agent=request.agent.partition("/")[0][:MANAGER_LENGTH_MAX] or "unknown",
    )


def _list_metadata(page: Page) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(page.version)}
    if page.continue_token:
        metadata |= {"continue": page.continue_token, "remainingItemCount": page.remaining}
    return metadata


def _delete_options(request: Request) -> DeleteOptions:
    """From the body, else from the parameters. Raises 400."""
    given: dict[str, Any] = {}
    if request.body.strip():
        given = read_object(request.content_type, request.body)
    query = request.query
    propagation = given.get("propagationPolicy") or query.get("propagationPolicy") or ""
    if not propagation and (given.get("orphanDependents") or flag(query, "orphanDependents")):
        propagation = "Orphan"
    if propagation and propagation not in _PROPAGATIONS:
        raise bad_request(f'propagationPolicy: Unsupported value: "{propagation}"')
    grace = given.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = whole_number(query, "gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise bad_request(f"gracePeriodSeconds: expected a whole number, got {grace!r}")
    preconditions = given.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise bad_request("preconditions: expected an object")
    dry_run = given.get("dryRun") or []
    if dry_run not in ([], ["All"]):
        raise bad_request(f'dryRun: Unsupported value: {dry_run!r}: supported values: ["All"]')
    return DeleteOptions(
        propagation=propagation or "Background",
        grace_period_s=grace,
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=bool(dry_run),
    )


def _duplicates(request: Request) -> list[str]:
    """Found for those who ask how their fields fare, as kubectl does: it means reading the body twice."""
    is_asked = request.query.get("fieldValidation", "Ignore") != "Ignore"
    return duplicate_fields(request.content_type, request.body) if is_asked else []


def _require(is_offered: bool) -> None:
    if not is_offered:
        raise page_not_found()
