"""`python -m tests.deploy.recording_stack up ...`: `knuv up`, whose API server notes what each identity asks.

Every kind of request is a line of JSON in `requests.jsonl` of the state directory, written when it first comes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from local_cluster import cli_up, stack
from local_cluster.__main__ import main
from local_cluster.apiserver.requests import flag
from local_cluster.apiserver.server import ApiServer

FILE = "requests.jsonl"


def record(path: Path) -> None:
    """Have every API server of this process note its requests."""
    route = ApiServer._route
    seen: set[tuple[str, ...]] = set()

    async def recorded(self: ApiServer, kind: Any, method: str, request: Any) -> Any:
        target = request.target
        resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        verb = verb_of(method, target.name, flag(request.query, "watch"))
        noted = (request.identity.username, verb, target.group, resource, target.namespace, target.name)
        if noted not in seen:
            seen.add(noted)
            with path.open("a") as file:
                file.write(f"{json.dumps(noted)}\n")
        return await route(self, kind, method, request)

    ApiServer._route = recorded  # type: ignore[method-assign]


def verb_of(method: str, name: str, is_watch: bool) -> str:
    """As the API server's authorizer calls it (Kubernetes, Authorization Overview, determine the request verb)."""
    match method:
        case "GET":
            return "get" if name else "watch" if is_watch else "list"
        case "DELETE":
            return "delete" if name else "deletecollection"
        case _:
            return {"POST": "create", "PUT": "update", "PATCH": "patch"}[method]


if __name__ == "__main__":
    record(Path(sys.argv[sys.argv.index("--state-dir") + 1]) / FILE)
    # In this process, of which the recording is a part.
    cli_up.become_stack = lambda config: stack.run(config, print)  # type: ignore[assignment, return-value]
    main()
