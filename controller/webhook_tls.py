"""Where the webhook server has its certificate from: a mounted Secret, or one of its own making.

One of its own is kept in a Secret, renewed a day before its end, and made known to the API server in the webhooks'
`caBundle`. Any number of replicas do so side by side: whoever is first writes the Secret, and all show what is in it. A
new authority is made known before its certificate is shown, and the former one stays in the bundle, so that no review
fails in between. Source: knative.dev/pkg `webhook/certificates`; spec control-plane.md 2.4.
"""

import asyncio
import base64
import binascii
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from controller.self_signed import expires_at, issue
from kube.client import Client
from kube.errors import AlreadyExists, ApiError, ApiUnreachable, Conflict, NotFound
from kube.models.core import Secret
from kube.models.meta import ObjectMeta
from proxies.environment import ConfigError
from proxies.logs import Logger

__all__ = ["EVENTING", "SERVING", "CertificateSource", "MountedCertificate", "OwnCertificate"]

SERVING = {
    "mutatingwebhookconfigurations": ("webhook.serving.knative.dev",),
    "validatingwebhookconfigurations": ("config.webhook.serving.knative.dev", "validation.webhook.serving.knative.dev"),
}
"""By which webhooks objects of serving come to us, by resource."""
EVENTING = {
    "mutatingwebhookconfigurations": ("webhook.eventing.knative.dev", "sinkbindings.webhook.sources.knative.dev"),
    "validatingwebhookconfigurations": (
        "config.webhook.eventing.knative.dev",
        "validation.webhook.eventing.knative.dev",
    ),
}
"""The same for eventing."""

_KEY, _CERTIFICATE, _AUTHORITY = "server-key.pem", "server-cert.pem", "ca-cert.pem"
_LIFETIME_S = 7 * 86_400.0
_RENEWED_BEFORE_S = 86_400.0
_LOOK_S = 10.0
"""Between two looks at files, Secret and webhooks."""
_SETTLE_S = 5.0
"""How long the API server may take to hear of a new authority."""
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"


class CertificateSource(Protocol):
    """Keeps a server context supplied."""

    async def start(self) -> None:
        """Load the first certificate. Raises `ConfigError` when there is none to be had."""

    async def stop(self) -> None:
        """End, in any state."""


class MountedCertificate:
    """`tls.crt` and `tls.key` in a directory, read again when they change."""

    def __init__(self, context: ssl.SSLContext, directory: Path, log: Logger) -> None:
        self._context = context
        self._directory = directory
        self._log = log
        self._seen: object = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Load it. Raises `ConfigError`."""
        try:
            self._seen = self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError([f"KNUV_WEBHOOK_TLS_DIRECTORY: {self._directory}: {error}"]) from error
        self._look()

    async def stop(self) -> None:
        """Look no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _load(self) -> object:
        """Take the key pair on disk for new connections; what the files look like, to notice a change."""
        chain, key = self._directory / "tls.crt", self._directory / "tls.key"
        looks = tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in (chain, key))
        if looks != self._seen:
            self._context.load_cert_chain(chain, key)
        return looks

    def _look(self) -> None:
        """Secrets that are mounted change under the running server."""
        try:
            self._seen = self._load()
        except (OSError, ssl.SSLError) as error:
            self._log.warning("certificate_refused", error=str(error))
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)


class OwnCertificate:
    """The Secret `secret` in `namespace`, for the Service `service` there; known to the `webhooks` that exist."""

    def __init__(
        self,
        context: ssl.SSLContext,
        client: Client,
        log: Logger,
        *,
        namespace: str,
        secret: str,
        service: str,
        cluster_domain: str,
        webhooks: Sequence[Mapping[str, Sequence[str]]] = (SERVING,),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._context = context
        self._client = client
        self._log = log
        self._namespace = namespace
        self._secret = secret
        self._names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.{cluster_domain}"]
        self._webhooks = webhooks
        self._now_s = clock
        self._shown: Mapping[str, bytes] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make or find it, and make it known. Raises `ApiError` and `ApiUnreachable`."""
        await self._renew()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking(), name="webhook certificate")

    async def stop(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._renew()
            except (ApiError, ApiUnreachable) as error:
                self._log.warning("certificate_not_renewed", error=str(error))

    async def _renew(self) -> None:
        held = await self._held()
        await self._make_known(held[_AUTHORITY])
        if held == self._shown:
            return
        if self._shown is not None:
            await asyncio.sleep(_SETTLE_S)
        _load(self._context, held)
        self._shown = held
        self._log.info("certificate_shown", secret=self._secret)

    async def _held(self) -> Mapping[str, bytes]:
        """What the Secret holds, renewed when it is due."""
        while True:
            try:
                found = await self._client.get(Secret, self._secret, self._namespace)
            except NotFound:
                found = None
            held = _decoded(found.data if found is not None else {})
            if self._is_good(held):
                return held
            fresh = self._fresh(held)
            try:
                if found is None:
                    meta = ObjectMeta(name=self._secret, namespace=self._namespace)
                    await self._client.create(Secret(metadata=meta, data=_encoded(fresh)))
                else:
                    guard = {"resourceVersion": found.metadata.resource_version}
                    body = {"metadata": guard, "data": _encoded(fresh)}
                    await self._client.patch(Secret, self._secret, self._namespace, body)
            except (AlreadyExists, Conflict, NotFound):
                continue  # another replica was faster: theirs counts
            self._log.info("certificate_made", secret=self._secret)
            return fresh

    def _is_good(self, held: Mapping[str, bytes]) -> bool:
        if not all(held.get(name) for name in (_KEY, _CERTIFICATE, _AUTHORITY)):
            return False
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), held)
            return expires_at(held[_CERTIFICATE], self._names[0]) - self._now_s() > _RENEWED_BEFORE_S
        except (ssl.SSLError, ValueError) as error:
            self._log.warning("certificate_refused", secret=self._secret, error=str(error))
            return False

    def _fresh(self, held: Mapping[str, bytes]) -> Mapping[str, bytes]:
        made = issue(self._names, self._now_s(), _LIFETIME_S)
        # The one before stays known: others may show its certificate for a while.
        former = held.get(_AUTHORITY, b"").partition(b"-----END CERTIFICATE-----")
        known = b"".join(former[:2]) + b"\n" if former[1] else b""
        return {_KEY: made.key, _CERTIFICATE: made.certificate, _AUTHORITY: made.authority + known}

    async def _make_known(self, authority: bytes) -> None:
        """Put the authority into every webhook of ours that exists."""
        bundle = base64.b64encode(authority).decode()
        for plural, names in (pair for each in self._webhooks for pair in each.items()):
            for name in names:
                path = f"{_ADMISSION}/{plural}/{name}"
                try:
                    body: dict[str, Any] = json.loads(await self._client.raw("GET", path))
                    webhooks = body.get("webhooks") or []
                    if all(hook["clientConfig"].get("caBundle") == bundle for hook in webhooks):
                        continue
                    for hook in webhooks:
                        hook["clientConfig"]["caBundle"] = bundle
                    # The version that was read is in it: somebody else's words are not overwritten.
                    await self._client.raw("PUT", path, body=json.dumps(body).encode())
                except NotFound:
                    continue  # nobody asks us about this
                except Conflict:
                    self._log.info("webhook_changed_meanwhile", name=name)  # seen to by the next look


def _load(context: ssl.SSLContext, held: Mapping[str, bytes]) -> None:
    """Raises `ssl.SSLError` for what is no pair."""
    # The standard library loads keys from files only; the directory is ours alone.
    with tempfile.TemporaryDirectory(prefix="knuv-webhook-") as directory:
        pem = Path(directory) / "pair.pem"
        pem.write_bytes(held[_KEY] + b"\n" + held[_CERTIFICATE])
        context.load_cert_chain(pem)


def _decoded(data: Mapping[str, str]) -> Mapping[str, bytes]:
    try:
        return {name: base64.b64decode(text, validate=True) for name, text in data.items()}
    except binascii.Error:
        return {}


def _encoded(content: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in content.items()}
