"""`python -m controller webhook`: admission of Knative objects as a webhook server, for the API server of a cluster.

The same `Admission` as in the local stack; here are only the wire (AdmissionReview v1 over TLS) and the ConfigMaps.
Any number of replicas serve, none leads. Source: spec control-plane.md 2.4; Kubernetes `admission.k8s.io/v1`.
"""

import base64
import copy
import dataclasses
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from controller.admission import Admission, Denied
from controller.config import WebhookConfig
from controller.eventing.admission import EventingAdmission
from controller.eventing.webhook import EventingHooks
from controller.webhook_tls import EVENTING, SERVING, CertificateSource, MountedCertificate, OwnCertificate
from kube.client import Client
from kube.informer import Informer
from kube.models.core import ConfigMap
from proxies.logs import Logger

__all__ = ["ReviewRequest", "WebhookApp", "patch_between"]

JsonObject = dict[str, Any]

_BODY_BYTES_MAX = 8 << 20
"""An object has at most 1.5 MiB in etcd; a review holds two of them, in other words."""
_DRAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """The question of an AdmissionReview, as `controller.admission.Request`."""

    uid: str
    operation: str
    group: str
    kind: str
    namespace: str
    name: str
    username: str
    subresource: str
    object: JsonObject = field(default_factory=dict)
    old_object: JsonObject = field(default_factory=dict)

    @classmethod
    def of(cls, review: Mapping[str, Any]) -> "ReviewRequest":
        """Read a review. Raises `KeyError`, `TypeError` or `AttributeError` for what is none."""
        asked = review["request"]
        kind = asked["kind"]
        obj = asked.get("object") or {}
        return cls(
            uid=str(asked["uid"]),
            operation=str(asked["operation"]),
            group=str(kind.get("group") or ""),
            kind=str(kind["kind"]),
            namespace=str(asked.get("namespace") or ""),
            name=str(asked.get("name") or (obj.get("metadata") or {}).get("name") or ""),
            username=str((asked.get("userInfo") or {}).get("username") or ""),
            subresource=str(asked.get("subResource") or ""),
            object=obj,
            old_object=asked.get("oldObject") or {},
        )


class WebhookApp:
    """One server. `start` returns when it answers; `ConfigError` when its certificate cannot be used."""

    def __init__(self, config: WebhookConfig, log: Logger | None = None) -> None:
        self._config = config
        self._log = log or Logger("webhook")
        self._client = Client(config.api, user_agent="knuv-webhook")
        self._maps = Informer(self._client, ConfigMap, namespace=config.system_namespace, log=self._log)
        self._eventing = self._eventing_hooks()
        self._admissions = self._chosen_admissions()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._certificate = self._certificate_source()
        self._runner: web.AppRunner | None = None
        self.port = 0
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Read the ConfigMaps, then listen."""
        await self._client.open()
        await self._certificate.start()
        await self._maps.start()
        if self._eventing is not None:
            await self._eventing.start()
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_get("/", _healthy)
        for path, answer in (
            ("/defaulting", self._default),
            ("/resource-validation", self._validate),
            ("/config-validation", self._validate),
            ("/sinkbindings", self._bind),
        ):
            app.router.add_post(path, _reviewing(answer))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_S)
        await self._runner.setup()
        address = self._config.address
        site = web.TCPSite(self._runner, address.host, address.port, ssl_context=self._tls, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._log.info("webhook_started", port=self.port)

    async def drain(self) -> None:
        """Finish what was asked."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def stop(self) -> None:
        """End everything, in any state."""
        await self._certificate.stop()
        await self.drain()
        await self._maps.stop()
        if self._eventing is not None:
            await self._eventing.stop()
        await self._client.close()

    def _data_of(self, name: str) -> Mapping[str, str] | None:
        found = self._maps.get(self._config.system_namespace, name)
        return found.data if found is not None else None

    def _chosen_admissions(self) -> list[Admission | EventingAdmission]:
        config = self._config
        chosen: list[Admission | EventingAdmission] = []
        if config.admits_serving:
            namespace, domain = config.system_namespace, config.cluster_domain
            chosen.append(Admission(self._data_of, system_namespace=namespace, cluster_domain=domain))
        if self._eventing is not None:
            chosen.append(self._eventing.admission)
        return chosen

    def _eventing_hooks(self) -> EventingHooks | None:
        config = self._config
        if config.eventing_namespace is None:
            return None
        return EventingHooks(
            self._client,
            system_namespace=config.eventing_namespace,
            mode=config.sink_binding_selection,
            log=self._log,
        )

    def _certificate_source(self) -> CertificateSource:
        config = self._config
        if config.certificate_directory is not None:
            return MountedCertificate(self._tls, config.certificate_directory, self._log)
        return OwnCertificate(
            self._tls,
            self._client,
            self._log,
            namespace=config.system_namespace,
            secret=config.secret,
            service=config.service,
            cluster_domain=config.cluster_domain,
            webhooks=(
                *((SERVING,) if config.admits_serving else ()),
                *((EVENTING,) if config.eventing_namespace is not None else ()),
            ),
        )

    # The questions.

    def _default(self, request: ReviewRequest) -> JsonObject:
        before = after = copy.deepcopy(request.object)
        for admission in self._admissions:
            after = admission.default(dataclasses.replace(request, object=copy.deepcopy(after)))
        return _patched(before, after)

    def _bind(self, request: ReviewRequest) -> JsonObject:
        return _patched(request.object, self._eventing.bind(request)) if self._eventing is not None else {}

    def _validate(self, request: ReviewRequest) -> JsonObject:
        warnings = [warning for admission in self._admissions for warning in admission.validate(request)]
        return {"warnings": warnings} if warnings else {}


def _patched(before: JsonObject, after: JsonObject) -> JsonObject:
    patch = patch_between(before, after)
    if not patch:
        return {}
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}


def patch_between(before: JsonObject, after: JsonObject) -> list[JsonObject]:
    """JSON patch operations that make `after` of `before`: whole parts of the object, and metadata by its fields."""
    operations: list[JsonObject] = []
    for key in sorted({*before, *after} - {"metadata"}):
        operations += _operation(f"/{key}", before, after, key)
    held, wanted = before.get("metadata"), after.get("metadata")
    if held is None and wanted is not None:
        return [*operations, {"op": "add", "path": "/metadata", "value": wanted}]
    for key in sorted({*(held or {}), *(wanted or {})}):
        operations += _operation(f"/metadata/{key}", held or {}, wanted or {}, key)
    return operations


def _operation(path: str, before: JsonObject, after: JsonObject, key: str) -> list[JsonObject]:
    if key not in after:
        return [{"op": "remove", "path": path}]
    if key in before and before[key] == after[key]:
        return []
    return [{"op": "add", "path": path, "value": after[key]}]


def _reviewing(
    answer: Callable[[ReviewRequest], JsonObject],
) -> Callable[[web.Request], Any]:
    """A handler that answers reviews with what `answer` says, or with its refusal."""

    async def handle(request: web.Request) -> web.Response:
        try:
            review = json.loads(await request.read())
            asked = ReviewRequest.of(review)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"expected an AdmissionReview of admission.k8s.io/v1: {type(error).__name__} {error}\n"
            return web.Response(status=400, text=text)
        try:
            response = {"uid": asked.uid, "allowed": True, **answer(asked)}
        except Denied as denied:
            status = {"status": "Failure", "code": denied.code, "reason": "BadRequest", "message": denied.message}
            response = {"uid": asked.uid, "allowed": False, "status": status}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    return handle


async def _healthy(_request: web.Request) -> web.Response:
    """For the kubelet."""
    return web.Response(text="ok\n")
