"""The Secret with a token that subjects of SinkBindings read, while OIDC is on."""

import base64
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
