"""Admission of Knative objects: defaults first, then refusal of what cannot be.

The same two functions serve as webhook in a cluster and in-process in the local API server. A request is anything with
the attributes of `Request`; refusals carry the text that users see and the paths in it. Source: spec control-plane.md
2.4, 4, 11.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from controller import defaulting, network_validation, shapes, validation
from controller.cert_manager import settings as cert_manager
from controller.field_errors import FieldError, merged, render
from controller.gateway_api import settings as gateway_api
from controller.settings import InvalidConfig, Settings, example_checksum, parse_section

__all__ = ["CONFIG_VALIDATION", "DEFAULTING", "VALIDATION", "Admission", "Denied", "Request"]

JsonObject = dict[str, Any]

DEFAULTING = "webhook.serving.knative.dev"
VALIDATION = "validation.webhook.serving.knative.dev"
CONFIG_VALIDATION = "config.webhook.serving.knative.dev"

_SERVING = "serving.knative.dev"
_AUTOSCALING = "autoscaling.internal.knative.dev"
_NETWORKING = "networking.internal.knative.dev"
_CHECKSUM = "knative.dev/example-checksum"

Default = Callable[[JsonObject, "JsonObject | None", Settings, str], JsonObject]
Check = Callable[[JsonObject, "JsonObject | None", Settings], Iterator[FieldError]]

_DEFAULTS: Mapping[tuple[str, str], Default] = {
    (_SERVING, "Service"): defaulting.service,
    (_SERVING, "Configuration"): defaulting.configuration,
    (_SERVING, "Route"): defaulting.route,
    (_SERVING, "Revision"): defaulting.revision,
    (_SERVING, "DomainMapping"): network_validation.default_domain_mapping,
    (_AUTOSCALING, "PodAutoscaler"): defaulting.pod_autoscaler,
    (_NETWORKING, "Ingress"): network_validation.default_ingress,
}
_CHECKS: Mapping[tuple[str, str], Check] = {
    (_SERVING, "Service"): validation.check_service,
    (_SERVING, "Configuration"): validation.check_configuration,
    (_SERVING, "Route"): validation.check_route,
    (_SERVING, "Revision"): validation.check_revision,
    (_AUTOSCALING, "PodAutoscaler"): validation.check_pod_autoscaler,
    (_NETWORKING, "Ingress"): network_validation.check_ingress,
    (_NETWORKING, "ServerlessService"): network_validation.check_serverless_service,
    (_NETWORKING, "Certificate"): network_validation.check_certificate,
}

_MAPS_BESIDE: Mapping[str, Callable[[Mapping[str, str]], object]] = {
    cert_manager.CONFIG_MAP: cert_manager.CertManagerSettings.from_data,
    gateway_api.CONFIG_MAP: gateway_api.GatewayApiSettings.from_data,
}
"""ConfigMaps of what can be switched on beside the controllers."""


class Request(Protocol):
    """One write. `object` is whole, `old_object` empty on CREATE; `subresource` is `status`, say, or empty."""

    @property
    def operation(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def object(self) -> JsonObject: ...
    @property
    def old_object(self) -> JsonObject: ...
    @property
    def username(self) -> str: ...
    @property
    def subresource(self) -> str: ...


class Denied(Exception):
    """The write is refused. `causes`: (path, message) of every field."""

    code = 400

    def __init__(self, message: str, causes: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.causes = list(causes)


class Admission:
    """`config_map(name)` returns the data of a ConfigMap of the system namespace, or None.

    It is asked anew for every request, so that settings take effect at once. A map that cannot be read counts as
    absent: it was refused before, or it is older than the rule that refuses it.
    """

    def __init__(
        self,
        config_map: Callable[[str], Mapping[str, str] | None],
        *,
        system_namespace: str = "knative-serving",
        cluster_domain: str = "cluster.local",
    ) -> None:
        self._config_map = config_map
        self._system_namespace = system_namespace
        self._cluster_domain = cluster_domain
        self._checks: Mapping[tuple[str, str], Check] = {
            **_CHECKS,
            (_SERVING, "DomainMapping"): partial(
                network_validation.check_domain_mapping, cluster_domain=cluster_domain
            ),
        }
        self._held: tuple[dict[str, dict[str, str]], Settings] | None = None

    def default(self, request: Request) -> JsonObject:
        """The object with its defaults; the one that was given when there are none. Raises `Denied`."""
        key = (request.group, request.kind)
        if key not in self._checks or request.operation == "DELETE" or request.subresource:
            return request.object
        try:
            shapes.check(request.kind, request.object)
        except shapes.WrongType as error:
            path, _, problem = str(error).partition(": ")
            text = f"mutation failed: cannot decode incoming new object: {error}"
            raise Denied(text, [(path, problem)]) from error
        fill = _DEFAULTS.get(key)
        if fill is None:
            return request.object
        return fill(request.object, request.old_object or None, self.settings(), request.username)

    def validate(self, request: Request) -> list[str]:
        """Warnings about an object that is accepted. Raises `Denied`."""
        if request.operation == "DELETE" or request.subresource:
            return []
        if request.group == "" and request.kind == "ConfigMap" and request.namespace == self._system_namespace:
            self._check_config_map(request)
            return []
        check = self._checks.get((request.group, request.kind))
        if check is None:
            return []
        found = list(check(request.object, request.old_object or None, self.settings()))
        errors = [error for error in found if not error.is_warning]
        if errors:
            causes = [(path, error.message) for error in merged(errors) for path in error.paths]
            raise Denied(f"validation failed: {render(errors)}", causes)
        return [render([warning]) for warning in found]

    def settings(self) -> Settings:
        """What is in force."""
        data = {name: dict(self._config_map(name) or {}) for name in Settings.names()}
        if self._held is None or self._held[0] != data:
            self._held = data, Settings.from_maps(self._usable(data), self._cluster_domain)
        return self._held[1]

    def _usable(self, data: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
        usable = {}
        for name, texts in data.items():
            try:
                parse_section(name, texts, self._cluster_domain)
            except InvalidConfig:
                continue
            usable[name] = texts
        # Without an image there is no Deployment, but objects can be defaulted and checked.
        usable.setdefault("config-deployment", {"queue-sidecar-image": "unset"})
        return usable

    def _check_config_map(self, request: Request) -> None:
        if request.name not in (*Settings.names(), *_MAPS_BESIDE):
            return
        data = request.object.get("data") or {}
        annotations = (request.object.get("metadata") or {}).get("annotations") or {}
        example, checksum = data.get("_example"), annotations.get(_CHECKSUM)
        if example is not None and checksum is not None and example_checksum(example) != checksum:
            text = (
                'validation failed: the update modifies a key in "_example" which is probably not what you want. '
                'Instead, copy the respective setting to the top-level of the ConfigMap, directly below "data"'
            )
            raise Denied(text, [("data._example", "checksum differs")])
        try:
            if request.name in _MAPS_BESIDE:
                _MAPS_BESIDE[request.name](data)
            else:
                parse_section(request.name, data, self._cluster_domain)
        except InvalidConfig as error:
            raise Denied(f"validation failed: {error}", [("data", str(error))]) from error
