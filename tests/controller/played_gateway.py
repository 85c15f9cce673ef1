"""Somebody who implements the Gateway API, as far as HTTPRoutes are read, accepted and served on a port of its own."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from kube.client import Client
from kube.errors import Conflict, NotFound
from kube.informer import Informer
from kube.models.gateway_api import Gateway, HTTPRoute, HTTPRouteStatus, RouteParent
from kube.models.meta import Condition
from kube.reconcile import Loop

JsonObject = dict[str, Any]


class PlayedGateway:
    """Backends answer probes with the hash that the route has stamped, and others with their names."""

    def __init__(self, client: Client) -> None:
        self.absent: set[str] = set()
        """Services that have no endpoints yet."""
        self.rejected: set[str] = set()
        """Routes that are not accepted; nor are those of Gateways that do not exist."""
        self.frozen: dict[str, list[JsonObject]] = {}
        """Routes that are served as they were: by name, their rules."""
        self.history: dict[str, list[list[JsonObject]]] = {}
        """By route: its rules, each time that they changed."""
        self.port = 0
        self._client = client
        self._routes = Informer(client, HTTPRoute)
        self._accepting: Loop[tuple[str, str]] = Loop("gateway", self._accept)
        self._runner = web.ServerRunner(web.Server(self._answer))
        self._routes.on_change(self._changed)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        await self._routes.start()
        self._accepting.start()

    async def stop(self) -> None:
        await self._accepting.stop()
        await self._routes.stop()
        await self._runner.cleanup()

    def look_again(self) -> None:
        """What is accepted has changed."""
        for route in self._routes.list():
            self._accepting.add(route.key)

    def _changed(self, old: HTTPRoute | None, new: HTTPRoute | None) -> None:
        if new is not None:
            self._accepting.add(new.key)
            known = self.history.setdefault(new.name, [])
            if not known or known[-1] != new.spec["rules"]:
                known.append(new.spec["rules"])

    async def _accept(self, key: tuple[str, str]) -> None:
        route = self._routes.get(*key)
        if route is None:
            return
        [parent] = route.spec["parentRefs"]
        try:
            await self._client.get(Gateway, parent["name"], parent.get("namespace", route.namespace))
        except NotFound:
            return
        status = "False" if route.name in self.rejected else "True"
        accepted = Condition(type="Accepted", status=status, reason="Played", message="as the test says")
        wanted = HTTPRouteStatus(parents=[RouteParent(parent_ref=parent, conditions=[accepted])])
        if wanted != route.status:
            try:
                await self._client.patch_status(route, wanted)
            except (NotFound, Conflict):
                return

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        for route in self._routes.list():
            if request.host in route.spec["hostnames"]:
                rule = best(self.frozen.get(route.name, route.spec["rules"]), request.path, request.headers)
                return self._answer_by(rule, request) if rule is not None else web.Response(status=404)
        return web.Response(status=404)

    def _answer_by(self, rule: JsonObject, request: web.BaseRequest) -> web.Response:
        heaviest = max(rule["backendRefs"], key=lambda reference: int(reference["weight"]))
        if heaviest["name"] in self.absent:
            return web.Response(status=503)
        if request.headers.get("K-Network-Probe"):
            return web.Response(headers={"K-Network-Hash": stamped(rule)})
        return web.Response(text=heaviest["name"])


def best(rules: Sequence[JsonObject], path: str, headers: Any) -> JsonObject | None:
    """The rule with the longest prefix, and of those the one with the most headers, as the Gateway API orders them."""
    found = []
    for rule in rules:
        [match] = rule["matches"]
        prefix = match["path"]["value"].rstrip("/")
        wanted = match.get("headers", [])
        if (path == prefix or path.startswith(f"{prefix}/")) and all(
            headers.get(each["name"]) == each["value"] for each in wanted
        ):
            found.append((len(prefix), len(wanted), rule))
    return max(found, key=lambda each: each[:2], default=(0, 0, None))[2]


def stamped(rule: JsonObject) -> str:
    """The version that a rule sets; empty when it sets none."""
    for filter_ in rule.get("filters", ()):
        for entry in filter_.get("requestHeaderModifier", {}).get("set", ()):
            if entry["name"] == "K-Network-Hash":
                return str(entry["value"])
    return ""
