"""Manifests for the tables."""

from typing import Any

__all__ = ["config_map", "deployment", "pod", "service", "widget"]


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A Pod of one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], **spec},
    }


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    """A Deployment of one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}]}]},
            },
            **spec,
        },
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    """A Service with one port."""
    spec.setdefault("ports", [{"port": 80}])
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def widget(name: str, version: str = "v1", **spec: Any) -> dict[str, Any]:
    """An object of the custom kind of these tables."""
    spec.setdefault("size", 1)
    return {"apiVersion": f"test.example/{version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
