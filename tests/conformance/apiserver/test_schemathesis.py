"""schemathesis over every document of /openapi/v3: requests after the documents, answers held against them.

By default a few requests for each operation of one kind in each document, the same in each run, with bodies cut where
schemas nest deep: making strategies is what costs. `--openapi-cases N` (`make openapi`) sends N to each operation of
every kind, with whole bodies, and as many that break their schema. Nothing is imported before it is needed, because
schemathesis takes a second.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local_cluster.apiserver.kinds import BUILT_IN_KINDS
from local_cluster.apiserver.knative_kinds import KNATIVE_KINDS
from local_cluster.apiserver.reviews import REVIEW_KINDS

CASES = 2
BODY_DEPTH = 2
"""References that a body follows by default."""
_DEADLINE_S = 30.0
_VERSIONS = dict.fromkeys(kind.api_version for kind in (*BUILT_IN_KINDS, *KNATIVE_KINDS, *REVIEW_KINDS))
_DOCUMENTS = [f"apis/{version}" if "/" in version else f"api/{version}" for version in _VERSIONS]


class _Server(NamedTuple):
    """A server in a process of its own."""

    url: str
    headers: dict[str, str]
    ca: Path
    session: Any

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What is answered when all is well."""
        answer = self.session.request(
            method, self.url + path, json=body, headers=self.headers, verify=str(self.ca), timeout=_DEADLINE_S
        )
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[_Server]:
    import requests

    arguments = [sys.executable, "-m", "loadtests.lab.apiserver.served", "0", "1"]
    with (
        tempfile.TemporaryDirectory(prefix="knuv-openapi-") as directory,
        requests.Session() as session,
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        ca = Path(directory) / "ca.pem"
        ca.write_text(told["ca"])
        session.trust_env = False
        url = f"https://127.0.0.1:{told['port']}"
        yield _Server(url, {"authorization": f"Bearer {told['token']}"}, ca, session)
        assert process.poll() is None, "the server has ended"
        process.stdin.close()


def test_every_document_is_walked(server: _Server) -> None:
    assert set(server.ask("GET", "/openapi/v3")["paths"]) == set(_DOCUMENTS)


@pytest.mark.parametrize("document", _DOCUMENTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_asked_and_answered_is_as_documented(
    server: _Server, document: str, request: pytest.FixtureRequest
) -> None:
    import schemathesis
    from schemathesis.checks import load_all_checks, not_a_server_error
    from schemathesis.specs.openapi import checks

    cases = request.config.getoption("--openapi-cases", 0)
    listed = server.ask("GET", f"/openapi/v3/{document}")
    if not cases:
        _reduce(listed)
    modes = schemathesis.GenerationMode
    load_all_checks()
    # Not held: names have a grammar, and kinds rules, that schemas do not tell, so what a schema allows may be refused.
    held = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
        not_a_server_error,
        *([checks.ignored_auth] if cases else []),
    ]
    for number, found in enumerate(schemathesis.openapi.from_dict(listed).get_all_operations()):
        operation = found.ok()
        namespace = f"{document.replace('/', '-').replace('.', '-')}-{number}"
        server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        for mode in (modes.POSITIVE, modes.NEGATIVE) if cases else (modes.POSITIVE,):
            _send(server, operation.as_strategy(generation_mode=mode), namespace, cases, held)


def _send(server: _Server, strategy: Any, namespace: str, cases: int, held: list[Any]) -> None:
    @settings(
        max_examples=cases or CASES,
        derandomize=not cases,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=strategy, name=st.sampled_from(("a", "b", "")))
    def send(case: Any, name: str) -> None:
        _place(case, namespace, name)
        case.call_and_validate(
            base_url=server.url,
            session=server.session,
            headers=server.headers,
            verify=str(server.ca),
            timeout=_DEADLINE_S,
            checks=held,
        )

    send()


def _place(case: Any, namespace: str, name: str) -> None:
    """Mean objects that may be there: those of a namespace that exists, with names that come again."""
    if "namespace" in case.path_parameters:
        case.path_parameters["namespace"] = namespace
    if not name:
        return
    if "name" in case.path_parameters:
        case.path_parameters["name"] = name
    if case.media_type == "application/json" and isinstance(case.body, dict):
        kind = case.operation.definition.raw["x-kubernetes-group-version-kind"]
        version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
        case.body = {**case.body, "apiVersion": version, "kind": kind["kind"], "metadata": {"name": name}}


def _reduce(document: dict[str, Any]) -> None:
    """Leave of a document the kind with the most paths, and bodies that are quick to make."""
    plurals: dict[str, dict[str, Any]] = {}
    for path, item in document["paths"].items():
        plurals.setdefault(path.partition("/{name}")[0].rpartition("/")[2], {})[path] = item
    document["paths"] = max(plurals.values(), key=len)
    for item in document["paths"].values():
        for operation in item.values():
            if "requestBody" in operation:
                operation["requestBody"] = _cut(document, operation["requestBody"], BODY_DEPTH)


def _cut(document: dict[str, Any], node: Any, left: int) -> Any:
    """`node` with references followed `left` deep; beyond, any object will do."""
    if isinstance(node, list):
        return [_cut(document, item, left) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" not in node:
        return {key: _cut(document, value, left) for key, value in node.items()}
    if not left:
        return {"type": "object"}
    return _cut(document, document["components"]["schemas"][node["$ref"].rpartition("/")[2]], left - 1)
