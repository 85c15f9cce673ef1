"""What an add-on asks of the API, beside what its page says that it needs."""

from pathlib import Path
from typing import Any

import yaml

from local_cluster.apiserver.requests import flag
from local_cluster.apiserver.server import ApiServer, Identity
from tests.deploy.recording_stack import verb_of

ROOT = Path(__file__).parents[2]
TOKEN = "add-on"
IDENTITY = Identity("system:serviceaccount:knative-serving:add-on", ("system:masters",))
Right = tuple[str, str, str]
"""Group, resource, verb."""


def note_requests(server: ApiServer) -> set[Right]:
    """What the add-on asks for from now on."""
    asked: set[Right] = set()
    route = server._route

    async def noted(kind: Any, method: str, request: Any) -> Any:
        target = request.target
        if request.identity.username == IDENTITY.username:
            resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
            asked.add((target.group, resource, verb_of(method, target.name, flag(request.query, "watch"))))
        return await route(kind, method, request)

    server._route = noted  # type: ignore[method-assign]
    return asked


def allowed(page: str, role: str) -> set[Right]:
    """What the role on the page allows, and what the controller's own roles do."""
    blocks = (ROOT / "docs" / page).read_text().split("```")
    documents = [
        yaml.safe_load(block.removeprefix("yaml\n")) for block in blocks if block.startswith("yaml\napiVersion")
    ]
    documents += yaml.safe_load_all((ROOT / "deploy/manifests/full/serving/controller.yaml").read_text())
    return {
        (group, resource, verb_)
        for document in documents
        if document["kind"] in ("ClusterRole", "Role") and document["metadata"]["name"] in (role, "knuv-controller")
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb_ in rule["verbs"]
    }
