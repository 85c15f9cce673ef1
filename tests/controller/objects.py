"""Objects and settings that unit tests of the builders share."""

from typing import Any

from controller.settings import Settings
from kube.models.meta import ObjectMeta, OwnerReference
from kube.models.serving import Revision, Route

CLUSTER_DOMAIN = "cluster.local"


def settings(**maps: dict[str, str]) -> Settings:
    """Settings with ConfigMaps by section: `settings(network={"http-protocol": "redirected"})`."""
    data = {f"config-{name}": text for name, text in maps.items()}
    data["config-deployment"] = {"queue-sidecar-image": "example.com/queue:1", **data.get("config-deployment", {})}
    data.setdefault("config-domain", {"example.com": ""})
    return Settings.from_maps(data)


def revision(
    *containers: dict[str, Any],
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Revision:
    """Revision `web-00001` of Configuration and Service `web`, by default with one plain container."""
    return Revision(
        metadata=ObjectMeta(
            name="web-00001",
            namespace="shop",
            uid="uid-1",
            generation=1,
            labels={
                "serving.knative.dev/service": "web",
                "serving.knative.dev/configuration": "web",
                "serving.knative.dev/configurationGeneration": "1",
                "serving.knative.dev/routingState": "active",
                **(labels or {}),
            },
            annotations={"serving.knative.dev/routes": "web", **(annotations or {})},
            owner_references=[OwnerReference(kind="Configuration", name="web", uid="uid-c", controller=True)],
        ),
        spec={
            "containers": list(containers) or [container()],
            "timeoutSeconds": 300,
            "containerConcurrency": 0,
            **spec,
        },
    )


def container(**fields: Any) -> dict[str, Any]:
    """A user container as defaulting leaves it."""
    return {
        "name": "user-container",
        "image": "example.com/web:1",
        "resources": {},
        "readinessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 1},
        **fields,
    }


def route(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Route:
    """Route `web` in `shop`."""
    return Route(
        metadata=ObjectMeta(
            name="web", namespace="shop", uid="uid-r", labels=labels or {}, annotations=annotations or {}
        )
    )
