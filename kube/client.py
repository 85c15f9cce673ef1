"""The REST client of the Kubernetes API: typed in, typed out, over one bounded pool of connections.

Changes go out as patches, never as a PUT of something decoded (`kube.models.meta`). Exceptions of what lies below end
here: callers see `kube.errors` only. Answers come as they are, not compressed, and redirects are refusals
(docs/decisions/0011).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from kube.config import ApiConfig
from kube.errors import ApiUnreachable, Gone, error_from_answer, error_from_status
from kube.http_connection import BrokenConnection, HttpConnection, render_request
from kube.http_pool import HttpPool
from kube.models.meta import Listed, ListMeta, Model, Resource

__all__ = ["Client", "ObjectList", "PatchType", "WatchEvent"]

L = TypeVar("L", bound=Listed)
R = TypeVar("R", bound=Resource)
T = TypeVar("T")
PatchType = Literal["merge", "json", "strategic", "apply"]

_CONTENT_TYPES: dict[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_REPEATABLE = frozenset(["GET", "PUT", "DELETE"])
"""Idempotent methods (RFC 9110 9.2.2)."""
_CONNECTIONS_MAX = 256
"""Each informer holds one connection for its watch; the rest serve calls."""
_WATCH_LINE_BYTES_MAX = 16 << 20
_TOKEN_AGE_MAX_S = 60.0
_PATH_CHARACTERS = "/:@!$&'()*+,;=~%"
"""What a path may have as it is (RFC 3986 3.3), escapes included."""


class ObjectList(NamedTuple, Generic[L]):
    """A page of objects and the version to watch from."""

    items: list[L]
    resource_version: str
    continue_token: str


class WatchEvent(NamedTuple, Generic[L]):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK; `object` of a bookmark has only its version."""

    type: str
    object: L


class _RawList(msgspec.Struct):
    metadata: ListMeta
    items: list[msgspec.Raw] = []


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


_EVENT = msgspec.json.Decoder(_RawEvent)


class Client:
    """One identity's access to one API server. Create with `async with Client(config) as client` or `open`/`close`.

    Every call raises `ApiError` (its subclasses by status) or `ApiUnreachable`. `timeout_s` bounds a call, not a watch.
    """

    def __init__(self, config: ApiConfig, *, user_agent: str = "knuv", timeout_s: float = 30.0) -> None:
        self.config = config
        url = urlsplit(config.server)
        self._base_path = url.path
        self._fields = {
            "Host": url.netloc.rpartition("@")[2],
            "User-Agent": user_agent,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._timeout_s = timeout_s
        self._pool: HttpPool | None = None
        self._token = config.token
        self._token_read_at = -_TOKEN_AGE_MAX_S
        self._decoders: dict[type[Listed], msgspec.json.Decoder[Any]] = {}

    async def __aenter__(self) -> "Client":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Make the pool; needs a running loop."""
        if self._pool is None:
            tls = self.config.ssl_context()
            self._pool = HttpPool(self.config.server, tls, connections_max=_CONNECTIONS_MAX)

    async def close(self) -> None:
        """Close all connections, watches included."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def get(self, kind: type[L], name: str, namespace: str | None = None) -> L:
        """One object; `NotFound` when there is none."""
        return self._decode(kind, await self.raw("GET", kind.RESOURCE.path(namespace, name)))

    async def list(
        self,
        kind: type[L],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 0,
    ) -> ObjectList[L]:
        """All objects of a kind, of one namespace or of all. Pages of `page_size` are followed to the end."""
        items: list[L] = []
        token = ""
        while True:
            params = _selection(label_selector, field_selector)
            if page_size:
                params["limit"] = str(page_size)
            if token:
                params["continue"] = token
            body = await self.raw("GET", kind.RESOURCE.path(namespace), params=params)
            page = _decoded(msgspec.json.Decoder(_RawList), body, kind.RESOURCE.plural)
            items.extend(self._decode(kind, item) for item in page.items)
            token = page.metadata.continue_token
            if not token:
                return ObjectList(items, page.metadata.resource_version, "")

    async def create(self, obj: R) -> R:
        """POST; `AlreadyExists` when the name is taken."""
        path = obj.RESOURCE.path(obj.metadata.namespace)
        return self._decode(type(obj), await self.raw("POST", path, body=msgspec.json.encode(obj)))

    async def replace(self, obj: R) -> R:
        """PUT of an object that is ours entirely and was built here, not decoded; 409 on a stale resourceVersion."""
        path = obj.RESOURCE.path(obj.metadata.namespace, obj.metadata.name)
        return self._decode(type(obj), await self.raw("PUT", path, body=msgspec.json.encode(obj)))

    async def patch(
        self,
        kind: type[R],
        name: str,
        namespace: str | None,
        patch: object,
        *,
        type: PatchType = "merge",
        subresource: str | None = None,
        field_manager: str = "",
        force: bool = False,
    ) -> R:
        """PATCH; the new object. `patch` is JSON-ready data or a Struct."""
        params = {"fieldManager": field_manager} if field_manager else {}
        if force:
            params["force"] = "true"
        body = await self.raw(
            "PATCH",
            kind.RESOURCE.path(namespace, name, subresource),
            body=msgspec.json.encode(patch),
            content_type=_CONTENT_TYPES[type],
            params=params,
        )
        return self._decode(kind, body)

    async def patch_status(self, obj: R, status: Model | Mapping[str, Any], *, guard: bool = False) -> R:
        """Set the whole status of `obj` through its subresource; absent fields are removed.

        With `guard` the write fails with `Conflict` unless `obj` is still the current version.
        """
        operations: list[dict[str, Any]] = [{"op": "add", "path": "/status", "value": status}]
        if guard:
            # A version that is set, unlike one that is tested, is answered 409 when it is not the current one.
            version = obj.metadata.resource_version
            operations.insert(0, {"op": "replace", "path": "/metadata/resourceVersion", "value": version})
        return await self.patch(
            type(obj), obj.metadata.name, obj.metadata.namespace, operations, type="json", subresource="status"
        )

    async def patch_scale(self, kind: type[Resource], name: str, namespace: str, replicas: int) -> None:
        """Set `spec.replicas` through the scale subresource, as the original does (spec autoscaler.md 7.3)."""
        operations = [{"op": "add", "path": "/spec/replicas", "value": replicas}]
        await self.raw(
            "PATCH",
            kind.RESOURCE.path(namespace, name, "scale"),
            body=json.dumps(operations).encode(),
            content_type=_CONTENT_TYPES["json"],
        )

    async def delete(
        self,
        kind: type[Resource],
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
        uid: str | None = None,
        grace_period_s: int | None = None,
    ) -> None:
        """DELETE; with `uid` only that very object (`Conflict` otherwise)."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        await self.raw("DELETE", kind.RESOURCE.path(namespace, name), body=json.dumps(options).encode())

    async def watch(
        self,
        kind: type[L],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 300,
    ) -> AsyncIterator[WatchEvent[L]]:
        """Events after `resource_version` until the server ends the stream. `Gone` when the history is too short."""
        events = self.watch_raw(
            kind.RESOURCE.path(namespace),
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_s=timeout_s,
        )
        async with contextlib.aclosing(events):
            async for type_, raw in events:
                yield WatchEvent(type_, self._decode(kind, raw))

    async def watch_raw(
        self,
        path: str,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int = 300,
    ) -> AsyncGenerator[tuple[str, msgspec.Raw], None]:
        """The same for a collection by its path, with whole objects in JSON. To be closed by who leaves it early."""
        params = _selection(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        what = f"watch of {path.rpartition('/')[2]}"
        async for line in self.stream(path, params, silence_max_s=timeout_s + 30):
            event = _decoded(_EVENT, line, what)
            if event.type == "ERROR":
                status = _decoded(msgspec.json.Decoder(dict[str, Any]), event.object, what)
                code = status.get("code")
                raise error_from_status(code if isinstance(code, int) and code else 500, status)
            yield event.type, event.object

    async def stream(self, path: str, params: Mapping[str, str], *, silence_max_s: float) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on, as they come."""
        pool = self._opened()
        try:
            request = self._request("GET", path, params, {})
            async with asyncio.timeout(silence_max_s):
                connection, head = await pool.ask(request, is_repeatable=True)
            try:
                if head.status != 200:
                    async with asyncio.timeout(self._timeout_s):
                        raise error_from_answer(head, await connection.read_all())
                async for line in _lines(connection, silence_max_s):
                    yield line
            finally:
                pool.give_back(connection)
        except (BrokenConnection, OSError, ValueError) as error:
            raise ApiUnreachable(f"watch of {path.rpartition('/')[2]}: {_cause(error)}") from error

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        params: Mapping[str, str] | None = None,
        accept: str | None = None,
    ) -> bytes:
        """One call by path; the answer's bytes when its status is 2xx."""
        fields = {}
        if body is not None:
            fields["Content-Type"] = content_type
        if accept is not None:
            fields["Accept"] = accept
        pool = self._opened()
        try:
            request = self._request(method, path, params, fields, body)
            async with asyncio.timeout(self._timeout_s):
                connection, head = await pool.ask(request, is_repeatable=method in _REPEATABLE)
                try:
                    answer = await connection.read_all()
                finally:
                    pool.give_back(connection)
        except (BrokenConnection, OSError, ValueError) as error:
            raise ApiUnreachable(f"{method} {path}: {_cause(error)}") from error
        if head.status >= 300:
            raise error_from_answer(head, answer)
        return answer

    def _opened(self) -> HttpPool:
        if self._pool is None:
            raise ApiUnreachable("the client is closed")
        return self._pool

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        fields: dict[str, str],
        body: bytes | None = None,
    ) -> bytes:
        """Raises `ValueError` for what cannot stand in a request's head."""
        target = self._base_path + quote(path, safe=_PATH_CHARACTERS)
        if params:
            target += f"?{urlencode(params)}"
        return render_request(method, target, self._fields | fields | self._authorization(), body)

    def _authorization(self) -> dict[str, str]:
        if self.config.token_file is not None and time.monotonic() - self._token_read_at > _TOKEN_AGE_MAX_S:
            try:
                self._token = self.config.token_file.read_text().strip()
            except (OSError, ValueError) as error:
                raise ApiUnreachable(f"our token: {error}") from error
            self._token_read_at = time.monotonic()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _decode(self, kind: type[L], data: bytes | msgspec.Raw) -> L:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.json.Decoder(kind)
        obj: L = _decoded(decoder, data, kind.RESOURCE.kind)
        return obj


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, what: str) -> T:
    """Raises `ApiUnreachable` for what is something else: then it was not the API that answered, or not that kind."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ApiUnreachable(f"{what}: answered by something else: {error}") from error


async def _lines(connection: HttpConnection, silence_max_s: float) -> AsyncIterator[bytes]:
    """Newline-delimited JSON, a chunk of the network at a time, so that a line may be long and many lines are cheap."""
    pending = bytearray()
    while True:
        async with asyncio.timeout(silence_max_s):
            chunk = await connection.read()
        if not chunk:
            return
        pending += chunk
        if b"\n" in chunk:
            *lines, pending = pending.split(b"\n")
            for line in lines:
                if line.strip():
                    yield bytes(line)
        if len(pending) > _WATCH_LINE_BYTES_MAX:
            raise Gone(410, "Expired", f"a watch event exceeds {_WATCH_LINE_BYTES_MAX} bytes")


def _selection(label_selector: str, field_selector: str) -> dict[str, str]:
    params = {}
    if label_selector:
        params["labelSelector"] = label_selector
    if field_selector:
        params["fieldSelector"] = field_selector
    return params


def _cause(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "timed out"
    return str(error) or type(error).__name__
