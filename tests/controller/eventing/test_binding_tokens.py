"""The Secret with a token that subjects of SinkBindings read, while OIDC is on."""

import base64
import json
from typing import Any

from kube.models.apps import Deployment
from kube.models.core import Secret
from kube.models.sources import SinkBinding
from tests.controller.eventing.cluster import running

SUBJECT: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def test_a_sink_with_an_audience_gets_a_token_and_one_without_gets_none() -> None:
    async with running(settings={"config-features": {"authentication-oidc": "enabled"}}) as api:
        deployment = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
        await api.create(Deployment, "d", deployment)
        sink = {"uri": "http://sink/", "audience": "aud"}
        await api.create(SinkBinding, "b", {"subject": SUBJECT, "sink": sink})
        ready = await api.until_ready(SinkBinding, "b")
        assert ready.status.oidc_token_secret_name == "b-oidc-token"
        secret = await api.get(Secret, "b-oidc-token")
        assert secret.is_controlled_by(ready)
        assert base64.b64decode(secret.data["token"])

        def mounts(found: Deployment) -> bool:
            pod = found.spec.template["spec"]
            return [volume["name"] for volume in pod.get("volumes", [])] == ["oidc-token"]

        told = await api.until(Deployment, "d", "the token is mounted", mounts)
        assert told.spec.template["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/oidc"
        await api.patch(SinkBinding, "b", {"spec": {"sink": {"audience": None}}})
        await api.until(Deployment, "d", "the token is gone", lambda found: not mounts(found))


async def test_a_secret_of_somebody_else_is_left_alone() -> None:
    """Who may make SinkBindings may not, by their names, write into Secrets."""
    async with running(settings={"config-features": {"authentication-oidc": "enabled"}}) as api:
        theirs = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "b-oidc-token"},
            "data": {"token": "bWluZQ=="},
        }
        await api.client.raw("POST", Secret.RESOURCE.path("default"), body=json.dumps(theirs).encode())
        sink = {"uri": "http://sink/", "audience": "aud"}
        await api.create(SinkBinding, "b", {"subject": {**SUBJECT, "name": "absent"}, "sink": sink})
        reason, message = await api.until_condition(SinkBinding, "b", "OIDCTokenSecretCreated", "False")
        assert (reason, message) == ("NotOwned", 'Secret "b-oidc-token" exists and does not belong to SinkBinding "b"')
        secret = await api.get(Secret, "b-oidc-token")
        assert (secret.data, secret.metadata.owner_references) == ({"token": "bWluZQ=="}, [])
