"""The API server: HTTPS, identities, routing, and the wiring of its parts.

One handler receives every request: *who is it → which path → which verb → answer*. Refusals become `Status` objects in
one place. The server keeps everything in memory and is meant for loopback and the stack's own network.
"""

import asyncio
import inspect
import ipaddress
from collections.abc import Mapping

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from local_cluster.apiserver.admission import DEFAULT_NAME, Admission, AdmissionHook
from local_cluster.apiserver.applying import FieldManagement
from local_cluster.apiserver.builtin import BuiltInPolicy
from local_cluster.apiserver.config import ApiServerConfig
from local_cluster.apiserver.crds import CRD_KEY, CustomKinds
from local_cluster.apiserver.errors import (
    StatusError,
    bad_request,
    internal_error,
    method_not_allowed,
    page_not_found,
    too_large,
)
from local_cluster.apiserver.eventing_schemas import add_eventing_schemas
from local_cluster.apiserver.garbage import GarbageCollector
from local_cluster.apiserver.handlers import Answer, Handlers, Request
from local_cluster.apiserver.identities import Identities
from local_cluster.apiserver.journal import Journal
from local_cluster.apiserver.kinds import BUILT_IN_KINDS
from local_cluster.apiserver.knative_kinds import KNATIVE_KINDS
from local_cluster.apiserver.knative_schemas import add_knative_schemas
from local_cluster.apiserver.methods import allowed_methods
from local_cluster.apiserver.objects import Identity, Objects
from local_cluster.apiserver.openapi import OpenApi
from local_cluster.apiserver.pages import Pages
from local_cluster.apiserver.pod_logs import LogReader, read_log_options
from local_cluster.apiserver.port_forward import Dialer, forward_ports
from local_cluster.apiserver.requests import Target, flag, parse_path, read_object
from local_cluster.apiserver.resources import Registry, ResourceType
from local_cluster.apiserver.reviewing import Reviewer
from local_cluster.apiserver.reviews import REVIEW_KINDS
from local_cluster.apiserver.schemas import Schemas
from local_cluster.apiserver.sending import chunks, complete, refusal, send_stream
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.tokens import ServiceAccountTokens
from local_cluster.apiserver.watching import Watches
from local_cluster.apiserver.webhooks import Webhooks
from proxies.logs import Logger

__all__ = ["ApiServer", "ApiServerConfig", "Identity"]

KEEPALIVE_S = 3600.0
"""Longer than any client keeps an idle connection: it is the client who closes, so no request meets a closed one."""
_INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class ApiServer:
    """One server. `start`, then read `port`; `stop` ends every watch and connection."""

    def __init__(self, config: ApiServerConfig) -> None:
        self.config = config
        self._journal = Journal(config.state_file) if config.state_file is not None else None
        self.store = Store(first_version=config.first_version, history_max=config.history_max, journal=self._journal)
        self.registry = Registry((*BUILT_IN_KINDS, *KNATIVE_KINDS))
        self.schemas = Schemas()
        add_knative_schemas(self.schemas)
        add_eventing_schemas(self.schemas)
        for kind in self.registry:
            if kind.is_stored_form:
                self.store.open(kind.key, kind.field_values)
        self._webhooks = Webhooks(self.store)
        self._admission = Admission(self._webhooks)
        self.objects = Objects(
            self.store,
            self.registry,
            self._admission,
            policy := BuiltInPolicy(self.store, config.service_cidr),
            fields := FieldManagement(self.schemas),
        )
        CustomKinds(self.store, self.registry, self.schemas)
        self._garbage = GarbageCollector(self.store, self.registry, self.objects)
        self._watches = Watches(
            self.store, queue_max=config.watcher_queue_max, bookmark_interval_s=config.bookmark_interval_s
        )
        self._handlers = Handlers(self.objects, self._watches, Reviewer(self.schemas), fields)
        for kind in REVIEW_KINDS:
            self.registry.add(kind)
        self._pages = Pages(self.registry, OpenApi(self.registry, self.schemas))
        self._tokens = ServiceAccountTokens(config.token_key)
        self._identities = Identities(config.tokens, self._tokens)
        self._log_reader: LogReader | None = None
        self._dialer: Dialer | None = None
        self._runner: web.ServerRunner | None = None
        self._logger = Logger("apiserver")
        self.port = 0
        if self._journal is not None:
            self._restore(self._journal)
            policy.restored()
        self._create_namespaces()

    # -- for the stack --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL; valid after `start`."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"https://{host}:{self.port}"

    def add_admission(self, hook: AdmissionHook, *, name: str = DEFAULT_NAME, validating: bool = False) -> None:
        """Run `hook` on every write; a refusal reads as a denial by the webhook called `name`."""
        self._admission.add(hook, name=name, validating=validating)

    def add_token(self, token: str, identity: Identity) -> None:
        """Accept `token` for `identity`. Every holder of a token is in `system:authenticated`."""
        self._identities.add(token, identity)

    def issue_token(self, namespace: str, account: str) -> str:
        """The token of a service account, which need not exist as an object."""
        return self._tokens.issue(namespace, account)

    def set_log_reader(self, reader: LogReader) -> None:
        """Answer `pods/{name}/log` from `reader`; without one such requests are refused."""
        self._log_reader = reader

    def set_dialer(self, dialer: Dialer) -> None:
        """Carry `pods/{name}/portforward` by `dialer`; without one such requests are refused."""
        self._dialer = dialer

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address cannot be bound."""
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        domain = f"kubernetes.default.svc.{self.config.cluster_domain}"
        addresses = [self.config.host] if _is_address(self.config.host) else []
        certificate = self.config.ca.issue_server(
            (*names, domain, *self.config.dns_names), [*addresses, "127.0.0.1", "::1"]
        )
        server = web.Server(
            self._handle,
            request_factory=self._make_request,
            handler_cancellation=True,  # a watch must end when its client goes
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self.config.host, self.config.port, ssl_context=certificate.ssl_context(), backlog=4096
        )
        try:
            await site.start()
        except OSError:
            await self.stop()
            raise
        self.port = _bound_port(self._runner)
        self._watches.start()
        self._garbage.start()
        if self._journal is not None:
            self._journal.start()

    async def stop(self) -> None:
        """End all watches, answer what is under way, close all connections."""
        self._watches.stop()
        await self._garbage.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._webhooks.stop()
        if self._journal is not None:
            await self._journal.stop()

    # -- requests -------------------------------------------------------------------------------------------

    def _make_request(self, message, payload, protocol, writer, task):  # type: ignore[no-untyped-def]
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self.config.body_bytes_max,
        )

    async def ask(
        self,
        identity: Identity,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: bytes = b"",
        content_type: str = "",
        accept: str = "",
        agent: str = "",
    ) -> Answer:
        """The answer to a request of our own process, which needs no connection and no token. Refusals are answers."""
        try:
            found = self._pages.public(path) or self._find(method, path, accept)
            if isinstance(found, Answer):
                return found
            kind, target = found
            asked = Request(
                target=target,
                query=query,
                accept=accept,
                content_type=content_type,
                agent=agent,
                body=body,
                identity=identity,
            )
            return await self._route(kind, method, asked)
        except StatusError as error:
            return refusal(error)
        except Exception as error:  # noqa: BLE001 - as below
            return self._failed(method, path, error)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.rel_url.raw_path.endswith("/portforward"):
                return await self._port_forward(request)
            answer = await self._answer(request)
        except StatusError as error:
            answer = refusal(error)
        except web.HTTPRequestEntityTooLarge:
            answer = refusal(too_large(self.config.body_bytes_max))
        except HttpProcessingError as error:
            answer = refusal(bad_request(f"the body cannot be read: {error.message}"))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the client gets a Status and the log the cause
            answer = self._failed(request.method, request.path, error)
        if answer.stream is None:
            return complete(answer)
        return await send_stream(request, answer, answer.stream)

    async def _port_forward(self, request: web.BaseRequest) -> web.StreamResponse:
        self._identities.authenticate(request.headers.get("Authorization", ""))
        target = parse_path(request.rel_url.raw_path)
        kind = self.registry.at(target.group, target.version, target.plural)
        if kind.key != "pods." or target.subresource != "portforward":
            raise page_not_found()
        self.objects.get(kind, target.namespace, target.name)
        dialer = self._dialer
        if dialer is None:
            raise internal_error("no node offers port forwarding")
        return await forward_ports(request, lambda port: dialer(target.namespace, target.name, port))

    async def _answer(self, request: web.BaseRequest) -> Answer:
        path = request.rel_url.raw_path
        page = self._pages.public(path)
        if page is not None:
            return page
        headers = request.headers
        identity = self._identities.authenticate(headers.get("Authorization", ""))
        accept, method = headers.get("Accept", ""), request.method
        found = self._find(method, path, accept)
        if isinstance(found, Answer):
            return found
        kind, target = found
        asked = Request(
            target=target,
            query=request.query,
            accept=accept,
            content_type=headers.get("Content-Type", ""),
            agent=headers.get("User-Agent", ""),
            body=await request.read() if request.can_read_body else b"",
            identity=identity,
        )
        return await self._route(kind, method, asked)

    def _find(self, method: str, path: str, accept: str) -> Answer | tuple[ResourceType, Target]:
        """What a path means: a page about the server, or objects of a kind. Raises 404 and 405."""
        if method == "GET":
            page = self._pages.page(path, accept, f"{self.config.host}:{self.port}")
            if page is not None:
                return page
        target = parse_path(path)
        if not target.plural:
            if method != "GET":
                raise method_not_allowed(("GET",))
            return self._pages.resource_list(target.group, target.version)
        kind = self.registry.at(target.group, target.version, target.plural)
        if target.namespace and not kind.namespaced:
            raise page_not_found()
        return kind, target

    def _failed(self, method: str, path: str, error: Exception) -> Answer:
        self._logger.error("request_failed", method=method, path=path, error=repr(error))
        return refusal(internal_error(type(error).__name__))

    async def _route(self, kind: ResourceType, method: str, request: Request) -> Answer:
        handlers, target = self._handlers, request.target
        allowed = allowed_methods(kind, target.namespace, target.name, target.subresource)
        if method not in allowed:
            raise method_not_allowed(allowed)
        if kind.verbs == ("create",):
            return handlers.ask(kind, request, self._identities.of)
        if target.subresource == "log":
            return await self._logs(kind, request)
        if target.subresource == "token":
            return self._token(kind, request)
        match method, bool(target.name):
            case "GET", True:
                return handlers.get(kind, request)
            case "GET", False:
                return (
                    handlers.watch(kind, request)
                    if flag(request.query, "watch")
                    else handlers.list_objects(kind, request)
                )
            case "POST", False:
                return await handlers.create(kind, request)
            case "PUT", True:
                return await handlers.replace(kind, request)
            case "PATCH", True:
                return await handlers.patch(kind, request)
            case "DELETE", True:
                return await handlers.delete(kind, request)
            case "DELETE", False:
                return await handlers.delete_collection(kind, request)
        raise method_not_allowed(allowed)

    def _token(self, kind: ResourceType, request: Request) -> Answer:
        target = request.target
        self.objects.get(kind, target.namespace, target.name)
        asked = read_object(request.content_type, request.body)
        return Answer(status=201, body=orjson.dumps(self._tokens.answer(target.namespace, target.name, asked)))

    async def _logs(self, kind: ResourceType, request: Request) -> Answer:
        target = request.target
        pod = self.objects.get(kind, target.namespace, target.name).load()
        options = read_log_options(pod, request.query)
        if self._log_reader is None:
            raise internal_error("no node offers logs")
        lines = self._log_reader(
            target.namespace,
            target.name,
            options.container,
            options.follow,
            options.tail_lines,
            options.since_s,
            options.timestamps,
            previous=options.previous,
        )
        # Before the answer begins, so that a reader's refusal is a Status and not a broken stream.
        opened = await lines if inspect.isawaitable(lines) else lines
        return Answer(stream=chunks(opened), content_type="text/plain")

    # -- what was there before -----------------------------------------------------------------------------

    def _restore(self, journal: Journal) -> None:
        """Take over what was there before; definitions first, because they make the kinds of others."""
        for only in (CRD_KEY, None):
            for key, version, data in journal.objects(only):
                if key == CRD_KEY and only is None:
                    continue
                kind = self.registry.of_key(key)
                if kind is None:
                    self._logger.error("kind_unknown", key=key)  # kept in the file for a server that knows it
                    continue
                obj = orjson.loads(data)
                obj["apiVersion"] = kind.storage_version
                self.store.restore(key, obj, version)

    def _create_namespaces(self) -> None:
        kind = self.registry.at("", "v1", "namespaces")
        for name in _INITIAL_NAMESPACES:
            if self.store.collection(kind.key).get("", name) is None:
                self.objects.create_own(kind, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _bound_port(runner: web.ServerRunner) -> int:
    return int(runner.addresses[0][1])
