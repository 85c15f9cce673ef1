"""The types of the fields that admission reads, so that the checks behind it can rely on them.

Only types: what values mean is `controller.validation`'s. Fields that are not read are not described and pass.
"""

from typing import Any

import msgspec

__all__ = ["WrongType", "check"]

Names = dict[str, str]


class WrongType(ValueError):
    """A field holds another JSON type than it should; the text has its path."""


class _Shape(msgspec.Struct, rename="camel"):
    pass


class _Metadata(_Shape):
    name: str | None = None
    generate_name: str | None = None
    labels: Names | None = None
    annotations: Names | None = None


class _HttpGet(_Shape):
    path: str | None = None
    port: int | str | None = None
    host: str | None = None
    scheme: str | None = None


class _TcpSocket(_Shape):
    port: int | str | None = None
    host: str | None = None


class _Grpc(_Shape):
    port: int | None = None
    service: str | None = None


class _Exec(_Shape):
    command: list[str] | None = None


class _Probe(_Shape):
    http_get: _HttpGet | None = None
    tcp_socket: _TcpSocket | None = None
    grpc: _Grpc | None = None
    exec: _Exec | None = None
    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None


class _Port(_Shape):
    name: str | None = None
    container_port: int | None = None
    protocol: str | None = None


class _Variable(_Shape):
    name: str | None = None
    value: str | None = None
    value_from: dict[str, dict[str, Any]] | None = None


class _Resources(_Shape):
    requests: dict[str, str | int | float] | None = None
    limits: dict[str, str | int | float] | None = None


class _SecurityContext(_Shape):
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    supplemental_groups: list[int] | None = None
    capabilities: dict[str, list[str]] | None = None
    seccomp_profile: dict[str, str] | None = None


class _Mount(_Shape):
    name: str | None = None
    mount_path: str | None = None
    read_only: bool | None = None


class _Container(_Shape):
    name: str | None = None
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None
    env_from: list[dict[str, Any]] | None = None
    ports: list[_Port] | None = None
    resources: _Resources | None = None
    volume_mounts: list[_Mount] | None = None
    liveness_probe: _Probe | None = None
    readiness_probe: _Probe | None = None
    startup_probe: _Probe | None = None
    security_context: _SecurityContext | None = None
    termination_message_policy: str | None = None
    working_dir: str | None = None


class _RevisionSpec(_Shape):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    volumes: list[dict[str, Any]] | None = None
    container_concurrency: int | None = None
    timeout_seconds: int | None = None
    response_start_timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    enable_service_links: bool | None = None
    automount_service_account_token: bool | None = None
    service_account_name: str | None = None
    security_context: _SecurityContext | None = None


class _Template(_Shape):
    metadata: _Metadata | None = None
    spec: _RevisionSpec | None = None


class _Target(_Shape):
    tag: str | None = None
    revision_name: str | None = None
    configuration_name: str | None = None
    latest_revision: bool | None = None
    percent: int | None = None


class _ServiceSpec(_Shape):
    template: _Template | None = None
    traffic: list[_Target] | None = None


class _Service(_Shape):
    """Also a Configuration's and a Route's, which have parts of it."""

    metadata: _Metadata | None = None
    spec: _ServiceSpec | None = None


class _Revision(_Shape):
    metadata: _Metadata | None = None
    spec: _RevisionSpec | None = None


class _Ref(_Shape):
    kind: str | None = None
    name: str | None = None
    api_version: str | None = None
    namespace: str | None = None


class _MappingTls(_Shape):
    secret_name: str | None = None


class _MappingSpec(_Shape):
    ref: _Ref | None = None
    tls: _MappingTls | None = None


class _DomainMapping(_Shape):
    metadata: _Metadata | None = None
    spec: _MappingSpec | None = None


class _Split(_Shape):
    service_namespace: str | None = None
    service_name: str | None = None
    service_port: int | str | None = None
    percent: int | None = None
    append_headers: Names | None = None


class _HeaderMatch(_Shape):
    exact: str | None = None


class _Path(_Shape):
    path: str | None = None
    rewrite_host: str | None = None
    headers: dict[str, _HeaderMatch] | None = None
    append_headers: Names | None = None
    splits: list[_Split] | None = None


class _Http(_Shape):
    paths: list[_Path] | None = None


class _Rule(_Shape):
    hosts: list[str] | None = None
    visibility: str | None = None
    http: _Http | None = None


class _Tls(_Shape):
    hosts: list[str] | None = None
    secret_name: str | None = None
    secret_namespace: str | None = None


class _IngressSpec(_Shape):
    rules: list[_Rule] | None = None
    tls: list[_Tls] | None = None
    http_option: str | None = None


class _Ingress(_Shape):
    metadata: _Metadata | None = None
    spec: _IngressSpec | None = None


class _SksSpec(_Shape):
    mode: str | None = None
    object_ref: _Ref | None = None
    num_activators: int | None = None


class _ServerlessService(_Shape):
    metadata: _Metadata | None = None
    spec: _SksSpec | None = None


class _CertificateSpec(_Shape):
    dns_names: list[str] | None = None
    domain: str | None = None
    secret_name: str | None = None


class _Certificate(_Shape):
    metadata: _Metadata | None = None
    spec: _CertificateSpec | None = None


class _Other(_Shape):
    metadata: _Metadata | None = None
    spec: dict[str, Any] | None = None


_BY_KIND: dict[str, type[_Shape]] = {
    "Service": _Service,
    "Configuration": _Service,
    "Route": _Service,
    "Revision": _Revision,
    "DomainMapping": _DomainMapping,
    "Ingress": _Ingress,
    "ServerlessService": _ServerlessService,
    "Certificate": _Certificate,
}


def check(kind: str, obj: dict[str, Any]) -> None:
    """Raise `WrongType` for the first field of a wrong type."""
    try:
        msgspec.convert(obj, _BY_KIND.get(kind, _Other))
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
        raise WrongType(f"{path.strip('`').removeprefix('$.') or kind}: {problem}") from error
