"""Pages that are no resources: version, health, discovery, OpenAPI."""

from typing import Any

import orjson

from local_cluster.apiserver import discovery
from local_cluster.apiserver.handlers import Answer
from local_cluster.apiserver.openapi import OpenApi
from local_cluster.apiserver.resources import Registry

__all__ = ["Pages"]

GIT_VERSION = "v1.36.0"
"""Programs built on client-go refuse servers older than v1.34 (api-clients statement 1); kubectl warns when the minor
version is more than one away from its own."""
_HEALTH = ("/healthz", "/livez", "/readyz")
_AGGREGATED = "as=APIGroupDiscoveryList"


class Pages:
    """Answers GETs of the pages of one server."""

    def __init__(self, registry: Registry, openapi: OpenApi) -> None:
        self._registry = registry
        self._openapi = openapi

    def public(self, path: str) -> Answer | None:
        """A page that needs no token, or None."""
        path = path.rstrip("/")
        if path == "/version":
            return Answer(body=orjson.dumps(_version()))
        if path in _HEALTH or path.startswith(tuple(f"{page}/" for page in _HEALTH)):
            return Answer(body=b"ok", content_type="text/plain")
        return None

    def page(self, path: str, accept: str, address: str) -> Answer | None:
        """Any other page, or None when `path` is that of a resource or of nothing. Raises 404 within discovery."""
        match path.strip("/").split("/"):
            case ["api"] | ["apis"] as root if _AGGREGATED in accept:
                return self._aggregated(accept, is_core=root == ["api"])
            case ["api"]:
                return _json(discovery.api_versions(address))
            case ["apis"]:
                return _json(discovery.groups(self._registry))
            case ["apis", group]:
                return _json(discovery.group(self._registry, group))
            case ["openapi", "v3", *document]:
                return Answer(body=self._openapi.page("/".join(document)))
        return None

    def resource_list(self, group: str, version: str) -> Answer:
        """The resources of one group version. Raises 404."""
        return _json(discovery.resource_list(self._registry, group, version))

    def _aggregated(self, accept: str, *, is_core: bool) -> Answer:
        parameters = {part.strip() for part in accept.replace(",", ";").split(";")}
        version = "v2" if "v=v2" in parameters else "v2beta1"
        document = discovery.aggregated(self._registry, version, core=is_core)
        content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Answer(body=orjson.dumps(document), content_type=content_type)


def _json(document: dict[str, Any]) -> Answer:
    return Answer(body=orjson.dumps(document))


def _version() -> dict[str, str]:
    major, minor, _ = GIT_VERSION.lstrip("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": "knuv",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go0",
        "compiler": "cpython",
        "platform": "linux/amd64",
    }
