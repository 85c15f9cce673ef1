"""The ConfigMaps of eventing that the control plane reads: defaults of Brokers and channels, flags.

Each section raises `InvalidConfig` for what cannot be used; admission refuses such a map, and at run time the last good
value stays. Source: knative/eventing `pkg/apis/config`, `pkg/apis/messaging/config`; spec eventing-broker.md 2.4, 11,
eventing-channels.md 6.5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from controller.configmaps import Reader, parse_yaml
from controller.eventing import keys
from eventing.features import Features
from kube.autoscaling.config import InvalidConfig

__all__ = ["BrokerDefaults", "ChannelDefaults", "EventingSettings", "PingDefaults", "channel_template", "parse_section"]

JsonObject = dict[str, Any]
Data = Mapping[str, str]

_BROKER_REFERENCE: Final = ("apiVersion", "kind", "name", "namespace")
_TEMPLATE_KEY: Final = "channel-template-spec"
_TEMPLATE_KEY_OLD: Final = "channelTemplateSpec"


@dataclass(frozen=True, slots=True)
class BrokerDefault:
    """What a Broker gets that does not say. `config` and `delivery` are parts of its spec, or None."""

    broker_class: str = keys.MT_BROKER
    config: JsonObject | None = None
    delivery: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerDefaults:
    """`config-br-defaults`."""

    cluster: BrokerDefault = field(default_factory=BrokerDefault)
    namespaces: Mapping[str, BrokerDefault] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: Data) -> "BrokerDefaults":
        """Read the map; without its key there are no defaults but the class."""
        parsed = parse_yaml(data.get("default-br-config", ""), "default-br-config")
        cluster = _broker_default(parsed.get("clusterDefault"), "clusterDefault", BrokerDefault())
        return cls(
            cluster=cluster,
            namespaces={
                str(name): _broker_default(value, f"namespaceDefaults.{name}", cluster)
                for name, value in _mapping(parsed.get("namespaceDefaults"), "namespaceDefaults").items()
            },
        )

    def of(self, namespace: str) -> BrokerDefault:
        """What holds in a namespace."""
        return self.namespaces.get(namespace, self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDefaults:
    """`default-ch-webhook`: channel templates."""

    cluster: JsonObject = field(
        default_factory=lambda: {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}
    )
    namespaces: Mapping[str, JsonObject] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: Data) -> "ChannelDefaults":
        """Read the map; without its key an InMemoryChannel is the default."""
        parsed = parse_yaml(data.get("default-ch-config", ""), "default-ch-config")
        given = parsed.get("clusterDefault")
        return cls(
            cluster=_template(given, "clusterDefault") if given else cls().cluster,
            namespaces={
                str(name): _template(value, f"namespaceDefaults.{name}")
                for name, value in _mapping(parsed.get("namespaceDefaults"), "namespaceDefaults").items()
            },
        )

    def of(self, namespace: str) -> JsonObject:
        """What holds in a namespace."""
        return self.namespaces.get(namespace, self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingDefaults:
    """`config-ping-defaults`."""

    data_max_size: int = -1
    """Most characters of a PingSource's data; below zero: no limit."""

    @classmethod
    def from_data(cls, data: Data) -> "PingDefaults":
        """Read the map."""
        return cls(data_max_size=Reader(data).integer("data-max-size", -1, "dataMaxSize"))


def _features(data: Data) -> Features:
    try:
        return Features.read(data)
    except ValueError as error:
        raise InvalidConfig(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EventingSettings:
    """All sections."""

    brokers: BrokerDefaults = field(default_factory=BrokerDefaults)
    channels: ChannelDefaults = field(default_factory=ChannelDefaults)
    features: Features = field(default_factory=Features)
    ping: PingDefaults = field(default_factory=PingDefaults)

    @classmethod
    def names(cls) -> list[str]:
        """The ConfigMaps that are read."""
        return list(_SECTIONS)

    @classmethod
    def from_maps(cls, maps: Mapping[str, Data]) -> "EventingSettings":
        """Read all maps; one that is not there is as good as empty. Raises `InvalidConfig`."""
        parsed = {section: parse_section(name, maps.get(name) or {}) for name, (section, _) in _SECTIONS.items()}
        return cls(**parsed)


_SECTIONS: Final[Mapping[str, tuple[str, Callable[[Data], Any]]]] = {
    "config-br-defaults": ("brokers", BrokerDefaults.from_data),
    "default-ch-webhook": ("channels", ChannelDefaults.from_data),
    "config-features": ("features", _features),
    "config-ping-defaults": ("ping", PingDefaults.from_data),
}
assert {section for section, _ in _SECTIONS.values()} == {each.name for each in fields(EventingSettings)}


def parse_section(config_map: str, data: Data) -> Any:
    """One ConfigMap's section. Raises `InvalidConfig`; `KeyError` for a map that nobody reads."""
    return _SECTIONS[config_map][1](data)


def channel_template(data: Data) -> JsonObject:
    """The template in a Broker's ConfigMap, such as `config-br-default-channel`. Raises `InvalidConfig`."""
    text = data.get(_TEMPLATE_KEY) or data.get(_TEMPLATE_KEY_OLD)
    if not text:
        raise InvalidConfig(f"expected the key {_TEMPLATE_KEY}, got {', '.join(sorted(data)) or 'none'}")
    return _template(parse_yaml(text, _TEMPLATE_KEY), _TEMPLATE_KEY)


def _broker_default(value: Any, where: str, fallback: BrokerDefault) -> BrokerDefault:
    given = _mapping(value, where)
    reference = {name: str(given[name]) for name in _BROKER_REFERENCE if given.get(name)}
    delivery = _mapping(given.get("delivery"), f"{where}.delivery") or None
    broker_class = str(given.get("brokerClass") or fallback.broker_class)
    if reference or delivery:
        return BrokerDefault(broker_class, reference or None, delivery)
    return BrokerDefault(broker_class, fallback.config, fallback.delivery)


def _template(value: Any, where: str) -> JsonObject:
    given = _mapping(value, where)
    for name in ("apiVersion", "kind"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise InvalidConfig(f"{where}: expected {name}, got {given.get(name)!r}")
    if not isinstance(given.get("spec") or {}, dict):
        raise InvalidConfig(f"{where}.spec: expected a mapping")
    return given


def _mapping(value: Any, where: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidConfig(f"{where}: expected a mapping, got {value!r}")
    return value
