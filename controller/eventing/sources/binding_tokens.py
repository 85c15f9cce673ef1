"""The Secret from which the subjects of a SinkBinding read their token, while OIDC is on and the sink has an audience.

A token lives for an hour and is renewed when half of that has passed. Source: knative/eventing
`pkg/reconciler/sinkbinding`; spec eventing-sources.md 4.2.
"""

import base64
import json
from collections.abc import Callable
from typing import Final

from controller.eventing.children import NotOwned, child_metadata
from kube.client import Client
from kube.conditions import Conditions
from kube.errors import NotFound
from kube.models.core import Secret, ServiceAccount
from kube.models.sources import SinkBinding, SinkBindingStatus
from kube.names import child_name
from kube.timestamps import format_time, parse_time_s

__all__ = ["TokenSecrets"]

_LIFETIME_S: Final = 3600
_RENEW_S: Final = _LIFETIME_S / 2 + 300
"""When less than this is left, a token is renewed."""
_NOT_OWNED_S: Final = 5.0
_EXPIRES: Final = "sources.knuv.dev/token-expires"
_AUDIENCE: Final = "sources.knuv.dev/token-audience"


class TokenSecrets:
    """Makes and renews the Secrets; `clock` is Unix seconds."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._now_s = clock

    async def provide(self, binding: SinkBinding, status: SinkBindingStatus, conditions: Conditions) -> float | None:
        """Set the status's Secret and the condition; seconds until it has to be renewed, None when there is none.

        A Secret of somebody else is left alone, and nobody is told of it: `_NOT_OWNED_S` until it is looked at again.
        """
        account = status.auth.service_account_name if status.auth is not None else None
        if not account or not status.sink_audience:
            status.oidc_token_secret_name = None
            conditions.mark_true("OIDCTokenSecretCreated")
            return None
        name = child_name(binding.name, "-oidc-token")
        try:
            left_s = await self._left_s(binding, name, status.sink_audience)
        except NotOwned as error:
            status.oidc_token_secret_name = None
            conditions.mark_false("OIDCTokenSecretCreated", "NotOwned", str(error))
            return _NOT_OWNED_S
        if left_s < _RENEW_S:
            await self._write(binding, name, account, status.sink_audience)
            left_s = float(_LIFETIME_S)
        status.oidc_token_secret_name = name
        conditions.mark_true("OIDCTokenSecretCreated")
        return left_s - _RENEW_S

    async def _left_s(self, binding: SinkBinding, name: str, audience: str) -> float:
        """How long what there is holds. Raises `NotOwned`."""
        try:
            held = await self._client.get(Secret, name, binding.namespace)
        except NotFound:
            return 0.0
        if not held.is_controlled_by(binding):
            raise NotOwned(f'Secret "{name}" exists and does not belong to SinkBinding "{binding.name}"')
        annotations = held.metadata.annotations
        if annotations.get(_AUDIENCE) != audience:
            return 0.0
        try:
            return parse_time_s(annotations.get(_EXPIRES, "")) - self._now_s()
        except ValueError:
            return 0.0

    async def _write(self, binding: SinkBinding, name: str, account: str, audience: str) -> None:
        spec = {"audiences": [audience], "expirationSeconds": _LIFETIME_S}
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}).encode()
        path = ServiceAccount.RESOURCE.path(binding.namespace, account, "token")
        token = json.loads(await self._client.raw("POST", path, body=body))["status"]["token"]
        expires = format_time(self._now_s() + _LIFETIME_S)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": child_metadata(binding, name, annotations={_EXPIRES: expires, _AUDIENCE: audience}),
            "data": {"token": base64.b64encode(token.encode()).decode()},
        }
        await self._client.patch(
            Secret, name, binding.namespace, secret, type="apply", field_manager="knuv-sink-binding", force=True
        )
