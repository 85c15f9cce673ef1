"""Calls the webhooks that programs registered: mutating ones in turn, then the validating ones at the same time.

`AdmissionReview` v1 goes to `https://` with the entry's own CA, for a Service at one of its ready endpoints and with
its name in the handshake. A configuration counts from the moment when it is committed. An answer is believed only if it
is one to this very request, of bounded size and in time; anything else is a failed call, and `failurePolicy` decides.
Conformance: api-clients statements 45-51.
"""

import asyncio
import base64
import binascii
import ssl
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.apiserver.errors import StatusError, bad_request, internal_error
from local_cluster.apiserver.patch import PatchError, json_patch
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.versions import Change, Selection
from local_cluster.apiserver.webhook_rules import Webhook, webhooks_of
from proxies.logs import Logger

__all__ = ["Webhooks"]

ANSWER_BYTES_MAX = 3 << 20
_GROUP = "admissionregistration.k8s.io"
_MUTATING, _VALIDATING = f"mutatingwebhookconfigurations.{_GROUP}", f"validatingwebhookconfigurations.{_GROUP}"
_REASONS = {400: "BadRequest", 403: "Forbidden", 409: "Conflict", 422: "Invalid"}


class CallFailed(Exception):
    """A webhook gave no usable answer; the text says why."""


class Webhooks:
    """The webhooks of one server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logger = Logger("apiserver")
        self._session: aiohttp.ClientSession | None = None
        self._registered: dict[str, tuple[Webhook, ...]] = {_MUTATING: (), _VALIDATING: ()}
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        store.on_change(self._changed)

    async def stop(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def mutate(self, request: AdmissionRequest) -> dict[str, Any]:
        """The object after all mutating webhooks. Raises `StatusError` when one refuses, or fails and is required."""
        left: list[tuple[Webhook, dict[str, Any]]] = []
        for webhook in self._concerned(_MUTATING, request):
            await self._change(webhook, request)
            left.append((webhook, request.object))
        for webhook, before in left:
            if webhook.looks_again and request.object != before:
                await self._change(webhook, request)
        return request.object

    async def _change(self, webhook: Webhook, request: AdmissionRequest) -> None:
        """Let one webhook change the object, which is a new one then."""
        response = await self._ask(webhook, request)
        if response is not None and request.object:
            try:
                request.object = _patched(request.object, response)
            except CallFailed as failure:
                self._failed(webhook, failure)

    async def validate(self, request: AdmissionRequest) -> None:
        """Raise `StatusError` when one refuses, or fails and is required."""
        concerned = self._concerned(_VALIDATING, request)
        if concerned:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._verdict(webhook, request)) for webhook in concerned]
            for task in tasks:
                refusal = task.result()
                if refusal is not None:
                    raise refusal

    # -- which ----------------------------------------------------------------------------------------------

    def _changed(self, key: str, change: Change) -> None:
        if key not in self._registered:
            return
        configurations = self._store.collection(key).select(Selection())  # in order of their names, as upstream
        self._registered[key] = tuple(webhook for stored in configurations for webhook in webhooks_of(stored.load()))
        bundles = {webhook.ca_bundle for webhooks in self._registered.values() for webhook in webhooks}
        self._contexts = {pem: context for pem, context in self._contexts.items() if pem in bundles}

    def _concerned(self, key: str, request: AdmissionRequest) -> list[Webhook]:
        registered = self._registered[key]
        # Nobody may lock everybody out of the configurations themselves.
        if not registered or request.group == _GROUP:
            return []
        labels = self._namespace_labels(request)
        return [webhook for webhook in registered if webhook.concerns(request, labels)]

    def _namespace_labels(self, request: AdmissionRequest) -> Mapping[str, str] | None:
        if request.plural == "namespaces" and not request.group:
            return ((request.object or request.old_object).get("metadata") or {}).get("labels") or {}
        if not request.namespace:
            return None
        stored = self._store.collection("namespaces.").get("", request.namespace)
        return stored.labels if stored is not None else {}

    # -- one call -------------------------------------------------------------------------------------------

    async def _verdict(self, webhook: Webhook, request: AdmissionRequest) -> StatusError | None:
        try:
            await self._ask(webhook, request)
        except StatusError as refusal:
            return refusal
        return None

    async def _ask(self, webhook: Webhook, request: AdmissionRequest) -> dict[str, Any] | None:
        """What the webhook answered when it allows, None when it failed and need not answer."""
        if request.dry_run and not webhook.takes_dry_runs:
            raise bad_request(f'admission webhook "{webhook.name}" does not support dry run')
        uid = str(uuid.uuid4())
        body = orjson.dumps(
            {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": _review(request, uid)}
        )
        try:
            async with asyncio.timeout(webhook.timeout_s):
                response = _response(await self._post(webhook, body), uid)
        except TimeoutError:
            self._failed(webhook, CallFailed(f"no answer within {webhook.timeout_s} s"))
            return None
        except (CallFailed, aiohttp.ClientError, OSError, ValueError) as error:
            self._failed(webhook, CallFailed(str(error) or type(error).__name__))
            return None
        request.warnings.extend(str(warning) for warning in response.get("warnings") or ())
        if response.get("allowed") is not True:
            raise _refusal(webhook, response.get("status") or {})
        return response

    async def _post(self, webhook: Webhook, body: bytes) -> bytes:
        url, name = webhook.url, None
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if not url:
            namespace, service, port, path = webhook.service
            name = f"{service}.{namespace}.svc"
            address = self._endpoint(namespace, service, port)
            url = f"https://{address}{path}"
            headers["Host"] = f"{name}:{port}"
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._session.post(
            url,
            params={"timeout": f"{webhook.timeout_s}s"},
            data=body,
            headers=headers,
            ssl=self._context(webhook.ca_bundle) if webhook.ca_bundle else True,
            server_hostname=name,
            allow_redirects=False,
        ) as answer:
            received = bytearray()
            async for chunk in answer.content.iter_any():
                received += chunk
                if len(received) > ANSWER_BYTES_MAX:
                    raise CallFailed(f"the answer exceeds {ANSWER_BYTES_MAX} bytes")
            if answer.status != 200:
                raise CallFailed(f"answered with status {answer.status}")
            return bytes(received)

    def _endpoint(self, namespace: str, name: str, port: int) -> str:
        """`address:port` of a ready endpoint of a Service."""
        service = self._store.collection("services.").get(namespace, name)
        endpoints = self._store.collection("endpoints.").get(namespace, name)
        if service is None:
            raise CallFailed(f'service "{name}" not found in namespace "{namespace}"')
        ports = {item.get("port"): item.get("name", "") for item in service.load()["spec"].get("ports") or ()}
        if port not in ports:
            raise CallFailed(f'service "{name}" has no port {port}')
        for subset in (endpoints.load().get("subsets") or ()) if endpoints is not None else ():
            for target in subset.get("ports") or ():
                if target.get("name", "") == ports[port] and subset.get("addresses"):
                    address = subset["addresses"][0]["ip"]
                    return f"[{address}]:{target['port']}" if ":" in address else f"{address}:{target['port']}"
        raise CallFailed(f'no endpoints available for service "{name}"')

    def _context(self, ca_bundle: bytes) -> ssl.SSLContext:
        context = self._contexts.get(ca_bundle)
        if context is None:
            context = ssl.create_default_context(cadata=ca_bundle.decode("ascii"))
            self._contexts[ca_bundle] = context
        return context

    def _failed(self, webhook: Webhook, failure: CallFailed) -> None:
        self._logger.error("webhook_failed", webhook=webhook.name, error=str(failure), required=webhook.is_required)
        if webhook.is_required:
            raise internal_error(f'failed calling webhook "{webhook.name}": failed to call webhook: {failure}')


def _review(request: AdmissionRequest, uid: str) -> dict[str, Any]:
    kind = {"group": request.group, "version": request.version, "kind": request.kind}
    resource = {"group": request.group, "version": request.version, "resource": request.plural}
    review = {
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": request.name,
        "operation": request.operation,
        "userInfo": {"username": request.username, "groups": list(request.groups)},
        "object": request.object or None,
        "oldObject": request.old_object or None,
        "dryRun": request.dry_run,
        "options": {"kind": f"{request.operation.title()}Options", "apiVersion": "meta.k8s.io/v1"},
    }
    if request.namespace:
        review["namespace"] = request.namespace
    if request.subresource:
        review |= {"subResource": request.subresource, "requestSubResource": request.subresource}
    return review


def _response(body: bytes, uid: str) -> dict[str, Any]:
    review = orjson.loads(body)
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise CallFailed("expected an AdmissionReview with a response")
    if response.get("uid") != uid:
        raise CallFailed(f"expected response.uid={uid!r}, got {response.get('uid')!r}")
    return response


def _patched(obj: dict[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """`obj` with the answer's patch; an absent, empty or `null` one changes nothing."""
    if not response.get("patch"):
        return obj
    if response.get("patchType") != "JSONPatch":
        raise CallFailed(f"expected patchType JSONPatch, got {response.get('patchType')!r}")
    try:
        patch = orjson.loads(base64.b64decode(response["patch"], validate=True))
        patched = json_patch(obj, patch) if patch else obj
    except (binascii.Error, ValueError, TypeError, PatchError) as error:
        raise CallFailed(f"its patch cannot be applied: {error}") from error
    if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
        raise CallFailed("its patch leaves no object with metadata")
    return patched


def _refusal(webhook: Webhook, status: Mapping[str, Any]) -> StatusError:
    denied = f'admission webhook "{webhook.name}" denied the request'
    why = status.get("message") or status.get("reason")
    code = status.get("code")
    if not isinstance(code, int) or not 400 <= code < 600:
        code = 400
    reason = str(status.get("reason") or _REASONS.get(code, "Forbidden"))
    details = status.get("details")
    message = f"{denied}: {why}" if why else f"{denied} without explanation"
    return StatusError(code, reason, message, dict(details) if isinstance(details, dict) else None)
