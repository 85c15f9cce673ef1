"""`config-kourier`: what it says, and what Envoy is told of it (statements 42, 46, 47)."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from gateway.listeners import Chain, listener, tls_listener
from gateway.settings import GatewaySettings, InvalidSettings
from kube.addresses import Address

PROXY = "envoy.filters.listener.proxy_protocol"


def manager_of(face: Listener) -> HttpConnectionManager:
    manager = HttpConnectionManager()
    assert face.filter_chains[0].filters[0].typed_config.Unpack(manager)
    return manager


def plain(name: str = EXTERNAL, **data: str) -> Listener:
    settings = GatewaySettings.from_data({key.replace("_", "-"): value for key, value in data.items()})
    return listener(name, "0.0.0.0", 8080, "/dev/stdout", settings)


def secured(name: str, **data: str) -> Listener:
    settings = GatewaySettings.from_data({key.replace("_", "-"): value for key, value in data.items()})
    return tls_listener(name, Address("127.0.0.1", 8443), [Chain(("a",), b"c", b"k", name)], None, settings)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"extauthz-host": "a:1"}, "extauthz-protocol: expected one of grpc, http, https, got ''"),
        ({"extauthz-host": "a", "extauthz-protocol": "grpc"}, "extauthz-host: expected host:port, got 'a'"),
        ({"extauthz-host": ":1", "extauthz-protocol": "grpc"}, "extauthz-host: expected host:port, got ':1'"),
        (
            {"extauthz-host": "a:1", "extauthz-protocol": "grpc", "extauthz-timeout": "0"},
            "extauthz-timeout: expected milliseconds above zero, got '0'",
        ),
        (
            {"extauthz-host": "a:1", "extauthz-protocol": "http", "extauthz-pack-as-bytes": "true"},
            "extauthz-pack-as-bytes: only with extauthz-protocol grpc",
        ),
        ({"certs-secret-name": "s"}, "certs-secret-namespace '' and certs-secret-name 's': expected both"),
        ({"certs-secret-namespace": "n"}, "certs-secret-namespace 'n' and certs-secret-name '': expected both"),
        ({"tracing-endpoint": "http://c:1", "tracing-protocol": "x"}, "tracing-protocol: expected one of grpc"),
        ({"tracing-endpoint": "http://c:1", "tracing-sampling-rate": "2"}, "tracing-sampling-rate: expected a number"),
        ({"listen-ip-addresses": "foo"}, "listen-ip-addresses: expected IP addresses, got 'foo'"),
        ({"tracing-endpoint": "http://collector"}, "tracing-endpoint: expected a URL with a port"),
        ({"tracing-endpoint": "http://collector:x"}, "tracing-endpoint: expected a URL with a port"),
        ({"enable-proxy-protocol": "maybe"}, "enable-proxy-protocol: expected true or false, got 'maybe'"),
        ({"stream-idle-timeout": "5"}, "stream-idle-timeout: expected a duration"),
        ({"stream-idle-timeout": "-5s"}, "expected nothing below zero"),
        ({"trusted-hops-count": "x"}, "trusted-hops-count: expected a number"),
        ({"cipher-suites": "A B"}, "cipher-suites: expected names of suites"),
    ],
)
def test_46_47_what_cannot_be_is_refused_with_its_key(data: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        GatewaySettings.from_data(data)
    assert str(caught.value).startswith(text) or text in str(caught.value)


def test_unknown_keys_and_examples_are_passed_over() -> None:
    data = {"_example": "x", "enable-cryptomb": "true"}
    assert GatewaySettings.from_data(data) == GatewaySettings()


def test_42_a_load_balancer_speaks_to_all_faces_but_the_plain_local_one() -> None:
    def expects(face: Listener) -> bool:
        return [filter_.name for filter_ in face.listener_filters][:1] == [PROXY]

    on = {"enable_proxy_protocol": "true"}
    assert expects(plain(EXTERNAL, **on))
    assert expects(secured(EXTERNAL_TLS, **on)), "before the inspection of TLS, which comes after it on the wire"
    assert expects(secured(INTERNAL_TLS, **on))
    assert not expects(plain(INTERNAL, **on))
    assert not expects(plain(EXTERNAL))
    assert manager_of(plain(EXTERNAL, use_remote_address="false", **on)).use_remote_address.value


def test_the_managers_are_told() -> None:
    told = manager_of(
        plain(
            stream_idle_timeout="90s",
            trusted_hops_count="2",
            use_remote_address="false",
            disable_envoy_server_header="true",
            enable_service_access_logging="false",
        )
    )
    assert told.stream_idle_timeout.ToTimedelta().total_seconds() == 90
    assert told.xff_num_trusted_hops == 2
    assert not told.use_remote_address.value
    assert told.server_header_transformation == HttpConnectionManager.PASS_THROUGH
    assert not told.access_log
    assert manager_of(plain()).access_log


def test_suites_are_those_that_are_asked_for() -> None:
    context = DownstreamTlsContext()
    face = secured(EXTERNAL_TLS, cipher_suites="ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-RSA-AES128-GCM-SHA256")
    assert face.filter_chains[0].transport_socket.typed_config.Unpack(context)
    assert len(context.common_tls_context.tls_params.cipher_suites) == 2


def test_a_face_on_all_addresses_is_on_those_that_are_listed() -> None:
    face = plain(listen_ip_addresses="::1, 10.0.0.1")
    assert face.address.socket_address.address == "::1"
    (other,) = face.additional_addresses
    assert (other.address.socket_address.address, other.address.socket_address.port_value) == ("10.0.0.1", 8080)
    pinned = secured(EXTERNAL_TLS, listen_ip_addresses="::1, 10.0.0.1")
    assert (pinned.address.socket_address.address, len(pinned.additional_addresses)) == ("127.0.0.1", 0)


def test_a_template_of_the_access_log_is_kept_as_it_is() -> None:
    log = FileAccessLog()
    assert manager_of(plain(service_access_log_template="%METHOD%\n")).access_log[0].typed_config.Unpack(log)
    assert log.log_format.text_format_source.inline_string == "%METHOD%\n"


def test_who_decides_over_grpc_is_asked_before_the_request_is_routed() -> None:
    asked = {"extauthz_host": "authz.ns:9000", "extauthz_protocol": "grpc", "extauthz_pack_as_bytes": "true"}
    first, last = manager_of(plain(**asked, extauthz_failure_mode_allow="true")).http_filters
    assert (first.name, last.name) == ("envoy.filters.http.ext_authz", "envoy.filters.http.router")
    message = ExtAuthz()
    assert first.typed_config.Unpack(message)
    assert message.failure_mode_allow
    assert message.grpc_service.envoy_grpc.cluster_name == "extAuthz"
    assert message.grpc_service.timeout.ToTimedelta().total_seconds() == 2
    assert [(pair.key, pair.value) for pair in message.grpc_service.initial_metadata] == [("client", "kourier")]
    body = message.with_request_body
    assert (body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes) == (8192, True, True)
    settings = GatewaySettings.from_data({key.replace("_", "-"): value for key, value in asked.items()})
    assert settings.authorization is not None
    made = settings.authorization.cluster()
    address = made.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (made.type, address.address, address.port_value) == (Cluster.STRICT_DNS, "authz.ns", 9000)


@pytest.mark.parametrize("endpoint", ["http://collector:4317/v1/traces", "collector:4317"])
def test_a_collector_over_grpc_is_told_of_every_request_by_default(endpoint: str) -> None:
    manager = manager_of(plain(tracing_endpoint=endpoint))
    assert manager.tracing.random_sampling.value == 100
    message = OpenTelemetryConfig()
    assert manager.tracing.provider.typed_config.Unpack(message)
    assert (message.service_name, message.grpc_service.envoy_grpc.cluster_name) == (
        "kourier-knative",
        "tracing-collector",
    )


def test_a_certificate_for_all_names_is_named_by_the_map_or_at_start() -> None:
    assert GatewaySettings.from_data({}).certificate is None
    assert GatewaySettings.from_data({}, ("ns", "pair")).certificate == ("ns", "pair")
    assert GatewaySettings.from_data({"certs-secret-name": "other"}, ("ns", "pair")).certificate == ("ns", "other")
    assert GatewaySettings.from_data({"cluster-cert-secret": "local"}).local_certificate == "local"
