"""What stands in a cluster before a drop-in, as far as that touches it."""

from typing import Any

from tests.deploy.manifests import rendered_objects

__all__ = ["original"]

JsonObject = dict[str, Any]


def original(overlay: str) -> list[JsonObject]:
    """The objects that an overlay changes, with settings of the original's own."""
    found = []
    for each in rendered_objects(overlay):
        if each["kind"] == "ConfigMap":
            found.append({**each, "data": {"queue-sidecar-image": "original/queue", "progress-deadline": "600s"}})
        elif each["kind"] == "Deployment":
            labels = {"app": each["metadata"]["name"]}
            (container,) = each["spec"]["template"]["spec"]["containers"]
            pod = {
                "serviceAccountName": "original",
                "containers": [
                    {
                        "name": container["name"],
                        "image": "original/program",
                        "env": [{"name": "POD_NAME", "value": "x"}, {"name": "GOGC", "value": "500"}],
                        "ports": [{"containerPort": 8012, "name": "http1"}],
                        "readinessProbe": {"httpGet": {"port": 8012}},
                    }
                ],
            }
            template = {"metadata": {"labels": labels}, "spec": pod}
            found.append({**each, "spec": {"selector": {"matchLabels": labels}, "template": template}})
    return found
