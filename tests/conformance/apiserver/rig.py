"""Plays cases against one server."""

import asyncio
import itertools
from typing import Any

from tests.conformance.apiserver.cases import Case, Step
from tests.local_cluster.apiserver.raw import Answer, Api

__all__ = ["Rig"]

_GROUPS = {
    "deployments": "apps/v1",
    "replicasets": "apps/v1",
    "statefulsets": "apps/v1",
    "jobs": "batch/v1",
    "leases": "coordination.k8s.io/v1",
    "endpointslices": "discovery.k8s.io/v1",
    "ksvc": "serving.knative.dev/v1",
    "widgets": "test.example/v1",
}
_PLURALS = {"ksvc": "services"}
_DEADLINE_S = 30.0
_ABSENT = object()


class Rig:
    """One server for many cases."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._numbers = itertools.count(1)

    async def namespace(self) -> str:
        """A fresh namespace."""
        name = f"case-{next(self._numbers)}"
        await self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    async def play(self, case: Case) -> None:
        """Go through the steps; fails with the step that was answered otherwise."""
        saved: dict[str, Any] = {"ns": await self.namespace()}
        for number, step in enumerate(case.steps):
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    await self._play(step, saved)
            except AssertionError as error:
                raise AssertionError(f"step {number} ({step.method} {step.path}): {error}") from None

    async def _play(self, step: Step, saved: dict[str, Any]) -> None:
        path, params = _path(_filled(step.path, saved), saved["ns"]), _filled(step.params, saved)
        if step.events:
            async with self.api.watch(path, headers=step.headers, **params) as events:
                assert events.status == step.status
                assert tuple(await events.names(len(step.events))) == step.events
            return
        while True:
            answer = await self.api.call(
                step.method,
                path,
                _filled(step.body, saved),
                content_type=step.content_type,
                headers=step.headers,
                **params,
            )
            try:
                _check(step, answer, saved)
            except AssertionError:
                if not step.eventually:
                    raise
            else:
                break
        for name, where in step.save.items():
            saved[name] = _at(answer.data, where)


def _check(step: Step, answer: Answer, saved: dict[str, Any]) -> None:
    assert answer.status == step.status, f"answered {answer.status}: {answer.data}"
    if step.reason:
        assert (answer.data["kind"], answer.data["code"]) == ("Status", step.status)
        assert answer.data["reason"] == step.reason
    text = answer.data if isinstance(answer.data, str) else str(answer.data.get("message", ""))
    assert step.says in text, f"{step.says!r} is not in {text!r}"
    for where, wanted in step.has.items():
        found = _at(answer.data, where)
        assert found == _filled(wanted, saved), f"{where}: {found!r} instead of {wanted!r}"
    for where in step.lacks:
        assert _at(answer.data, where) is _ABSENT, f"{where}: {_at(answer.data, where)!r}"


def _path(path: str, namespace: str) -> str:
    if path.startswith("/"):
        return path
    plural, slash, rest = path.partition("/")
    group = _GROUPS.get(plural)
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{namespace}/{_PLURALS.get(plural, plural)}{slash}{rest}"


def _at(value: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(part.replace("%", "."), _ABSENT)
        elif isinstance(value, list) and part == "#":
            value = len(value)
        elif isinstance(value, list) and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _filled(value: Any, saved: dict[str, Any]) -> Any:
    if isinstance(value, str) and "$" in value:
        for name in sorted(saved, key=len, reverse=True):
            if value == f"${name}":
                return saved[name]
            value = value.replace(f"${name}", str(saved[name]))
        return value
    if isinstance(value, dict):
        return {key: _filled(item, saved) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, saved) for item in value]
    return value
