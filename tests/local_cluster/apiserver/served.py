"""`python -m tests.local_cluster.apiserver.served DIRECTORY PORT`: a server with a journal, to be killed.

Authority and token are kept in the directory, so that clients recognise its successor. Writes its port to standard
output when it listens.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from local_cluster.apiserver.certificates import CertificateAuthority
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity

TOKEN = "token-of-the-test"


async def serve(directory: Path, port: int) -> None:
    """Serve until killed."""
    tokens = {TOKEN: Identity("kubernetes-admin", ("system:masters",))}
    authority = CertificateAuthority.load(directory)
    server = ApiServer(ApiServerConfig(ca=authority, tokens=tokens, port=port, state_file=directory / "state.sqlite"))
    await server.start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
