"""Admission of objects of eventing: defaults first, then refusal of what cannot be.

Used in-process by the local API server and over TLS by `python -m controller webhook`, as `controller.admission` is for
serving. `ADMITTED` is the whole list; a kind that is not in it passes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from controller.admission import Denied, Request
from controller.eventing import defaulting, validation
from controller.eventing.field_checks import Context
from controller.eventing.settings import EventingSettings, parse_section
from controller.eventing.sources import admission as sources
from controller.field_errors import FieldError, merged, render
from kube.autoscaling.config import InvalidConfig
from kube.models.eventing import Broker, EventType, Trigger
from kube.models.eventpolicy import EventPolicy
from kube.models.flows import Parallel, Sequence
from kube.models.messaging import Channel, InMemoryChannel, NatsJetStreamChannel, Subscription
from kube.models.meta import Resource
from kube.models.sinks import JobSink
from kube.models.sources import ApiServerSource, ContainerSource, JetStreamSource, PingSource, SinkBinding

__all__ = ["CONFIG_VALIDATION", "DEFAULTING", "VALIDATION", "EventingAdmission"]

JsonObject = dict[str, Any]

DEFAULTING: Final = "webhook.eventing.knative.dev"
VALIDATION: Final = "validation.webhook.eventing.knative.dev"
CONFIG_VALIDATION: Final = "config.webhook.eventing.knative.dev"


class _Admitted(NamedTuple):
    """How one kind is admitted."""

    kind: type[Resource]
    default: Callable[[JsonObject, EventingSettings], None]
    check: Callable[[Any, Any, Context], Iterator[FieldError]]


ADMITTED: Final[Mapping[tuple[str, str], _Admitted]] = {
    (each.kind.RESOURCE.group, each.kind.RESOURCE.kind): each
    for each in (
        _Admitted(Broker, defaulting.broker, validation.check_broker),
        _Admitted(Trigger, defaulting.trigger, validation.check_trigger),
        _Admitted(Channel, defaulting.channel, validation.check_channel),
        _Admitted(InMemoryChannel, defaulting.physical_channel, validation.check_in_memory_channel),
        _Admitted(NatsJetStreamChannel, defaulting.physical_channel, validation.check_jetstream_channel),
        _Admitted(Subscription, defaulting.subscription, validation.check_subscription),
        _Admitted(Sequence, defaulting.flow, validation.check_sequence),
        _Admitted(Parallel, defaulting.flow, validation.check_parallel),
        _Admitted(EventType, defaulting.event_type, validation.check_event_type),
        _Admitted(EventPolicy, defaulting.event_policy, validation.check_event_policy),
        _Admitted(JobSink, defaulting.job_sink, validation.check_job_sink),
        _Admitted(PingSource, sources.default_ping_source, sources.check_ping_source),
        _Admitted(ApiServerSource, sources.default_api_server_source, sources.check_api_server_source),
        _Admitted(ContainerSource, sources.default_container_source, sources.check_container_source),
        _Admitted(SinkBinding, sources.default_sink_binding, sources.check_sink_binding),
        _Admitted(JetStreamSource, sources.default_jetstream_source, sources.check_jetstream_source),
    )
}


class EventingAdmission:
    """`config_map(name)` returns the data of a ConfigMap of the system namespace, or None.

    It is asked anew for every request, so that settings take effect at once. A map that cannot be read counts as
    absent: it was refused before, or it is older than the rule that refuses it.
    """

    def __init__(
        self, config_map: Callable[[str], Mapping[str, str] | None], *, system_namespace: str = "knative-eventing"
    ) -> None:
        self._config_map = config_map
        self._system_namespace = system_namespace
        self._held: tuple[dict[str, dict[str, str]], EventingSettings] | None = None

    def default(self, request: Request) -> JsonObject:
        """The object with its defaults, changed in place. Raises `Denied`."""
        admitted = ADMITTED.get((request.group, request.kind))
        if admitted is None or request.operation == "DELETE" or request.subresource:
            return request.object
        obj = request.object
        _decode(admitted, obj, "mutation failed: cannot decode incoming new object: ")
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("namespace", request.namespace)
        admitted.default(obj, self.settings())
        return obj

    def validate(self, request: Request) -> list[str]:
        """Warnings about an object that is accepted. Raises `Denied`."""
        if request.operation == "DELETE" or request.subresource:
            return []
        if request.group == "" and request.kind == "ConfigMap" and request.namespace == self._system_namespace:
            self._check_config_map(request)
            return []
        admitted = ADMITTED.get((request.group, request.kind))
        if admitted is None or (request.object.get("metadata") or {}).get("deletionTimestamp"):
            return []
        new = _decode(admitted, request.object, "validation failed: cannot decode incoming new object: ")
        old = None
        if request.old_object:
            old = _decode(admitted, request.old_object, "validation failed: cannot decode the object as it was: ")
        context = Context(self.settings(), request.username, self._system_namespace)
        found = list(admitted.check(new, old, context))
        errors = [error for error in found if not error.is_warning]
        if errors:
            causes = [(path, error.message) for error in merged(errors) for path in error.paths]
            raise Denied(f"validation failed: {render(errors)}", causes)
        return [render([warning]) for warning in found]

    def settings(self) -> EventingSettings:
        """What is in force."""
        data = {name: dict(self._config_map(name) or {}) for name in EventingSettings.names()}
        if self._held is None or self._held[0] != data:
            self._held = data, EventingSettings.from_maps(_usable(data))
        return self._held[1]

    def _check_config_map(self, request: Request) -> None:
        if request.name not in EventingSettings.names():
            return
        try:
            parse_section(request.name, request.object.get("data") or {})
        except InvalidConfig as error:
            raise Denied(f"validation failed: {error}", [("data", str(error))]) from error


def _decode(admitted: _Admitted, obj: JsonObject, preface: str) -> Resource:
    """The object as its model reads it. Raises `Denied` with the path of a field of the wrong type."""
    try:
        return msgspec.convert(_without_nulls(obj), admitted.kind)
    except RecursionError:
        raise Denied(f"{preface}it is nested too deep") from None
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
        where = path.strip("`").removeprefix("$.")
        raise Denied(f"{preface}{where}: {problem}", [(where, problem)]) from error


def _without_nulls(value: Any) -> Any:
    """Null is absence, as it is for Go."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _usable(data: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    usable = {}
    for name, texts in data.items():
        try:
            parse_section(name, texts)
        except InvalidConfig:
            continue
        usable[name] = texts
    return usable
