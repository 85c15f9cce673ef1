"""`python -m loadtests.lab.apiserver.served OBJECTS GROUPS`: a server with objects in it, until standard input ends.

Writes one line of JSON with port, token and CA when it listens.
"""

import asyncio
import json
import secrets
import sys
from typing import Any

import uvloop

from loadtests.lab.apiserver.clients import object_name
from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity


def _object(number: int, groups: int) -> dict[str, Any]:
    """A ConfigMap of about half a kilobyte; `groups` labels divide all of them."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": object_name(number), "namespace": "default", "labels": {"group": str(number % groups)}},
        "data": {"t": "0", "text": "x" * 200},
    }


async def _serve(objects: int, groups: int) -> None:
    ca, token = CertificateAuthority.create(), secrets.token_hex(16)
    server = ApiServer(ApiServerConfig(ca=ca, tokens={token: Identity("lab", ("system:masters",))}))
    kind = server.registry.at("", "v1", "configmaps")
    for number in range(objects):
        server.objects.create_own(kind, _object(number, groups))
    await server.start()
    try:
        told = {"port": server.port, "token": token, "ca": ca.certificate_pem.decode()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
