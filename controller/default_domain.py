"""`python -m controller default-domain`: a public domain for a cluster that has none, made of its gateway's address.

Names under `<address>.sslip.io` resolve to the address wherever public DNS answers. The job asks for an Ingress of its
own, waits until the gateway says where it is, and writes `config-domain`; a default domain that somebody has chosen
stays. Source: knative/serving `cmd/default-domain/main.go`; spec control-plane.md 7.3.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from controller import keys
from controller.settings import DomainSettings, NetworkSettings
from kube.addresses import Address
from kube.client import Client
from kube.config import ApiConfig
from kube.errors import AlreadyExists, Conflict, NotFound
from kube.models.core import ConfigMap
from kube.models.networking import Ingress, LoadBalancerIngress
from proxies.environment import ConfigError, Environment
from proxies.logs import Logger

__all__ = ["DefaultDomainConfig", "NoAddress", "assign", "domain_of"]

SERVICE = "default-domain-service"
"""Leads to the job, so that its Ingress can become ready."""
_NAME = "default-domain"
_DOMAIN_MAP, _NETWORK_MAP = "config-domain", "config-network"
_ADDRESS = Address("0.0.0.0", 8080)  # noqa: S104 - the gateway is on another machine
_WITHIN_S = 20 * 60.0
_LOOK_S = 1.0


class NoAddress(Exception):
    """The gateway has no address; the text says what was seen last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultDomainConfig:
    """What the job is told."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps are. `SYSTEM_NAMESPACE`."""
    magic_dns: str
    """Who resolves names with addresses in them. `--magic-dns`."""
    address: Address
    """Where its Ingress leads to. `KNUV_DEFAULT_DOMAIN_ADDRESS`; default: port 8080 of all addresses."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    within_s: float = _WITHIN_S
    """How long the gateway may take."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], magic_dns: str) -> "DefaultDomainConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            magic_dns=magic_dns,
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local") or "cluster.local",
            address=reading.parsed("KNUV_DEFAULT_DOMAIN_ADDRESS", Address.parse_any, _ADDRESS, _ADDRESS),
        )
        reading.finish()
        return config


async def assign(config: DefaultDomainConfig, log: Logger | None = None) -> str:
    """See to it that there is a default domain; which one it is.

    Raises `NoAddress`, `ConfigError` for a ConfigMap that is missing, `OSError`, `ApiError` and `ApiUnreachable`.
    """
    log = log or Logger("default-domain")
    async with Client(config.api, user_agent="knuv-default-domain") as client:
        found = await _default_of(client, config)
        if found != f"svc.{config.cluster_domain}":
            log.info("default_domain_kept", domain=found)
            return found
        runner = web.ServerRunner(web.Server(_answer), shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, config.address.host, config.address.port).start()
            domain = domain_of(await _gateway_address(client, config), config.magic_dns)
        finally:
            await runner.cleanup()
        # A merge patch adds the key and leaves the others; whoever has chosen meanwhile is not overruled.
        while (found := await _default_of(client, config)) == f"svc.{config.cluster_domain}":
            held = await client.get(ConfigMap, _DOMAIN_MAP, config.system_namespace)
            guard = {"resourceVersion": held.metadata.resource_version}
            try:
                await client.patch(
                    ConfigMap, _DOMAIN_MAP, config.system_namespace, {"metadata": guard, "data": {domain: ""}}
                )
            except Conflict:
                continue
        log.info("default_domain_assigned", domain=found)
        return found


def domain_of(address: str, magic_dns: str) -> str:
    """The domain of an IP address. Raises `NoAddress` for one that the service cannot name."""
    if ipaddress.ip_address(address).version == 4:
        return f"{address}.{magic_dns}"
    if magic_dns != "sslip.io":
        raise NoAddress(f"the gateway has {address} only, for which {magic_dns} has no names; sslip.io has")
    return f"{address.replace(':', '-')}.{magic_dns}"


async def _default_of(client: Client, config: DefaultDomainConfig) -> str:
    """The domain of a Route without labels."""
    try:
        found = await client.get(ConfigMap, _DOMAIN_MAP, config.system_namespace)
    except NotFound as error:
        raise ConfigError([f"ConfigMap {config.system_namespace}/{_DOMAIN_MAP} does not exist"]) from error
    return DomainSettings.from_data(found.data, config.cluster_domain).domain_for({})


async def _gateway_address(client: Client, config: DefaultDomainConfig) -> str:
    """The gateway's public address, as an Ingress tells it."""
    try:
        network = (await client.get(ConfigMap, _NETWORK_MAP, config.system_namespace)).data
    except NotFound:
        network = {}
    path = Ingress.RESOURCE.path(config.system_namespace)
    body = _probe_ingress(config, NetworkSettings.from_data(network).ingress_class)
    with contextlib.suppress(AlreadyExists):  # of a job that was killed
        await client.raw("POST", path, body=json.dumps(body).encode())
    try:
        deadline_s = time.monotonic() + config.within_s
        while True:
            ingress = await client.get(Ingress, _NAME, config.system_namespace)
            balancers = ingress.status.public_load_balancer
            address = await _address_of(client, balancers.ingress[0]) if balancers and balancers.ingress else ""
            if address:
                return address
            if time.monotonic() > deadline_s:
                raise NoAddress(f"the gateway has told no address within {config.within_s:g} s: {ingress.status}")
            await asyncio.sleep(_LOOK_S)
    finally:
        await client.delete(Ingress, _NAME, config.system_namespace)


async def _address_of(client: Client, told: LoadBalancerIngress) -> str:
    """An IP address, or nothing yet."""
    if told.ip:
        return told.ip
    host = told.domain
    if told.domain_internal:
        name, namespace, *_ = told.domain_internal.split(".")
        try:
            service: dict[str, Any] = json.loads(
                await client.raw("GET", f"/api/v1/namespaces/{namespace}/services/{name}")
            )
        except NotFound:
            return ""
        entries = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or [{}]
        if entries[0].get("ip"):
            return str(entries[0]["ip"])
        host = str(entries[0].get("hostname") or "")
    if not host:
        return ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ""  # it is to come
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def _probe_ingress(config: DefaultDomainConfig, ingress_class: str) -> dict[str, Any]:
    namespace = config.system_namespace
    split = {"serviceNamespace": namespace, "serviceName": SERVICE, "servicePort": 80, "percent": 100}
    rule = {
        "hosts": [f"{_NAME}.{namespace}.invalid"],
        "visibility": "ExternalIP",
        "http": {"paths": [{"splits": [split]}]},
    }
    return {
        "apiVersion": Ingress.RESOURCE.api_version,
        "kind": "Ingress",
        "metadata": {
            "name": _NAME,
            "namespace": namespace,
            "annotations": {keys.INGRESS_CLASS[0]: ingress_class},
        },
        "spec": {"rules": [rule]},
    }


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    """As every backend answers probes (spec ingress.md 4.3)."""
    return web.Response(headers={"K-Network-Hash": request.headers.get("K-Network-Hash", "")})
